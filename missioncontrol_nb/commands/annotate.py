"""`missioncontrol annotate`: writes down data incidents, lists and removes them."""

import json
from typing import Any

import click

from missioncontrol_nb.commands import options
from missioncontrol_nb.commands.command import LIST, TEXT, Command
from streaming.errors import MissionControlError, printable

_EXAMPLES = """
\b
Examples:
  missioncontrol annotate --dataset data/ --since 2017-10-02T12:00Z --until 2017-10-02T18:00Z "crash pings came twice"
  missioncontrol annotate --dataset data/ --since 2017-10-02 --until 2017-10-03 "no pings of betas" --channel beta
  missioncontrol annotate --dataset s3://bucket/data --list
  missioncontrol annotate --dataset data/ --remove 3f2a91c07b
"""
_NEEDS = {**dict.fromkeys(("since", "until", "product", "channel", "os_name", "measure"), TEXT), "as_json": LIST}


@click.command(cls=Command, epilog=_EXAMPLES, needs=_NEEDS)
@click.argument("text", required=False)
@click.option("--dataset", required=True, metavar="URL", help="Folder or s3:// URL of the dataset.")
@click.option(
    "--since", metavar="TIME", callback=options.check_time, help="When the numbers began to be wrong, ISO 8601, UTC."
)
@click.option(
    "--until", metavar="TIME", callback=options.check_time, help="From when on they are right again, ISO 8601, UTC."
)
@click.option("--product", help="Only this product.  [default: all]")
@click.option("--channel", help="Only this channel: release, beta, aurora, nightly or esr.  [default: all]")
@click.option("--os-name", help="Only this system: Windows_NT, Darwin, Linux or Android.  [default: all]")
@click.option("--measure", help="Only this measure, such as main_crashes.  [default: all, and usage]")
@click.option("--list", "lists", is_flag=True, help="List what was written down, with an id each.")
@click.option("--json", "as_json", is_flag=True, help="With --list: one JSON line each on stdout.")
@click.option("--remove", metavar="ID", help="Remove the annotation of this id, as --list shows it.")
@options.endpoint_url
@click.pass_context
def command(
    ctx: click.Context, text: str | None, dataset: str, lists: bool, as_json: bool, remove: str | None, **about: Any
) -> None:
    """Write down that a dataset's numbers are wrong in some hours, so that they are not judged.

    A data incident is something that happened to the data and not to the browser: pings were lost or came twice, or a
    server put them into the wrong hours. TEXT says what. judge and replay leave its hours out, both of a release that
    is judged and of those it is compared with, whichever moment they judge as of: no event and no usage of these hours
    counts. Whole hours are left out, as far as the incident touches them. The counts themselves stay in the dataset.

    Each annotation is a file of its own in the dataset's folder "annotations", so that several people can write at
    once. To change one, remove it and write it anew, or edit its file.

    Exit code 0: done. 1: it could not be done, and why. 2: an invalid command line.
    """
    if (text is not None) + lists + (remove is not None) != 1:
        raise click.UsageError("expected one of a TEXT, which adds an annotation, --list and --remove ID", ctx=ctx)
    if lists:
        _list(dataset, as_json)
    elif remove is not None:
        from missioncontrol_nb.incidents.annotating import removed

        click.echo(f"removed {printable(str(removed(dataset, remove)))}")
    else:
        lacking = next((name for name in ("since", "until") if about[name] is None), None)
        if lacking is not None:
            raise click.UsageError(f"expected --since and --until with a TEXT; got no --{lacking}", ctx=ctx)
        from missioncontrol_nb.incidents import annotate

        click.echo(annotate(dataset, about.pop("since"), about.pop("until"), text or "", **about))


def _list(dataset: str, as_json: bool) -> None:
    """Lists the annotations. Raises MissionControlError, after those that can be read, for damaged ones."""
    from missioncontrol_nb.incidents.annotating import open_existing, read_all

    incidents, damages = read_all(open_existing(dataset))
    for incident in incidents:
        click.echo(json.dumps(incident.as_record()) if as_json else printable(str(incident)))
    if not incidents and not damages and not as_json:
        click.echo("Nothing was written down.")
    if damages:
        raise MissionControlError("\n".join(damages))
