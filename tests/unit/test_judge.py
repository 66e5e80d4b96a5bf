"""The judge as a watcher uses it, on simulated channels in which it is known what rises, and when."""

import json
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import missioncontrol_nb as mc
from missioncontrol_nb.cli import group
from missioncontrol_nb.judgement.alarms import Judge
from missioncontrol_nb.judgement.channel import comes_without_hours
from missioncontrol_nb.judgement.events import Event
from missioncontrol_nb.judgement.observations import hours_of
from missioncontrol_nb.judgement.series import Series
from missioncontrol_nb.loading.dataset import Dataset
from missioncontrol_nb.releases.calendar import Calendar, Release
from missioncontrol_nb.simulator import Bad
from streaming import contract
from streaming.errors import MissionControlError
from tests.judged_fleets import draw, midnight
from tests.unit.small_dataset import CALENDAR, write, write_delays

SAMPLE = Path(__file__).parents[2].parent / "shared" / "data" / "error_aggregates_2017-06-29_sample.parquet"
RELEASED = datetime(2017, 9, 28, 13, tzinfo=UTC)  # of 56.0
SERIES = {
    *("at", "application", "channel", "os_name", "measure", "display_version", "build_ids", "age_hours", "state"),
    *("events", "usage_hours", "usage_hours_corrected", "usage_hours_lower", "usage_hours_upper", "rate"),
    *(
        "expected_rate",
        "expected_lower",
        "expected_upper",
        "rate_ratio",
        "lower",
        "upper",
        "evidence",
        "slice",
        "since",
    ),
}
EVENTS = {
    *("event", "detected_at", "application", "channel", "os_name", "measure", "display_version", "build_ids"),
    *("rate_ratio", "lower", "upper", "evidence", "expected_rate", "observed_rate", "slice", "since"),
}


def replayed(
    bad: Sequence[Bad], hours: int, *, every: int = 1, seed: int = 3, since: float = 0
) -> tuple[list[Event], list[Series]]:
    """What is told from hours after the release of 56.0 on Windows on, and what is said at the end."""
    observations, _ = draw("release", midnight(2017, 7, 1), 100, seed, bad=bad, systems=("Windows_NT",))
    judge, events, found = Judge(observations), [], []
    for hour in range(0, hours + 1, every):
        found = list(judge.look(hours_of(RELEASED) + since + hour))
        events += [event for _, event in found if event is not None]
    return events, [series for series, _ in found if series is not None]


def series_of(found: Sequence[Series], measure: str, version: str = "56.0") -> Series:
    [series] = [each for each in found if (each.measure, each.display_version) == (measure, version)]
    return series


def test_healthy_release_raises_no_alarm_and_is_soon_called_fine() -> None:
    events, found = replayed([], 48, every=2)
    assert events == []
    main = series_of(found, "main_crashes")
    assert main.state == "fine"
    assert main.lower is not None
    assert main.upper is not None
    assert main.lower < 1 < main.upper
    assert main.expected_lower < main.rate < main.expected_upper  # type: ignore[operator]
    assert {series.state for series in found} <= {"fine", "too early"}


def test_release_that_crashes_twice_as_often_is_bad_within_hours_and_stays_so() -> None:
    bad = Bad("56.0", RELEASED, "content_crashes", 2.0)
    events, found = replayed([bad], 30)
    [alarm] = events
    assert (alarm.event, alarm.measure, alarm.display_version) == ("alarm", "content_crashes", "56.0")
    detected = datetime.fromisoformat(alarm.detected_at)
    assert 0 < (detected - RELEASED).total_seconds() / 3600 <= 12
    series = series_of(found, "content_crashes")
    assert series.state == "bad"
    assert series.since is not None
    assert series.rate_ratio == pytest.approx(2.0, rel=0.3)
    assert series_of(found, "main_crashes").state in ("fine", "too early")


def test_rise_that_begins_later_is_found_told_with_its_beginning_and_ends() -> None:
    begins = datetime(2017, 10, 2, 7, tzinfo=UTC)
    events, found = replayed([Bad("56.0", begins, "main_crashes", 3.0)], 36, since=78)
    [alarm] = [event for event in events if event.event == "alarm"]
    assert (alarm.measure, alarm.display_version) == ("main_crashes", "56.0")
    assert abs((datetime.fromisoformat(str(alarm.since)) - begins).total_seconds()) <= 2 * 3600
    assert (datetime.fromisoformat(alarm.detected_at) - begins).total_seconds() <= 6 * 3600
    assert alarm.rate_ratio == pytest.approx(3.0, rel=0.4)
    assert series_of(found, "main_crashes").state == "bad"


def test_rise_that_was_over_before_the_first_look_is_no_alarm_at_the_second() -> None:
    begins, ends = datetime(2017, 10, 2, 7, tzinfo=UTC), datetime(2017, 10, 2, 15, tzinfo=UTC)
    bad = [Bad("56.0", begins, "main_crashes", 3.0), Bad("56.0", ends, "main_crashes", 1 / 3)]
    events, found = replayed(bad, 3, since=(ends - RELEASED).total_seconds() / 3600 + 18)
    assert events == []
    assert series_of(found, "main_crashes").state == "fine"


def test_second_rise_began_after_the_first_was_over() -> None:
    first, second = datetime(2017, 10, 2, 6, tzinfo=UTC), datetime(2017, 10, 4, 20, tzinfo=UTC)
    over = datetime(2017, 10, 3, 0, tzinfo=UTC)
    bad = [
        Bad("56.0", first, "main_crashes", 3.0),
        Bad("56.0", over, "main_crashes", 1 / 3),
        Bad("56.0", second, "main_crashes", 3.0),
    ]
    events, _ = replayed(bad, 96, since=72)
    told = [(event.event, event.since) for event in events if event.measure == "main_crashes"]
    assert [kind for kind, _ in told][:3] == ["alarm", "recovered", "alarm"]
    assert told[2][1] is not None
    assert abs((datetime.fromisoformat(told[2][1]) - second).total_seconds()) <= 4 * 3600


def test_rise_of_all_versions_is_one_alarm_of_no_version() -> None:
    begins = datetime(2017, 10, 2, 7, tzinfo=UTC)
    versions = ("55.0", "55.0.1", "55.0.2", "55.0.3", "56.0")
    events, _ = replayed([Bad(each, begins, "content_crashes", 2.0) for each in versions], 20, since=84)
    [alarm] = [event for event in events if event.event == "alarm"]
    assert (alarm.measure, alarm.display_version) == ("content_crashes", None)
    assert len(alarm.build_ids) >= 3
    assert (datetime.fromisoformat(alarm.detected_at) - begins).total_seconds() <= 6 * 3600


def test_series_and_events_have_the_published_fields() -> None:
    events, found = replayed([Bad("56.0", RELEASED, "content_crashes", 4.0)], 12, every=4)
    for series in found:
        record = json.loads(json.dumps(series.as_record(), allow_nan=False))
        assert set(record) >= SERIES
    assert events
    for event in events:
        assert set(json.loads(json.dumps(event.as_record(), allow_nan=False))) == EVENTS


def test_one_version_alone_is_too_early_to_judge_and_why(tmp_path: Path) -> None:
    write(tmp_path, "window  usage_hours  main_crashes\n05T10:00  900  2\n05T10:05  800  3", "05T10:20")
    found = mc.judge(tmp_path, releases=CALENDAR)
    assert set(found["state"]) == {"too early"}
    assert found["why"].str.contains("fewer than two earlier releases").all()
    assert found["expected_rate"].isna().all()
    [main] = found[found["measure"] == "main_crashes"].to_dict("records")
    assert (main["events"], main["usage_hours"], main["at"]) == (5, 1700.0, "2017-10-05T10:20:00Z")


@pytest.mark.skipif(not SAMPLE.exists(), reason=f"needs {SAMPLE.name}, which lies outside of the repository")
@pytest.mark.parametrize(
    ("measure", "os_name", "expected"),
    [
        ("main_crashes", "Linux", {"149.0": True, "150.0": True}),
        ("gpu_crashes", "Linux", {"149.0": False, "150.0b1": True, "150.0": True, "153.8.0esr": True}),
        ("gmplugin_crashes", "Windows_NT", {"140.10.0esr": False, "151.0a1": True}),
        ("gpu_crashes", "Android", {"56.0": False}),  # no ping of it counts them
        ("rdd_crashes", "Darwin", {"149.0": True, "150.0": True}),
        ("plugin_crashes", "Linux", {"149.0": False, "150.0": False}),
    ],
)
def test_events_come_before_hours_where_crash_pings_count_them(
    measure: str, os_name: str, expected: dict[str, bool]
) -> None:
    found = {version: comes_without_hours(contract.FIREFOX, measure, os_name, version) for version in expected}
    assert found == expected


def test_gpu_crashes_of_crash_pings_are_by_hours_of_use_and_of_main_pings_by_reported_ones(tmp_path: Path) -> None:
    days = {"149.0": date(2017, 10, 2), "150.0": date(2017, 10, 4)}
    calendar = Calendar(tuple(Release(version, "release", day) for version, day in days.items()))
    hours = [f"{day:02}T{hour:02}:00" for day in range(2, 7) for hour in range(24)]
    rows = [
        f"{hour} {version} {days[version] - timedelta(days=1):%Y%m%d}120000 100 {gpu}"
        for version, gpu in (("149.0", 3), ("150.0", 5))
        for hour in hours
        if int(hour[:2]) >= days[version].day
    ]
    write(tmp_path, "\n".join(["window display_version build_id usage_hours gpu_crashes", *rows]), "06T23:05")
    write_delays(tmp_path, "submission_hour delay_hours usage_hours\n05T10:00 1.0 300\n05T10:00 24.0 700")
    found = mc.judge(tmp_path, releases=calendar)
    found = found[found["measure"] == "gpu_crashes"].set_index("display_version")
    assert (found["usage_hours_corrected"] > 1.01 * found["usage_hours"]).all()
    for version, hours_of_rate in (("149.0", "usage_hours"), ("150.0", "usage_hours_corrected")):
        row = found.loc[version]
        assert row["rate"] == pytest.approx(1000 * row["events"] / row[hours_of_rate])


def test_measure_that_earlier_versions_could_not_report_is_compared_with_none_of_them(tmp_path: Path) -> None:
    """Their 0 RDD crashes are no rate: they had none to report."""
    days = {
        "147.0": date(2017, 10, 1),
        "148.0": date(2017, 10, 2),
        "149.0": date(2017, 10, 3),
        "150.0": date(2017, 10, 5),
    }
    calendar = Calendar(tuple(Release(version, "release", day) for version, day in days.items()))
    rows = [
        f"{day:02}T{hour:02}:00 {version} {out - timedelta(days=1):%Y%m%d}120000 500 {9 if version == '150.0' else 0} 2"
        for version, out in days.items()
        for day in range(out.day, 8)
        for hour in range(24)
    ]
    head = "window display_version build_id usage_hours rdd_crashes permissions_sql_corrupted"
    write(tmp_path, "\n".join([head, *rows]), "07T23:05")
    found = mc.judge(tmp_path, releases=calendar).set_index(["display_version", "measure"])
    rdd = found.loc[("150.0", "rdd_crashes")]
    assert (rdd["state"], rdd["why"]) == ("too early", "fewer than two earlier releases to compare with")
    assert rdd["events"] > 400
    assert found.loc[("150.0", "permissions_sql_corrupted"), "state"] == "fine"
    assert ("149.0", "rdd_crashes") not in found.index


def test_version_that_the_calendar_lacks_is_not_judged_and_says_so(tmp_path: Path) -> None:
    rows = """
        window    display_version  build_id        usage_hours  main_crashes
        05T13:00  56.0             20171004120000  1000         2
        07T09:00  56.0             20171004120000  990          2
        07T09:00  56.0.1           20171006120000  10           3
        07T10:00  56.0             20171004120000  900          2
        07T10:05  56.0.1           20171006120000  20           4
        07T10:05  55.9             20171006120000  0.1          4
        07T11:00  56.0.1           20171006120000  20           8
    """
    write(tmp_path, rows, "07T11:05")
    for at, events, hours in (("2017-10-07T10:59", 7, 30), (None, 15, 50)):
        found = mc.judge(tmp_path, at, releases=CALENDAR)
        newest = found[(found["display_version"] != "56.0") & (found["measure"] == "main_crashes")]
        why = "56.0.1 on release is not on the release calendar of 2017-10-05, so it is not judged"
        shown = ["display_version", "state", "why", "events", "usage_hours"]
        assert newest[shown].to_numpy().tolist() == [["56.0.1", "too early", why, events, hours]]
    assert set(mc.judge(tmp_path, "2017-10-07T08:00", releases=CALENDAR)["display_version"]) == {"56.0"}


@pytest.mark.parametrize("at", [None, "2017-10-07T11:05"])
def test_dataset_is_opened_once_and_its_history_read_once(
    at: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = """
        window    display_version  build_id        usage_hours  main_crashes
        01T13:00  56.0             20171004120000  1000         2
        02T09:00  56.0.1           20171006120000  10           3
        07T11:00  56.0             20171004120000  900          2
    """
    write(tmp_path, rows, "07T11:05")
    opened, selections = [], []
    open_dataset, load = Dataset.__init__, Dataset._load

    def note_opening(*arguments: Any, **options: Any) -> None:
        opened.append(arguments)
        open_dataset(*arguments, **options)

    def note_selection(dataset: Dataset, selection: Any, *arguments: Any) -> Any:
        selections.append(selection)
        return load(dataset, selection, *arguments)

    monkeypatch.setattr(Dataset, "__init__", note_opening)
    monkeypatch.setattr(Dataset, "_load", note_selection)
    found = mc.judge(tmp_path, at, releases=CALENDAR)
    assert set(found["display_version"]) == {"56.0"}
    moment = datetime(2017, 10, 2, 9, tzinfo=UTC)
    reads = [each for each in selections if (each.since or moment) <= moment < (each.until or moment)]
    assert (len(opened), len(reads)) == (1, 1)


def test_real_hundred_rows_are_too_early_to_judge() -> None:
    found = mc.judge(SAMPLE)
    assert len(found) > 0
    assert set(found["state"]) == {"too early"}
    assert found["why"].ne("").all()


def test_what_was_not_known_yet_does_not_count(tmp_path: Path) -> None:
    write(
        tmp_path, "window  usage_hours  main_crashes\n05T10:00  900  2\n05T10:05  800  3\n05T10:10  1  99", "05T10:20"
    )
    for at, events in (("2017-10-05T10:05Z", 2), ("2017-10-05T10:14Z", 5), ("2017-10-05T10:15Z", 104)):
        found = mc.judge(tmp_path, at, releases=CALENDAR)
        assert found[found["measure"] == "main_crashes"]["events"].to_list() == [events]
    assert mc.judge(tmp_path, "2017-10-04", releases=CALENDAR).empty


def test_command_says_it_as_json_lines_and_by_its_exit_code(tmp_path: Path) -> None:
    write(tmp_path, "window  usage_hours  main_crashes\n05T10:00  900  2", "05T10:20")
    CALENDAR.save(tmp_path / "releases.json")
    plain = CliRunner().invoke(group, ["judge", "--dataset", str(tmp_path)])
    assert plain.exit_code == 0, plain.output
    assert "too early" in plain.output
    told = CliRunner().invoke(group, ["judge", "--dataset", str(tmp_path), "--json", "--channel", "release"])
    assert told.exit_code == 0
    assert {json.loads(line)["display_version"] for line in told.output.splitlines()} == {"56.0"}
    replay = ["replay", "--dataset", str(tmp_path), "--since", "2017-10-05", "--until", "2017-10-06", "--json"]
    assert CliRunner().invoke(group, replay).exit_code == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"channel": "realease"}, "release"),
        ({"os_name": "Windows"}, "Windows_NT"),
        ({"product": "firefox"}, "Firefox"),
        ({"at": "yesterday"}, "at takes"),
    ],
)
def test_unknown_names_and_times_are_told(options: dict[str, str], said: str, tmp_path: Path) -> None:
    write(tmp_path, "window  usage_hours  main_crashes\n05T10:00  900  2", "05T10:20")
    with pytest.raises(MissionControlError, match=said):
        mc.judge(tmp_path, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("every", ["1min", "hour", "-1h", ""])
def test_time_between_looks_is_checked(every: str, tmp_path: Path) -> None:
    write(tmp_path, "window  usage_hours  main_crashes\n05T10:00  900  2", "05T10:20")
    with pytest.raises(MissionControlError, match="every takes 5 minutes or more"):
        mc.replay(tmp_path, "2017-10-05", "2017-10-06", every)
    with pytest.raises(MissionControlError, match="lies before"):
        mc.replay(tmp_path, "2017-10-06", "2017-10-05")


def test_what_looked_bad_goes_on_looking_bad_until_its_evidence_is_low_even_in_a_single_look() -> None:
    bad = [Bad("56.0", RELEASED, "content_crashes", 1.35, "Windows_NT", "release")]
    observations, _ = draw("release", midnight(2017, 7, 1), 100, 3, bad=bad, systems=("Windows_NT",))

    def looked(hours: float) -> Series:
        found = Judge(observations).look(hours_of(RELEASED) + hours)
        return series_of([series for series, _ in found if series is not None], "content_crashes")

    suspicious, *later = [looked(hours) for hours in (37, 49, 53, 57)]
    assert suspicious.state == "looks bad"
    assert (suspicious.evidence or 0) > 10
    remembered = [each for each in later if 3 < (each.evidence or 0) < 10 and each.state == "looks bad"]
    assert remembered
    assert all(each.since is not None for each in remembered)
