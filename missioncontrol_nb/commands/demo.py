"""`missioncontrol demo`: shows how a simulated release starts to crash more while pings stream in."""

from pathlib import Path

import click

from missioncontrol_nb.commands.command import Command, Need
from missioncontrol_nb.commands.simulate import FLEETS
from missioncontrol_nb.terminal import HISTORY_DAYS, MAX_SEED, NumberRange

_FLEET = Need("a simulated fleet, whose place --firefox takes", lambda given: given["firefox"] is None)
_FIREFOX = Need("--firefox", lambda given: given["firefox"] is not None)


@click.command(
    cls=Command,
    needs={**dict.fromkeys(("fleet", "days", "seed", "topic"), _FLEET), "headless": _FIREFOX},
)
@click.option(
    "--fleet",
    type=click.Choice(FLEETS),
    default=FLEETS[0],
    show_default=True,
    help="The Firefox of October 2017 and its 56.0, or that of July 2026 and its 153.0, which sends Glean pings.",
)
@click.option("--port", type=click.IntRange(0, 65535), default=8866, show_default=True, help="0: any free one.")
@click.option(
    "--minutes",
    type=NumberRange(0, 1_000_000, min_open=True),
    help="End so long after the first live ping. Default: at Ctrl-C.",
)
@click.option(
    "--days",
    type=click.IntRange(1, 150),
    default=HISTORY_DAYS,
    show_default=True,
    help="How much history. With less than 45, 56.0 has no version to be compared with, and the demo is ready sooner.",
)
@click.option(
    "--folder",
    type=click.Path(path_type=Path),
    help="Keep pings (30 MB a minute), dataset and logs here; an earlier demo's are replaced. "
    "Default: a folder that goes away at the end.",
)
@click.option(
    "--seed", type=click.IntRange(0, MAX_SEED), default=0, show_default=True, help="Another seed, another fleet."
)
@click.option(
    "--kafka", "topic", metavar="kafka://HOST:PORT/TOPIC",
    help="Send live pings through this topic instead of files; `make kafka` runs one.",
)  # fmt: skip
@click.option(
    "--firefox", is_flag=False, flag_value="firefox", metavar="[PROGRAM]",
    help="Instead of a simulated fleet, open a real Firefox for you to crash (Linux): the one that is installed, or "
    "this program.",
)  # fmt: skip
@click.option("--headless", is_flag=True, help="That Firefox has no window, and crashes by itself.")
def command(
    fleet: str,
    port: int,
    minutes: float | None,
    days: int,
    folder: Path | None,
    seed: int,
    topic: str | None,
    firefox: str | None,
    headless: bool,
) -> None:
    """Watch a release go wrong while pings stream in.

    October 2017 is played as if it were now: the history of a simulated fleet, then 40 live pings a second
    through the real job into the dataset behind the dashboard. Firefox 56.0 is a few days old, and on Windows its
    content processes crash far more often since twelve hours ago.

    Prints one URL when the first page is ready. Ctrl-C, SIGTERM and the end of --minutes end everything that it
    started; the last line says what went in and what was shown.

    \b
    missioncontrol demo
    missioncontrol demo --port 0 --minutes 10 --folder demo
    missioncontrol demo --fleet today
    missioncontrol demo --kafka kafka://127.0.0.1:9092/pings

    With --firefox the pings are those of a Firefox of yours. It has a profile of its own and reaches nothing but a
    receiver of this demo. Type about:crashparent into its address bar, and see your crash on the page.

    \b
    missioncontrol demo --firefox
    missioncontrol demo --firefox --headless
    missioncontrol demo --firefox ~/firefox/firefox
    """
    if firefox is not None:
        from missioncontrol_nb.demo import firefox_run

        settings = firefox_run.FirefoxSettings(firefox, headless, port, minutes, folder)
        firefox_run.run(settings, report=click.echo)
        return
    from missioncontrol_nb.demo.run import DemoSettings, run

    run(DemoSettings(port, minutes, folder, seed, topic, days, fleet), report=click.echo)
