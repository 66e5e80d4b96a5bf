"""What a watcher of the demo would be told in two weeks: of the release that goes wrong, and of all that are healthy.

The demo's own fleet is written as a dataset, as `make demo` writes it, and goes on for two weeks after the moment at
which the demo begins. Each channel is replayed by the product's own `replay`. Ends with 1 if anything healthy was
called bad, or the rise was not told within two hours of the moment. Try:

    python benchmarks/judgement_demo.py --channels release --every 1h
"""

import argparse
import multiprocessing
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tqdm import tqdm

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from missioncontrol_nb.demo.run import BAD_MEASURE, BAD_OS, bad_release  # noqa: E402
from missioncontrol_nb.judgement.alarms import Event  # noqa: E402
from missioncontrol_nb.judgement.judging import length_of, replayed  # noqa: E402
from missioncontrol_nb.simulator.fleets import ERAS, fleet_at  # noqa: E402
from missioncontrol_nb.simulator.history import write_history  # noqa: E402
from streaming import contract  # noqa: E402

HISTORY, BEFORE, AFTER = timedelta(days=60), timedelta(days=2), timedelta(days=12)
SOON = timedelta(hours=2)


def main() -> int:
    given = arguments()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        since = write(Path(folder), given.fleet, given.seed)
        with ProcessPoolExecutor(given.processes, multiprocessing.get_context("spawn")) as workers:
            tasks = [(folder, channel, since - BEFORE, since + AFTER, given.every) for channel in given.channels]
            of_channels = list(
                tqdm(workers.map(alarms_of, tasks), total=len(tasks), unit="channel", file=sys.stderr, desc="replay")
            )
    alarms = [event for of_channel in of_channels for event in of_channel]
    for event in alarms:
        print(told(event, since))
    bad_version = ERAS[given.fleet].version
    false = [event for event in alarms if not is_about_the_rise(event, bad_version)]
    found = [datetime.fromisoformat(event.detected_at) for event in alarms if is_about_the_rise(event, bad_version)]
    if "release" in given.channels:
        print(f"{bad_version} on {BAD_OS}: {f'bad after {min(found) - since}' if found else 'never called bad'}")
    print(
        f"{len(false)} false alarms in {(BEFORE + AFTER).days} days on {', '.join(given.channels)}, every {given.every}"
    )
    print(f"{time.monotonic() - began:.0f} s", file=sys.stderr)
    is_late = "release" in given.channels and (not found or min(found) - since > SOON)
    return 1 if false or is_late else 0


def arguments() -> argparse.Namespace:
    channels = ",".join(contract.FIREFOX.channel_names)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--channels", default="release,beta,nightly,esr", help=f"some of {channels}, by commas")
    parser.add_argument("--fleet", default="2017", choices=ERAS, help="which of the demo's fleets (default: 2017)")
    parser.add_argument("--every", default="1h", help="between looks, such as 15min (default: 1h)")
    parser.add_argument("--seed", type=int, default=0, help="of the fleet (default: 0, the demo's)")
    parser.add_argument("--processes", type=int, default=2, help="how many at once (default: 2)")
    given = parser.parse_args()
    given.channels = given.channels.split(",")
    for channel in given.channels:
        if channel not in contract.FIREFOX.channel_names:
            parser.error(f"--channels takes some of {channels}; not {channel!r}")
    length_of(given.every)
    return given


def write(folder: Path, name: str, seed: int) -> datetime:
    """Writes the dataset; returns when the release goes wrong."""
    now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    bad = bad_release(fleet_at(now, name, seed), now)
    fleet = fleet_at(now, name, seed, [bad])
    with tqdm(unit="day", file=sys.stderr, desc="write") as bar:

        def on_progress(done: int, days: int) -> None:
            bar.total = days
            bar.update(done - bar.n)

        until = bad.since + AFTER
        write_history(fleet, str(folder), until, (HISTORY + BEFORE + AFTER).days, on_progress)
    fleet.calendar.save(folder / "releases.json")
    return bad.since


def alarms_of(task: tuple[str, str, datetime, datetime, str]) -> list[Event]:
    """The alarms of a channel."""
    folder, channel, since, until, every = task
    return [event for event in replayed(folder, since, until, every, channel=channel) if event.event == "alarm"]


def is_about_the_rise(event: Event, bad_version: str) -> bool:
    """Whether an event is about the measure and release that go wrong."""
    return (event.channel, event.os_name, event.display_version, event.measure) == (
        *("release", BAD_OS, bad_version),
        BAD_MEASURE,
    )


def told(event: Event, since: datetime) -> str:
    """An alarm as a line."""
    after = (datetime.fromisoformat(event.detected_at) - since).total_seconds() / 3600
    what = f"{event.channel} {event.os_name} {event.display_version or 'all versions'} {event.measure}"
    ratio = "" if event.rate_ratio is None else f"{event.rate_ratio:.2f} times"
    return (
        f"{what}: {ratio}, told {after:+.1f} h from the rise, since {event.since}, slice {event.slice or 'everywhere'}"
    )


if __name__ == "__main__":
    sys.exit(main())
