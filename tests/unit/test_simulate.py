"""The simulated fleet: its builds, its model and the history it writes."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

import missioncontrol_nb as mc
from missioncontrol_nb.loading.dataset import Dataset
from missioncontrol_nb.releases.sources import load_calendar
from missioncontrol_nb.simulator import Bad, Fleet, population, weeks_until
from missioncontrol_nb.simulator.builds import PLAYED_RELEASE, builds_of
from missioncontrol_nb.simulator.fleet import DAY_CYCLE, window_of
from missioncontrol_nb.simulator.history import new_dataset, write_history
from missioncontrol_nb.simulator.sessions import WINDOWS_A_DAY
from streaming import contract
from streaming.errors import MissionControlError
from streaming.pings.kinds import REASONS

NOW = datetime(2017, 10, 3, 12, 2, tzinfo=UTC)  # a Tuesday: 56.0 is five days old
SINCE = NOW - timedelta(hours=24)
BAD = Bad("56.0", SINCE, "content_crashes", 3.0, os_name="Windows_NT")


@pytest.fixture(scope="module")
def calendar():
    return load_calendar()


@pytest.fixture(scope="module")
def fleet(calendar):
    return Fleet(calendar, seed=7)


@pytest.fixture(scope="module")
def bad_fleet(calendar):
    return Fleet(calendar, seed=7, bad=[BAD])


@pytest.fixture(scope="module")
def history(fleet, tmp_path_factory):
    """Ten days of the sound fleet."""
    dataset = str(tmp_path_factory.mktemp("history") / "dataset")
    return dataset, write_history(fleet, dataset, NOW, days=10)


def place_of(expected, os_name, version, channel="release", is_official=True):
    [place] = [
        place
        for place, build in enumerate(expected.builds)
        if (build.os_name, build.display_version, build.channel, build.is_official)
        == (os_name, version, channel, is_official)
    ]
    return place


@pytest.mark.parametrize(
    "now",
    [
        datetime(2017, 9, 30, 13, tzinfo=UTC),
        datetime(2017, 10, 7, 12, 59, tzinfo=UTC),
        datetime(2026, 2, 28, 23, 59, tzinfo=UTC),
        datetime(2031, 7, 1, tzinfo=UTC),
    ],
)
def test_the_played_release_is_two_to_nine_days_old(now, calendar):
    weeks = weeks_until(now)
    age = now - (PLAYED_RELEASE + timedelta(weeks=weeks))
    assert timedelta(days=2) <= age < timedelta(days=9)
    assert calendar.shifted(weeks).newest("release", now).version == "56.0"


@pytest.mark.parametrize("weeks", [0, 1, 470])
def test_official_builds_are_official_by_the_shifted_calendar_and_others_are_not(weeks, calendar):
    shifted = calendar.shifted(weeks)
    builds = builds_of(calendar, weeks)
    assert len(builds) > 500
    for build in builds:
        said = shifted.is_official(build.display_version, build.channel, build.build_id)
        assert said == build.is_official, build


def test_builds_have_the_ids_they_had(fleet):
    ids = {build.display_version: build.build_id for build in fleet.builds if build.is_official}
    windows = {b.display_version: b.build_id for b in fleet.builds if b.is_official and b.os_name == "Windows_NT"}
    assert windows["56.0"] == "20170926190823"
    assert windows["55.0.3"] == "20170824053622"
    assert ids["56.0"] != windows["56.0"]  # Fennec is built by itself


def test_builds_move_with_the_weeks(calendar):
    for before, after in zip(builds_of(calendar, 0), builds_of(calendar, 3), strict=True):
        assert after.out - before.out == 3 * 7 * 86400
        assert replace(after, out=0, build_id="") == replace(before, out=0, build_id="")


def test_a_quarter_is_offered_a_major_release_and_a_third_runs_it_after_four_days(fleet):
    expected = fleet.expect(window_of(PLAYED_RELEASE), 5 * WINDOWS_A_DAY)
    used = expected.used_hours
    windows = [place for place, b in enumerate(expected.builds) if (b.channel, b.os_name) == ("release", "Windows_NT")]
    share = used[place_of(expected, "Windows_NT", "56.0")] / used[windows].sum(axis=0)
    assert share[2 * WINDOWS_A_DAY] < 0.25
    assert 0.30 < share[4 * WINDOWS_A_DAY] < 0.40
    assert (np.diff(share) > -1e-12).all()


def test_a_new_release_looks_several_times_too_crashy_at_first_and_less_so_after_a_day(fleet):
    expected = fleet.expect(window_of(PLAYED_RELEASE), 4 * WINDOWS_A_DAY)
    place = place_of(expected, "Windows_NT", "56.0")
    used, reported = (np.cumsum(hours[place]) for hours in (expected.used_hours, expected.reported_hours))
    seeming = used / np.maximum(reported, 1e-9)
    an_hour = WINDOWS_A_DAY // 24
    assert 5 < seeming[3 * an_hour] < 8
    assert 3 < seeming[6 * an_hour] < 5
    assert 1.3 < seeming[WINDOWS_A_DAY] < 1.6
    assert 1.0 < seeming[-1] < 1.25


def test_all_use_is_reported_in_the_end(fleet):
    week = 7 * WINDOWS_A_DAY
    expected = fleet.expect(window_of(NOW), week)
    assert expected.reported_hours.sum() == pytest.approx(expected.used_hours.sum(), rel=0.01)
    assert expected.used_hours.sum() / week == pytest.approx(18_000, rel=0.01)  # 40 pings/s, 1.5 h each


def test_use_has_a_day_and_a_week(fleet):
    monday = datetime(2017, 10, 2, tzinfo=UTC)
    by_hour = fleet.expect(window_of(monday), 7 * WINDOWS_A_DAY).used_hours.sum(axis=0).reshape(7, 24, -1).mean(axis=2)
    assert by_hour[0].argmax() in (14, 15)
    assert by_hour[0].max() / by_hour[0].min() == pytest.approx((1 + DAY_CYCLE) / (1 - DAY_CYCLE), rel=0.05)
    assert by_hour[5:].sum() / 2 < 0.9 * by_hour[:5].sum() / 5


def test_early_adopters_crash_more(fleet):
    expected = fleet.expect(window_of(PLAYED_RELEASE), 8 * WINDOWS_A_DAY)
    rates = expected.rates("main_crashes")[place_of(expected, "Windows_NT", "56.0")]
    assert rates[0] / rates[-1] > 1.3
    assert (np.diff(rates) <= 0).all()


def test_a_bad_release_is_bad_only_where_and_since_when_it_was_asked_for(fleet, bad_fleet):
    first = window_of(SINCE) - WINDOWS_A_DAY
    sound, bad = (f.expect(first, 2 * WINDOWS_A_DAY) for f in (fleet, bad_fleet))
    assert sound.builds == bad.builds
    hit = place_of(bad, "Windows_NT", "56.0")
    for measure in contract.MEASURE_NAMES:
        with np.errstate(invalid="ignore"):
            times = np.nan_to_num(bad.rates(measure) / sound.rates(measure), nan=1.0)
        hits = np.zeros_like(times, bool)
        if measure == BAD.measure:
            hits[hit, WINDOWS_A_DAY:] = True
            hits[place_of(bad, "Windows_NT", "56.0", is_official=False), WINDOWS_A_DAY:] = True
        np.testing.assert_allclose(times[hits], BAD.factor)
        np.testing.assert_allclose(times[~hits], 1.0)


def test_more_startup_crashes_are_more_crashes_of_the_main_process(calendar, fleet):
    bad = Fleet(calendar, seed=7, bad=[Bad("56.0", SINCE, "startup_crashes", 4.0)])
    first = window_of(NOW)
    sound, worse = (f.expect(first, 1) for f in (fleet, bad))
    place = place_of(sound, "Darwin", "56.0")
    more = (worse.rates("startup_crashes") - sound.rates("startup_crashes"))[place]
    assert more > 0
    assert (worse.rates("main_crashes") - sound.rates("main_crashes"))[place] == pytest.approx(more)


@pytest.mark.parametrize(
    ("wrong", "near"),
    [
        ({"version": "56.1"}, "56.0"),
        ({"measure": "content_crash"}, "content_crashes"),
        ({"os_name": "Windows"}, "Windows_NT"),
        ({"factor": 0.0}, "above 0"),
    ],
)
def test_a_bad_release_that_cannot_be_names_what_can(wrong, near, calendar):
    with pytest.raises(MissionControlError, match=near):
        Fleet(calendar, bad=[Bad(**({"version": "56.0", "since": SINCE} | wrong))])


def test_history_adds_up_to_what_is_expected(fleet, history):
    dataset, _ = history
    days = 3
    day = datetime(2017, 9, 29, tzinfo=UTC)
    expected = fleet.expect(window_of(day), days * WINDOWS_A_DAY)
    drawn = mc.load(dataset, day, day + timedelta(days=days), every=None, by=["channel", "os_name"])
    for row in drawn.itertuples():
        of_row = [(b.channel, b.os_name) == (row.channel, row.os_name) for b in expected.builds]
        assert row.usage_hours == pytest.approx(expected.reported_hours[of_row].sum(), rel=0.02)
        for measure in contract.MEASURE_NAMES:
            is_crash = measure in ("main_crashes", "startup_crashes", "content_crashes", "content_shutdown_crashes")
            hours = expected.used_hours if is_crash else expected.reported_hours
            events = (hours * expected.rates(measure))[of_row].sum()
            if contract.FIREFOX.why_not_reported(contract.measure(measure), row.os_name, "56.0"):
                assert np.isnan(getattr(row, measure))
                assert events == 0
                continue
            spread = np.sqrt(events * (1 + events / (days * WINDOWS_A_DAY)))  # over-dispersed, many draws
            assert abs(getattr(row, measure) - events) <= 5 * spread + 3, (row.channel, row.os_name, measure)


def test_history_is_over_dispersed(history):
    dataset, _ = history
    windows = mc.load(
        dataset, NOW - timedelta(days=5), NOW - timedelta(hours=1), every="5min", display_version="55.0.3",
        os_name="Windows_NT", channel="release",
    )  # fmt: skip
    events = windows["content_crashes"].to_numpy()
    variance = (np.diff(events) ** 2).mean() / 2  # between neighbours: the day has no part in it
    assert 1.2 < variance / events.mean() < 3


def test_history_reaches_up_to_the_moment_it_was_asked_for(history):
    dataset, written = history
    assert Dataset(dataset).data_up_to() == NOW == written.until
    assert written.since == datetime(2017, 9, 23, tzinfo=UTC)
    windows = mc.load(dataset, NOW - timedelta(minutes=15), every="5min")
    assert list(windows["window_start"].dt.minute) == [50, 55, 0]
    assert windows["count"].iloc[-1] / windows["count"].iloc[-2] == pytest.approx(2 / 5, abs=0.03)


def test_history_says_what_it_wrote(history):
    dataset, written = history
    assert mc.load(dataset, every=None)["count"].sum() == written.pings
    opened = Dataset(dataset)
    uncounted = pd.concat([opened.load_rejected(), opened.load_passed_over()]).groupby("reason")["count"].sum()
    assert uncounted.to_dict() == written.rejected
    assert set(written.rejected) <= set(REASONS)
    assert sum(written.rejected.values()) / written.pings == pytest.approx(0.0036, rel=0.05)


def test_history_is_in_one_file_a_day_and_partitioned_by_it(history):
    from deltalake import DeltaTable

    dataset, _ = history
    for table in contract.TABLES:
        delta = DeltaTable(f"{dataset}/{table.name}")
        assert delta.metadata().partition_columns == ["submission_date"]
        days = [uri.split("submission_date=")[1].split("/")[0] for uri in delta.file_uris()]
        assert len(days) == len(set(days))


def test_reporting_delays_hold_the_hours_of_desktop_pings(history):
    dataset, _ = history
    hours = mc.load(dataset, every=None, by=["channel", "os_name"]).set_index(["channel", "os_name"])["usage_hours"]
    delays = Dataset(dataset).load_delays().groupby(["channel", "os_name"])["usage_hours"].sum()
    assert "Android" not in delays.index.get_level_values("os_name")
    for key, of_delays in delays.items():
        assert of_delays == pytest.approx(hours[key], rel=1e-6)


def test_most_of_linux_is_unofficial(history, fleet):
    dataset, _ = history
    hours = mc.load(dataset, every=None, channel="release", by="os_name").set_index("os_name")["usage_hours"]
    official = mc.load(dataset, every=None, channel="release", by="os_name", official=fleet.calendar)
    share = official.set_index("os_name")["usage_hours"] / hours
    assert 0.15 < share["Linux"] < 0.3
    assert share["Windows_NT"] > 0.98


def test_experiments_hold_their_share_of_each_branch(history):
    dataset, _ = history
    experiment = population.EXPERIMENTS[0]
    all_of = mc.load(dataset, every=None, channel=experiment.channel, os_name=["Windows_NT", "Darwin"])
    enrolled = mc.load(dataset, every=None, experiment_id=experiment.id, by="experiment_branch")
    assert list(enrolled["experiment_branch"]) == sorted(experiment.branches)
    for count in enrolled["count"]:
        assert count / all_of["count"].iloc[0] == pytest.approx(experiment.share / 2, rel=0.05)


def test_countries_have_their_shares(history):
    dataset, _ = history
    counts = mc.load(dataset, every=None, by="country").set_index("country")["count"]
    for country, share in population.COUNTRIES.items():
        assert counts[country] / counts.sum() == pytest.approx(share, rel=0.15)


def rows_of(dataset):
    from deltalake import DeltaTable

    uris = sorted(
        DeltaTable(f"{dataset}/error_aggregates").file_uris(), key=lambda uri: uri.split("submission_date=")[1]
    )
    return [pq.read_table(uri) for uri in uris]


def test_the_same_seed_gives_the_same_history_and_another_seed_another(calendar, tmp_path):
    datasets = [str(tmp_path / name) for name in ("first", "second", "third")]
    for dataset, seed in zip(datasets, (3, 3, 4), strict=True):
        write_history(Fleet(calendar, seed=seed), dataset, NOW, days=1)
    first, second, third = (rows_of(dataset) for dataset in datasets)
    assert all(one.equals(other) for one, other in zip(first, second, strict=True))
    assert not any(one.equals(other) for one, other in zip(first, third, strict=True))


def test_two_histories_are_not_written_into_one_dataset(history, tmp_path):
    dataset, _ = history
    with pytest.raises(MissionControlError, match="holds a dataset already"), new_dataset(dataset):
        pass
    assert Dataset(dataset).tables()


def test_history_that_is_broken_off_leaves_no_table(calendar, tmp_path):
    def interrupt(done, days):
        assert Dataset(tmp_path).tables()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), new_dataset(str(tmp_path)):
        write_history(Fleet(calendar, seed=3), str(tmp_path), NOW, days=1, on_progress=interrupt)
    assert list(tmp_path.iterdir()) == []
