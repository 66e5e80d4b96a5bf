"""What the pings of real clients add up to: worked out by hand from the documents."""

import json
import math
from collections import Counter as Tally
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from deltalake import DeltaTable

import missioncontrol_nb as mc
from missioncontrol_nb.dashboard import verdict_words
from missioncontrol_nb.dashboard.judged import Judged
from missioncontrol_nb.loading.dataset import Dataset
from missioncontrol_nb.monitor import ChannelTable, Monitor
from missioncontrol_nb.releases.calendar import Calendar
from missioncontrol_nb.status.collect import Collector
from streaming import contract
from streaming.pings.classify import Ping, decode
from streaming.pings.envelope import Envelope
from streaming.storage.locations import table_url
from tests.other_version import append
from tests.real_pings import android, glean_pings, legacy_pings
from tests.unit.small_dataset import moment

# Main pings of Firefox, baseline pings of Firefox, and crash pings of its crash reporter, by their time of submission.
BY_WINDOW = """
    window  count  main_pings  glean_baseline_pings  glean_crash_pings  usage_seconds             active_seconds
    04:05   4      4           0                     0                  14+5+21+0                 0
    04:10   1      1           0                     0                  20                        0
    04:15   6      3           3                     0                  61+0+113                  5
    04:20   11     5           4                     2                  64+20+0+0+0               0
    04:25   15     6           2                     7                  20+0+0+0+1+84             0
    04:35   4      1           3                     0                  30                        0
"""
CRASHES = {
    "main_crashes": 2,  # one crash, reported at once and at the next start
    **dict.fromkeys(["content_crashes", "content_shutdown_crashes", "gpu_crashes", "gmplugin_crashes"], 1),
    **dict.fromkeys(["rdd_crashes", "socket_crashes", "utility_crashes"], 1),
}
BUILD = ("Firefox", "esr", "153.8.0", "20261117185949", "Linux", "x86-64", "??")
# Five event pings, first-shutdown, new-profile, the crash of a program with glean-sdk.
PASSED_OVER = {"not_counted": 5 + 1 + 1 + 1}
REJECTED = {"version": 1}  # the crash reporter was given nothing to report


@pytest.fixture(scope="module")
def counted(tmp_path_factory: pytest.TempPathFactory, shared_data: Path) -> Path:
    folder = tmp_path_factory.mktemp("real")
    assert all(append(str(folder), "job", [[*legacy_pings(shared_data), *glean_pings(shared_data)]]))
    return folder


def test_all_pings_of_a_build_meet_in_one_row(counted: Path) -> None:
    names = ("application", "channel", "version", "build_id", "os_name", "architecture", "country")
    (row,) = mc.load(counted, every=None, by=["display_version", *names], application="Firefox").to_dict("records")
    assert row["display_version"] == "153.8.0esr", "crash pings say 153.8.0"
    assert tuple(row[name] for name in names) == BUILD
    assert (row["count"], row["usage_hours"], row["active_hours"]) == (20 + 12 + 9, 453 / 3600, 5 / 3600)
    assert {name: row[name] for name in contract.MEASURE_NAMES} == dict.fromkeys(contract.MEASURE_NAMES, 0) | CRASHES


def test_sums_by_window_are_those_found_by_hand(counted: Path) -> None:
    head, *lines = (line.split() for line in BY_WINDOW.strip().splitlines())
    kinds = ["main_pings", "glean_baseline_pings", "glean_crash_pings", "crash_pings", "active_hours"]
    rows = mc.load(counted, every="5min", measures=kinds, application="Firefox").to_dict("records")
    assert len(rows) == len(lines)
    for line, row in zip(lines, rows, strict=True):
        expected = dict(zip(head, line, strict=True))
        assert row["window_start"] == moment(f"2026-11-29T{expected['window']}")
        assert [row[name] for name in head[1:5]] == [int(expected[name]) for name in head[1:5]]
        assert row["usage_hours"] * 3600 == pytest.approx(sum(map(int, expected["usage_seconds"].split("+"))))
        assert row["active_hours"] * 3600 == pytest.approx(int(expected["active_seconds"]))
        assert row["crash_pings"] == 0


def test_usage_was_reported_within_a_quarter_of_an_hour(counted: Path) -> None:
    """Real clients cut the start of their use to the hour: from it, each delay would be up to an hour longer."""
    delays = DeltaTable(table_url(str(counted), contract.REPORTING_DELAYS)).to_pyarrow_table().to_pandas()
    assert delays.groupby("delay_hours")["usage_hours"].sum().to_dict() == pytest.approx({0.25: (453 + 17) / 3600})


def test_what_a_healthy_client_sends_is_passed_over_or_counted(counted: Path) -> None:
    opened = Dataset(counted)
    for rows, expected in ((opened.load_rejected(), REJECTED), (opened.load_passed_over(), PASSED_OVER)):
        assert rows.groupby("reason")["count"].sum().to_dict() == expected
    status = Collector(str(counted)).collect(moment("2026-11-29T05:00"))
    assert (status.last_hour.rejected, status.last_hour.passed_over) == (REJECTED, PASSED_OVER)
    assert status.last_hour.total == 41 + 2 + 1 + 8


def test_thunderbird_of_a_distribution_counts_on_a_channel_of_its_own(counted: Path) -> None:
    """Its main ping is called "Other" in the envelope, and its baseline ping says no more than that it was started."""
    names = ["application", "channel", "version", "display_version", "build_id", "os_name", "architecture"]
    counts = ["main_pings", "glean_baseline_pings", *contract.MEASURE_NAMES]
    (row,) = mc.load(counted, every=None, by=names, application="Thunderbird", measures=counts).to_dict("records")
    build = ("Thunderbird", "default", "153.8.0", "153.8.0esr", "20261120213735", "Linux", "x86-64")
    assert tuple(row[name] for name in names) == build
    assert (row["count"], row["main_pings"], row["glean_baseline_pings"]) == (2, 1, 1)
    assert row["usage_hours"] == 17 / 3600
    by_crash_pings = [name for name in contract.MEASURE_NAMES if name.endswith("_crashes") and name != "plugin_crashes"]
    assert all(math.isnan(row[name]) for name in by_crash_pings), "no crash ping has come"
    assert all(row[name] == 0 for name in contract.MEASURE_NAMES if name not in by_crash_pings)


def test_pages_show_each_product_of_the_samples(counted: Path) -> None:
    versions = {}
    for product in contract.PRODUCTS:
        monitor = Monitor(counted, Calendar(()), product=product.name)
        for channel in monitor.overview().channels:
            (platform,) = channel.platforms
            table = monitor.table(channel.channel, platform.os_name)
            assert isinstance(table, ChannelTable)
            states = {row.measure: row.state for row in table.rows}
            versions[product.name] = (channel.channel, channel.newest.version, states["main_crashes"])
    assert versions == {
        "Firefox": ("esr", "153.8.0esr", "measured"),
        "Thunderbird": ("default", "153.8.0esr", "not_reported"),
    }
    assert {each.name for each in monitor.overview().products} == {"Firefox", "Thunderbird"}


def as_on_a_phone(namespace: str, document_type: str, document_id: str, **metrics: Any) -> dict[str, Any]:
    document = android(document_type, namespace, **metrics) | {"document_id": document_id}
    document["client_info"] |= {"first_run_date": "2026-11-01+00:00", "telemetry_sdk_build": "67.3.2"}
    if "ios" in namespace:
        document["client_info"] |= {"os": "iOS", "os_version": "26.1", "architecture": "arm64"}
    return document


def test_phones_count_by_glean_pings_alone(tmp_path: Path, shared_data: Path) -> None:
    """No real client of these is in the samples: the documents are what the clients' schemas take."""
    used = {"timespan": {"glean.baseline.duration": {"value": 1800, "time_unit": "second"}}}
    of_content = {"string": {"crash.process_type": "content", "crash.application_build_id": "20261117185949"}}
    documents = [
        as_on_a_phone("org-mozilla-firefox", "baseline", "a", **used),
        as_on_a_phone("org-mozilla-firefox-beta", "baseline", "b", **used),
        as_on_a_phone("org-mozilla-fenix", "crash", "c", **of_content),
        as_on_a_phone("org-mozilla-firefox", "crash", "d", **of_content),
        as_on_a_phone("org-mozilla-ios-firefox", "baseline", "e", **used),
    ]
    for document in documents:
        names = ["ping_info", "client_info", "metrics"]
        document["normalized_channel"] = document["client_info"]["app_channel"] = "release"
        for name in ("glean.1", f"generated.org-mozilla-firefox.{document['metadata']['document_type']}.1"):
            schema = json.loads((shared_data / "glean" / "schemas" / f"{name}.schema.json").read_text())
            jsonschema.validators.validator_for(schema)(schema).validate({each: document[each] for each in names})
    assert all(append(str(tmp_path), "job", [[json.dumps(document).encode() for document in documents]]))
    loaded = mc.load(tmp_path, every=None, by=["application", "os_name"]).set_index(["application", "os_name"])
    phone, ios = loaded.loc["Fenix", "Android"], loaded.loc["Firefox iOS", "iOS"]
    sums = [phone[name] for name in ("count", "usage_hours", "content_crashes", "main_crashes")]
    assert sums == [4, 1, 2, 0]
    assert (ios["count"], ios["usage_hours"]) == (1, 0.5)
    assert ios[[*contract.MEASURE_NAMES]].isna().all(), "it sends no crash ping: not 0"
    now = moment("2026-11-29T05:00")
    for name, crashes in (("Fenix", "measured"), ("Firefox iOS", "not_reported")):
        monitor = Monitor(tmp_path, product=name)
        table = monitor.table("release", contract.PACKAGED_PRODUCTS.named(name).os_names[0])
        assert isinstance(table, ChannelTable)
        (row,) = [row for row in table.rows if row.measure == "main_crashes"]
        assert (row.state, row.why) == (crashes, "" if crashes == "measured" else contract.NOT_CARRIED)
        (channel,) = monitor.overview().channels
        headlines = [
            verdict_words.channel_headline(channel, Judged(), now),
            verdict_words.table_headline(table, Judged()),
        ]
        if name == "Firefox iOS":
            place = "153.0b3 on release"
            assert [state for state, *_ in headlines] == ["none", "none"]
            assert headlines[0][1:] == (f"Not reported: main crashes of {place}", contract.NOT_CARRIED)
            assert headlines[1][1] == f"Not reported: main crashes of {place}, iOS"
        else:
            assert [state for state, *_ in headlines] == ["judging", "judging"]


def test_no_sample_is_left_out(shared_data: Path) -> None:
    ids = {json.loads(line)["document_id"] for line in glean_pings(shared_data)}
    for path in (shared_data / "glean" / "real").glob("*.json"):
        assert json.loads(path.read_bytes())["document_id"] in ids


def test_bare_documents_count_the_same_but_for_those_that_do_not_say_their_kind(shared_data: Path) -> None:
    envelope = Envelope()
    bare, whole = [], []
    for name, found in (("bare", bare), ("enveloped", whole)):
        for line in (shared_data / "real" / f"legacy.{name}.jsonl").read_bytes().splitlines():
            ping = decode(line, envelope, 0)
            found.append((ping.dimensions, ping.counts) if isinstance(ping, Ping) else ping.reason)
    assert bare == whole
    glean = [
        decode(line, envelope, 0).reason
        for line in (shared_data / "glean" / "real.bare.jsonl").read_bytes().splitlines()
    ]
    assert Tally(glean) == {"glean_without_envelope": 24}
