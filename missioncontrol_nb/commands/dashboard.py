"""`missioncontrol dashboard`: publishes the dashboard of a dataset, read-only."""

import re

import click

from missioncontrol_nb.commands import options
from missioncontrol_nb.commands.command import Command
from missioncontrol_nb.dashboard.server.settings import Settings
from streaming.errors import MissionControlError

_BASE_URL = re.compile(r"/?(?:[\w.~-]+/)*[\w.~-]*", re.ASCII)


@click.command(cls=Command)
@click.option(
    "--dataset", required=True, metavar="URL", help="Folder or s3:// URL that `missioncontrol aggregate` fills."
)
@options.endpoint_url
@click.option("--port", type=click.IntRange(0, 65535), default=8866, show_default=True, help="0: any free one.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--releases",
    metavar="FILE|FOLDER|URL",
    help="A release calendar.  [default: releases.json in the dataset, else the snapshot]",
)
@click.option(
    "--pool", type=click.IntRange(0, 1000), default=2, show_default=True, help="Pages kept ready; each takes 0.2 GB."
)
@click.option("--base-url", default="/", show_default=True, help="Path below which a proxy shows this server.")
@click.option("--name", "names", multiple=True, metavar="HOST", help="Host name a proxy passes on; may be repeated.")
@click.option(
    "--most-pages", type=click.IntRange(1, 100_000), default=100, show_default=True, help="More at once get a 503."
)
@click.option(
    "--most-pages-each",
    type=click.IntRange(1, 100_000),
    help="Of these, so many for one address; a proxy is one unless --name is given.  [default: half, at least 2]",
)
@click.option("--verbose", is_flag=True, help="Log requests and kernels.")
def command(
    dataset: str,
    port: int,
    host: str,
    releases: str | None,
    pool: int,
    base_url: str,
    names: tuple[str, ...],
    most_pages: int,
    most_pages_each: int | None,
    verbose: bool,
) -> None:
    """Publish the dashboard of a dataset until Ctrl-C.

    Prints one URL when the first page is ready. Anyone who can reach the URL can read the dataset's sums; nobody can
    change anything or run code. Put a proxy with log-in in front to show it beyond this machine. Probe URL/health: it
    starts no kernel and answers 200 when a page is ready.

    \b
    missioncontrol dashboard --dataset demo/dataset
    missioncontrol dashboard --dataset s3://bucket/dataset --port 8080 --pool 10 --name missioncontrol.example.org
    """
    from missioncontrol_nb.dashboard.server.configuration import Hosting
    from missioncontrol_nb.dashboard.server.server import serve
    from missioncontrol_nb.loading.dataset import Dataset
    from missioncontrol_nb.releases.sources import calendar_beside, load_calendar
    from streaming.storage.locations import dataset_url, normal_url

    if not _BASE_URL.fullmatch(base_url):
        raise MissionControlError(f"expected --base-url as a path such as /firefox/crashes/; got {base_url!r}")
    if most_pages_each is not None and most_pages_each > most_pages:
        raise MissionControlError(
            f"expected --most-pages-each at most as large as --most-pages; got {most_pages_each} and {most_pages}"
        )
    Dataset(dataset).tables()  # the tables may not exist yet, but the storage must be reachable
    releases = releases or calendar_beside(dataset)
    if releases:
        load_calendar(releases)
    click.echo("Making the first page ready ...", err=True)
    hosting = Hosting(host, port, pool, base_url, names, most_pages, most_pages_each=most_pages_each, verbose=verbose)
    serve(Settings(dataset_url(dataset), normal_url(releases) if releases else None), hosting, on_ready=click.echo)
