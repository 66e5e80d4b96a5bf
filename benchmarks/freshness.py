"""How soon a ping shows: from produce() until `mc.load` returns it, at half the load that the job can take.

The job has half of the machine's cores; sender, broker and reader share the others. The load that it can take is what
it counts a second when it catches up with a full topic; that is measured first. Then pings come in at half of it, and a
probe every quarter of a second: a crash of a build that no other ping comes from. Upkeep is on; the first two minutes
are not watched. The reader loads the probes whenever the table that holds them has a commit; its own time is part of
what is measured.
"""

import argparse
from statistics import median

from ingest import machine
from live import Watched, add_options, watch

GOAL_SECONDS = 2.0


def quantile(values: list[float], share: float) -> float:
    """The smallest value that no more than a share of them are below."""
    return sorted(values)[min(int(len(values) * share), len(values) - 1)]


def report(watched: Watched, minutes: float) -> None:
    """The figures."""
    seconds = [each for _, each in watched.freshness]
    sent = watched.sent
    print(
        f"{sent['pings']:,} pings in {sent['seconds']:,.0f} s, {sent['pings'] / sent['seconds']:,.0f} pings/s, "
        f"{sent['bytes'] / sent['seconds'] / 1e6:,.0f} MB/s; the sender was late by {sent['behind']:.2f} s at most"
    )
    print(f"{watched.counted - sent['pings']:+,} pings counted beside those sent; {watched.unseen} probes never seen")
    took = [batch["seconds"] for batch in watched.batches]
    print(
        f"{len(watched.batches):,} micro-batches, median {median(took):.2f} s, of it commits "
        f"{median(batch['commit_seconds'] for batch in watched.batches):.2f} s; {watched.files} files in the fine table"
        f"; a load takes {median(watched.loads):.2f} s"
    )
    print("of a core: " + ", ".join(f"{name} {share:.0%}" for name, share in watched.cpu.items()) + "\n")
    print(
        f"{'from produce() to load()':<28}{'median':>8}{'p90':>8}{'p99':>8}{'maximum':>9}   of {len(seconds):,} probes"
    )
    shown = [median(seconds), quantile(seconds, 0.9), quantile(seconds, 0.99), max(seconds)]
    print(f"{f'in {minutes:g} minutes':<28}" + "".join(f"{each:>6.2f} s" for each in shown))
    verdict = "meets" if shown[2] < GOAL_SECONDS else "misses"
    print(f"\np99 of {shown[2]:.2f} s {verdict} the goal of {GOAL_SECONDS:g} s")


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser, minutes=10, look_every=0.05)
    given = parser.parse_args()
    print(machine())
    report(watch(given), given.minutes)


if __name__ == "__main__":
    main()
