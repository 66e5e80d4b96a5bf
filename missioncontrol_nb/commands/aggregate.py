"""`missioncontrol aggregate`: sums pings into the grouped dataset."""

import json
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from typing import TYPE_CHECKING

import click

from missioncontrol_nb.commands import options
from missioncontrol_nb.commands.command import FOLLOW, TOPIC, WATCH, Command
from missioncontrol_nb.terminal import NumberRange, plural, stopped_by_signals
from streaming.errors import MissionControlError, printable
from streaming.sources.kafka.topic import is_topic

if TYPE_CHECKING:
    from tqdm import tqdm

    from streaming.job.settings import AggregateSettings, Batch, Progress, Summary, WriteFrom
    from streaming.sources.kafka.source import OnDataLoss

_BAD_FILES_SHOWN = 10  # per micro-batch
_EXAMPLES = """
\b
Examples:
  missioncontrol aggregate pings/ --dataset data/
  missioncontrol aggregate 'pings/2017-10-*.jsonl.gz' --dataset data/ --json
  missioncontrol aggregate ping.json --dataset data/ --channel beta --country DE
  missioncontrol aggregate pings/ --dataset data/ --follow
  missioncontrol aggregate kafka://host:9092/pings --dataset data/ --follow --watch slack:@/run/secrets/slack
  missioncontrol aggregate s3://bucket/pings --dataset s3://bucket/data --checkpoint state/
  missioncontrol aggregate s3://bucket/pings --dataset s3://bucket/data --checkpoint state/ \\
    --master spark://host:7077 --environment environment.tar.gz
"""


@click.command(
    cls=Command,
    epilog=_EXAMPLES,
    needs={
        **dict.fromkeys(("starting_offsets", "kafka_config", "on_data_loss"), TOPIC),
        **dict.fromkeys(("trigger", "no_maintain", "watch"), FOLLOW),
        "watch_state": WATCH,
    },
)
@click.argument("source")
@click.option("--dataset", required=True, metavar="URL", help="Folder or s3:// URL of the dataset; made if need be.")
@click.option("--follow", is_flag=True, help="Keep watching for new pings until Ctrl-C; a line per micro-batch.")
@click.option("--json", "as_json", is_flag=True, help="Say what was read as one JSON line on standard output.")
@options.cluster
@click.option(
    "--write-from", type=click.Choice(["driver", "workers"]), default="driver", show_default=True,
    help="Who writes the tables' files: workers where the driver's memory or time do not suffice; all must see URL.",
)  # fmt: skip
@click.option(
    "--checkpoint", metavar="FOLDER",
    help="What was read already; to be kept, on a disk that outlives the machine.  [default: _checkpoint in a local "
    "dataset]",
)  # fmt: skip
@click.option(
    "--recount",
    is_flag=True,
    help="Let a new checkpoint count a SOURCE that the dataset holds already, from --starting-offsets on: what was "
    "counted before counts twice until a backfill replaces these days.",
)
@click.option(
    "--trigger", type=NumberRange(0, 86_400), default=1.0, show_default=True, metavar="SECONDS",
    help="With --follow: how often to look for new pings.",
)  # fmt: skip
@click.option(
    "--batch-megabytes", type=click.IntRange(1, 1 << 20), metavar="MB",
    help="How much a micro-batch reads at most.  [default: 8192 of files, 4096 of a topic; 1024 with --dedupe]",
)  # fmt: skip
@click.option(
    "--starting-offsets", default="earliest", show_default=True, metavar="earliest|latest|TIME",
    help="Where in a topic a new checkpoint begins; TIME is ISO 8601, UTC.",
)  # fmt: skip
@options.kafka_config
@click.option(
    "--on-data-loss", type=click.Choice(["fail", "count"]), default="fail", show_default=True,
    help="When a topic no longer has what was not read yet: end, or go on and count it as rejected.",
)  # fmt: skip
@click.option(
    "--dedupe", is_flag=True,
    help="Count pings once that are delivered again (same kind and document_id) within an hour.",
)  # fmt: skip
@options.once_days
@click.option(
    "--no-maintain", is_flag=True, help="With --follow: leave the dataset's upkeep to missioncontrol maintain."
)
@click.option(
    "--watch", multiple=True, metavar="TARGET",
    help="With --follow: tell TARGET what changes about alarms, as missioncontrol watch does every 300 s; "
    "may be repeated.",
)  # fmt: skip
@click.option(
    "--watch-state", metavar="FOLDER", help="What the watch told and has to tell.  [default: _watch in a local dataset]"
)
@options.endpoint_url
@options.stands_in
@click.option("--submitted-at", metavar="TIME", help="For pings without a submission time: ISO 8601, UTC.")
@click.option(
    "--product",
    metavar="FILE",
    multiple=True,
    help="Count the pings of another product, which a TOML file declares and the dataset keeps; may be repeated.",
)
def command(
    source: str,
    dataset: str,
    follow: bool,
    as_json: bool,
    master: str | None,
    environment: str | None,
    spark_config: dict[str, str],
    write_from: "WriteFrom",
    checkpoint: str | None,
    recount: bool,
    trigger: float,
    batch_megabytes: int | None,
    starting_offsets: str,
    kafka_config: dict[str, str],
    on_data_loss: "OnDataLoss",
    dedupe: bool,
    once_days: int,
    no_maintain: bool,
    watch: tuple[str, ...],
    watch_state: str | None,
    channel: str | None,
    country: str | None,
    submitted_at: str | None,
    product: tuple[str, ...],
) -> None:
    """Sum the pings in SOURCE into the grouped dataset.

    SOURCE is a topic, kafka://HOST:PORT[,HOST:PORT...]/TOPIC, with a ping a message; or a file, a folder (with all
    below it, linked folders too), a glob in quotes, or a URL such as s3://bucket/folder, of files .json (a ping each),
    .jsonl or .ndjson (a ping a line), each also packed as .gz or .zst. A message counts once, and a file counts once,
    however often this runs, and whenever it is killed. Write a file under a name that begins with . or _ or ends with
    .tmp, and rename it when it is complete: until then it is ignored. Files of other names and pipes are
    ignored too, and reported.

    What cannot be counted is counted as rejected, with its reason, and its file is named.

    Exit code 130 or 143: ended by Ctrl-C or SIGTERM before all was read. With --follow these are its end, exit code 0.
    """
    from streaming.contract.products.product_file import read_product
    from streaming.job.settings import AggregateSettings
    from streaming.pings.envelope import Envelope
    from streaming.pings.kinds import KINDS
    from streaming.sources.kafka.source import TopicSettings, read_starting_offsets

    settings = AggregateSettings(
        master=master,
        checkpoint=checkpoint,
        envelope=Envelope(channel, country, _moment(submitted_at)),
        follow=follow,
        trigger_seconds=trigger,
        max_batch_bytes=batch_megabytes << 20 if batch_megabytes else None,
        topic=TopicSettings(read_starting_offsets(starting_offsets), kafka_config, on_data_loss),
        recount=recount,
        maintains=not no_maintain,
        dedupe=dedupe,
        once_days=once_days,
        spark_config=spark_config,
        environment=environment,
        write_from=write_from,
        products=tuple(read_product(path, [kind.id for kind in KINDS]) for path in product),
    )
    output = _JobOutput(as_json, follow)
    with stopped_by_signals() as stop, _watched(dataset, watch, watch_state, output.notice):
        summary = output.run(source, dataset, settings, stop)
    if as_json:
        click.echo(json.dumps(_as_record(summary)))
    else:
        click.echo(_as_text(summary, reads_files=not is_topic(source)), err=not follow)
    if not summary.finished:
        sys.exit(stop.exit_code)


def _watched(
    dataset: str, targets: tuple[str, ...], state: str | None, on_notice: Callable[[str], None]
) -> AbstractContextManager[None]:
    if not targets:
        return nullcontext()
    from missioncontrol_nb.watching.beside import watched

    return watched(dataset, targets, state, on_notice)


def _moment(text: str | None) -> datetime | None:
    from streaming.pings import validation

    moment = None if text is None else validation.moment(text)
    if text is not None and moment is None:
        raise MissionControlError(f"expected --submitted-at as ISO 8601, such as 2017-10-02T14:05:00; got {text!r}")
    return moment


class _JobOutput:
    """Reports progress, as a bar or as a line per micro-batch, and the reasons for rejected pings by file."""

    def __init__(self, as_json: bool, follow: bool) -> None:
        self._lines_to = sys.stderr if as_json else sys.stdout
        self._follow = follow
        self._bar: tqdm | None = None

    def run(self, source: str, dataset: str, settings: "AggregateSettings", stop: threading.Event) -> "Summary":
        from tqdm import tqdm

        from streaming.job.aggregate import aggregate

        self._bar = tqdm(
            desc="Starting Spark" if settings.uses_spark else "Starting",
            unit="B", unit_scale=True, file=sys.stderr, leave=False,
            disable=None if not self._follow else True,
            bar_format="{desc} {percentage:3.0f}% |{bar}| {n_fmt}/{total_fmt} {elapsed}<{remaining}{postfix}",
        )  # fmt: skip
        with self._bar:
            return aggregate(
                source,
                dataset,
                settings=settings,
                on_start=self._on_start,
                on_batch=self._on_batch,
                on_progress=self._on_progress,
                on_notice=self.notice,
                stop=stop,
            )

    def notice(self, line: str) -> None:
        """Reports what happens beside the job."""
        self._write(line, sys.stderr)

    def _on_start(self, seconds: float) -> None:
        if self._follow:
            self._write(f"Ready after {seconds:.1f} s; watching for pings, Ctrl-C ends it", sys.stderr)
        elif self._bar is not None:
            self._bar.set_description("Reading pings")

    def _on_progress(self, progress: "Progress") -> None:
        if self._bar is not None and not self._follow:
            self._bar.total = progress.total_bytes
            self._bar.set_postfix_str(f"{progress.pings:,} pings", refresh=False)
            self._bar.update(progress.done_bytes - self._bar.n)
            self._bar.refresh()

    def _on_batch(self, batch: "Batch") -> None:
        for path in list(batch.bad_files)[:_BAD_FILES_SHOWN]:
            self._write(f"rejected in {path}: {_counts(batch.bad_files[path])}", sys.stderr)
        if len(batch.bad_files) > _BAD_FILES_SHOWN:
            self._write(f"rejected in {len(batch.bad_files) - _BAD_FILES_SHOWN:,} more files", sys.stderr)
        if self._follow:
            files = "" if batch.files is None else f"{plural(batch.files, 'file')}, "
            up_to = f", data up to {batch.data_up_to:%H:%M:%S} UTC" if batch.data_up_to else ""
            self._write(
                f"batch {batch.number}: {files}{plural(batch.pings, 'ping')} ("
                f"{_uncounted(batch)}), {batch.bytes / 1e6:.1f} MB "
                f"in {batch.seconds:.2f} s{up_to}",
                self._lines_to,
            )

    def _write(self, line: str, file: "object") -> None:
        from tqdm import tqdm

        tqdm.write(printable(line), file=file)
        file.flush()  # type: ignore[attr-defined]


def _uncounted(read: "Batch | Summary") -> str:
    """How many pings were rejected, and how many were passed over if any."""
    passed_over = sum(read.passed_over.values())
    return f"{sum(read.rejected.values()):,} rejected" + (f", {passed_over:,} passed over" if passed_over else "")


def _counts(reasons: dict[str, int]) -> str:
    return ", ".join(f"{reason} {count:,}" for reason, count in reasons.items())


def _as_record(summary: "Summary") -> dict[str, object]:
    return {
        "finished": summary.finished,
        "pings": summary.pings,
        "accepted": summary.accepted,
        "rejected": summary.rejected,
        "passed_over_pings": summary.passed_over,
        "bytes": summary.bytes,
        "seconds": round(summary.seconds, 3),
        "start_seconds": round(summary.start_seconds, 3),
        "passed_over": summary.ignored_files.as_records(),
    }


def _as_text(summary: "Summary", *, reads_files: bool) -> str:
    """A summary of the run in a few lines; the rates exclude its start."""
    from streaming.pings.kinds import REASONS

    reading = max(summary.seconds - summary.start_seconds, 1e-9)
    lines = [
        f"{plural(summary.pings, 'ping')}: {summary.accepted:,} accepted, {_uncounted(summary)}",
        f"{summary.bytes / 1e6:,.1f} MB in {summary.seconds:.1f} s ({summary.start_seconds:.1f} s of it to start)",
        f"{summary.pings / reading:,.0f} pings/s, {summary.bytes / 1e6 / reading:,.1f} MB/s after the start",
    ]
    uncounted = summary.rejected | summary.passed_over
    lines += [f"  {count:>8,} {reason}: {REASONS[reason]}" for reason, count in uncounted.items()]
    if reads_files:
        lines.append(f"Files passed over: {summary.ignored_files or 'none'}")
    if not summary.finished:
        lines.append("Stopped before all was read: the same command goes on from there")
    return "\n".join(lines)
