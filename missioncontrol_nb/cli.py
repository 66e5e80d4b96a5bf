"""The `missioncontrol` command; each subcommand lives in `missioncontrol_nb.commands`, imported when asked for."""

import sys
from importlib import import_module

import click

from streaming.errors import MissionControlError, unknown_name

COMMANDS = {
    "aggregate": "Sum pings from files, a bucket or a Kafka topic into the grouped dataset.",
    "backfill": "Replace whole days of the dataset by pings counted anew.",
    "dashboard": "Publish the dashboard of a dataset.",
    "demo": "Watch a simulated fleet stream through the whole of Mission Control.",
    "environment": "Pack what a Spark cluster's workers need.",
    "maintain": "Keep a dataset small and quick to read, beside the stream that fills it.",
    "releases": "Show or refresh the release calendar.",
    "simulate": "Make pings or months of grouped rows of a fleet that behaves like the real one.",
    "status": "Say how fresh a dataset is, how far behind, what was rejected; exit code 3 when it is stale.",
}


class LazyGroup(click.Group):
    """Knows its commands by name and help, and imports one only to run it."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """The command of that name, imported now."""
        if name not in COMMANDS:
            return None
        return import_module(f"missioncontrol_nb.commands.{name}").command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that the first argument names; an unknown one is told with those near it."""
        if args[0] not in COMMANDS and not args[0].startswith("-"):
            ctx.fail(str(unknown_name("command", args[0], COMMANDS)))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the list without importing a command."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(package_name="missioncontrol-nb")
def group() -> None:
    """Tells within moments of a release whether it crashes more than it should, where, and how sure we are."""


def main() -> None:
    """Runs the command line; what the reader can fix is one line on stderr and exit code 1."""
    try:
        group(standalone_mode=True)
    except MissionControlError as error:
        click.echo(f"missioncontrol: {error}", err=True)
        sys.exit(1)
