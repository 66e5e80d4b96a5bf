"""Every argument of every public function: the forms it takes, and that others are refused with a sentence."""

import inspect
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import pytest

import missioncontrol_nb as mc
from missioncontrol_nb import arguments, charts, statistics
from missioncontrol_nb.aggregator import Aggregator
from missioncontrol_nb.monitor import DetailRequest, Monitor
from streaming.errors import MissionControlError
from tests.unit.small_dataset import CALENDAR, moment, write
from tests.unit.small_summaries import UP, detail, measured

ROWS = """
    window    display_version  usage_hours  main_crashes
    02T10:00  55.0.3           100          1
    05T09:55  55.0.3           50           1
    05T10:00  56.0             10           1
    05T12:10  56.0             30           2
"""
FRAME = pd.DataFrame({"count": [1, 1], "usage_hours": [10.0, 20.0], "main_crashes": [1, 2], "channel": ["beta"] * 2})
DELAYS = pd.DataFrame({"delay_hours": [1.0], "usage_hours": [1.0]})
DETAIL = detail(measured("main_crashes", UP))
RATES = mc.rates(
    pd.DataFrame(
        {
            "window_start": pd.to_datetime(["2017-10-05T10:00Z", "2017-10-05T11:00Z"]),
            "display_version": ["56.0", "56.0"],
            "usage_hours": [10.0, 20.0],
            "main_crashes": [1, 2],
        }
    )
)
FILTERS = dict.fromkeys(
    [
        *("channel", "os_name", "application", "version", "display_version", "build_id", "country", "os_version"),
        *("architecture", "experiment_id", "experiment_branch"),
    ],
    "names",
)
SPAN = {"since": "time", "until": "time"}
SUMS = {**SPAN, "measures": "measures", "by": "names", "every": "choice", "official": "calendar"}
EVENTS = {"events": "counts", "usage_hours": "numbers"}
BEFORE = {"events_before": "counts", "usage_hours_before": "numbers"}
SHOWN = {"detail": "detail", "show": "choice", "time": "choice", "hidden": "names"}
MARKED = {"incidents": "incidents"}

# The kind of each argument, by function.
KINDS: dict[str, dict[str, str]] = {
    "load": {"dataset": "place", **SUMS, **FILTERS, "storage_options": "options"},
    "Dataset": {"url": "place", "storage_options": "options", "cache": "cache"},
    "Dataset.load": {**SUMS, "filters": "filter"},
    "Dataset.load_delays": {**SPAN, "filters": "filter"},
    "Dataset.load_rejected": SPAN,
    "Dataset.load_passed_over": SPAN,
    "Dataset.versions": {**SPAN, "filters": "filter"},
    "rates": {"frame": "frame", "confidence": "confidence", "measures": "measures"},
    "slices": {
        **{"frame": "frame", "dimensions": "columns", "events": "column", "exposure": "column"},
        **{"baseline": "baseline", "most": "number", "most_dimensions": "number"},
    },
    "judge": {
        **{"dataset": "place", "at": "time", "product": "choice", "channel": "choice", "os_name": "choice"},
        **{"releases": "place", "all_builds": "flag"},
    },
    "annotate": {
        **{"dataset": "place", **SPAN, "text": "text", "product": "choice", "channel": "choice", "os_name": "choice"},
        "measure": "choice",
    },
    "annotations": {"dataset": "place"},
    "remove_annotation": {"dataset": "place", "annotation_id": "text"},
    "replay": {"dataset": "place", **SPAN, "every": "other", "options": "other"},
    "rate_interval": {**EVENTS, "confidence": "confidence"},
    "change": {**EVENTS, **BEFORE, "confidence": "confidence"},
    "standardised_rate": {**EVENTS, "weights": "numbers", "confidence": "confidence"},
    "standardised_change": {**EVENTS, **BEFORE, "weights": "numbers", "confidence": "confidence"},
    "completeness": {"delays": "frame", "window_start": "times", "window_end": "times", "now": "time"},
    "rate_chart": {"rates": "frame", "color": "choice", "title": "text"},
    "rate_data": {"rates": "frame", "key": "other"},
    "detail_chart": {**SHOWN, "narrow": "other", "expected": "expected", **MARKED},
    "detail_data": {**SHOWN, "narrow": "other", "expected": "expected", **MARKED},
    "Expected": dict.fromkeys(("course", "hours", "rise", "is_bad"), "other"),
    "readout": {**SHOWN, "expected": "expected", **MARKED},
    "summary": {**SHOWN, **MARKED},
    "incidents_shown": {"detail": "detail", "time": "choice", "hidden": "names", **MARKED},
    "shown_lines": {"lines": "other", "hidden": "names"},
    "light": {"token": "choice"},
    "Monitor": {"dataset": "place", "calendar": "calendar", "official": "flag", "product": "choice"},
    "Monitor.table": {"channel": "choice", "os_name": "choice", "period": "choice"},
    "Monitor.detail": {"channel": "choice", "os_name": "choice", "measure": "choice", "request": "request"},
    "DetailRequest": {
        **{"length": "length", **SPAN, "every": "choice", "time": "choice", "line": "choice"},
        **{"cut": "percentage", "skip_hours": "hours"},
    },
    "load_calendar": {"source": "place"},
    "calendar_beside": {"dataset": "place"},
    "version_key": {"text": "version"},
    "major_of": {"version": "version"},
    "Calendar.on": {"channel": "choice", "at": "time"},
    "Calendar.newest": {"channel": "choice", "at": "time"},
    "Calendar.previous": {"version": "version", "channel": "choice"},
    "Calendar.released": {"version": "text", "channel": "choice"},
    "Calendar.has": {"display_version": "any text", "channel": "any text"},
    "Calendar.is_official": {"display_version": "any text", "channel": "any text", "build_id": "any text"},
    "Calendar.shifted": {"weeks": "weeks"},
    "Calendar.merged_with": {"newer": "a calendar"},
    "Calendar.save": {"path": "place"},
    "require_writable": {"path": "place"},
    "Aggregator": {"source": "place", "dataset": "place", "options": "other"},
    "show": {"dataset": "place", "releases": "place"},
}
# Not for people: what others of these call, what they return, what the dashboard's style takes.
INTERNAL = {
    *(
        "Dataset.handle",
        "Dataset.load_cells",
        "Dataset.load_counted",
        "Dataset.load_selection",
        "Calendar",
        "Release",
        "derive",
        "theme",
        "variable",
        "Rows",
        "Rows.to_dict",
    ),
}
SEVERAL_SHAPES = [[[1, 2], [3]], [1, 2, 3]]
HALF_A_PAIR, MILLION = "\ud800", "x" * 10**6
YEAR_99999, YEAR_0 = np.datetime64("99999-01-01"), datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=1)))
HUGE = [10**400, 10**5000, [1, 10**5000]]
MASKED = [np.ma.array([1.0, 2.0], mask=[True, False]), [np.ma.masked, 1.0], np.ma.masked]
NO_NUMBERS = [[1, np.datetime64("2017")], [1, np.timedelta64(1, "h")], [{1}, 1], np.array([[1], 2], dtype=object)]


def usage_hours(*hours: Any) -> pd.DataFrame:
    """FRAME with a column of any objects."""
    return FRAME.assign(usage_hours=pd.Series(hours, dtype=object))


BAD: dict[str, list[Any]] = {
    "names": [
        *(5, 56.0, ["56.0", 5], [None], [float("nan")], b"56.0", {"56.0": 1}, FRAME, np.array([["56.0"]]), True),
        *(HALF_A_PAIR, ["56.0", HALF_A_PAIR], np.ma.array(["56.0"], mask=[True])),
    ],
    "measures": [["main_crash"], "main_crash", 5, [5], b"main_crashes", {"main_crashes": 1}, FRAME, HALF_A_PAIR],
    "time": [
        *("", "yesterday", 5, 1e9, pd.NaT, np.datetime64("NaT"), ["2017-10-05"], True, "2017-10-05T14:01:60Z"),
        *(HALF_A_PAIR, YEAR_99999, YEAR_0, "9999-12-31T23:00-01:00", np.array(1)),
    ],
    "times": [
        *("", "yesterday", 5, 1e9, pd.NaT, None, [None], [5], ["2017-10-05", "x"], pd.Series([pd.NaT])),
        *(HALF_A_PAIR, YEAR_99999, [YEAR_99999], YEAR_0, np.array(1), np.array([["2017-10-05"]], "datetime64[s]")),
        *(np.ma.array(np.array(["2017-10-05"], "datetime64[s]"), mask=[True]), np.datetime64("NaT"), np.ma.masked),
    ],
    "place": [5, "", " ", "\0", b"data", ["data"], True, Path, HALF_A_PAIR, MILLION],
    "choice": ["", "nonsense", 5, ["1h"], True, b"1h", np.array(["1h", "1d"]), HALF_A_PAIR, MILLION],
    "calendar": [True, "releases.json", 5, []],
    "cache": [True, "folder", Path(), 5],
    "column": [5, None, "", "nonsense", True, ["count"], HALF_A_PAIR, MILLION],
    "columns": [5, None, "nonsense", ["count", "nonsense"], [5], [], HALF_A_PAIR],
    "baseline": [None, 5, "nonsense", [True], "channel", [[True], [False]], FRAME[["count"]]],
    "number": [0, -1, 1.5, "1", None, True, [1]],
    "options": [True, "AWS_REGION=x", {"AWS_REGION": 5}, {5: "x"}, ["x"]],
    "frame": [
        None,
        [1],
        {"usage_hours": [1]},
        "frame",
        FRAME[["count"]],
        pd.concat([FRAME, FRAME[["usage_hours"]]], axis=1),
        pd.concat({"a": FRAME}, axis=1),
        *(usage_hours([1], [2]), usage_hours(10**400, 1), usage_hours(np.datetime64("2017"), 1)),
    ],
    "confidence": [
        *(0, 1, 95, -0.1, "0.95", None, float("nan"), [0.9], True, 10**5000),
        *(np.complex128(0.5), np.timedelta64(0), np.ma.masked),
    ],
    "numbers": [
        *(-1, float("nan"), float("inf"), "1", True, None, [1, "x"], [None], pd.NaT, 1j, *SEVERAL_SHAPES),
        *(*HUGE, *MASKED, *NO_NUMBERS),
    ],
    "counts": [
        *(1.5, [0.5], -1, float("nan"), 2.0**64, "1", True, [True], None, Decimal("0.5"), *SEVERAL_SHAPES),
        *(*HUGE, *MASKED, *NO_NUMBERS),
    ],
    "text": [5, "", b"text", ["text"], True, HALF_A_PAIR],
    "any text": [5, None, b"text", ["text"], True],
    "version": [5, 56.0, "", "<b>", None, ["56.0"], True, HALF_A_PAIR, MILLION],
    "detail": [None, "detail", FRAME, 5],
    "a calendar": [None, "calendar", FRAME, 5],
    "flag": [None, 1, "yes", CALENDAR],
    "request": ["7d", {"every": "1h"}, timedelta(days=7)],
    "length": [None, 7, "7d", timedelta(0), timedelta(days=-1), pd.NaT],
    "hours": [-1, float("nan"), float("inf"), "5", None, True],
    "expected": [None, "expected", FRAME, 5],
    "incidents": [None, "incidents", FRAME, 5, [5], [None]],
    "percentage": [-1, 100, "5", None, float("nan"), True, 10**5000],
    "weeks": [1.5, "1", None, 10**6, 10**30, 10**5000, True],
}
AT_TEN = [
    *("2017-10-05T10:00", "2017-10-05 10:00:00Z", "2017-10-05T10:00:00z", "2017-10-05T12:00+02:00", "20171005T1000"),
    *(datetime(2017, 10, 5, 10), datetime(2017, 10, 5, 10, tzinfo=UTC), pd.Timestamp("2017-10-05T10:00")),
    *(pd.Timestamp("2017-10-05T10:00", tz="UTC"), np.datetime64("2017-10-05T10:00")),
    datetime(2017, 10, 5, 12, tzinfo=timezone(timedelta(hours=2))),
]
THAT_DAY = [
    "2017-10-05",
    date(2017, 10, 5),
    datetime(2017, 10, 5),
    pd.Timestamp("2017-10-05"),
    np.datetime64("2017-10-05"),
]
NAMES_OF = {
    **{"version": "56.0", "display_version": "56.0", "channel": "release", "os_name": "Windows_NT", "hidden": "55.0.3"},
    **{"application": "Firefox", "country": "DE", "os_version": "10.0", "architecture": "x86", "by": "display_version"},
    **{"build_id": "20171004120000", "experiment_id": "pref-flip", "experiment_branch": "control"},
    "measures": "main_crashes",
}

Functions = dict[str, tuple[Callable[..., Any], dict[str, Any]]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small dataset with a calendar in it."""
    folder = tmp_path_factory.mktemp("arguments") / "dataset"
    write(folder, ROWS, "05T12:12")
    CALENDAR.save(folder / "releases.json")
    return folder


@pytest.fixture(scope="module")
def functions(folder: Path) -> Functions:
    """The public functions, each with the arguments of a call that does something."""
    return of_datasets(folder) | of_numbers() | of_charts() | of_calendars(folder)


def of_datasets(folder: Path) -> Functions:
    dataset, monitor = mc.Dataset(folder), Monitor(folder)
    incident = {"dataset": folder, "since": "2017-01-01", "until": "2017-10-06", "text": "no pings"} | {
        "channel": "nightly"
    }

    def annotate_and_remove(**given: Any) -> None:
        mc.annotate(**incident)
        mc.remove_annotation(**given)

    return {
        "load": (mc.load, {"dataset": folder, "every": None}),
        "Dataset": (mc.Dataset, {"url": folder}),
        "Dataset.load": (dataset.load, {"every": None}),
        "Dataset.load_delays": (dataset.load_delays, {}),
        "Dataset.load_rejected": (dataset.load_rejected, {}),
        "Dataset.load_passed_over": (dataset.load_passed_over, {}),
        "Dataset.versions": (dataset.versions, {}),
        "slices": (
            mc.slices,
            {"frame": FRAME, "dimensions": "channel", "events": "main_crashes", "exposure": "usage_hours"}
            | {"baseline": [index % 2 == 0 for index in range(len(FRAME))]},
        ),
        "judge": (mc.judge, {"dataset": folder, "releases": folder / "releases.json"}),
        "annotate": (mc.annotate, incident),
        "annotations": (mc.annotations, {"dataset": folder}),
        "remove_annotation": (annotate_and_remove, {"dataset": folder, "annotation_id": mc.annotate(**incident)}),
        "replay": (mc.replay, {"dataset": folder, "since": "2017-10-05", "until": "2017-10-05T10:00"}),
        "Monitor": (Monitor, {"dataset": folder}),
        "Monitor.table": (monitor.table, {"channel": "release", "os_name": "Windows_NT"}),
        "Monitor.detail": (monitor.detail, {"channel": "release", "os_name": "Windows_NT", "measure": "main_crashes"}),
        "load_calendar": (mc.load_calendar, {"source": folder / "releases.json"}),
        "calendar_beside": (mc.releases.calendar_beside, {"dataset": folder}),
        "Aggregator": (Aggregator, {"source": "pings", "dataset": "data"}),
        "show": (mc.dashboard.show, {"dataset": folder, "releases": folder / "releases.json"}),
    }


def of_numbers() -> Functions:
    events = {"events": [3, 1], "usage_hours": [100.0, 50.0]}
    before = {"events_before": [2, 2], "usage_hours_before": [100.0, 60.0]}
    hour = {"window_start": "2017-10-05T09:00", "window_end": "2017-10-05T10:00", "now": "2017-10-05T10:00"}
    return {
        "rates": (mc.rates, {"frame": FRAME}),
        "rate_interval": (statistics.rate_interval, events),
        "change": (statistics.change, events | before),
        "standardised_rate": (statistics.standardised_rate, events | {"weights": [0.5, 0.5]}),
        "standardised_change": (statistics.standardised_change, events | before | {"weights": [0.5, 0.5]}),
        "completeness": (statistics.completeness, {"delays": DELAYS, **hour}),
    }


def of_charts() -> Functions:
    shown = {"detail": DETAIL, "show": "rate", "time": "latest"}
    return {
        "rate_chart": (mc.rate_chart, {"rates": RATES}),
        "rate_data": (charts.rate_data, {"rates": RATES, "key": None}),
        "detail_chart": (charts.detail_chart, shown),
        "detail_data": (charts.detail_data, shown),
        "readout": (charts.readout, shown),
        "summary": (charts.summary, shown),
        "incidents_shown": (
            charts.incidents_shown,
            {"detail": DETAIL, "time": "latest", "hidden": (), "incidents": ()},
        ),
        "shown_lines": (charts.shown_lines, {"lines": DETAIL.lines, "hidden": ()}),
        "light": (charts.light, {"token": "text"}),
    }


def of_calendars(folder: Path) -> Functions:
    build = {"display_version": "56.0", "channel": "release", "build_id": "20171004120000"}
    return {
        "DetailRequest": (DetailRequest, {}),
        "version_key": (mc.releases.version_key, {"text": "56.0"}),
        "major_of": (mc.releases.major_of, {"version": "56.0"}),
        "Calendar.on": (CALENDAR.on, {"channel": "release"}),
        "Calendar.newest": (CALENDAR.newest, {"channel": "release"}),
        "Calendar.previous": (CALENDAR.previous, {"version": "56.0", "channel": "release"}),
        "Calendar.released": (CALENDAR.released, {"version": "56.0", "channel": "release"}),
        "Calendar.has": (CALENDAR.has, {"display_version": "56.0", "channel": "release"}),
        "Calendar.is_official": (CALENDAR.is_official, build),
        "Calendar.shifted": (CALENDAR.shifted, {"weeks": 1}),
        "Calendar.merged_with": (CALENDAR.merged_with, {"newer": CALENDAR}),
        "Calendar.save": (CALENDAR.save, {"path": folder / "saved.json"}),
        "require_writable": (mc.releases.require_writable, {"path": folder / "saved.json"}),
    }


def public_functions() -> Iterator[tuple[str, Callable[..., Any]]]:
    """All that `missioncontrol_nb` shows of itself and that takes arguments, by name."""
    for name, each in vars(statistics).items():
        if getattr(each, "__module__", "") == statistics.__name__ and not name.startswith("_"):
            yield name, each
    for module in (mc, charts, mc.monitor, mc.dashboard, mc.releases):
        for name in module.__all__:
            each = getattr(module, name)
            if inspect.isroutine(each) or inspect.isclass(each):
                yield name, each


def signatures() -> Iterator[tuple[str, set[str]]]:
    for name, each in public_functions():
        if isinstance(each, type) and issubclass(each, Exception):
            continue
        if not isinstance(each, type):
            yield name, set(inspect.signature(each).parameters)
        elif not each.__module__.endswith("monitor.summaries"):  # what is returned
            yield name, set(inspect.signature(each).parameters)
            for method, found in inspect.getmembers(each, inspect.isfunction):
                if not method.startswith("_") and method in vars(each):
                    yield f"{name}.{method}", set(inspect.signature(found).parameters) - {"self"}


def test_every_argument_of_every_public_function_is_in_the_table() -> None:
    found = {name: taken for name, taken in signatures() if taken and name not in INTERNAL}
    assert found == {name: set(kinds) for name, kinds in KINDS.items()}


def of_kind(*kinds: str) -> list[Any]:
    return [
        pytest.param(name, argument, id=f"{name}-{argument}")
        for name, taken in KINDS.items()
        for argument, kind in taken.items()
        if kind in kinds
    ]


@pytest.mark.parametrize(("name", "argument"), of_kind(*BAD))
def test_what_an_argument_cannot_be_is_refused_with_a_sentence(name: str, argument: str, functions: Functions) -> None:
    call, good = functions[name]
    for value in BAD[KINDS[name][argument]]:
        with pytest.raises(MissionControlError) as error:
            print(name, argument, arguments.brief(value), "gave", call(**{**good, argument: value}))
        assert 10 < len(str(error.value)) < 500, arguments.brief(value)
        assert "\n" not in str(error.value), arguments.brief(value)


@pytest.mark.parametrize(("name", "argument"), of_kind("names", "measures", "filter"))
def test_name_may_stand_alone_or_in_any_list(name: str, argument: str, functions: Functions) -> None:
    call, good = functions[name]
    argument = "channel" if argument == "filters" else argument
    text = NAMES_OF[argument]
    forms = [[text], (text,), {text}, [text, text], {text: 1}.keys(), iter([text]), np.array([text]), np.str_(text)]
    forms += [pd.Index([text]), pd.Series([text]), pd.Series([text], dtype="category"), pd.array([text], "string")]
    expected = plain(call(**{**good, argument: text}))
    for form in forms:
        assert plain(call(**{**good, argument: form})) == expected, type(form)


@pytest.mark.parametrize(("name", "argument"), of_kind("time", "times"))
def test_moment_may_be_text_or_of_any_class_for_times(name: str, argument: str, functions: Functions) -> None:
    call, good = functions[name]
    for forms in (AT_TEN, THAT_DAY):
        changed = good | ({"window_start": "2017-10-04", "window_end": "2017-10-06"} if name == "completeness" else {})
        results = [plain(call(**{**changed, argument: form})) for form in forms]
        assert results == results[:1] * len(forms)


@pytest.mark.parametrize(("name", "argument"), of_kind("place"))
def test_place_may_be_text_or_a_path(
    name: str, argument: str, functions: Functions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("missioncontrol_nb.dashboard.app.start", lambda settings, **_: SimpleNamespace(widget=settings))
    call, good = functions[name]
    path = Path(good[argument])
    assert plain(call(**{**good, argument: str(path)})) == plain(call(**{**good, argument: path}))


def plain(result: Any) -> Any:
    """A result as something that can be compared."""
    if isinstance(result, pd.DataFrame):
        return result.to_csv()
    if isinstance(result, DetailRequest):
        return result.interval
    if isinstance(result, mc.Dataset):
        return result.url
    if isinstance(result, Monitor):
        return result.dataset.url, result.overview()
    if isinstance(result, Aggregator):
        return result._command
    if isinstance(result, alt.VConcatChart):
        return {name: rows.frame.to_csv() for name, rows in result.datasets.items()}
    if isinstance(result, np.ndarray):
        return result.tolist()
    if isinstance(result, dict):
        return {name: plain(each) for name, each in result.items()}
    return result


# What is more than the form of one argument.


def test_half_an_event_is_refused_and_a_whole_number_of_any_type_counts() -> None:
    with pytest.raises(MissionControlError, match=r"expected whole numbers as main_crashes; got 1\.5"):
        mc.rates(FRAME.assign(main_crashes=[1.5, 2]))
    for values in ([1.0, 2.0], pd.array([1, 2], "Int64"), pd.array([1, 2], "UInt8"), [Decimal(1), Decimal(2)]):
        rates = mc.rates(FRAME.assign(main_crashes=values), measures="main_crashes")
        assert (rates["events"].tolist(), rates["rate_per_1k_hours"].tolist()) == ([1, 2], [100.0, 100.0])
    missing = mc.rates(FRAME.assign(main_crashes=pd.array([None, 2], "Int64")))
    assert missing["events"].tolist() == [2]


@pytest.mark.parametrize("hours", [[-1.0, 1.0], [np.nan, 1.0], [np.inf, 1.0], ["1", "2"], [True, False], [None, 1]])
def test_usage_hours_that_are_none_are_refused(hours: list[Any]) -> None:
    with pytest.raises(MissionControlError, match="expected numbers of 0 or more as usage_hours"):
        mc.rates(FRAME.assign(usage_hours=hours), measures="main_crashes")


@pytest.mark.parametrize("events", [[-1, 1], [np.inf, 1], ["1", "2"], [True, False], [2.0**63, 1]])
def test_events_that_are_none_are_refused(events: list[Any]) -> None:
    with pytest.raises(MissionControlError, match=r"expected (whole )?numbers"):
        mc.rates(FRAME.assign(main_crashes=events), measures=["main_crashes"])


def test_column_that_is_no_measure_is_refused_as_one() -> None:
    with pytest.raises(MissionControlError, match="expected numbers of 0 or more as channel; got 'beta'"):
        mc.rates(FRAME, measures="channel")
    with pytest.raises(MissionControlError, match="unknown measure 'usage_hours'"):
        mc.rates(FRAME, measures=["usage_hours"])
    with pytest.raises(MissionControlError, match="has a column 'rate_lower'"):
        mc.rates(FRAME.assign(rate_lower=1), measures=["main_crashes"])


def test_measures_may_be_none_at_all() -> None:
    assert mc.rates(FRAME, measures=[]).empty


def test_arrays_of_other_lengths_and_strata_without_usage_are_refused() -> None:
    with pytest.raises(MissionControlError, match="as many each"):
        statistics.rate_interval([1, 2], [1.0, 2.0, 3.0])
    with pytest.raises(MissionControlError, match="one for each of the strata"):
        statistics.standardised_rate([1, 2], [1.0], [1.0])
    with pytest.raises(MissionControlError, match="sum to 1"):
        statistics.standardised_rate([1, 2], [1.0, 2.0], [1.0, 1.0])
    with pytest.raises(MissionControlError, match="all have usage"):
        statistics.standardised_rate([1, 2], [1.0, 0.0], [0.5, 0.5])
    with pytest.raises(MissionControlError, match=r"buckets' edges.*3\.5"):
        statistics.completeness(DELAYS.assign(delay_hours=3.5), "2017-10-05T09", "2017-10-05T10", "2017-10-05T10")


@pytest.mark.parametrize(
    "delay_hours",
    [[1.0], 10**400, np.datetime64("2017"), np.timedelta64(1, "h"), "1", None, {1}],
    ids=lambda value: type(value).__name__,
)
def test_delay_that_is_no_number_is_refused(delay_hours: Any) -> None:
    delays = DELAYS.assign(delay_hours=pd.Series([delay_hours], dtype=object))
    with pytest.raises(MissionControlError, match="expected numbers of 0 or more as delay_hours"):
        statistics.completeness(delays, "2017-10-05T09", "2017-10-05T10", "2017-10-05T10")


def test_masked_array_of_which_nothing_is_masked_counts() -> None:
    given = np.ma.array([3, 1], mask=[False, False]), np.ma.array([100.0, 50.0])
    assert plain(statistics.rate_interval(*given)[0]) == plain(statistics.rate_interval([3, 1], [100.0, 50.0])[0])


@pytest.mark.parametrize(
    "first", ["0001-01-01", datetime(1, 1, 1), pd.Timestamp("0001-01-01"), YEAR_0 + timedelta(hours=1)]
)
def test_any_year_of_four_digits_is_one_although_pandas_knows_fewer(first: Any, folder: Path) -> None:
    assert plain(mc.load(folder, first, "9999-12-31", every=None)) == plain(mc.load(folder, every=None))
    share = statistics.completeness(DELAYS, [first, "2017-10-05"], "9999-12-31", "9999-12-30")
    assert share == pytest.approx([1, 1], abs=1e-3)
    assert statistics.completeness(DELAYS, first, "2017-10-05", "9999-12-31") == pytest.approx([1])
    shown = Monitor(folder).detail("release", "Windows_NT", "main_crashes", DetailRequest(since=first))
    assert shown.since == datetime(1, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("length", [timedelta.max, timedelta(days=800_000)])
@pytest.mark.parametrize("time", ["latest", "since_release"])
def test_interval_is_never_longer_than_there_are_years(length: timedelta, time: Any, folder: Path) -> None:
    monitor, place = Monitor(folder), ("release", "Windows_NT", "main_crashes")
    shown = monitor.detail(*place, DetailRequest(length, time=time))
    assert shown.since == datetime(1, 1, 1, tzinfo=UTC)
    pd.testing.assert_frame_equal(
        shown.windows, monitor.detail(*place, DetailRequest(since="0001-01-01", time=time)).windows
    )
    assert monitor.detail(*place, DetailRequest(until="0001-01-01", time=time)).until == shown.since
    with pytest.raises(MissionControlError, match="should lie after since"):
        monitor.detail(*place, DetailRequest(since="9999-12-31", time=time))


@pytest.mark.parametrize("name", ["x" * 300, "ü" * 200, f"/tmp/{'x' * 300}", f"file:///{'x' * 300}"])
def test_name_too_long_for_a_file_is_said_in_a_sentence(name: str) -> None:
    for read in (mc.load, mc.Dataset, Monitor, mc.load_calendar, mc.releases.calendar_beside):
        if "://" in name and read in (mc.load_calendar, mc.releases.calendar_beside):
            continue
        with pytest.raises(MissionControlError, match="File name too long"):
            read(name)


def test_options_of_a_store_are_text_that_utf_8_holds(folder: Path) -> None:
    for options in ({"AWS_REGION": HALF_A_PAIR}, {HALF_A_PAIR: "x"}):
        with pytest.raises(MissionControlError, match="storage_options takes text that UTF-8 can hold"):
            mc.load(folder, storage_options=options)


def test_hidden_line_is_not_hidden_by_a_part_of_its_name() -> None:
    assert [line.name for line in charts.shown_lines(DETAIL.lines, "155.0.35")] == [line.name for line in DETAIL.lines]


def test_line_with_two_rates_at_one_time_is_not_drawn() -> None:
    with pytest.raises(MissionControlError, match="two rates"):
        mc.rate_chart(pd.concat([RATES, RATES]))


def test_set_of_names_has_one_order() -> None:
    texts = {f"a{number}" for number in range(20)}
    assert arguments.names("by", texts) == tuple(sorted(texts))


def test_interval_of_a_detail_is_in_utc_whatever_its_form(folder: Path) -> None:
    monitor = Monitor(folder)
    found = [
        monitor.detail("release", "Windows_NT", "main_crashes", DetailRequest(since=since, until="2017-10-05T12:00"))
        for since in (date(2017, 10, 2), "2017-10-02", datetime(2017, 10, 2, tzinfo=UTC))
    ]
    assert {(each.since, each.until) for each in found} == {(moment("02T00:00"), moment("05T12:00"))}


def test_aggregator_takes_the_commands_options_and_refuses_others() -> None:
    command = Aggregator(
        "a b", Path("data"), trigger=0.5, recount=True, dedupe=False, checkpoint=Path("s"), channel=None
    )
    assert command._command[3:] == ["aggregate", "--dataset=data", "--follow", "--trigger=0.5", "--recount",
                                    "--checkpoint=s", "--", "a b"]  # fmt: skip
    with pytest.raises(MissionControlError, match="unknown option 'triger'; did you mean trigger"):
        Aggregator("pings", "data", triger=1)
    with pytest.raises(MissionControlError, match="recount takes True or False"):
        Aggregator("pings", "data", recount="yes")
    for value in (True, {}, b"x", "", [None]):
        with pytest.raises(MissionControlError, match="checkpoint takes text"):
            Aggregator("pings", "data", checkpoint=value)
