"""Downloads of a page: its figures as a frame, as CSV or Parquet."""

from io import BytesIO
from typing import TYPE_CHECKING, Any

from missioncontrol_nb.dashboard.query import Query
from missioncontrol_nb.monitor import ChannelTable, Detail, MeasureSummary, Rate
from streaming import contract

if TYPE_CHECKING:
    import pandas as pd

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
"""A cell that starts with one of these is run as a formula by spreadsheets."""

FORMATS = {"csv": "text/csv", "parquet": "application/vnd.apache.parquet"}


TABLE_COLUMNS = (
    *("channel", "os_name", "measure", "version", "state", "events", "usage_hours"),
    *("rate_per_1k_hours", "rate_lower", "rate_upper", "change", "change_lower", "change_upper"),
)


def filename(query: Query, format_: str) -> str:
    """ "missioncontrol-release-windows_nt-content_crashes.csv" """
    product = [] if query.product == contract.FIREFOX else [query.product.word]
    parts = ["missioncontrol", *product, query.channel, query.os_name.lower()]
    return "-".join([*parts, *([query.measure] if query.view == "detail" else [])]) + f".{format_}"


def as_bytes(frame: "pd.DataFrame", format_: str) -> bytes:
    """A frame as the content of a file; format_: a key of FORMATS."""
    if format_ == "csv":
        return frame.assign(**_texts(frame)).to_csv(index=False).encode()
    buffer = BytesIO()
    frame.to_parquet(buffer, index=False)
    return buffer.getvalue()


def _texts(frame: "pd.DataFrame") -> "dict[str, pd.Series]":
    """The text columns, with a ' before each cell that a spreadsheet would run as a formula."""
    import pandas as pd

    texts = {str(name): column for name, column in frame.items() if not pd.api.types.is_numeric_dtype(column.dtype)}
    return {
        name: column.map(lambda cell: f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA) else cell)
        for name, column in texts.items()
        if column.dtype == object or isinstance(column.dtype, pd.StringDtype | pd.CategoricalDtype)
    }


def detail_frame(detail: Detail) -> "pd.DataFrame":
    """The windows of the detail's chart, with the line's label, channel, platform and measure."""
    labels = {line.name: line.label for line in detail.lines}
    windows = detail.windows.rename(columns={"rate": "rate_per_1k_hours", "lower": "rate_lower", "upper": "rate_upper"})
    windows.insert(1, "label", windows["line"].map(labels))
    place = {"channel": detail.channel, "os_name": detail.os_name, "measure": detail.row.measure}
    return windows.assign(**place)


def table_frame(table: ChannelTable) -> "pd.DataFrame":
    """A row per measure and version, columns TABLE_COLUMNS: sums, rate with interval, the newest version's change."""
    import pandas as pd

    rows = [row for measure in table.rows for row in _rows(table, measure)]
    return pd.DataFrame(rows, columns=TABLE_COLUMNS)


def _rows(table: ChannelTable, row: MeasureSummary) -> list[dict[str, Any]]:
    named: list[tuple[str, Rate | None]] = [(table.newest.version, row.newest)]
    if table.previous is not None:
        named.append((table.previous.version, row.previous))
    named += list(row.older.items())
    rows = [_row(table, row, version, rate) for version, rate in named if rate is not None]
    if rows and row.change is not None:
        change = row.change
        rows[0] |= {"change": change.value, "change_lower": change.lower, "change_upper": change.upper}
    return rows


def _row(table: ChannelTable, row: MeasureSummary, version: str, rate: Rate) -> dict[str, Any]:
    return {
        "channel": table.channel,
        "os_name": table.os_name,
        "measure": row.measure,
        "version": version,
        "state": row.state,
        "events": rate.events,
        "usage_hours": rate.usage_hours,
        "rate_per_1k_hours": rate.value,
        "rate_lower": rate.lower,
        "rate_upper": rate.upper,
    }
