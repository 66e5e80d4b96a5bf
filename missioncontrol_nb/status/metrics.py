"""A status in the text format of Prometheus, for node_exporter's textfile collector or a scrape."""

import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from missioncontrol_nb.status.collect import Status, TableState
from missioncontrol_nb.status.wording import Uncounted, counts
from streaming.errors import MissionControlError, require_replaceable

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_PREFIX = "missioncontrol_"
_Sample = tuple[dict[str, str], float]


def as_metrics(status: Status) -> str:
    """All gauges, each with its help text; unknown values are left out. No sample has a timestamp."""
    return "".join(
        _family(name, help_text, samples, {"dataset": status.dataset})
        for name, help_text, samples in _families(status)
        if samples
    )


def write_metrics(status: Status, path: Path) -> None:
    """Writes the gauges into a file atomically: a reader sees the old file or the new file.

    Raises MissionControlError where the file cannot be written.
    """
    require_replaceable(path)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")  # the collector reads only *.prom
    try:
        with unfinished.open("w", encoding="utf-8") as file:
            file.write(as_metrics(status))
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except OSError as error:
        with suppress(OSError):  # unlinking may fail too if the file could not be created
            unfinished.unlink()
        raise MissionControlError(f"cannot write {str(path)!r}: {error.strerror}") from error


def _families(status: Status) -> list[tuple[str, str, list[_Sample]]]:
    newest, behind = status.newest, status.lag
    up_to: list[_Sample] = [({}, status.data_up_to.timestamp())] if status.data_up_to else []
    running: list[_Sample] = [({}, float(status.is_job_running))] if status.is_job_running is not None else []
    messages = dict(behind.by_partition or {}) if behind else {}
    files: list[_Sample] = [({}, float(behind.files))] if behind and behind.files is not None else []
    rejected, passed_over = _by_reason(status, "rejected"), _by_reason(status, "passed_over")
    pings: list[_Sample] = [
        ({"period": "1h"}, float(status.last_hour.total)),
        ({"period": "24h"}, float(status.last_day.total)),
    ]
    return [
        ("stale", "Whether nothing newer has come for longer than it should take.", [({}, float(status.is_stale))]),
        ("stale_after_seconds", "The age of the newest submission above which it is stale.",
         [({}, status.stale_after_seconds)]),
        ("data_up_to_timestamp_seconds", "The newest submission that was counted.", up_to),
        ("status_timestamp_seconds", "When all this was looked up.", [({}, status.looked_up.timestamp())]),
        ("last_write_timestamp_seconds", "The newest commit to a table.",
         _by_table(status, lambda table: table.last_write.timestamp())),
        ("job_running", "Whether a job holds the checkpoint.", running),
        ("lag_messages", "Messages of a partition that are not counted yet.",
         [({"source": behind.source if behind else "", "partition": str(partition)}, float(count))
          for partition, count in sorted(messages.items())]),
        ("waiting_files", "Files of the source that are not counted yet.", files),
        ("pings_per_second", "Pings a second in the newest 5 to 10 minutes that have any.",
         [({}, newest.per_second)] if newest else []),
        ("pings", "Pings submitted in the last hour and day, those that do not count among them.", pings),
        ("rejected_pings", "Pings submitted in the last hour and day that were rejected.", rejected),
        ("passed_over_pings", "Good pings submitted in the last hour and day that do not count.", passed_over),
        ("rows", "Rows of a table.", _by_table(status, lambda table: table.rows)),
        ("files", "Files of a table.", _by_table(status, lambda table: table.files)),
        ("small_files", "Files of a table under 1 MiB.", _by_table(status, lambda table: table.small_files)),
        ("size_bytes", "Size of a table's files.", _by_table(status, lambda table: table.bytes)),
        ("spare_files", "Files of a table that upkeep would sum up into others.",
         _by_table(status, lambda table: table.spare_files)),
        ("upkeep_due", "Whether a table has so many spare files that upkeep is due.",
         _by_table(status, lambda table: table.is_maintenance_due)),
        *_watch_families(status),
        ("receiver_up", "Whether a receiver answers and can keep pings; its own counts are at its own address.",
         [({"receiver": report.address}, float(report.is_well)) for report in status.receivers]),
    ]  # fmt: skip


def _by_reason(status: Status, kind: Uncounted) -> list[_Sample]:
    """Pings that do not count, by reason and period."""
    return [
        ({"reason": reason, "period": period}, float(count))
        for period, pings in (("1h", status.last_hour), ("24h", status.last_day))
        for reason, count in counts(pings, kind).items()
    ]


def _watch_families(status: Status) -> list[tuple[str, str, list[_Sample]]]:
    watch = status.watch
    if watch is None:
        return []
    waiting = {each.target: each for each in watch.waiting}
    return [
        ("watch_running", "Whether a watch holds its state.", [({}, float(watch.is_running))]),
        ("watch_state_damaged", "Whether the state of the watch cannot be read.",
         [({}, float(watch.damage is not None))]),
        ("watch_last_look_timestamp_seconds", "When the watch looked last.",
         [({}, watch.last_look.timestamp())] if watch.last_look else []),
        ("watch_alarms", "What was up at the last look.", [({}, float(len(watch.alarms)))]),
        ("watch_waiting_messages", "Messages that a target has not got yet.",
         [({"target": name}, float(waiting[name].messages if name in waiting else 0)) for name in watch.targets]),
        ("watch_waiting_since_timestamp_seconds", "Since when the oldest of these waits.",
         [({"target": each.target}, each.since.timestamp()) for each in watch.waiting]),
    ]  # fmt: skip


def _by_table(status: Status, value: Callable[[TableState], float]) -> list[_Sample]:
    return [({"table": table.name}, float(value(table))) for table in status.tables]


def _family(name: str, help_text: str, samples: Iterable[_Sample], common: Mapping[str, str]) -> str:
    lines = [f"# HELP {_PREFIX}{name} {help_text}", f"# TYPE {_PREFIX}{name} gauge"]
    for labels, value in samples:
        inside = ",".join(f'{label}="{_escaped(text)}"' for label, text in {**common, **labels}.items())
        lines.append(f"{_PREFIX}{name}{{{inside}}} {value!r}")
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    """A label's value with backslashes, quotes and newlines escaped; no other character is special."""
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
