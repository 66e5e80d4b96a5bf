"""Small datasets, written from tables drawn as text: a dozen rows whose sums can be checked by hand."""

from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from itertools import count
from pathlib import Path

import pyarrow as pa

from missioncontrol_nb.loading.dataset import Dataset
from missioncontrol_nb.monitor import Monitor
from missioncontrol_nb.releases.calendar import Calendar, Release
from streaming import contract
from streaming.dataset.writer import append

DISTRIBUTION_BUILD = "20171012120000"  # a week after 56.0: not official
CALENDAR = Calendar(
    (
        Release("54.0", "release", date(2017, 9, 20)),
        Release("55.0", "release", date(2017, 9, 25)),
        Release("55.0.3", "release", date(2017, 10, 2)),
        Release("56.0", "release", date(2017, 10, 5)),
        Release("57.0b9", "beta", date(2017, 10, 2)),
        Release("57.0b10", "beta", date(2017, 10, 5)),
        Release("99.0", "nightly", date(2017, 10, 2)),
        Release("100.0", "nightly", date(2017, 10, 5)),
    )
)
USUAL = {
    "application": "Firefox",
    "channel": "release",
    "display_version": "56.0",
    "os_name": "Windows_NT",
    "os_version": "10.0",
    "architecture": "x86",
    "country": "DE",
    "experiment_id": "pref-flip",
    "experiment_branch": "control",
}
_numbers = count()


def moment(text: str) -> datetime:
    """ "05T13:00" is that time of October 2017, "2017-09-30T13:00" is itself; UTC."""
    return datetime.fromisoformat(text if len(text) > 12 else f"2017-10-{text}").replace(tzinfo=UTC)


def usual_of(row: Mapping[str, object]) -> dict[str, object]:
    """A row with what it does not say: what is usual, and the application that the product is on its system."""
    os_name = str(row.get("os_name", USUAL["os_name"]))
    return {**USUAL, "application": contract.FIREFOX.platform(os_name).application, **row}


def drawn(text: str) -> list[dict[str, str]]:
    """The rows of a table drawn as text."""
    head, *lines = (line.split() for line in text.strip().splitlines())
    return [dict(zip(head, line, strict=True)) for line in lines]


def write(folder: Path, table: str, data_up_to: str | None = None) -> None:
    """Adds a commit to the dataset's sums: `window` and whatever else is not usual, one row a line."""
    rows = [_whole(row) for row in drawn(table)]
    _append(folder, contract.ERROR_AGGREGATES, rows, data_up_to)


def write_delays(folder: Path, table: str) -> None:
    """Adds a commit to the dataset's delays: `submission_hour`, `delay_hours`, `usage_hours`, a row a line."""
    rows = []
    for row in drawn(table):
        hour = moment(row["submission_hour"])
        numbers = {name: float(row[name]) for name in ("delay_hours", "usage_hours")}
        rows.append({**usual_of(row), "submission_date": hour.date(), "submission_hour": hour, **numbers})
    _append(folder, contract.REPORTING_DELAYS, rows, None)


def monitor_of(
    folder: Path, table: str, data_up_to: str | None = None, *, calendar: Calendar = CALENDAR, official: bool = True
) -> Monitor:
    """A monitor of a dataset with these rows."""
    write(folder, table, data_up_to)
    return Monitor(Dataset(folder), calendar, official)


def build_of(version: str, channel: str) -> str:
    """An official build of a version: made at noon of the day before it went out."""
    released = CALENDAR.released(version, channel) or CALENDAR.newest_date + timedelta(days=2)
    return f"{released - timedelta(days=1):%Y%m%d}120000"


def _whole(row: Mapping[str, str]) -> dict[str, object]:
    usual = usual_of(row)
    version, start = str(usual["display_version"]), moment(row["window"])
    build = {"version": version.split("b")[0], "build_id": build_of(version, str(usual["channel"]))}
    counts = dict.fromkeys(("count", *contract.PING_COUNTS), "1")  # Pings of all kinds came, unless a row says less
    sums = {name: _number(name, row.get(name, counts.get(name, 0))) for name in contract.COUNTS}
    window = {"submission_date": start.date(), "window_start": start, "window_end": start + contract.WINDOW}
    return {**build, **usual, **window, **sums}


def _number(name: str, written: object) -> float | int | None:
    """A sum; "-" is none: nobody counted that."""
    if written == "-":
        return None
    number = float(written)  # type: ignore[arg-type]
    return number if name == "usage_hours" else int(number)


def _append(folder: Path, table: contract.Table, rows: Iterable[Mapping[str, object]], data_up_to: str | None) -> None:
    names = contract.schema(table).names
    listed = [{name: row[name] for name in names} for row in rows]
    up_to = moment(data_up_to) if data_up_to else None
    append(str(folder), table, pa.Table.from_pylist(listed, contract.schema(table)), 0, f"test {next(_numbers)}", up_to)
