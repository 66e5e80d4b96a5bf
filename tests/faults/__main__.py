"""All campaigns in full, and the table of what they did: python -m tests.faults [--share 1.0] [KIND ...]."""

import argparse
import sys
import tempfile
from pathlib import Path

from tqdm import tqdm

from tests.faults.campaign import FULL_TIMES, Outcome, missing, run_campaign, share_of
from tests.services.kafka import Broker


def main() -> int:
    """Prints a line a kind; 1 when a ping was lost or doubled."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=f"of {', '.join(FULL_TIMES)}; default: all")
    parser.add_argument("--share", type=float, default=1.0, help="of the full number of times")
    parser.add_argument("--seed", type=int, help="of an earlier run, to do the same again")
    given = parser.parse_args()
    if unknown := set(given.kinds) - set(FULL_TIMES):
        parser.error(f"no such kind: {', '.join(sorted(unknown))}")
    if said := missing(given.kinds or FULL_TIMES):
        sys.exit(said)
    outcomes = [run(kind, given.share, given.seed) for kind in given.kinds or FULL_TIMES]
    print(
        f"{'killed':<15} {'times':>6} {'pings':>8} {'lost':>6} {'doubled':>8}  {'sums':<6} {'minutes':>8} {'seed':>12}"
    )
    for outcome in outcomes:
        sums = "exact" if outcome.is_exact else "WRONG"
        [(kind, times)] = outcome.faults.items()
        print(
            f"{kind:<15} {times:>6} {outcome.pings:>8,} {outcome.lost:>6} {outcome.doubled:>8}  "
            f"{sums:<6} {outcome.seconds / 60:>8.1f} {outcome.seed:>12}"
        )
    return 0 if all(outcome.is_exact for outcome in outcomes) else 1


def run(kind: str, share: float, seed: int | None) -> Outcome:
    """A campaign, with a progress bar, in a folder that goes with it."""
    times = share_of(kind, share)
    with (
        tempfile.TemporaryDirectory() as folder,
        Broker(Path(folder) / "kafka") as broker,
        tqdm(total=times, desc=kind, unit="kill", leave=False, disable=None) as bar,
    ):
        return run_campaign({kind: times}, Path(folder), broker, seed, lambda done: bar.update(done - bar.n))


if __name__ == "__main__":
    sys.exit(main())
