"""Parquet files of the older layout of the grouped dataset: one table for totals and experiments together.

A row whose `experiment_id` is null is a total; the other rows count the same pings again, by experiment. `window_start`
is the window, without a time zone (UTC). Text and boolean columns are dimensions, including some that newer datasets
do not have (`e10s_cohort`). Number columns are sums; a null is 0, because no ping reported an event. `usage_hours` are
hours. A measure that the files lack is not loaded; a request for it is an error, because absent is not zero.
"""

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from missioncontrol_nb.loading.query import ALWAYS_LOADED, EVERY, Selection, check_one_product
from streaming import contract
from streaming.errors import MissionControlError
from streaming.storage.locations import is_remote, normal_url

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from missioncontrol_nb.releases.calendar import Calendar

TIME_COLUMNS = ("window_start", "window_end", "submission_date", "submission_date_s3", "timestamp")
# The files' timestamps have floating-point errors: 00:59:59.999999744 is 01:00:00.
_TIME_SLACK = timedelta(seconds=1)


def is_older(source: str | Path) -> bool:
    """Whether a source is a file of the older layout or a local folder of such files, not a dataset."""
    if str(source).endswith(".parquet"):
        return True
    if is_remote(str(source)):
        return False
    folder = Path(normal_url(source))
    if not folder.is_dir() or any((folder / table.name).is_dir() for table in contract.TABLES):
        return False
    return any(folder.glob("**/*.parquet")) and not (folder / "_delta_log").is_dir()


def load_older(source: str | Path, selection: Selection, official: "Calendar | None" = None) -> "pd.DataFrame":
    """The sums of a request from files of the older layout; a frame like that of `missioncontrol_nb.load`.

    A request by experiment sums only pings that are in one. Official builds are recognised by `version`, which these
    files have instead of a display version. Raises MissionControlError for unknown names and unreadable files.
    """
    import pandas as pd

    files = _files(source)
    schemas = [_read_schema(file) for file in files]
    dimensions, sums = _dimensions(schemas), _sums(schemas)
    selection.check_dimensions(dimensions)
    measures = selection.measures_among(sums)
    parts = [_read(file, schema, selection, measures, official) for file, schema in zip(files, schemas, strict=True)]
    rows = pd.concat(parts, ignore_index=True) if len(parts) > 1 else parts[0]
    if "application" in rows and "application" not in selection.by:
        check_one_product(
            map(contract.PACKAGED_PRODUCTS.name_of, rows.pop("application").dropna().unique()),
            contract.PACKAGED_PRODUCTS,
        )
    return _summed(rows, selection, measures)


def _files(source: str | Path) -> list[str]:
    text = normal_url(source)
    if is_remote(text) or Path(text).is_file():
        return [text]
    files = sorted(str(file) for file in Path(text).glob("**/*.parquet"))
    if not files:
        raise MissionControlError(f"there is no dataset at {text}: no such file")
    return files


def _open(file: str) -> Any:
    """An opened file for pyarrow, which would parse a path as a URL or for partition columns in folder names."""
    import fsspec

    return fsspec.open(file, "rb").open() if is_remote(file) else Path(file).open("rb")


def _read_schema(file: str) -> "pa.Schema":
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with _open(file) as opened:
            schema = pq.read_schema(opened)
    except (pa.ArrowException, OSError) as error:
        raise MissionControlError(f"{file} cannot be read as Parquet: {error}") from error
    for column in ("window_start", *ALWAYS_LOADED):
        if column not in schema.names:
            raise MissionControlError(f"{file} is not of the older layout: it has no column {column!r}")
    return schema


def _dimensions(schemas: Sequence["pa.Schema"]) -> list[str]:
    """The dimensions that all files have."""
    import pyarrow.types as types

    def of(schema: "pa.Schema") -> list[str]:
        texts = [field.name for field in schema if _is_text(field.type) or types.is_boolean(field.type)]
        return [name for name in texts if name not in TIME_COLUMNS]

    return [name for name in of(schemas[0]) if all(name in of(schema) for schema in schemas)]


def _is_text(kind: "pa.DataType") -> bool:
    import pyarrow.types as types

    return types.is_string(kind) or types.is_large_string(kind) or types.is_dictionary(kind)


def _sums(schemas: Sequence["pa.Schema"]) -> list[str]:
    """The measures that at least one of the files has."""
    import pyarrow.types as types

    numbers = [f.name for schema in schemas for f in schema if types.is_integer(f.type) or types.is_floating(f.type)]
    return [name for name in dict.fromkeys(numbers) if name not in (*TIME_COLUMNS, *ALWAYS_LOADED)]


def _read(
    file: str,
    schema: "pa.Schema",
    selection: Selection,
    measures: Sequence[str],
    official: "Calendar | None",
) -> "pd.DataFrame":
    """The rows and columns of a file that a request needs; nulls in sums become 0, absent sums NaN."""
    import pyarrow.parquet as pq

    here = [name for name in (*ALWAYS_LOADED, *measures) if name in schema.names]
    application = ("application",) if "application" in schema.names else ()
    of_builds = ("channel", "version", "build_id") if official is not None else ()
    columns = list(dict.fromkeys(["window_start", *selection.dimensions, *application, *of_builds, *here]))
    with _open(file) as opened:
        table = pq.read_table(opened, columns=columns, filters=_filters(schema, selection))
    rows = table.to_pandas(ignore_metadata=True)
    rows["window_start"] = _windows(rows["window_start"])
    rows[here] = rows[here].fillna(0)
    rows = rows[_is_within(rows["window_start"], selection)]
    if official is not None:
        rows = rows[
            [official.is_official(v, c, b) for c, v, b in zip(*(rows[name] for name in of_builds), strict=True)]
        ]
        if application:  # The calendar is of one product
            rows = rows[rows["application"].isin(contract.FIREFOX.applications)]
    kept = dict.fromkeys(["window_start", *selection.by, *application, *ALWAYS_LOADED, *measures])
    return rows.reindex(columns=list(kept))


def _filters(schema: "pa.Schema", selection: Selection) -> Any:
    """The filter pushed down to the file: dimensions, totals or experiments, and times to within _TIME_SLACK."""
    import pyarrow.compute as pc

    expression = pc.scalar(True)
    if "experiment_id" in schema.names:
        is_total = pc.field("experiment_id").is_null()
        expression = ~is_total if selection.is_about_experiments else is_total
    for name, values in selection.filters.items():
        expression &= pc.field(name).cast("string").isin(list(values))
    start = pc.field("window_start").cast(contract.arrow_type("window_start"), safe=False)
    if selection.since:
        expression &= start >= pc.scalar(selection.since - _TIME_SLACK)
    if selection.until:
        expression &= start < pc.scalar(selection.until + _TIME_SLACK)
    return expression


def _windows(starts: "pd.Series") -> "pd.Series":
    import pandas as pd

    return pd.to_datetime(starts, utc=True).dt.round("s").astype("datetime64[us, UTC]")


def _is_within(starts: "pd.Series", selection: Selection) -> "pd.Series":
    inside = starts.notna()
    if selection.since:
        inside &= starts >= selection.since
    if selection.until:
        inside &= starts < selection.until
    return inside


def _summed(rows: "pd.DataFrame", selection: Selection, measures: Sequence[str]) -> "pd.DataFrame":
    """The sums by window and the `by` columns; min_count keeps a measure missing that no file of a group has."""
    keys = list(selection.by)
    if selection.every:
        rows = rows.assign(window_start=rows["window_start"].dt.floor(EVERY[selection.every]))
        keys.insert(0, "window_start")
    sums = ["count", "usage_hours", *measures]
    if keys:
        summed = rows.groupby(keys, dropna=False, sort=True)[sums].sum(min_count=1).reset_index()
    else:
        summed = rows[sums].sum(min_count=1).to_frame().T[: min(len(rows), 1)]
    whole = {name: "int64" for name in sums if name != "usage_hours" and not summed[name].isna().any()}
    return summed.astype({**whole, "usage_hours": "float64"})[[*keys, *sums]]
