"""An Altair chart as a specification and columns of data."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    pass


def frame_columns(frame: pd.DataFrame) -> dict[str, Any]:
    """A frame's columns in the binary form of `VegaChart.columns`; times become epoch milliseconds."""
    return {str(name): _column(frame[name]) for name in frame.columns}


def split_chart(chart: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """An Altair chart's specification without rows, and its data sets as binary columns.

    Data sets with names of their own (`charts.Rows`) keep their names, and are never converted to rows.
    """
    import altair as alt

    from missioncontrol_nb.charts import Rows

    chart = chart.copy(deep=False)
    named = {} if alt.utils.is_undefined(chart.datasets) else dict(chart.datasets)
    frames = {name: rows.frame for name, rows in named.items() if isinstance(rows, Rows)}
    chart.datasets = {name: rows for name, rows in named.items() if name not in frames} or alt.Undefined
    with alt.data_transformers.enable("default", consolidate_datasets=True, max_rows=None):
        spec = chart.to_dict(validate=not frames)
    datasets = spec.pop("datasets", {})
    temporal = set(_temporal_fields(spec))
    names = {old: f"data{number}" for number, old in enumerate(datasets)}
    columns = {names[old]: frame_columns(_rows_frame(rows, temporal)) for old, rows in datasets.items()}
    return _in_place(spec, names), columns | {name: frame_columns(frame) for name, frame in frames.items()}


def _column(values: pd.Series) -> bytes | dict[str, Any]:
    if isinstance(values.dtype, pd.CategoricalDtype):
        values = values.astype(object)
    if pd.api.types.is_datetime64_any_dtype(values.dtype):
        return _milliseconds(values).tobytes()
    if pd.api.types.is_numeric_dtype(values.dtype) and not pd.api.types.is_bool_dtype(values.dtype):
        return values.to_numpy(dtype="<f8", na_value=np.nan).tobytes()
    codes, labels = pd.factorize(values)
    return {"codes": codes.astype("<i4").tobytes(), "labels": np.asarray(labels, dtype=object).tolist()}


def _milliseconds(times: pd.Series) -> np.ndarray:
    utc = pd.to_datetime(times, utc=True).dt.tz_localize(None).astype("datetime64[us]")
    ticks = utc.astype("int64").to_numpy() / 1000
    return np.where(utc.isna(), np.nan, ticks).astype("<f8")


def _rows_frame(rows: list[Mapping[str, Any]], temporal: set[str]) -> pd.DataFrame:
    frame = pd.DataFrame.from_records(rows)
    for name in temporal.intersection(frame.columns):
        if not pd.api.types.is_numeric_dtype(frame[name].dtype):
            frame[name] = pd.to_datetime(frame[name], utc=True, format="ISO8601")
    return frame


def _temporal_fields(node: Any) -> list[str]:
    if isinstance(node, list):
        return [name for item in node for name in _temporal_fields(item)]
    if not isinstance(node, dict):
        return []
    here = [node["field"]] if node.get("type") == "temporal" and isinstance(node.get("field"), str) else []
    return here + [name for item in node.values() for name in _temporal_fields(item)]


def _in_place(node: Any, names: Mapping[str, str]) -> Any:
    """The specification with stable names for its data sets, and its times in UTC.

    Altair names a data set by a hash of its rows. With that name, new rows would make a new specification.
    """
    if isinstance(node, list):
        return [_in_place(item, names) for item in node]
    if not isinstance(node, dict):
        return node
    kept = {key: _in_place(value, names) for key, value in node.items()}
    if set(kept) <= {"name", "format"} and kept.get("name") in names:
        kept["name"] = names[kept["name"]]
    if kept.get("type") == "temporal" and "timeUnit" not in kept and kept.get("scale", {}) == {} and "field" in kept:
        kept["scale"] = {"type": "utc"}
    return kept
