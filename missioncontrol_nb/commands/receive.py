"""`missioncontrol receive`: the server that clients post their pings to."""

import asyncio
import sys
from pathlib import Path

import click

from missioncontrol_nb.commands import options
from missioncontrol_nb.commands.command import Command, Need
from missioncontrol_nb.terminal import NumberRange, plural

_EXAMPLES = """
\b
Examples:
  missioncontrol receive --to pings/
  missioncontrol aggregate pings/ --dataset data/ --follow          # in another terminal: counts what comes
  curl -i -d '{}' http://127.0.0.1:8080/submit/telemetry/$(uuidgen)/crash/Firefox/57.0/release/20171003101344?v=4
\b
  missioncontrol receive --to kafka://host:9092/pings --listen 127.0.0.1:8080 --proxies 1 --places countries.mmdb
  missioncontrol status --dataset data/ --receiver 127.0.0.1:9465
"""


def _to_topic(to: str) -> bool:
    from streaming.sources.kafka.topic import is_topic

    return is_topic(to)


_TOPIC = Need("--to a topic, kafka://...", lambda given: _to_topic(given["to"]))
_FILES = Need("--to a folder", lambda given: not _to_topic(given["to"]))


@click.command(
    cls=Command,
    epilog=_EXAMPLES,
    needs={"kafka_config": _TOPIC, "file_megabytes": _FILES, "file_seconds": _FILES},
)
@click.option("--to", required=True, metavar="FOLDER|TOPIC", help="A folder, or kafka://HOST:PORT[,...]/TOPIC.")
@click.option(
    "--listen", default="127.0.0.1:8080", show_default=True, metavar="[HOST:]PORT",
    help="Where clients, or the proxy before them, connect. Port 0: any free one.",
)  # fmt: skip
@click.option(
    "--metrics", default="127.0.0.1:9465", show_default=True, metavar="[HOST:]PORT|none",
    help="Where Prometheus and missioncontrol status read the counts; no client should reach it.",
)  # fmt: skip
@click.option(
    "--proxies", type=click.IntRange(0, 16), default=0, show_default=True,
    help="How many proxies of yours stand before this server, each adding to the right of X-Forwarded-For. 0: that "
    "header is not believed.",
)  # fmt: skip
@click.option(
    "--places", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
    help="Countries by address, in MaxMind's format (GeoLite2, DB-IP Lite).  [default: no country is written]",
)  # fmt: skip
@click.option(
    "--skip-automation", is_flag=True, help="Do not keep pings whose X-Source-Tags say automation; they get a 200."
)
@click.option(
    "--file-megabytes", type=click.IntRange(1, 100_000), default=64, show_default=True, metavar="MB",
    help="A file is finished, and read, when it has this size,",
)  # fmt: skip
@click.option(
    "--file-seconds", type=NumberRange(0.1, 86_400), default=10.0, show_default=True, metavar="SECONDS",
    help="or so long after its first ping.",
)  # fmt: skip
@options.kafka_config
def command(
    to: str,
    listen: str,
    metrics: str,
    proxies: int,
    places: Path | None,
    skip_automation: bool,
    file_megabytes: int,
    file_seconds: float,
    kafka_config: dict[str, str],
) -> None:
    """Receive pings from clients over HTTP, and keep them where missioncontrol aggregate reads them.

    Clients post to /submit/telemetry/ID/TYPE/APPLICATION/VERSION/CHANNEL/BUILD (Firefox's older pings) or to
    /submit/NAMESPACE/TYPE/VERSION/ID (Glean), JSON or gzip. The answer is 200 when the ping is on disk, or acknowledged
    by all brokers in step; 503 or 507 when it could not be kept, so that clients send it again; 4xx, so that they drop
    it, when it never could. Kinds of ping that nobody counts are answered 200 and not kept.

    Each ping gets the time of this server, and the country of its sender with --places. Addresses and clients' ids are
    not kept, nor logged. Put a proxy with TLS in front of it, such as nginx (docs/receiving.md).

    In a FOLDER, a file has a name that begins with a dot until it is finished. What a killed receiver left unfinished
    is finished at the next start.

    Ctrl-C and SIGTERM: no more is accepted, what has come is kept and answered; exit code 0.
    """
    from missioncontrol_nb.receiver.answering import Receiver
    from missioncontrol_nb.receiver.files import FileLimits, FileSink, folder_of
    from missioncontrol_nb.receiver.places import Places
    from missioncontrol_nb.receiver.server import Address, serve
    from missioncontrol_nb.receiver.topics import TopicSink

    clients = Address.of("--listen", listen)
    operators = None if metrics == "none" else Address.of("--metrics", metrics)
    limits = FileLimits(file_megabytes << 20, file_seconds)
    known = Places(places) if places else None
    folder = None if _to_topic(to) else folder_of(to)

    def on_ready(url: str, metrics_url: str) -> None:
        click.echo(f"{url}submit/ -> {to}{f'; counts at {metrics_url}metrics' if metrics_url else ''}")
        sys.stdout.flush()

    async def run() -> None:
        sink = TopicSink(to, kafka_config) if folder is None else FileSink(folder, limits)
        receiver = Receiver(sink, known, proxies, skip_automation)
        receiver.counts.recovered_files = sink.recovered
        if sink.recovered:
            click.echo(f"{plural(sink.recovered, 'file')} of a killed receiver finished", err=True)
        await serve(receiver, clients, operators, on_ready)
        click.echo(f"{plural(sum(receiver.counts.kept.values()), 'ping')} kept", err=True)

    asyncio.run(run())
