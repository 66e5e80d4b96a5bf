"""The simulated fleet of today: Glean pings as real clients send them, and a history that agrees with them."""

import json
from collections import Counter as Tally
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from itertools import islice

import jsonschema
import numpy as np
import pytest
from click.testing import CliRunner

import missioncontrol_nb as mc
from missioncontrol_nb.commands.simulate import command
from missioncontrol_nb.loading.dataset import Dataset
from missioncontrol_nb.releases.sources import load_calendar
from missioncontrol_nb.simulator import Bad, Fleet, weeks_until
from missioncontrol_nb.simulator.batches import batches
from missioncontrol_nb.simulator.builds import builds_of
from missioncontrol_nb.simulator.faulty_pings import GLEAN_FAULTS
from missioncontrol_nb.simulator.fleet import DELAY_EDGES_HOURS, DELAY_SHARES, window_of
from missioncontrol_nb.simulator.glean_pings import NO_DUMP
from missioncontrol_nb.simulator.glean_sampling import (
    EMPTY_DUMP,
    RESTARTED_AT_ONCE,
    WITHOUT_DUMP,
    GleanSender,
    process_of,
)
from missioncontrol_nb.simulator.history import write_history
from missioncontrol_nb.simulator.sessions import ACTIVE_SHARE, KILLED_SHARE, MEAN_LENGTH_HOURS, WINDOWS_A_DAY
from missioncontrol_nb.simulator.today import TODAY, calendar_of_today
from streaming import contract
from streaming.aggregation.counter import Counter

NOW = datetime(2026, 7, 25, 12, 0, tzinfo=UTC)  # 153.0 is four days old
ENVELOPE = {
    *("submission_timestamp", "metadata", "document_id", "sample_id"),
    *("normalized_os", "normalized_os_version", "normalized_channel", "normalized_country_code"),
}


@pytest.fixture(scope="module")
def fleet():
    return Fleet(calendar_of_today(), seed=7, era=TODAY)


@pytest.fixture(scope="module")
def slow_fleet():
    return Fleet(calendar_of_today(), seed=7, rate=10.0, era=TODAY)


@pytest.fixture(scope="module")
def pings(slow_fleet):
    """The whole pings of five minutes by kind: (namespace, type); Glean pings without those that are broken."""
    documents = next(batches(slow_fleet, NOW, timedelta(minutes=5))).documents
    return by_kind(each for each in documents if b'"ping_info"' not in each or reason_of(each) in COUNTED)


COUNTED = {None, "other_source"}


def reason_of(document):
    """Why a document does not count; None where it does."""
    return Counter().add(document, 0)


def by_kind(documents):
    found = defaultdict(list)
    for document in documents:
        if document.endswith(b"}"):  # One that is cut short does not
            ping = json.loads(document)
            found[ping["metadata"]["document_namespace"], ping["metadata"]["document_type"]].append(ping)
    return found


@pytest.fixture(scope="module")
def crashes(fleet):
    """Crash pings by measure: forty of each, of all builds, in the order of their arrival."""
    sender = GleanSender(fleet, window_of(NOW), fleet.generator("test"))
    places = np.random.default_rng(1).integers(len(sender.builds), size=400).tolist()
    found = {}
    for measure in TODAY.crash_pings:
        first = [sender._crash(place, measure, 0, NOW.timestamp(), 300.0) for place in places]
        found[measure] = [json.loads(document) for _, document in sorted(first + sender._waiting)]
        sender._waiting.clear()
    return found


def glean(crashes):
    return [ping for of_measure in crashes.values() for ping in of_measure if "metrics" in ping]


def bare(ping):
    return {name: value for name, value in ping.items() if name not in ENVELOPE}


def validators(folder, *names):
    return [
        jsonschema.validators.validator_for(schema)(schema)
        for schema in (json.loads((folder / f"{name}.schema.json").read_text()) for name in names)
    ]


def test_glean_pings_are_valid_by_the_schemas_of_envelope_and_client(pings, crashes, shared_data):
    folder = shared_data / "glean" / "schemas"
    [envelope] = validators(folder, "structured-ingestion.1")
    checked = Tally()
    kinds = {kind: found for kind, found in pings.items() if kind[0] != "telemetry"}
    kinds |= by_kind(json.dumps(ping).encode() for ping in glean(crashes))
    for (namespace, document_type), found in kinds.items():
        of_client = validators(folder, "glean.1", f"generated.{namespace}.{document_type}.1")
        for ping in found:
            reason = (namespace, document_type, ping["ping_info"]["reason"])
            if checked[reason] < 50:
                envelope.validate(ping)
                for each in of_client:
                    each.validate(bare(ping))
                checked[reason] += 1
    assert checked == {
        ("firefox-desktop", "baseline", "active"): 50,
        ("firefox-desktop", "baseline", "inactive"): 50,
        ("firefox-desktop", "baseline", "dirty_startup"): 50,
        ("firefox-crashreporter", "crash", "crash"): 50,
        ("firefox-crashreporter", "crash", "event_found"): 50,
        ("firefox-desktop", "crash", "crash"): 50,
        ("firefox-desktop", "crash", "event_found"): checked["firefox-desktop", "crash", "event_found"],
    }
    assert checked["firefox-desktop", "crash", "event_found"] > 10


@pytest.mark.parametrize("fault", GLEAN_FAULTS, ids=lambda fault: f"{fault.document_type} {fault.reason}")
def test_broken_glean_ping_is_rejected_for_what_is_wrong_with_it(fault, fleet):
    sender = GleanSender(fleet, window_of(NOW), fleet.generator("test"))
    place = sender.faults.index(fault)
    found = sender._draw_broken(np.array([place] * 5), 0, NOW.timestamp(), 2.0)
    assert sender._waiting == [], "no sound ping follows"
    for moment, document in found:
        assert NOW.timestamp() <= moment < NOW.timestamp() + 2
        counter = Counter()
        assert counter.add(document, 0) == fault.reason
        rows = counter.partial_sums().to_pylist()
        assert [row["document_type"] for row in rows if row["table"] == "rejected_pings"] == [fault.document_type]


def test_stream_has_broken_pings_of_all_kinds_and_says_how_many(slow_fleet):
    found, said, kinds = Tally(), Tally(), Tally()
    for batch in islice(batches(slow_fleet, NOW, timedelta(minutes=5)), 8):
        said.update(batch.broken)
        for document in batch.documents:
            reason = reason_of(document)
            if reason not in COUNTED:
                found[reason] += 1
                kinds[b'"ping_info"' in document] += 1
    assert found == said
    assert kinds[True] > 0.3 * kinds[False] > 5


def test_glean_pings_are_sent_at_once_and_main_pings_as_late_as_the_delays_say(pings):
    def waited(ping, ended):
        return (datetime.fromisoformat(ping["submission_timestamp"]) - datetime.fromisoformat(ended)).total_seconds()

    glean_seconds = [waited(each, each["ping_info"]["end_time"]) for each in pings["firefox-desktop", "baseline"]]
    assert 0 <= min(glean_seconds) <= max(glean_seconds) < 1
    sound = filter(is_sound, pings["telemetry", "main"])
    hours = np.array([waited(each, each["creationDate"]) for each in sound]) / 3600
    within = np.cumsum(DELAY_SHARES) / np.sum(DELAY_SHARES)
    for edge, share in zip(DELAY_EDGES_HOURS[1:], within, strict=True):
        if edge <= 24:  # later, pings of builds that are younger come sooner
            assert (hours <= edge).mean() == pytest.approx(share, abs=0.06)


def test_legacy_pings_are_valid_by_the_schemas_of_envelope_and_client(pings, crashes, shared_data):
    of_envelope, of_main, of_crash = validators(shared_data / "schemas", "telemetry-ingestion.1", "main.4", "crash.4")
    legacy = [ping for ping in crashes["main_crashes"] + crashes["content_crashes"] if "metrics" not in ping]
    sound = [ping for ping in pings["telemetry", "main"] if is_sound(ping)]
    assert len(legacy) > 40
    for schema, found in ((of_main, sound[:60]), (of_crash, legacy[:60])):
        for ping in found:
            schema.validate(ping)
            of_envelope.validate(ping)


def is_sound(ping):
    length = ping["payload"]["info"]["subsessionLength"]
    return isinstance(length, int) and length >= 0 and ping["normalized_os"] != "Other"


def shape(ping):
    """The metrics of a ping with their types, the keys of its client, and those of its envelope."""
    metrics = {
        (kind, name, type(value).__name__) for kind, found in ping["metrics"].items() for name, value in found.items()
    }
    return metrics, set(ping["client_info"]), set(ping) | set(ping["metadata"])


def test_glean_pings_have_the_shape_of_real_ones(pings, crashes, shared_data):
    real = defaultdict(list)
    for path in (shared_data / "glean" / "real").glob("firefox-*.json"):
        ping = json.loads(path.read_text())
        real[ping["metadata"]["document_namespace"]].append(shape(ping))
    may_have = (
        {("string_list", "environment.nimbus_enrollments", "list")},
        {"windows_build_number"},
        {"normalized_country_code"},
    )
    reporter = [ping for ping in glean(crashes) if ping["metadata"]["document_namespace"] == "firefox-crashreporter"]
    for namespace, found in (
        ("firefox-crashreporter", reporter),
        ("firefox-desktop", pings["firefox-desktop", "baseline"]),
    ):
        known = [set.union(*(each[part] for each in real[namespace])) for part in range(3)]
        common = [set.intersection(*(each[part] for each in real[namespace])) for part in range(1, 3)]
        for ping in found:
            own = shape(ping)
            for part in range(3):
                assert own[part] - known[part] <= may_have[part]
            assert own[1] >= common[0]
            assert own[2] >= common[1]


def test_crash_reporter_says_only_its_own_version_and_no_channel(crashes):
    for ping in glean(crashes):
        said, client = ping["metrics"]["string"], ping["client_info"]
        if ping["metadata"]["document_namespace"] == "firefox-crashreporter":
            assert client["app_display_version"] == "1.0.0"
            assert "app_channel" not in client
            assert "normalized_channel" not in ping
        else:
            assert ping["normalized_channel"] == client["app_channel"] == said["crash.app_channel"]
        assert not said["crash.app_display_version"].endswith("esr")


def test_main_crash_is_sent_at_once_and_again_after_the_next_start_and_other_crashes_once(crashes):
    for measure, found in crashes.items():
        by_event = defaultdict(list)
        for ping in found:
            if "metrics" in ping:
                by_event[ping["metrics"]["string"]["crash.event_id"]].append(ping)
        assert len(by_event) == 400
        for same in by_event.values():
            reasons = [ping["ping_info"]["reason"] for ping in same]
            assert reasons == (["crash", "event_found"] if measure == "main_crashes" else ["crash"])
            assert len({ping["document_id"] for ping in same}) == len(same)
            assert len({ping["metrics"]["string"].get("crash.minidump_sha256_hash") for ping in same}) == 1
            assert all(ping["metrics"] == same[0]["metrics"] for ping in same)


def test_main_crash_is_sent_again_minutes_to_days_later(crashes):
    times = defaultdict(list)
    for ping in crashes["main_crashes"]:
        if "metrics" in ping:
            event_id = ping["metrics"]["string"]["crash.event_id"]
            times[event_id].append(datetime.fromisoformat(ping["submission_timestamp"]))
    gaps = np.array([(second - first).total_seconds() for first, second in times.values()])
    assert gaps.min() >= 57
    assert (gaps < 3600).mean() == pytest.approx(RESTARTED_AT_ONCE, abs=0.1)
    assert (gaps > 86400).any()
    assert gaps.max() < 11 * 86400


def test_second_ping_of_a_crash_comes_in_its_time():
    bad = Bad("153.0", NOW, "main_crashes", 300.0)
    fleet = Fleet(calendar_of_today(), seed=7, bad=[bad], rate=1.0, era=TODAY)
    first, second = defaultdict(int), defaultdict(int)
    for batch in islice(batches(fleet, NOW, timedelta(minutes=5)), 4):
        for document in batch.documents:
            if b'"event_found"' in document or (b'"crash.process_type":"main"' in document):
                ping = json.loads(document)
                seen = second if ping["ping_info"]["reason"] == "event_found" else first
                event_id = ping["metrics"]["string"]["crash.event_id"]
                assert event_id in first or seen is first
                seen[event_id] += 1
                assert batch.start <= datetime.fromisoformat(ping["submission_timestamp"]) < batch.end
    assert len(second) > 0.3 * len(first) > 10
    assert set(second.values()) == {1}


def test_some_crashes_have_no_dump_and_some_an_empty_one(crashes):
    first = [ping for ping in glean(crashes) if ping["ping_info"]["reason"] == "crash"]
    hashes = [ping["metrics"]["string"].get("crash.minidump_sha256_hash") for ping in first]
    assert hashes.count(None) / len(hashes) == pytest.approx(WITHOUT_DUMP, rel=0.35)
    assert hashes.count(NO_DUMP) / len(hashes) == pytest.approx(EMPTY_DUMP, rel=0.35)
    others = [each for each in hashes if each not in (None, NO_DUMP)]
    assert len(set(others)) == len(others)


def test_crashes_are_of_the_processes_and_kinds_of_their_measures(crashes):
    for measure, found in crashes.items():
        for ping in found:
            if "metrics" in ping:
                said = ping["metrics"]["string"]
                assert said["crash.process_type"] == process_of(measure)
                killed = measure == "content_shutdown_crashes"
                assert said.get("crash.ipc_channel_error") == ("ShutDownKill" if killed else None)
    starts = [ping["metrics"]["boolean"]["crash.startup"] for ping in glean(crashes)]
    of_main = [ping["metrics"]["boolean"]["crash.startup"] for ping in glean({"": crashes["main_crashes"]})]
    assert sum(starts) == sum(of_main) > 0


def sent_by(ping):
    """The major version that crashed, and the namespace and reason of the ping."""
    if "metrics" in ping:
        version, reason = ping["metrics"]["string"]["crash.app_display_version"], ping["ping_info"]["reason"]
    else:
        version, reason = ping["application"]["version"], "legacy"
    return int(version.split(".")[0]), ping["metadata"]["document_namespace"], reason


def test_only_old_versions_send_crash_pings_by_themselves_and_legacy_ones(crashes):
    main, content, gpu = (
        {sent_by(ping) for ping in crashes[f"{process}_crashes"]} for process in ("main", "content", "gpu")
    )
    majors = {major for major, *_ in main}
    assert majors >= {140, 148, 149, 150, 151, 152, 153, 154}
    for major in majors:
        again = "firefox-desktop" if major <= 148 else "firefox-crashreporter"
        legacy = {(major, "telemetry", "legacy")} if major <= 149 else set()
        both = {(major, "firefox-crashreporter", "crash"), (major, again, "event_found")}
        assert {each for each in main if each[0] == major} == both | legacy
        assert {each for each in content if each[0] == major} <= {(major, again, "crash")} | legacy
        assert {each for each in gpu if each[0] == major} <= {(major, again, "crash")}
    assert {each for each in content if each[0] in (148, 150)} == {
        (148, "firefox-desktop", "crash"), (148, "telemetry", "legacy"), (150, "firefox-crashreporter", "crash"),
    }  # fmt: skip


def test_baseline_pings_hold_the_activity_of_the_fleets_use(slow_fleet, pings):
    expected = slow_fleet.expect(window_of(NOW), 1)
    found = pings["firefox-desktop", "baseline"]
    ticks = [ping["metrics"].get("counter", {}).get("browser.engagement.active_ticks") for ping in found]
    assert 0 not in ticks  # A counter of 0 is not sent
    active_hours = sum(filter(None, ticks)) * 5 / 3600
    assert active_hours == pytest.approx(ACTIVE_SHARE * expected.used_hours.sum(), rel=0.08)
    sessions = expected.used_hours.sum() / MEAN_LENGTH_HOURS
    reasons = Tally(ping["ping_info"]["reason"] for ping in found)
    assert reasons["active"] == pytest.approx(1.5 * sessions, rel=0.1)
    assert reasons["inactive"] == pytest.approx(0.5 * sessions, rel=0.1)
    assert reasons["dirty_startup"] == pytest.approx(KILLED_SHARE * sessions, rel=0.3)
    assert {ping["ping_info"]["reason"] for ping in found if "timespan" in ping["metrics"]} == {"inactive"}


def test_main_pings_hold_the_hours_of_the_fleets_use(slow_fleet, pings):
    expected = slow_fleet.expect(window_of(NOW), 1)
    hours = (
        sum(ping["payload"]["info"]["subsessionLength"] for ping in pings["telemetry", "main"] if is_sound(ping)) / 3600
    )
    assert hours == pytest.approx(expected.reported_hours.sum(), rel=0.08)


def test_use_begins_on_an_hour_and_ends_to_the_millisecond(pings):
    ends = set()
    for ping in filter(is_sound, pings["telemetry", "main"]):
        info = ping["payload"]["info"]
        start = datetime.fromisoformat(info["subsessionStartDate"])
        created = datetime.fromisoformat(ping["creationDate"])
        assert (start.minute, start.second, start.microsecond) == (0, 0, 0)
        assert start.utcoffset() == timedelta(minutes=info["timezoneOffset"])
        cut = created - timedelta(seconds=info["subsessionLength"]) - start
        assert timedelta(0) <= cut < timedelta(hours=1)
        ends.add(created.microsecond)
    assert len(ends) > 500


def test_sessions_that_go_on_at_midnight_send_a_ping_then():
    fleet = Fleet(calendar_of_today(), seed=7, rate=3.0, era=TODAY)
    start = datetime(2026, 7, 24, 23, 0, tzinfo=UTC)  # Midnight where clocks are an hour ahead of UTC
    [batch] = islice(batches(fleet, start, timedelta(minutes=5)), 1)
    by_reason = defaultdict(list)
    for ping in filter(is_sound, by_kind(batch.documents)["telemetry", "main"]):
        by_reason[ping["payload"]["info"]["reason"]].append(ping)
    assert set(by_reason) == {"daily", "shutdown"}
    expected = fleet.expect(window_of(start), 1)
    share = expected.midnight_hours.sum() / expected.reported_hours.sum()
    assert len(by_reason["daily"]) / sum(map(len, by_reason.values())) == pytest.approx(share, abs=0.04)
    assert {ping["normalized_country_code"] for ping in by_reason["daily"]} == {"DE", "FR", "PL", "IT", "ES"}
    for ping in by_reason["daily"]:
        assert "2026-07-24T23:00:00" <= ping["creationDate"] < "2026-07-24T23:00:02"
        assert ping["payload"]["info"]["timezoneOffset"] == 60


def test_all_use_is_reported_in_the_end(fleet):
    week = 7 * WINDOWS_A_DAY
    expected = fleet.expect(window_of(NOW), week)
    assert expected.reported_hours.sum() == pytest.approx(expected.used_hours.sum(), rel=0.01)
    assert 0.02 < expected.midnight_hours.sum() / expected.reported_hours.sum() < 0.1
    shares = fleet.delay_shares(expected, np.ones(len(expected.builds), bool))
    np.testing.assert_allclose(shares.sum(axis=0), 1)


@pytest.mark.parametrize("now", [NOW, datetime(2026, 12, 1, 23, 59, tzinfo=UTC), datetime(2031, 7, 1, tzinfo=UTC)])
def test_played_release_is_two_to_nine_days_old(now):
    weeks = weeks_until(now, TODAY)
    age = now - (TODAY.released + timedelta(weeks=weeks))
    assert timedelta(days=2) <= age < timedelta(days=9)
    assert calendar_of_today().shifted(weeks).newest("release", now).version == TODAY.version


@pytest.mark.parametrize("weeks", [0, 19])
def test_official_builds_are_official_by_the_shifted_calendar_and_others_are_not(weeks):
    calendar = calendar_of_today()
    shifted, builds = calendar.shifted(weeks), builds_of(calendar, weeks, TODAY)
    assert len(builds) > 500
    for build in builds:
        assert shifted.is_official(build.display_version, build.channel, build.build_id) == build.is_official, build


def test_same_seed_and_start_give_the_same_pings(fleet):
    again = Fleet(calendar_of_today(), seed=7, era=TODAY)
    other = Fleet(calendar_of_today(), seed=8, era=TODAY)
    first, second, third = (next(batches(each, NOW)).documents for each in (fleet, again, other))
    assert first == second
    assert first != third


@pytest.fixture(scope="module")
def history(fleet, tmp_path_factory):
    """Four days of the fleet."""
    dataset = str(tmp_path_factory.mktemp("history") / "dataset")
    return dataset, write_history(fleet, dataset, NOW, days=4)


def test_history_adds_up_to_what_is_expected(fleet, history):
    dataset, written = history
    day, days = datetime(2026, 7, 23, tzinfo=UTC), 2
    expected = fleet.expect(window_of(day), days * WINDOWS_A_DAY)
    drawn = mc.load(dataset, day, day + timedelta(days=days), every=None, by=["channel", "os_name"])
    assert len(drawn) == 12
    for row in drawn.itertuples():
        of_row = [(b.channel, b.os_name) == (row.channel, row.os_name) for b in expected.builds]
        assert row.usage_hours == pytest.approx(expected.reported_hours[of_row].sum(), rel=0.02)
        for measure in ("main_crashes", "startup_crashes", "content_crashes", "slow_script_notice_count"):
            hours = expected.used_hours if measure in TODAY.crash_measures else expected.reported_hours
            events = (hours * expected.rates(measure))[of_row].sum()
            spread = np.sqrt(events * (1 + events / (days * WINDOWS_A_DAY)))
            assert abs(getattr(row, measure) - events) <= 5 * spread + 3, (row.channel, row.os_name, measure)
    assert mc.load(dataset, every=None)["count"].sum() == written.pings


def test_reporting_delays_hold_the_hours_of_main_pings(history):
    dataset, _ = history
    hours = mc.load(dataset, every=None, by=["channel", "os_name"]).set_index(["channel", "os_name"])["usage_hours"]
    delays = Dataset(dataset).load_delays().groupby(["channel", "os_name"])["usage_hours"].sum()
    assert len(delays) == len(hours) == 12
    for key, of_delays in delays.items():
        assert of_delays == pytest.approx(hours[key], rel=1e-6)


def run(*arguments: object):
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


def test_command_writes_history_and_live_pings_of_today(tmp_path):
    dataset, folder = tmp_path / "dataset", tmp_path / "pings"
    result = run(
        "--fleet", "today", "--history", dataset, "--days", 1, "--live", folder, "--rate", 0, "--pings", 300,
        "--now", "2026-07-25T12:00", "--bad", "153.0", "--bad-os", "Windows_NT", "--no-compress",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    calendar = load_calendar(dataset / "releases.json")
    assert calendar.released("153.0", "release").isoformat() == "2026-07-21"
    versions = set(mc.load(dataset, every=None, by="display_version", official=calendar)["display_version"])
    assert {"153.0", "152.0.4", "140.12.0esr", "153.0esr", "154.0b2"} <= versions
    lines = [line for path in folder.iterdir() for line in path.read_bytes().splitlines()]
    assert set(by_kind(lines)) >= {("firefox-desktop", "baseline"), ("telemetry", "main")}


def test_command_refuses_another_calendar_for_the_fleet_of_today(tmp_path):
    result = run("--fleet", "today", "--history", tmp_path / "d", "--releases", "releases.json")
    assert result.exit_code == 2
    assert "--releases has no effect without --fleet 2017" in result.output


def test_history_counts_no_measure_that_the_dataset_lacks(fleet, history):
    dataset, _ = history
    loaded = mc.load(dataset, every=None)
    for measure in TODAY.crash_measures:
        if measure in contract.MEASURE_NAMES:
            assert loaded[measure].sum() > 0, measure
