"""The charts' data, specifications and words, without a browser."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from importlib import import_module

import altair as alt
import numpy as np
import pandas as pd
import pytest

from missioncontrol_nb import charts
from missioncontrol_nb.dashboard.widgets.altair_columns import split_chart
from missioncontrol_nb.dashboard.widgets.vega_chart import VegaChart
from missioncontrol_nb.monitor import Detail, Line, MeasureSummary, Rate, Version
from missioncontrol_nb.statistics import rate_interval, rates
from streaming.errors import MissionControlError

data_module = import_module("missioncontrol_nb.charts.detail_data")
theme_module = import_module("missioncontrol_nb.charts.theme")
line_ends = import_module("missioncontrol_nb.charts.line_ends")

NOON = datetime(2017, 10, 2, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
RELEASED = {
    "56.0": NOON - 48 * HOUR,
    "55.0.3": NOON - 400 * HOUR,
    "55.0.2": NOON - 800 * HOUR,
    "55.0": NOON - 1200 * HOUR,
}
RATES = {"56.0": 6.0, "55.0.3": 4.0, "55.0.2": 4.2, "55.0": 4.1}


def detail(until: datetime = NOON, length: timedelta = 7 * 24 * HOUR, every: timedelta = HOUR, late: int = 3) -> Detail:
    """Windows of four versions up to `until`, the last `late` of each incomplete; 56.0 two days old at noon."""
    since = until - length
    starts = pd.date_range(since, until - every, freq=every).astype("datetime64[us, UTC]")
    frames = []
    for name, released in RELEASED.items():
        there = starts[starts >= released]
        hours = np.linspace(1000 if name == "56.0" else 50_000, 50_000, len(there))
        frames.append(pd.DataFrame({
            "line": name,
            "window_start": there,
            "age_hours": (there - pd.Timestamp(released)) / HOUR,
            "events": np.round(RATES[name] * hours / 1000 * (1 + np.arange(len(there)) % 5 / 10)).astype(int),
            "usage_hours": hours,
            "arrived": np.where(there >= until - late * every, 0.31, 1.0),
            "complete": there < until - late * every,
        }))  # fmt: skip
    windows = pd.concat(frames, ignore_index=True)
    lower, upper = rate_interval(windows["events"], windows["usage_hours"])
    windows = windows.assign(rate=windows["events"] * 1000 / windows["usage_hours"], lower=lower, upper=upper)
    lines = tuple(Line(name, name, rank, released) for rank, (name, released) in enumerate(RELEASED.items()))
    newest, previous = (Version(name, RELEASED[name]) for name in ("56.0", "55.0.3"))
    row = MeasureSummary("content_crashes", "measured", Rate(5.912, 5.76, 6.06, 1832), Rate(4.281, 4.23, 4.33, 3108))
    return Detail("release", "Windows_NT", newest, previous, row, lines, windows, since, until, every, 0, 0.3, (),
                  until, until)  # fmt: skip


def data(of: Detail, show="rate", time="latest", hidden=(), narrow=False) -> dict[str, pd.DataFrame]:
    return charts.detail_data(of, show=show, time=time, hidden=hidden, narrow=narrow)


def milliseconds(when: datetime) -> float:
    return when.timestamp() * 1000


@pytest.mark.parametrize("show", ["rate", "count"])
@pytest.mark.parametrize("time", ["latest", "since_release"])
def test_refresh_leaves_the_specification_equal(show, time):
    def drawn(of):
        return split_chart(charts.detail_chart(of, show=show, time=time, hidden=["older"]))

    (spec, columns), (later_spec, later_columns) = drawn(detail()), drawn(detail(until=NOON + 5 * HOUR, late=0))
    assert spec == later_spec
    assert columns != later_columns
    assert "datasets" not in spec


def test_empty_detail_has_the_same_specification():
    full, nothing = detail(), replace(detail(), windows=detail().windows[:0])
    specs = [split_chart(charts.detail_chart(each, show="rate", time="latest"))[0] for each in (full, nothing)]
    assert specs[0] == specs[1]
    assert data(nothing)["extent"]["top"].tolist() == [1.0]


def test_specification_is_valid_and_its_pointer_is_in_both_views():
    spec = charts.detail_chart(detail(), show="rate", time="latest").to_dict()
    assert len(spec["datasets"]["times"]) == 168
    names = {layer.get("name") for view in spec["vconcat"] for layer in view["layer"]} - {None}
    assert set(spec["params"][0]["views"]) == names
    assert {layer["data"]["name"] for view in spec["vconcat"] for layer in view["layer"]} == set(spec["datasets"])


def test_detail_data_never_become_rows_on_their_way_to_a_page(monkeypatch):
    monkeypatch.setattr(charts.Rows, "to_dict", None)
    _, columns = split_chart(charts.detail_chart(detail(), show="rate", time="latest"))
    assert np.frombuffer(columns["times"]["x"])[0] == milliseconds(NOON - 168 * HOUR)


def test_older_switches_off_all_lines_of_rank_three_and_more():
    lines = detail().lines
    assert [line.name for line in charts.shown_lines(lines, ["older", "55.0.3"])] == ["56.0", "55.0.2"]
    assert data(detail(), hidden=["older"])["windows"]["series"].unique().tolist() == [0, 1, 2]
    assert data(detail())["windows"]["shade"].max() == 3


def test_count_mode_draws_events():
    windows = data(detail(), show="count")["windows"]
    assert windows["y"].tolist() == windows["events"].tolist()


def test_gap_stays_a_gap_and_one_missing_window_is_bridged():
    whole = detail()
    older = whole.windows["line"] == "55.0.3"
    place = (whole.windows["window_start"] - pd.Timestamp(whole.since)) / HOUR
    short = replace(whole, windows=whole.windows[~(older & place.isin([20, 40, 41]))])
    strokes = data(short, hidden=["56.0", "55.0.2", "older"])["strokes"]
    sizes = strokes[strokes["late"] == 0].groupby("stroke").size()
    assert sizes.tolist() == [39, 168 - 3 - 42]
    start = milliseconds(whole.since)
    usage = data(short, hidden=["56.0", "55.0.2", "older"])["usage"].set_index("x")["y1"]
    assert usage[start + 20 * 3.6e6] == usage[start + 40 * 3.6e6] == 0


def test_window_on_its_own_is_seen():
    whole = detail(late=0)
    alone = replace(whole, windows=whole.windows[whole.windows["line"] == "56.0"][5:6])
    strokes = data(alone)["strokes"]
    assert len(strokes) == 2
    assert strokes["x"].diff()[1] == pytest.approx(0.1 * 3.6e6)


def test_windows_that_still_arrive_are_strokes_tied_to_the_complete_ones():
    strokes = data(detail(), hidden=["55.0.3", "55.0.2", "older"])["strokes"].sort_values(["stroke", "x"])
    complete, late = (strokes[strokes["late"] == flag] for flag in (0, 1))
    assert (len(complete), len(late)) == (45, 4)
    assert late["x"].iloc[0] == complete["x"].iloc[-1]


def test_lines_of_older_versions_that_hardly_anybody_uses_are_pale():
    """Their rates are mostly chance, and would cover those that matter."""
    whole = detail(late=0)
    little = whole.windows["line"].isin(["55.0.2", "56.0"])
    hours = whole.windows["usage_hours"].where(~little, whole.windows["usage_hours"].max() / 100)
    strokes = data(replace(whole, windows=whole.windows.assign(usage_hours=hours)))["strokes"]
    pale = strokes.groupby("shade")["pale"].agg(["min", "max"])
    assert (pale.loc[2] == 1).all()
    assert (pale.loc[[0, 1]] == 0).all(axis=None)


def test_hatching_covers_the_incomplete_windows_and_nothing_else():
    hatch = data(detail())["hatch"]
    assert hatch["x"].min() == milliseconds(NOON - 3 * HOUR)
    assert hatch["x2"].max() == milliseconds(NOON)
    assert hatch["y"].min() == 0
    assert len(data(detail(late=0))["hatch"]) == 0


def test_scale_ignores_the_first_windows_of_a_release_but_not_a_sure_spike():
    whole = detail()
    first = (whole.windows["line"] == "56.0") & (whole.windows["age_hours"] < 4)
    wild = whole.windows.assign(
        rate=whole.windows["rate"].mask(first, 90.0), upper=whole.windows["upper"].mask(first, 300.0)
    )
    assert data(replace(whole, windows=wild))["extent"]["top"].item() == 10
    sure = whole.windows.index == 100
    spike = whole.windows.assign(
        rate=whole.windows["rate"].mask(sure, 40.0), lower=whole.windows["lower"].mask(sure, 38.0)
    )
    assert data(replace(whole, windows=spike))["extent"]["top"].item() == 40


@pytest.mark.parametrize(
    ("highest", "expected"), [(7.3, (8, 2)), (14, (15, 5)), (0.31, (0.4, 0.1)), (100, (100, 20)), (np.nan, (1, 0.5))]
)
def test_axis_ends_on_a_round_number(highest, expected):
    assert data_module.nice_top(highest) == pytest.approx(expected)


def test_labels_at_line_ends_never_overlap_nor_leave_the_chart():
    ends = data(detail())["ends"]
    gap = line_ends.LABEL_GAP * data(detail())["extent"]["top"].item() / theme_module.RATE_HEIGHT
    assert np.diff(np.sort(ends["y"])).min() >= gap - 1e-9
    assert line_ends.dodge(np.array([5.0, 0.0, 0.0]), 1, 5).tolist() == [5, 0, 1]
    assert line_ends.dodge(np.array([5.0, 5.0]), 1, 5).tolist() == [4, 5]
    assert set(ends["x"]) == {milliseconds(NOON)}


def test_since_release_goes_as_far_as_the_newest_line():
    extent = data(detail(), time="since_release")["extent"].iloc[0]
    assert (extent["x"], extent["x2"]) == (0, 48)
    young = replace(detail(), lines=(Line("56.0", "56.0", 0, NOON - HOUR), *detail().lines[1:]))
    assert data(young, time="since_release")["extent"]["x2"].item() == 24


def test_daily_windows_of_lines_released_at_other_hours_share_their_stamps():
    whole = detail(every=timedelta(days=1), length=timedelta(days=4))
    windows = whole.windows.assign(age_hours=whole.windows["line"].map({"56.0": -13.0}).fillna(-7.0))
    windows["age_hours"] += 24.0 * windows.groupby("line").cumcount()
    placed = data(replace(whole, windows=windows), time="since_release")["windows"]
    assert sorted(placed["x"].unique()) == [0, 24]


def test_usage_is_stacked_newest_at_the_bottom():
    usage = data(detail())["usage"]
    last = usage[usage["x"] == milliseconds(NOON - HOUR)].sort_values("series")
    assert last["y0"].tolist() == [0, *last["y1"].tolist()[:-1]]
    assert last["y1"].tolist() == pytest.approx([50, 100, 150, 200])
    assert data(detail())["extent"]["usage_title"].item() == "Usage, thousand hours per hour"


def test_thinning_keeps_extremes_incomplete_and_last_windows():
    whole = detail(length=14 * 24 * HOUR, every=timedelta(minutes=5), late=30)
    newest = whole.windows["line"] == "55.0.3"
    windows = whole.windows.assign(rate=whole.windows["rate"].mask(newest & (whole.windows["age_hours"] == 100), 70.0))
    kept = data(replace(whole, windows=windows), hidden=["56.0", "older"])["windows"]
    stamps = set(kept["x"])
    assert len(stamps) <= data_module.MOST_STAMPS + 40
    assert stamps >= {milliseconds(NOON - number * timedelta(minutes=5)) for number in range(1, 31)}
    assert kept["rate"].max() == 70
    assert set(kept.loc[kept["series"] == 0, "x"]) == set(kept.loc[kept["series"] == 1, "x"])


def test_missing_column_is_named_with_the_near_ones():
    broken = replace(detail(), windows=detail().windows.rename(columns={"usage_hours": "usage_hour"}))
    with pytest.raises(MissionControlError, match=r"unknown column 'usage_hours'; did you mean usage_hour,"):
        data(broken)


def test_readout_says_only_what_is_true():
    said = charts.readout(detail(), show="rate", time="latest", hidden=["older"])
    assert said["series"][0] == {"name": "56.0", "class": "mc-v0"}
    assert (said["dataset"], said["x"], said["kind"]) == ("windows", "x", "time")
    assert said["quiet"] == (
        "Bands: 95 % intervals. Hatched: usage hours still arriving, 31\u00a0% in. "
        "Point at or touch the chart for figures."
    )
    counts = charts.readout(replace(detail(late=0), left_out=4), show="count", time="since_release")
    assert (counts["kind"], counts["show"]) == ("age", "count")
    assert counts["quiet"] == "4 windows of the highest rates are left out. Point at or touch the chart for figures."
    hidden = ["56.0", "55.0.3", "55.0.2", "older"]
    assert charts.readout(detail(), show="rate", time="latest", hidden=hidden)["quiet"] == "All lines are switched off."


def test_line_that_leaves_the_scale_is_told():
    windows = detail().windows.copy()
    first = windows.index[windows["usage_hours"] > 0][0]
    windows.loc[first, ["usage_hours", "events"]] = [0.5, 40]
    windows.loc[first, ["rate", "lower", "upper"]] = [80_000.0, 50_000.0, 110_000.0]
    cut = replace(detail(), windows=windows)
    top = data(cut)["extent"]["top"].iloc[0]
    assert top < 80_000
    said = charts.readout(cut, show="rate", time="latest", hidden=["older"])["quiet"]
    assert f"The scale is cut at {top:g}." in said
    assert "The scale is cut" not in charts.readout(detail(), show="rate", time="latest")["quiet"]


def test_summary_is_a_sentence_with_figures():
    said = charts.summary(detail(), show="rate", time="latest", hidden=["older"])
    assert said == (
        "Content crashes per 1000 usage hours of 56.0, 55.0.3 and 55.0.2 on release, Windows, by hour from Mon 25 Sep "
        "12:00 to Mon 2 Oct 12:00 UTC: 56.0 has 5.91 (5.76 to 6.06) since its release; 55.0.3 has 4.28 (4.23 to 4.33) "
        "at the same age. 56.0 came out on Sat 30 Sep 12:00 UTC."
    )
    assert "56.0 has 1832 since its release" in charts.summary(detail(), show="count", time="since_release")


def test_theme_uses_tokens_of_the_style_sheet():
    page, plain = charts.theme(), charts.theme(charts.light)
    assert page["range"]["category"][0] == "var(--mc-v0)"
    assert plain["range"]["category"] == ["#1a4df0", "#7d3578", "#6a6d75", "#91959b"]


# ---------- rate_chart ----------
def loaded(**columns) -> pd.DataFrame:
    frame = {"window_start": pd.date_range("2017-10-01", periods=6, freq="h", tz="UTC").repeat(2),
             "usage_hours": 1000.0, "count": 5, "main_crashes": range(12)}  # fmt: skip
    return pd.DataFrame(frame).assign(**columns)


def test_rate_chart_draws_a_line_per_version_newest_first():
    chart = charts.rate_chart(rates(loaded(display_version=["9.0", "56.0"] * 6)), title="Release")
    assert isinstance(chart, alt.VConcatChart)
    colour = chart.to_dict()["vconcat"][0]["layer"][1]["encoding"]["color"]["scale"]
    assert colour == {"domain": ["56.0", "9.0"], "range": ["#1a4df0", "#7d3578"]}
    widget = VegaChart.from_altair(chart)
    assert len(widget.columns) >= 2
    assert "var(" not in str(widget.spec)


def test_rate_chart_has_a_row_per_measure_and_usage_below():
    frame = rates(loaded(os_name=["Linux", "Darwin"] * 6, gpu_crashes=1))
    rows = charts.rate_chart(frame).to_dict()["vconcat"]
    assert [row["title"] for row in rows] == [
        "Main crashes per 1000 usage hours", "GPU crashes per 1000 usage hours", "Usage hours per window",
    ]  # fmt: skip
    _, usage = charts.rate_data(frame, "os_name")
    assert usage[usage["line"] == "Linux"]["y0"].tolist() == [1000.0] * 6 + [0]


def test_rate_chart_without_a_key_has_one_line():
    frame = loaded()[::2]
    assert charts.rate_chart(rates(frame)).to_dict()["vconcat"][0]["layer"][1]["encoding"]["color"]["scale"][
        "domain"
    ] == ["all"]


def test_rate_chart_names_what_it_misses():
    frame = rates(loaded(display_version=["9.0", "56.0"] * 6))
    with pytest.raises(MissionControlError, match="unknown column 'rate_lower'; did you mean rate_lowr"):
        charts.rate_chart(frame.rename(columns={"rate_lower": "rate_lowr"}))
    with pytest.raises(MissionControlError, match="unknown key 'version'; did you mean display_version"):
        charts.rate_chart(frame, color="version")
    with pytest.raises(MissionControlError, match="have display_version, os_name: load by one of them"):
        charts.rate_chart(frame.assign(os_name="Linux"))


@pytest.mark.parametrize(
    ("column", "value", "says"),
    [("window_start", "yesterday", "takes an ISO time"), ("window_start", [1], "takes an ISO time"),
     ("window_start", None, "takes an ISO time"), ("measure", 1, "takes text"), ("measure", None, "takes text"),
     ("events", "many", "expected numbers as rates['events']; got 'many'"),
     ("usage_hours", [1.0], "expected numbers as rates['usage_hours']; got [1.0]"),
     ("usage_hours", float("inf"), "expected finite numbers as rates['usage_hours']; got inf"),
     ("rate_lower", True, "got True"), ("rate_upper", NOON, "expected numbers")],
)  # fmt: skip
def test_rate_chart_says_which_column_holds_what_it_cannot_draw(column, value, says):
    frame = rates(loaded(display_version=["55.0.3", "56.0"] * 6))
    frame[column] = pd.Series([value] * len(frame), index=frame.index, dtype=object)
    with pytest.raises(MissionControlError, match=re.escape(says)):
        charts.rate_chart(frame)


def test_rate_chart_takes_numbers_and_times_of_any_type_and_missing_rates():
    frame = rates(loaded(display_version=["55.0.3", "56.0"] * 6))
    other = frame.assign(
        window_start=frame["window_start"].map(str),
        usage_hours=frame["usage_hours"].map(Decimal),
        events=frame["events"].astype("Int64"),
    )
    assert charts.rate_chart(other).to_dict() == charts.rate_chart(frame).to_dict()
    other.loc[0, "rate_per_1k_hours"] = None
    assert charts.rate_chart(other)
