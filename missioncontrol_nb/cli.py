"""The `missioncontrol` command, which imports each subcommand from `missioncontrol_nb.commands` on demand."""

import sys

try:
    import os
    from importlib import import_module

    import click

    from missioncontrol_nb.failures import open_streams, run_to_exit_code
    from streaming.errors import unknown_name
except KeyboardInterrupt:  # before `main` can handle Ctrl-C; these imports take 0.1 s
    print("missioncontrol: interrupted", file=sys.stderr)
    sys.exit(130)

NAME = "missioncontrol"
COMPLETION = "_MISSIONCONTROL_COMPLETE"  # set by a shell that completes a command line

COMMANDS = {
    "aggregate": "Sum pings from files, a bucket or a Kafka topic into the grouped dataset.",
    "annotate": "Write down, list or remove data incidents: hours whose numbers are wrong, which are not judged.",
    "backfill": "Replace whole days of the dataset by pings counted anew.",
    "dashboard": "Publish the dashboard of a dataset.",
    "demo": "Watch a simulated fleet, or your own Firefox that crashes, go through the whole of Mission Control.",
    "environment": "Pack what a Spark cluster's workers need.",
    "judge": "Say of each release whether it crashes more than it should; exit code 3 when one does.",
    "maintain": "Keep a dataset small and quick to read, beside the stream that fills it.",
    "receive": "Receive pings from clients over HTTP, into files or a Kafka topic.",
    "releases": "Show or refresh the release calendar.",
    "replay": "Say what a watcher would have been told between two moments.",
    "report": "Make a report of releases: a page, its notebook, alarms and a picture; exit code 3 when one is up.",
    "simulate": "Make pings or months of grouped rows of a fleet that behaves like the real one.",
    "status": "Say how fresh a dataset is, how far behind, what was rejected; exit code 3 when it is stale.",
    "watch": "Tell people and programs what changed about a dataset's alarms, each change once.",
}


class LazyGroup(click.Group):
    """Holds the names and help texts of its commands, and imports a command only to run it."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The command names, in the order of the help text."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """The command with this name, imported on demand."""
        if name not in COMMANDS:
            return None
        return import_module(f"missioncontrol_nb.commands.{name}").command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that the first argument names; the error for an unknown name lists similar names."""
        if args[0] not in COMMANDS and not args[0].startswith("-"):
            ctx.fail(str(unknown_name("command", args[0], COMMANDS)))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the list of commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(package_name="missioncontrol-nb")
def group() -> None:
    """Says within moments of a release whether it crashes more than it should, where, and how sure we are."""


def main() -> None:
    """Runs the command line and exits with its exit code; an error is reported as one sentence on stderr."""
    sys.exit(run_to_exit_code(_run))


def _run() -> int:
    open_streams()
    if COMPLETION in os.environ:
        group(prog_name=NAME)
    try:
        with group.make_context(NAME, sys.argv[1:]) as context:
            group.invoke(context)
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except click.Abort:
        raise KeyboardInterrupt from None
    except click.ClickException as error:
        error.show()
        return error.exit_code
    return 0
