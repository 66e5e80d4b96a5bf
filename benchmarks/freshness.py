"""How soon a ping shows: from produce() until `mc.load` returns it, at half the load that the job can take.

The job has half of the machine's cores; sender, broker and reader share the others. The load that it can take is what
it counts a second when it catches up with a full topic; that is measured first. Then pings come in at half of it, and a
probe every quarter of a second: a crash of a build that no other ping comes from. Upkeep is on. The reader loads the
probes again and again; its own time is part of what is measured.
"""

import argparse
from pathlib import Path
from statistics import median

from ingest import machine
from live import Watched, stream
from tqdm import tqdm

GOAL_SECONDS = 2.0


def quantile(values: list[float], share: float) -> float:
    """The smallest value that no more than a share of them are below."""
    return sorted(values)[min(int(len(values) * share), len(values) - 1)]


def report(watched: Watched, rate: float, minutes: float) -> None:
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
        f"; a load takes {median(watched.loads):.2f} s\n"
    )
    print(
        f"{'from produce() to load()':<28}{'median':>8}{'p90':>8}{'p99':>8}{'maximum':>9}   of {len(seconds):,} probes"
    )
    shown = [median(seconds), quantile(seconds, 0.9), quantile(seconds, 0.99), max(seconds)]
    print(f"{f'{rate:,.0f} pings/s for {minutes:g} min':<28}" + "".join(f"{each:>6.2f} s" for each in shown))
    verdict = "meets" if shown[2] < GOAL_SECONDS else "misses"
    print(f"\np99 of {shown[2]:.2f} s {verdict} the goal of {GOAL_SECONDS:g} s")


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--rate", type=float, help="pings a second; default: half of what the machine can take")
    parser.add_argument("--trigger", type=float, default=1.0, help="of the job, seconds")
    parser.add_argument("--rated-gigabytes", type=float, default=6.0, help="to catch up with, to see what it can take")
    parser.add_argument("--load-every", type=float, default=0.1, help="seconds between two loads")
    parser.add_argument("--topics", type=Path, help="the folder for the broker's messages, such as /dev/shm")
    given = parser.parse_args()
    print(machine())
    with stream(given.topics, given.trigger) as made:
        rate = given.rate
        if rate is None:
            rated = made.rated(given.rated_gigabytes)
            print(f"the job counts {rated:,.0f} pings/s when it catches up: half of that is sent")
            rate = rated / 2
        bar = tqdm(total=round(given.minutes * 60), unit="s", desc="streaming", leave=False, disable=None)
        with bar:
            watched = made.watch(
                rate, given.minutes, given.load_every,
                lambda seen: bar.update(min(round(seen.samples[-1].at - seen.began), bar.total) - bar.n),
            )  # fmt: skip
    report(watched, rate, given.minutes)


if __name__ == "__main__":
    main()
