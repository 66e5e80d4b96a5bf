"""`missioncontrol watch`: tells people and programs what changed about a dataset's alarms, each change once."""

import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from missioncontrol_nb.commands import options
from missioncontrol_nb.commands.command import Command
from missioncontrol_nb.dashboard.server.settings import Settings
from missioncontrol_nb.terminal import NumberRange, stopped_by_signals
from streaming.errors import MissionControlError, printable

if TYPE_CHECKING:
    from missioncontrol_nb.watching.targets import Target
    from missioncontrol_nb.watching.watch import WatchSettings

UNDELIVERED = 1
_EXAMPLES = """
\b
Examples:
  missioncontrol watch --dataset data/ --notify slack:@/run/secrets/slack_url --test
  missioncontrol watch --dataset data/ --notify slack:@/run/secrets/slack_url --every 300
  missioncontrol watch --dataset data/ --notify teams:env:TEAMS_URL --every 300 --quiet-hours 22:00-07:00@Europe/Berlin
  missioncontrol watch --dataset data/ --every 300 \\
    --notify 'email:releases@example.org?from=watch@example.org&server=mail.example.org&login=@/run/secrets/smtp'
  missioncontrol watch --dataset s3://bucket/data --watch-state watch/ --every 300 \\
    --notify alertmanager:http://127.0.0.1:9093
  missioncontrol watch --dataset data/ --notify 'command:/usr/local/bin/page-us --urgent' --dry-run

\b
Targets, --notify:
  webhook:https://HOST/PATH     JSON: id, kind, cause, dataset, product, text, url, events
  webhook:@FILE                 the URL is FILE's first line; further lines are headers, Authorization: Bearer ...
  slack:@FILE                   the URL of an incoming webhook is in FILE
  teams:@FILE                   that of a workflow "when a Teams webhook request is received"
  email:TO,TO?from=ADDRESS&server=HOST:PORT&login=@FILE&security=starttls
                                USER:PASSWORD is in FILE; security: starttls (port 587), tls (465) or none (25)
  alertmanager:http://HOST:9093 or alertmanager:@FILE, as for webhook
  command:PROGRAM ARGUMENT      the webhook's JSON on standard input; exit code 0: it took it
Secrets are in files or environment variables, never on a command line: env:NAME may stand for @FILE.
"""


@click.command(cls=Command, epilog=_EXAMPLES)
@options.judged
@click.option("--measure", "measures", multiple=True, help="Only this measure, such as main_crashes; may be repeated.")
@click.option(
    "--notify", "notify", multiple=True, metavar="TARGET",
    help="Where to tell it, see below; may be repeated.",
)  # fmt: skip
@click.option(
    "--every", type=NumberRange(1, 86_400), metavar="SECONDS",
    help="Keep at it until Ctrl-C, and look so often.  [default: one look]",
)  # fmt: skip
@click.option(
    "--watch-state", "--state", "state", metavar="FOLDER",
    help="What was told and is still to be told; one for each watch.  [default: _watch in a local dataset]",
)  # fmt: skip
@click.option(
    "--at", metavar="TIME", callback=options.check_time,
    help="One look as of then, ISO 8601, UTC.  [default: as of the newest data]",
)  # fmt: skip
@click.option(
    "--least-state", type=click.Choice(["looks-bad", "bad"]), default="bad", show_default=True,
    help="looks-bad: tell also what looks bad and may be chance.",
)  # fmt: skip
@click.option(
    "--quiet-hours", metavar="HH:MM-HH:MM[@ZONE]",
    help="Messages wait till these hours end, and are one then; Alertmanager has its own.  [default of ZONE: UTC]",
)  # fmt: skip
@click.option("--dashboard", metavar="URL", help="Where missioncontrol dashboard is, for links.")
@click.option(
    "--stale-after", type=NumberRange(1, 31_536_000), default=Settings.stale_after_seconds, show_default=True,
    metavar="SECONDS", help="The age of the newest ping above which nothing is judged.",
)  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Look once and print what would be sent; write and send nothing.")
@click.option(
    "--test", "tests", is_flag=True, help="Send each target one message that is marked as a test; do not look."
)
@options.endpoint_url
@click.pass_context
def command(ctx: click.Context, notify: tuple[str, ...], dry_run: bool, tests: bool, **chosen: Any) -> None:
    """Tell what changed about a dataset's alarms: each new alarm, change and end once, to every target.

    Alarms are those of missioncontrol judge. What has one cause, such as several measures of a release, is one message.
    Data that are stale are not judged: it says so once, and once that they are fresh again. What cannot be delivered is
    kept, also when this is killed, and tried again; where an answer was lost a message may come twice, with the same
    id. A target that was away for more than an hour gets what is still true, with a line about what it missed.

    Exit code 0: all was delivered, or with --every: it was told to end. 1: it could not look, or could not deliver
    something, which waits for the next run.
    """
    _check(ctx, notify, chosen, dry_run=dry_run, tests=tests)
    from missioncontrol_nb.watching import watch as watching
    from missioncontrol_nb.watching.targets import read_targets

    targets, settings = read_targets(notify), _settings(**chosen)
    if not tests:
        _check_folder(settings.dataset)
    with stopped_by_signals() as stop:
        if tests:
            is_whole = watching.send_test(settings, targets, _print, _print_failure)
        elif dry_run:
            _preview(settings, targets, stop)
            is_whole = True
        else:
            is_whole = watching.watch(settings, targets, stop, _print, _print_failure)
    if settings.every_seconds is None and stop.is_set():
        sys.exit(stop.exit_code)
    sys.exit(0 if is_whole else UNDELIVERED)


def _check(ctx: click.Context, notify: tuple[str, ...], chosen: dict[str, Any], *, dry_run: bool, tests: bool) -> None:
    """Raises click.UsageError for options that do not go together."""
    if not notify and not dry_run:
        raise click.UsageError("expected --notify TARGET, or --dry-run", ctx=ctx)
    if dry_run and tests:
        raise click.UsageError("--test sends a message and --dry-run sends none: leave one out", ctx=ctx)
    for name in ("at", "every"):
        if chosen[name] is not None and (tests or (name == "every" and dry_run)):
            raise click.UsageError(f"--{name} has no effect with {'--test' if tests else '--dry-run'}", ctx=ctx)
    if chosen["at"] is not None and chosen["every"] is not None:
        raise click.UsageError("--at is one look, --every are many: leave one out", ctx=ctx)


def _check_folder(dataset: str) -> None:
    """Raises MissionControlError where a dataset's folder is missing: the watch's state would else be made there."""
    from streaming.storage.locations import is_remote

    if not is_remote(dataset) and not Path(dataset).is_dir():
        raise MissionControlError(f"there is no dataset at {dataset}: there is no such folder")


def _settings(
    dataset: str,
    state: str | None,
    at: str | None,
    every: float | None,
    least_state: str,
    quiet_hours: str | None,
    dashboard: str | None,
    stale_after: float,
    **chosen: Any,
) -> "WatchSettings":
    from missioncontrol_nb import arguments
    from missioncontrol_nb.watching.quiet import read_quiet_hours
    from missioncontrol_nb.watching.targets.webhooks import is_http_url
    from missioncontrol_nb.watching.watch import WatchSettings, state_folder
    from streaming.storage.locations import dataset_url

    url = dataset_url(dataset)
    if dashboard is not None and (not is_http_url(dashboard) or "@" in dashboard):
        raise MissionControlError(f"expected --dashboard as a URL such as http://127.0.0.1:8866; got {dashboard!r}")
    moment: datetime | None = arguments.as_utc("at", at)
    return WatchSettings(
        dataset=url,
        folder=state_folder(url, state),
        stale_after_seconds=stale_after,
        tells_looks_bad=least_state == "looks-bad",
        at=moment,
        every_seconds=every,
        quiet=read_quiet_hours(quiet_hours) if quiet_hours else None,
        dashboard=dashboard.rstrip("/") + "/" if dashboard else None,
        **chosen,
    )


def _preview(settings: "WatchSettings", targets: "list[Target]", stop: Any) -> None:
    from missioncontrol_nb.watching.looking import LookStoppedError
    from missioncontrol_nb.watching.watch import preview

    try:
        messages = preview(settings, targets, stop)
    except LookStoppedError:
        return
    if not messages:
        click.echo("Nothing would be sent.")
    for text, names in messages:
        click.echo("\n".join(map(printable, text.split("\n"))))
        if names:
            click.echo(f"This would go to {', '.join(map(printable, names))}.")


def _print(line: str) -> None:
    _echo(line, is_error=False)


def _print_failure(line: str) -> None:
    _echo(line, is_error=True)


def _echo(line: str, *, is_error: bool) -> None:
    """Prints a line with the time; a closed output does not end the watch."""
    from missioncontrol_nb.watching.looking import now_utc

    try:
        click.echo(f"{now_utc():%H:%M:%S} {printable(line)}", err=is_error)
    except (OSError, ValueError):
        return
