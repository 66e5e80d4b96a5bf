"""The release calendar: how versions sort, what is out when, which builds are official."""

import json
import os
import re
import threading
from datetime import UTC, date, datetime, timedelta
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from time import monotonic

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from mozilla_version.gecko import FirefoxVersion

from missioncontrol_nb.commands.releases import command
from missioncontrol_nb.releases import calendar as calendar_module
from missioncontrol_nb.releases import fetching, sources
from missioncontrol_nb.releases import product_details as product_details_module
from missioncontrol_nb.releases.calendar import Calendar, Release
from missioncontrol_nb.releases.sources import load_calendar
from missioncontrol_nb.releases.versions import version_key
from streaming import contract
from streaming.errors import MissionControlError
from streaming.pings.validation import is_version as is_version_of_a_ping

CALENDAR = load_calendar(sources.PACKAGED)
VERSIONS = st.from_regex(
    r"[0-9]{1,4}(\.[0-9]{1,4}){1,3}((a|b|rc)[0-9]{1,3}|esr)?", fullmatch=True, alphabet="0123456789abcers."
)

HISTORY = {
    "firefox_history_major_releases.json": {"55.0": "2017-08-08", "56.0": "2017-09-28"},
    "firefox_history_stability_releases.json": {"56.0.1": "2017-10-09"},
    "firefox_history_development_releases.json": {
        "56.0b12": "2017-09-15",
        "57.0b3": "2017-09-26",
        "57.0b7": "2017-10-10",
    },
    "firefox_versions.json": {
        "LATEST_FIREFOX_VERSION": "56.0.1",
        "FIREFOX_NIGHTLY": "58.0a1",
        "LAST_MERGE_DATE": "2017-09-21",
        "FIREFOX_ESR": "52.4.0esr",
        "FIREFOX_ESR_NEXT": "",
    },
}


@pytest.fixture
def product_details(tmp_path: Path) -> Path:
    """A folder of product-details as it was on 10 October 2017, a few releases of it."""
    folder = tmp_path / "1.0"
    folder.mkdir()
    for name, content in HISTORY.items():
        (folder / name).write_text(json.dumps(content))
    return folder


def day(calendar: Calendar, version: str, channel: str) -> str:
    return str(calendar.released(version, channel))


@pytest.mark.parametrize(
    "ascending",
    [
        "99.0 100.0 100.0.1 101.0",
        "60.0a1 60.0a2 60.0b1 60.0b9 60.0b10 60.0rc1 60.0rc2 60.0 60.0esr 60.0.1 60.0.1esr 60.1.0esr 60.10.0esr 61.0a1",
        "1.5 1.5.0.1 1.5.0.9 1.5.0.10 2.0",
        "3.6 3.6.3 3.6.3.1 3.6.4 4.0rc1 4.0rc2 4.0 4.0.1",
        "52.4.0 52.4.0esr 52.4.1esr",
    ],
)
def test_versions_sort_by_their_numbers_and_stage(ascending: str) -> None:
    versions = ascending.split()
    descending = versions[::-1]
    assert sorted(descending, key=version_key) == versions


@given(VERSIONS, VERSIONS, VERSIONS)
def test_order_of_versions_is_total(a: str, b: str, c: str) -> None:
    key_a, key_b, key_c = version_key(a), version_key(b), version_key(c)
    assert (key_a == key_b) == (a == b)
    assert (key_a < key_b) + (key_b < key_a) + (a == b) == 1
    if key_a <= key_b <= key_c:
        assert key_a <= key_c


@pytest.mark.parametrize("version", ["999.0", "1000.0", "1000.0.1", "1234.0b5", "115.10.0esr", "9999.0a1"])
def test_version_of_four_digits_is_one_to_the_counter_the_calendar_and_mozilla(version: str) -> None:
    assert str(FirefoxVersion.parse(version)) == version
    assert is_version_of_a_ping(version)
    assert Calendar((Release(version, "release", date(2017, 9, 28)),)).releases[0].version == version
    assert version_key("56.0") < version_key(version)


@given(VERSIONS)
def test_whatever_a_ping_may_say_can_be_sorted(version: str) -> None:
    assert is_version_of_a_ping(version)
    assert calendar_module.is_version(version)


def test_order_is_mozillas_own() -> None:
    shipped = sorted({r.version for r in CALENDAR.releases if int(r.version.split(".")[0]) >= 5}, key=version_key)
    parsed = [FirefoxVersion.parse(version) for version in shipped]
    wrong = [(str(a), str(b)) for a, b in pairwise(parsed) if a > b and not (a.is_esr or b.is_esr)]
    assert wrong == []
    assert len(parsed) > 1500


def series_of(version: str) -> tuple[int, ...]:
    """What comes out one after the other: a major version; before 5.0, each of 3.5 and 3.6."""
    numbers = version_key(version)[0]
    return numbers[:1] if numbers[0] >= 5 else numbers[:2]


def test_order_of_versions_agrees_with_dates_within_a_series() -> None:
    """But for one slip of product-details in twenty years: 45.0b7 stands a day after 45.0b8."""
    series: dict[tuple[str, tuple[int, ...]], list[Release]] = {}
    for release in CALENDAR.releases:
        series.setdefault((release.channel, series_of(release.version)), []).append(release)
    slips = []
    for listed in series.values():
        by_version = sorted(listed, key=lambda release: version_key(release.version))
        slips += [(a.version, b.version) for a, b in pairwise(by_version) if a.date > b.date]
    assert slips == [("45.0b7", "45.0b8")]


@pytest.mark.parametrize(
    "text", ["", "56", "56.", "v56.0", "56.0b", "56.0c1", "56.0 ", "56.0\n", "٥٦.0", "56.0<b>", "1.2.3.4.5"]
)
def test_what_is_no_version_is_refused(text: str) -> None:
    assert not calendar_module.is_version(text)
    with pytest.raises(MissionControlError, match=re.escape(repr(text))):
        version_key(text)


@pytest.mark.parametrize(
    ("channel", "newest", "previous"),
    [
        ("release", "56.0", "55.0.3"),
        ("beta", "57.0b6", "57.0b5"),
        ("nightly", "58.0a1", "57.0a1"),
        ("esr", "52.4.0esr", "52.3.0esr"),
    ],
)
def test_newest_and_previous_in_october_2017(channel: str, newest: str, previous: str) -> None:
    found = CALENDAR.newest(channel, datetime(2017, 10, 7, 12, tzinfo=UTC))
    assert found is not None
    assert found.version == newest
    before = CALENDAR.previous(newest, channel)
    assert before is not None
    assert before.version == previous


def test_release_is_out_from_the_first_moment_of_its_day() -> None:
    newest = [CALENDAR.newest("release", at) for at in (datetime(2017, 9, 27, 23, 59), date(2017, 9, 28))]
    assert [release and release.version for release in newest] == ["55.0.3", "56.0"]
    eastern = datetime.fromisoformat("2017-09-28T01:00+02:00")
    assert CALENDAR.newest("release", eastern).version == "55.0.3"


def test_previous_of_a_release_is_none_that_came_later() -> None:
    assert CALENDAR.previous("60.0esr", "esr").version == "52.8.0esr"  # 52.9.0esr came after it
    assert CALENDAR.previous("1.0", "release") is None
    assert CALENDAR.previous("200.0", "release").version == CALENDAR.newest("release").version


def test_unknown_channel_names_the_near_one() -> None:
    with pytest.raises(MissionControlError, match="nightly"):
        CALENDAR.on("nightli")


def test_nightly_is_on_the_calendar_from_the_day_its_cycle_begins() -> None:
    assert day(CALENDAR, "55.0a1", "nightly") == "2017-03-08"  # with 53.0b1: aurora lay between them
    assert day(CALENDAR, "54.0a2", "aurora") == "2017-03-08"
    assert CALENDAR.released("55.0a2", "aurora") is None  # aurora ended with 54
    assert day(CALENDAR, "56.0a1", "nightly") == "2017-06-14"  # with 55.0b1
    assert day(CALENDAR, "128.0a1", "nightly") == "2024-05-13"  # product-details' own day


@pytest.mark.parametrize(
    ("version", "on_release", "on_esr"),
    [
        ("52.0.2", "2017-03-29", "2017-03-29"),  # both
        ("52.1.0", "None", "2017-04-19"),
        ("17.0.1", "2012-11-30", "2012-11-30"),
        ("17.0.2", "None", "2013-01-08"),  # of the day of 18.0
        ("50.1.0", "2016-12-13", "None"),
        ("33.1.1", "2014-11-14", "None"),
        ("38.0.5", "2015-06-02", "2015-06-02"),
        ("56.0.1", "2017-10-09", "None"),
    ],
)
def test_final_versions_are_told_apart_by_channel(version: str, on_release: str, on_esr: str) -> None:
    assert day(CALENDAR, version, "release") == on_release
    assert day(CALENDAR, version, "esr") == on_esr


@pytest.mark.parametrize(
    ("version", "channel", "build_id", "is_official", "why"),
    [
        ("56.0", "release", "20170926190823", True, "Mozilla's own"),
        ("56.0", "release", "20170928040000", True, "built on the very day"),
        ("56.0", "release", "20171005120000", False, "a distribution's rebuild, a week later"),
        ("56.0", "release", "20170801000000", False, "long before"),
        ("50.0", "release", "20161104212021", True, "11 days before: the longest"),
        ("56.0", "beta", "20170918210324", True, "a release candidate"),
        ("56.0", "beta", "20171005120000", False, "a rebuild that says beta"),
        ("55.0", "beta", "20170626165718", True, "a client that does not say 55.0b5"),
        ("56.0", "esr", "20170926190823", False, "56 has no esr"),
        ("56.0", "nightly", "20170926190823", False, "no nightly's form"),
        ("56.0b12", "release", "20170914024831", False, "a beta says release"),
        ("56.0b12", "beta", "20170914024831", True, ""),
        ("52.4.0esr", "esr", "20170922200134", True, ""),
        ("52.4.0", "esr", "20170922200134", True, "a display version without suffix"),
        ("52.4.0esr", "esr", "20171010000000", False, ""),
        ("56.0.1", "release", "20171002220106", True, "a dot release"),
        ("58.0a1", "nightly", "20170922100141", True, "the first day after the merge"),
        ("58.0a1", "nightly", "20171007100142", True, "in mid cycle"),
        ("58.0a1", "nightly", "20180301100000", False, "long after its cycle"),
        ("57.0b6", "aurora", "20171005195903", True, "Developer Edition has the betas"),
        ("54.0a2", "aurora", "20170401004002", True, "aurora's own"),
        ("56.0", "release", "2017", False, "no build id"),
        ("56.0", "release", "20171399000000", False, "no date"),
        ("<b>", "release", "20170926190823", False, "no version"),
        ("56.0", "default", "20170926190823", False, "no channel"),
    ],
)
def test_official_builds(version: str, channel: str, build_id: str, is_official: bool, why: str) -> None:
    assert CALENDAR.is_official(version, channel, build_id) is is_official, why


def test_calendar_that_is_a_week_late_does_not_hide_the_newest_release(product_details: Path) -> None:
    late = load_calendar(product_details)
    assert late.newest_date == date(2017, 10, 10)
    assert late.is_official("56.0.2", "release", "20171016000000")
    assert late.is_official("57.0b8", "beta", "20171012000000")
    assert late.is_official("57.0", "beta", "20171017000000")
    assert not late.is_official("56.0.2", "release", "20171018000000")  # more than a week after the calendar's end
    assert not late.is_official("55.0.4", "release", "20171012000000")  # below the newest: it would be listed
    assert not late.is_official("56.0.2", "release", "20171001000000")  # built before the newest went out
    assert not late.is_official("99.0", "release", "20171012000000")  # no next version
    assert not late.is_official("57.0b8", "release", "20171012000000")  # not of the channel's form


def test_real_builds_of_june_2017_are_official_and_late_rebuilds_are_not(shared_data: Path) -> None:
    import pandas as pd

    rows = pd.read_parquet(shared_data / "error_aggregates_2017-06-29_sample.parquet")
    builds = rows[["version", "channel", "build_id", "os_name"]].drop_duplicates()
    official = [
        CALENDAR.is_official(v, c, b) for v, c, b in builds[["version", "channel", "build_id"]].itertuples(index=False)
    ]
    unofficial = builds[[not is_official for is_official in official]]
    assert set(unofficial["os_name"]) == {"Linux"}
    assert set(unofficial["build_id"]) == {"20170520072017", "20160610120335"}


def test_shifted_calendar_is_the_same_some_weeks_later() -> None:
    shifted = CALENDAR.shifted(474)
    assert day(shifted, "56.0", "release") == str(date(2017, 9, 28) + timedelta(weeks=474))
    assert [r.version for r in shifted.on("release")] == [r.version for r in CALENDAR.on("release")]
    assert shifted.is_official("56.0", "release", f"{date(2017, 9, 26) + timedelta(weeks=474):%Y%m%d}190823")
    assert not shifted.is_official("56.0", "release", "20170926190823")


def test_saved_calendar_comes_back_whole(tmp_path: Path) -> None:
    CALENDAR.shifted(3).save(tmp_path / "folder" / "saved.json")
    assert load_calendar(tmp_path / "folder" / "saved.json") == CALENDAR.shifted(3)
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["saved.json"]


def test_packaged_snapshot_is_what_update_makes_of_product_details(shared_data: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(
        command, ["update", "--from", str(shared_data / "releases"), "--to", str(tmp_path / "new.json")]
    )
    assert result.exit_code == 0, result.output
    assert "releases up to 2024-05-31" in result.output
    assert (tmp_path / "new.json").read_bytes() == sources.PACKAGED.read_bytes()


def test_calendar_reads_one_history_and_firefox_json(product_details: Path, tmp_path: Path) -> None:
    majors = load_calendar(product_details / "firefox_history_major_releases.json")
    assert [release.version for release in majors.on("release")] == ["56.0", "55.0"]
    entries = {
        "firefox-56.0": {"version": "56.0", "date": "2017-09-28", "category": "major"},
        "firefox-52.4.0esr": {"version": "52.4.0esr", "date": "2017-09-28", "category": "esr"},
        "firefox-0.10rc": {"version": "0.10rc", "date": "2004-09-13", "category": "dev"},
    }
    whole = tmp_path / "firefox.json"
    whole.write_text(json.dumps({"releases": entries}))
    assert {(r.version, r.channel) for r in load_calendar(whole).releases} == {
        ("56.0", "release"),
        ("52.4.0esr", "esr"),
    }


def test_calendar_comes_over_http(product_details: Path) -> None:
    class Quiet(SimpleHTTPRequestHandler):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments, directory=str(product_details.parent))

        def log_message(self, *arguments: object) -> None:
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            base = f"http://127.0.0.1:{server.server_port}/1.0"
            assert load_calendar(base) == load_calendar(product_details)
            assert load_calendar(f"{base}/").newest("nightly").date == date(2017, 9, 21)
            with pytest.raises(MissionControlError, match="File not found"):
                load_calendar(f"http://127.0.0.1:{server.server_port}/2.0")
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("[]", "JSON object"),
        ("{", "not JSON"),
        ('{"56.0": "soon"}', "dates like"),
        ('{"56.0": 5}', "dates like"),
        ('{"releases": [["56.0", "release"]]}', "version, channel, date"),
        ('{"releases": [["56.0", "default", "2017-09-28"]]}', "version, channel, date"),
        ("{}", "holds no releases"),
    ],
)
def test_what_is_no_calendar_is_said_to_be_none(tmp_path: Path, content: str, says: str) -> None:
    path = tmp_path / "calendar.json"
    path.write_text(content)
    with pytest.raises(MissionControlError, match=says):
        load_calendar(path)


def test_snapshot_of_the_user_is_used_when_it_is_newer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / "own.json"
    monkeypatch.setattr(sources, "user_snapshot", lambda: own)
    assert load_calendar() == CALENDAR
    CALENDAR.shifted(-1).save(own)
    assert load_calendar() == CALENDAR
    CALENDAR.shifted(1).save(own)
    assert load_calendar() == CALENDAR.shifted(1)


def test_update_leaves_the_old_snapshot_when_it_fails(tmp_path: Path) -> None:
    target = tmp_path / "snapshot.json"
    target.write_text("old")
    result = CliRunner().invoke(command, ["update", "--from", str(tmp_path / "nowhere"), "--to", str(target)])
    assert isinstance(result.exception, MissionControlError)
    assert target.read_text() == "old"


def test_show_lists_what_was_out() -> None:
    result = CliRunner().invoke(command, ["show", "--channel", "beta", "--at", "2017-10-07", "--last", "2"])
    assert result.output.split() == ["beta", "57.0b6", "2017-10-06", "beta", "57.0b5", "2017-10-03"]


def test_every_channel_has_releases() -> None:
    assert all(CALENDAR.on(channel) for channel in contract.FIREFOX.channel_names)


def update(source: Path | str, target: Path, *options: str) -> tuple[int, str]:
    result = CliRunner().invoke(command, ["update", "--from", str(source), "--to", str(target), *options])
    return result.exit_code, str(result.exception)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("firefox_history_major_releases.json", {}, "expected versions and their dates in .*major_releases"),
        ("firefox_history_major_releases.json", {"soon": "2017-09-28"}, "expected versions and their dates"),
        ("firefox_history_stability_releases.json", [], "expected versions and their dates in .*stability"),
        ("firefox_history_stability_releases.json", {"56.0.1": "9999-12-31"}, "expected a year from 1990 to 2299"),
        ("firefox_history_development_releases.json", {"57.0b7": 20171010}, "dates like"),
        ("firefox_history_development_releases.json", {"57.0b7": "2199-01-01", "57.0b3": "2017-09-26"}, "future"),
        ("firefox_versions.json", {}, "a version as LATEST_FIREFOX_VERSION .*; got None"),
        ("firefox_versions.json", HISTORY["firefox_versions.json"] | {"FIREFOX_NIGHTLY": 58}, "NIGHTLY .*; got 58"),
        ("firefox_versions.json", HISTORY["firefox_versions.json"] | {"FIREFOX_ESR": ["52"]}, "FIREFOX_ESR .*; got"),
        ("firefox_versions.json", HISTORY["firefox_versions.json"] | {"LAST_MERGE_DATE": "2023-13-45"}, "2023-13-45"),
        ("firefox_versions.json", HISTORY["firefox_versions.json"] | {"LAST_MERGE_DATE": 5}, "LAST_MERGE_DATE .*got 5"),
        *(
            ("firefox_versions.json", HISTORY["firefox_versions.json"] | {"FIREFOX_NIGHTLY": nightly}, says)
            for nightly, says in {
                "58.0": "a version like 58.0a1 as FIREFOX_NIGHTLY .*; got '58.0'",
                "58.0a2": "a version like 58.0a1 as FIREFOX_NIGHTLY",
                "58.0b1": "a version like 58.0a1 as FIREFOX_NIGHTLY",
                "58.0.1a1": "a version like 58.0a1 as FIREFOX_NIGHTLY",
                "9999.0a1": "from 57.0a1 to 59.0a1 as FIREFOX_NIGHTLY .* newest release is of 56; got '9999.0a1'",
                "60.0a1": "from 57.0a1 to 59.0a1 as FIREFOX_NIGHTLY",
                "56.0a1": "from 57.0a1 to 59.0a1 as FIREFOX_NIGHTLY",
            }.items()
        ),
        *(
            ("firefox_versions.json", HISTORY["firefox_versions.json"] | changed, says)
            for changed, says in [
                (
                    {"LAST_MERGE_DATE": "2016-10-21"},
                    "within 3 weeks of 2017-09-26, .* as LAST_MERGE_DATE .* 58.0a1 beg",
                ),
                ({"LAST_MERGE_DATE": "2017-08-08"}, "within 3 weeks of 2017-09-26"),  # the merge before
                ({"LAST_MERGE_DATE": "2017-11-20"}, "within 3 weeks of 2017-09-26"),
                *(
                    ({"FIREFOX_NIGHTLY": "59.0a1", "LAST_MERGE_DATE": day}, "a day after 2017-09-28, when the first 57")
                    for day in ("2017-09-21", "2017-09-28")
                ),
            ]
        ),
        ("firefox_versions.json", "[" * 200_000, "nested too deeply"),
        ("firefox_versions.json", '{"a":' * 200_000, "nested too deeply"),
        ("firefox_versions.json", " " * (21 << 20), "more than 20 MB"),
    ],
)
def test_update_refuses_what_is_no_whole_calendar_and_leaves_the_present_one(
    product_details: Path, tmp_path: Path, name: str, content: object, says: str
) -> None:
    target = tmp_path / "snapshot.json"
    assert update(product_details, target)[0] == 0
    before = target.read_bytes()
    (product_details / name).write_text(content if isinstance(content, str) else json.dumps(content))
    code, said = update(product_details, target)
    assert code == 1
    assert re.search(says, said), said
    assert target.read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {"1.0", "snapshot.json"}


def test_nightly_of_every_week_since_2011_is_taken(shared_data: Path) -> None:
    """A merge is up to five days before the first beta or the release that it made (58.0a1), and told late at times."""
    names = product_details_module.HISTORIES
    told = {name: json.loads((shared_data / "releases" / name).read_text()) for name in names}
    nightlies = sorted(CALENDAR.on("nightly"), key=lambda release: release.date)
    checked = 0
    for nightly, follows in zip(nightlies, [*nightlies[1:], None], strict=True):
        if nightly.date < date(2011, 7, 1):
            continue
        merged, ends = nightly.date - timedelta(days=5), follows.date if follows else date(2024, 5, 31)
        for days in range(0, (ends - merged).days + 2, 7):
            day = str(merged + timedelta(days=days))
            known = {name: {v: on for v, on in history.items() if on <= day} for name, history in told.items()}
            versions = {"LATEST_FIREFOX_VERSION": "56.0", "FIREFOX_NIGHTLY": nightly.version}
            versions["LAST_MERGE_DATE"] = str(merged)
            product_details_module.check_product_details("", known | {"firefox_versions.json": versions})
            checked += 1
    assert checked > 650


def test_versions_alone_are_checked_too(tmp_path: Path) -> None:
    path = tmp_path / "firefox_versions.json"
    for changed in ({"FIREFOX_NIGHTLY": 58}, {"FIREFOX_NIGHTLY": "58.0"}, {"LAST_MERGE_DATE": "soon"}):
        path.write_text(json.dumps(HISTORY["firefox_versions.json"] | changed))
        with pytest.raises(MissionControlError, match=f"as {next(iter(changed))} in firefox_versions.json; got"):
            load_calendar(path)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("x" * 300, "File name too long"),
        ("file/releases.json", "cannot be written to"),
        ("folder", "which is a folder"),
    ],
)
def test_place_of_a_calendar_that_cannot_be_written_is_told_before_and_after(
    name: str, says: str, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    for write in (calendar_module.require_writable, CALENDAR.save):
        with pytest.raises(MissionControlError, match=says):
            write(tmp_path / name)
    calendar_module.require_writable(tmp_path / "new" / "folder" / "releases.json")
    assert {path.name for path in tmp_path.iterdir()} == {"file", "folder"}


def test_calendar_may_have_the_longest_name_that_a_file_can_have(tmp_path: Path) -> None:
    path = tmp_path / ("ü" * 125 + ".json")
    CALENDAR.save(path)
    assert load_calendar(path) == CALENDAR
    assert list(tmp_path.iterdir()) == [path]


def test_update_adds_what_is_new_and_keeps_what_the_source_lacks(product_details: Path, tmp_path: Path) -> None:
    target = tmp_path / "snapshot.json"
    new = load_calendar(product_details)
    there = {
        Release("54.0", "release", date(2017, 6, 13)),  # the source lacks it
        Release("56.0", "release", date(2017, 9, 1)),  # the source has another day
        Release("144.0", "release", date(2026, 11, 3)),
    }
    Calendar(tuple(there)).save(target)
    assert update(product_details, target)[0] == 0
    merged = load_calendar(target)
    kept = {each for each in there if each.version != "56.0"}
    assert (set(merged.releases), len(merged.releases)) == ({*new.releases, *kept}, len(new.releases) + 2)
    assert merged.released("56.0", "release") == date(2017, 9, 28)
    assert merged.newest_date == date(2026, 11, 3)
    once = target.read_bytes()
    assert update(product_details, target)[0] == 0
    assert target.read_bytes() == once


def test_update_without_a_place_adds_to_the_calendar_in_use(
    product_details: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The package is not writable: the snapshot of the user's folder gets the releases of the packaged one too."""
    own = tmp_path / "own" / "releases.json"
    monkeypatch.setattr(sources, "user_snapshot", lambda: own)
    monkeypatch.setattr(sources, "snapshot_to_refresh", lambda: own)
    new = tmp_path / "new.json"
    Calendar((Release("153.0", "release", date(2026, 7, 21)),)).save(new)
    result = CliRunner().invoke(command, ["update", "--from", str(new)])
    assert result.exit_code == 0, result.output
    assert load_calendar().newest("release").version == "153.0"
    assert len(load_calendar().releases) == len(load_calendar(sources.PACKAGED).releases) + 1


def test_update_may_be_told_to_replace_whatever_is_there(product_details: Path, tmp_path: Path) -> None:
    target = tmp_path / "snapshot.json"
    target.write_text("no calendar")
    assert "--replace" in update(product_details, target)[1]
    assert target.read_text() == "no calendar"
    for there in ("no calendar", CALENDAR):
        target.write_text(there) if isinstance(there, str) else there.save(target)
        assert update(product_details, target, "--replace")[0] == 0
        assert load_calendar(target) == load_calendar(product_details)


class Server(ThreadingHTTPServer):
    """A server of one kind of misbehaviour, by the first word of the path."""

    class Answers(SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            kind = self.path.split("/")[1]
            if kind == "elsewhere":
                self.send_response(302)
                self.send_header("Location", f"http://localhost:{self.server.server_port}/1.0/")
                self.end_headers()
                return
            try:
                self.wfile.write(b"HTTP/1.0 200 OK\r\n" + (b"\r\n" if kind == "endless" else b""))
                while not self.server.is_over.wait(0.05 if kind == "drips" else 0):
                    self.wfile.write(b"X-A: b\r\n" if kind == "drips" else b" " * (1 << 20))
            except OSError:
                return

        def log_message(self, *arguments: object) -> None:
            """Says nothing."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), self.Answers)
        self.is_over = threading.Event()


@pytest.mark.parametrize(
    ("kind", "says"),
    [("endless", "more than 1 MB"), ("drips", "was not there after 1 s"), ("elsewhere", "redirects to another host")],
)
def test_server_that_does_not_end_or_points_elsewhere_is_left(
    kind: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "MAX_BYTES", 1 << 20)
    monkeypatch.setattr(fetching, "MAX_SECONDS", 1.0)
    if kind != "drips":
        monkeypatch.setattr(fetching, "MAX_SECONDS", 60.0)
    monkeypatch.setattr(
        sources, "Budget", lambda: fetching.Budget(fetching.MAX_BYTES, monotonic() + fetching.MAX_SECONDS)
    )
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            code, said = update(f"http://127.0.0.1:{server.server_port}/{kind}", tmp_path / "new.json")
            assert (code, says in said) == (1, True), said
            assert not (tmp_path / "new.json").exists()
        finally:
            server.is_over.set()
            server.shutdown()
            thread.join()


def test_calendar_is_not_read_from_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "releases.json")
    with pytest.raises(MissionControlError, match="not a regular file"):
        load_calendar(tmp_path / "releases.json")
