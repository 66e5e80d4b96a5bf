"""`missioncontrol simulate`: writes months of grouped rows, or live pings, of a realistic simulated fleet."""

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic
from typing import Any

import click

from missioncontrol_nb.commands.command import BAD, HISTORY, LIVE, LIVE_FILES, OLD_FLEET, Command
from missioncontrol_nb.terminal import HISTORY_DAYS, MAX_SEED, NumberRange, Stop, stopped_by_signals
from streaming import contract
from streaming.errors import MissionControlError, require_replaceable

DEFAULT_RATE = 40.0  # as in missioncontrol_nb.simulator.fleet, which is not imported just to show help texts
FLEETS = ("2017", "today")  # as in missioncontrol_nb.simulator.fleets
_UNITS = {"min": "minutes", "h": "hours", "d": "days"}
_YEARS = range(1970, 2201)
_AGO = re.compile(r"-(\d+(?:\.\d+)?)(min|h|d)")


def moment_of(name: str, text: str | None, now: datetime) -> datetime:
    """The moment that a text gives, in ISO 8601 or relative to now such as -12h; now if there is no text.

    Raises MissionControlError, with the option's name, for other text.
    """
    from missioncontrol_nb.arguments import as_utc

    ago = _AGO.fullmatch(text or "")
    try:
        moment = now - timedelta(**{_UNITS[ago[2]]: float(ago[1])}) if ago else as_utc(name, text) or now
    except OverflowError:
        moment = datetime.min
    if moment.year not in _YEARS:
        raise MissionControlError(f"expected {name} between {_YEARS[0]} and {_YEARS[-1]}; got {text!r}")
    return moment


@click.command(
    cls=Command,
    needs={
        "days": HISTORY,
        "releases": OLD_FLEET,
        **dict.fromkeys(("minutes", "at_most", "every"), LIVE),
        "is_compressed": LIVE_FILES,
        **dict.fromkeys(("bad_since", "bad_os", "bad_channel", "bad_measure", "bad_factor"), BAD),
    },
    epilog="""\b
Examples:
  missioncontrol simulate --history fleet
  missioncontrol dashboard --dataset fleet --releases fleet/releases.json
\b
  missioncontrol simulate --history fleet --live pings --bad 56.0 --bad-since -12h --bad-os Windows_NT
  missioncontrol simulate --live pings --rate 0 --pings 20000 --every 30
  missioncontrol simulate --live kafka://127.0.0.1:9092/pings --releases-to releases.json
  missioncontrol simulate --fleet today --history fleet --live pings --bad 153.0 --bad-os Windows_NT
""",
)
@click.option(
    "--fleet",
    "fleet_name",
    type=click.Choice(FLEETS),
    default=FLEETS[0],
    show_default=True,
    help="Which Firefox to play: that of October 2017, or that of July 2026, which sends Glean pings.",
)
@click.option(
    "--history", "dataset", metavar="DATASET", help="Write grouped rows into this dataset, which must be new."
)
@click.option("--days", type=click.IntRange(1, 150), default=HISTORY_DAYS, show_default=True, help="How much history.")
@click.option(
    "--live",
    "to",
    metavar="FOLDER|TOPIC",
    help="Write pings into files of this folder, or send them to kafka://HOST:PORT/TOPIC, until Ctrl-C; with "
    "--history, from where that ends.",
)
@click.option(
    "--rate",
    type=NumberRange(0, 1_000_000),
    default=DEFAULT_RATE,
    show_default=True,
    help="Pings with usage (main, core) a second of the whole fleet, on average over a week; fewer at night. "
    "0 is as fast as this machine can, as if they had come in at the default rate until now.",
)
@click.option("--minutes", type=NumberRange(0, 1_000_000, min_open=True), help="Stop after so long.")
@click.option(
    "--pings", "at_most", type=click.IntRange(1, 1_000_000_000), help="Stop after the file that holds this many in all."
)
@click.option(
    "--every", type=NumberRange(0.1, 3600), default=2.0, show_default=True, help="Seconds of pings that a file holds."
)
@click.option("--compress/--no-compress", "is_compressed", default=True, help="Files as .jsonl.gz (default) or .jsonl.")
@click.option(
    "--seed", type=click.IntRange(0, MAX_SEED), default=0, show_default=True, help="Another seed, another fleet."
)
@click.option("--now", "now_text", metavar="TIME", help="Take this for now, ISO 8601. Same arguments, same pings.")
@click.option("--bad", metavar="VERSION", help="A display version, such as 56.0 or 57.0b4, that goes wrong.")
@click.option(
    "--bad-since", metavar="TIME", default="-12h", show_default=True, help="ISO 8601, or ago: -30min, -12h, -2d."
)
@click.option("--bad-os", type=click.Choice(contract.FIREFOX.os_names), help="Only on this system. Default: on all.")
@click.option(
    "--bad-channel", type=click.Choice(contract.FIREFOX.channel_names), help="Only on this channel. Default: on all."
)
@click.option(
    "--bad-measure",
    type=click.Choice(contract.MEASURE_NAMES),
    metavar="MEASURE",
    default="content_crashes",
    show_default=True,
    help="What there is more of.",
)
@click.option(
    "--bad-factor",
    type=NumberRange(0, 1000, min_open=True),
    default=1.8,
    show_default=True,
    help="How many times as many.",
)
@click.option("--releases", metavar="FILE|FOLDER|URL", help="Another release calendar than the snapshot.")
@click.option(
    "--releases-to",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Where to write the shifted calendar. Default: releases.json in a local dataset.",
)
def command(
    fleet_name: str,
    dataset: str | None,
    to: str | None,
    now_text: str | None,
    seed: int,
    rate: float,
    releases: str | None,
    releases_to: Path | None,
    days: int,
    **options: Any,
) -> None:
    """Play the Firefox of October 2017 as if it were now, or with --fleet today that of July 2026.

    Channels, platforms, versions and build ids come from a release calendar, every date later by whole weeks so that
    56.0, of 28 September 2017, is two to nine days old; or 153.0, of 21 July 2026. The shifted calendar is written into
    a local dataset as releases.json: give it to the dashboard. History and live pings come from one model, so that one
    goes on where the other ends.

    Exit code 130 or 143: ended by Ctrl-C or SIGTERM before the history was whole, or --minutes or --pings reached.
    """
    from missioncontrol_nb.simulator.fleets import fleet_at
    from missioncontrol_nb.simulator.live import sink_of

    if dataset is None and to is None:
        raise click.UsageError("say what to write: --history DATASET, --live FOLDER or both")
    if to is not None and not rate and options["at_most"] is None and options["minutes"] is None:
        raise click.UsageError("--rate 0 needs an end: --pings or --minutes")
    now = moment_of("--now", now_text, datetime.now(UTC))
    fleet = fleet_at(now, fleet_name, seed, _bad(now, **options), rate or DEFAULT_RATE, releases)
    folders = _folders(dataset, to)
    releases_to = _calendar_target(releases_to, dataset, folders)
    with _without_empty_folders(folders):
        sink = None if to is None else sink_of(to, options["is_compressed"])  # before the history, which takes minutes
        if dataset is not None:
            with stopped_by_signals() as stop:
                _write_history(fleet, dataset, now, days, stop)
    if releases_to is not None:
        fleet.calendar.save(releases_to)
    if dataset is not None and releases_to is not None:
        click.echo(f"Look at it: missioncontrol dashboard --dataset {dataset} --releases {releases_to}")
    elif to is not None and releases_to is None:
        click.echo("To look at these pings, a dashboard needs their calendar: --releases-to FILE writes it", err=True)
    if to is not None:
        _write_live(fleet, sink, to, now, not rate, **options)


def _folders(*locations: str | None) -> list[Path]:
    """The locations that are local folders."""
    from streaming.storage.locations import is_remote, normal_url

    return [Path(normal_url(location)) for location in locations if location is not None and not is_remote(location)]


def _calendar_target(given: Path | None, dataset: str | None, folders: list[Path]) -> Path | None:
    """The file for the shifted calendar, or None. Raises MissionControlError where the file could not be written."""
    from missioncontrol_nb.releases.calendar import require_writable

    if given is None:
        beside = Path(dataset) / "releases.json" if dataset is not None and "://" not in dataset else None
        if beside is not None:
            require_replaceable(beside)
        return beside
    if any(given.absolute() in (folder, *folder.parents) for folder in folders):
        raise MissionControlError(f"expected the name of a file as --releases-to; got {str(given)!r}, a folder to be")
    require_writable(given)
    return given


@contextmanager
def _without_empty_folders(folders: list[Path]) -> Iterator[None]:
    """Removes these folders and their parents when the block fails, as far as they are empty.

    Folders that existed before are kept.
    """
    new = [each for folder in folders for each in (folder, *folder.parents) if not each.exists()]
    try:
        yield
    except BaseException:
        for each in new:
            with suppress(OSError):  # not created yet, or not empty
                each.rmdir()
        raise


def _bad(now: datetime, **options: Any) -> list[Any]:
    from missioncontrol_nb.simulator import Bad

    if options["bad"] is None:
        return []
    since = moment_of("--bad-since", options["bad_since"], now)
    what = (options["bad_measure"], options["bad_factor"])
    return [Bad(options["bad"], since, *what, os_name=options["bad_os"], channel=options["bad_channel"])]


def _write_history(fleet: Any, dataset: str, until: datetime, days: int, stop: Stop) -> None:
    from missioncontrol_nb.simulator.history import new_dataset, write_history
    from streaming.storage.locations import is_remote

    with new_dataset(dataset), click.progressbar(length=days, label="History, days") as bar:

        def on_progress(done: int, _: int) -> None:
            bar.update(done - bar.pos)
            if stop.is_set():
                what = "is not whole: remove it" if is_remote(dataset) else "was not whole and is removed"
                click.echo(f"\nStopped: the history in {dataset} {what}", err=True)
                sys.exit(stop.exit_code)  # new_dataset removes a local dataset

        written = write_history(fleet, dataset, until, days, on_progress)
    click.echo(
        f"{written.rows:,} rows of {written.pings:,} pings, {written.since:%Y-%m-%d %H:%M} to "
        f"{written.until:%Y-%m-%d %H:%M} UTC, are in {dataset}"
    )


def _write_live(fleet: Any, sink: Any, to: str, now: datetime, is_fast: bool, **options: Any) -> None:
    from missioncontrol_nb.simulator.live import write_live

    minutes, at_most = options["minutes"], options["at_most"]
    length = timedelta(minutes=minutes) if minutes else timedelta(seconds=(at_most or 0) / fleet.pings_a_second)
    start = now - length if is_fast else now
    began = monotonic()
    with stopped_by_signals() as stop:
        sent = write_live(
            fleet,
            sink,
            start,
            every=timedelta(seconds=options["every"]),
            until=start + length if minutes else None,
            at_most=at_most,
            is_paced=not is_fast,
            stop=stop,
            on_progress=_progress_line(began),
        )
    seconds = monotonic() - began
    broken = ", ".join(f"{reason} {count}" for reason, count in sorted(sent.broken.items())) or "none"
    where = f"to {to}" if "://" in to else f"in {sent.files:,} files"
    what = f"{sent.pings:,} pings, {sent.bytes / 1e6:,.1f} MB, {where}"
    click.echo(f"{what}, {sent.pings / seconds:,.0f} pings/s; broken on purpose: {broken}")
    has_end = minutes is not None or at_most is not None
    if has_end and stop.is_set() and not (at_most is not None and sent.pings >= at_most):
        click.echo("Stopped before its end", err=True)
        sys.exit(stop.exit_code)


def _progress_line(began: float) -> Callable[[Any], None]:
    """A callback that reports progress: it rewrites one line of a terminal, or adds a line every ten seconds."""
    is_terminal = sys.stderr.isatty()
    reported_at = began

    def report(sent: Any) -> None:
        nonlocal reported_at
        if monotonic() - reported_at >= (0.5 if is_terminal else 10):
            reported_at = monotonic()
            line = (
                f"{sent.pings:,} pings, {sent.bytes / 1e6:,.1f} MB, {sent.pings / (reported_at - began):,.0f} pings/s"
            )
            click.echo(f"\r{line}   " if is_terminal else line, err=True, nl=not is_terminal)

    return report
