"""A status as text for people, and as the record of `--json`."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Literal

from missioncontrol_nb.receiver.report import ReceiverReport
from missioncontrol_nb.status.collect import Lag, Pings, Status
from missioncontrol_nb.terminal import plural
from missioncontrol_nb.watching.report import WatchReport
from streaming.errors import printable
from streaming.pings.kinds import REASONS

_LABEL_WIDTH = 13
Uncounted = Literal["rejected", "passed_over"]
UNCOUNTED: dict[str, Uncounted] = {"Rejected": "rejected", "Passed over": "passed_over"}
"""The two sorts of pings that do not count, bad and good ones, by their labels."""
_PARTITIONS_SHOWN = 16


def as_text(status: Status) -> str:
    """The most important lines first: freshness, whether the job runs, its lag; then rejected pings; then files."""
    lines = [("FRESH" if not status.is_stale else "STALE", freshness(status))]
    lines += [("", line) for line in (job(status), last_write(status)) if line]
    if status.lag is not None:
        lines.append(("Behind", lag(status.lag)))
    lines.append(("Pings", rate(status)))
    lines += [("Watch" if number == 0 else "", line) for number, line in enumerate(watch(status))]
    lines += [("Receiver", receiver(each, status.at)) for each in status.receivers]
    for label, kind in UNCOUNTED.items():
        if kind == "rejected" or status.last_day.passed_over:
            lines.append((label, uncounted(status, kind)))
        listed = reasons(status, kind)
        lines += [("", f"{'last hour':>9} {'24 hours':>9}")] if listed else []
        lines += [("", f"{hour:>9,} {day:>9,}  {reason}: {said}") for reason, hour, day, said in listed]
    lines.append(("Dataset", size(status)))
    lines += [("", f"{table.name:<27} {table.rows:>13,} rows  {table.files:>7,} files  {megabytes(table.bytes):>10}")
              for table in status.tables]  # fmt: skip
    lines.append(("Upkeep", maintenance(status)))
    if len(status.products) > 1:
        lines.append(("Products", ", ".join(status.products)))
    return "\n".join(f"{label:<{_LABEL_WIDTH}}{line}".rstrip() for label, line in lines)


def freshness(status: Status) -> str:
    """The age of the newest ping, and whether the dataset is stale."""
    limit = duration(status.stale_after_seconds)
    if status.data_up_to is None or status.age_seconds is None:
        return "nothing was counted yet"
    age = f"data up to {moment(status.data_up_to, status.at)}, {duration(status.age_seconds)} ago"
    return f"{age}: more than {limit}" if status.is_stale else f"{age} (stale after {limit})"


def job(status: Status) -> str:
    """Whether the job is running."""
    if status.is_job_running is None:
        return ""
    return "the job is running" if status.is_job_running else "the job is NOT running (missioncontrol aggregate)"


def last_write(status: Status) -> str:
    """The time of the last write to the dataset."""
    if status.last_write is None:
        return ""
    seconds = max((status.at - status.last_write).total_seconds(), 0.0)
    return f"last written {moment(status.last_write, status.at)}, {duration(seconds)} ago"


def lag(behind: Lag) -> str:
    """The input that the job has not counted yet, in total and by partition."""
    if behind.total is None:
        return f"not known: {behind.unknown}"
    if behind.by_partition is None:
        return f"{plural(behind.total, 'file')} of {behind.source} not counted yet"
    by_size = sorted(behind.by_partition.items(), key=lambda item: (-item[1], item[0]))
    shown = ", ".join(f"{partition}: {messages:,}" for partition, messages in by_size[:_PARTITIONS_SHOWN])
    more = len(by_size) - _PARTITIONS_SHOWN
    shown += f", {more:,} more with fewer" if more > 0 else ""
    return f"{plural(behind.total, 'message')} of {behind.source} (by partition {shown})"


def rate(status: Status) -> str:
    """The number of pings per second in the newest minutes."""
    if status.newest is None:
        return "none yet"
    return f"{status.newest.per_second:,.1f} a second ({stretch(status.newest)}); {status.last_day.total:,} in 24 hours"


def counts(pings: Pings, kind: Uncounted) -> Mapping[str, int]:
    """The pings of a sort that do not count, by reason."""
    return pings.rejected if kind == "rejected" else pings.passed_over


def uncounted(status: Status, kind: Uncounted) -> str:
    """The number of pings of a sort that do not count."""
    return f"{_share(status.last_hour, kind)} in the last hour, {_share(status.last_day, kind)} in 24 hours"


def reasons(status: Status, kind: Uncounted) -> list[tuple[str, int, int, str]]:
    """Reason, pings in the last hour and in 24 hours, and its meaning; most in the last hour first."""
    hour, day = counts(status.last_hour, kind), counts(status.last_day, kind)
    found = [(reason, hour.get(reason, 0), day.get(reason, 0), REASONS.get(reason, "")) for reason in {**hour, **day}]
    return sorted(found, key=lambda row: (-row[1], -row[2], row[0]))


def size(status: Status) -> str:
    """The size of the dataset."""
    rows, files, small, size_bytes = (
        sum(getattr(table, name) for table in status.tables) for name in ("rows", "files", "small_files", "bytes")
    )
    return f"{plural(rows, 'row')} in {plural(files, 'file')} ({small:,} of them under 1 MB), {megabytes(size_bytes)}"


def maintenance(status: Status) -> str:
    """Whether maintenance is due, and the command to run then."""
    spare = sum(table.spare_files for table in status.tables)
    if not status.is_maintenance_due:
        return "not due"
    return f"due: {plural(spare, 'file')} too many; run missioncontrol maintain --dataset {status.dataset}"


def watch(status: Status) -> list[str]:
    """Whether a watch runs, what is up, and what waits for delivery, since when and why; empty without a watch."""
    report = status.watch
    if report is None:
        return []
    if report.damage:
        return [printable(report.damage)]
    looked = "has not looked yet" if report.last_look is None else f"looked {moment(report.last_look, status.at)}"
    number = plural(len(report.alarms), "alarm")
    running = "running" if report.is_running else "not running now"
    lines = [f"{running}, {looked}: {'data are stale, ' if report.is_stale else ''}{number} up", *report.alarms]
    for each in report.waiting:
        reason = each.failure or ("quiet hours" if each.is_held else "")
        why = f": {reason}" if reason else ""
        verb = "waits" if each.messages == 1 else "wait"
        since = moment(each.since, status.at)
        lines.append(f"{plural(each.messages, 'message')} {verb} for {printable(each.target)} since {since}{why}")
    return lines if report.waiting else [*lines, "all is delivered"]


def receiver(report: ReceiverReport, at: datetime) -> str:
    """Whether a receiver answers, what it has kept and refused since its start, and whether it can keep pings."""
    if report.failure:
        return f"{report.address} does not answer: {report.failure}"
    newest = "none yet" if report.last_kept is None else f"the newest {moment(report.last_kept, at)}"
    refused, not_kept, passed_over = (
        sum(counts.values()) for counts in (report.refused, report.not_kept, report.passed_over)
    )
    said = f"{report.address}: {plural(report.kept, 'ping')} kept ({newest}), {passed_over:,} passed over, "
    said += f"{plural(refused, 'request')} refused, {not_kept:,} to be sent again"
    return f"{said}; CANNOT KEEP pings: {report.problem}" if report.problem else said


def stretch(pings: Pings) -> str:
    """The start and the end of the period, UTC."""
    return f"{pings.since:%H:%M:%S} to {pings.until:%H:%M:%S} UTC"


def moment(at: datetime, now: datetime) -> str:
    """A time in UTC, with its date unless it is today."""
    at = at.astimezone(UTC)
    return f"{at:%H:%M:%S} UTC" if at.date() == now.astimezone(UTC).date() else f"{at:%Y-%m-%d %H:%M:%S} UTC"


def duration(seconds: float) -> str:
    """`12 s`, `4 min`, `1 h 6 min`, `3 d 4 h`."""
    whole = round(seconds)
    for unit, (length, below, below_length) in {"d": (86400, "h", 3600), "h": (3600, "min", 60)}.items():
        if whole >= length:
            rest = whole % length // below_length
            return f"{whole // length:,} {unit}" + (f" {rest} {below}" if rest else "")
    return f"{whole // 60} min" if whole >= 120 else f"{whole} s"


def megabytes(size_bytes: int) -> str:
    """`3.2 MB`, `1,024.0 MB`."""
    return f"{size_bytes / 1e6:,.1f} MB"


def _share(pings: Pings, kind: Uncounted) -> str:
    count = sum(counts(pings, kind).values())
    return f"{count:,} of {pings.total:,} ({100 * count / pings.total:.2f} %)" if pings.total else "none of none"


def as_record(status: Status) -> dict[str, object]:
    """The whole status as a record for JSON: times in ISO 8601 UTC, ages in seconds."""
    newest, behind = status.newest, status.lag
    return {
        "dataset": status.dataset,
        "at": status.at.isoformat(),
        "is_stale": status.is_stale,
        "stale_after_seconds": status.stale_after_seconds,
        "data_up_to": status.data_up_to.isoformat() if status.data_up_to else None,
        "age_seconds": status.age_seconds,
        "last_write": status.last_write.isoformat() if status.last_write else None,
        "is_job_running": status.is_job_running,
        "lag": None if behind is None else {
            "source": behind.source,
            "total": behind.total,
            "unit": "files" if behind.by_partition is None else "messages",
            "by_partition": {str(partition): count for partition, count in (behind.by_partition or {}).items()},
            "unknown": behind.unknown or None,
        },
        "pings_per_second": newest.per_second if newest else None,
        "pings_last_hour": status.last_hour.total,
        "pings_last_day": status.last_day.total,
        "rejected_last_hour": dict(status.last_hour.rejected),
        "rejected_last_day": dict(status.last_day.rejected),
        "passed_over_last_hour": dict(status.last_hour.passed_over),
        "passed_over_last_day": dict(status.last_day.passed_over),
        "is_upkeep_due": status.is_maintenance_due,
        "products": list(status.products),
        "watch": _watch_record(status.watch),
        "receivers": [_receiver_record(each) for each in status.receivers],
        "tables": [
            {
                "name": table.name,
                "rows": table.rows,
                "files": table.files,
                "small_files": table.small_files,
                "bytes": table.bytes,
                "last_write": table.last_write.isoformat(),
                "spare_files": table.spare_files,
            }
            for table in status.tables
        ],
    }  # fmt: skip


def _receiver_record(report: ReceiverReport) -> dict[str, object]:
    return {
        "address": report.address,
        "failure": report.failure or None,
        "problem": report.problem or None,
        "started": report.started.isoformat() if report.started else None,
        "last_kept": report.last_kept.isoformat() if report.last_kept else None,
        "kept": report.kept,
        "passed_over": dict(report.passed_over),
        "refused": dict(report.refused),
        "not_kept": dict(report.not_kept),
    }


def _watch_record(report: WatchReport | None) -> dict[str, object] | None:
    if report is None:
        return None
    return {
        "is_running": report.is_running,
        "damage": report.damage,
        "last_look": report.last_look.isoformat() if report.last_look else None,
        "is_stale": report.is_stale,
        "alarms": list(report.alarms),
        "targets": list(report.targets),
        "waiting": [
            {
                "target": each.target,
                "messages": each.messages,
                "since": each.since.isoformat(),
                "failure": each.failure or None,
            }
            for each in report.waiting
        ],
    }
