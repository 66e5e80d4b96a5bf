"""What the pings of real clients add up to: worked out by hand from the documents."""

import json
from collections import Counter as Tally
from pathlib import Path

import pytest
from deltalake import DeltaTable

import missioncontrol_nb as mc
from missioncontrol_nb.loading.dataset import Dataset
from missioncontrol_nb.status.collect import Collector
from streaming import contract
from streaming.pings.classify import Ping, decode
from streaming.pings.envelope import Envelope
from streaming.storage.locations import table_url
from tests.other_version import append
from tests.real_pings import glean_pings, legacy_pings
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
# Five event pings, first-shutdown, new-profile, Thunderbird's baseline, the crash of a program with glean-sdk.
PASSED_OVER = {"not_counted": 5 + 1 + 1 + 1 + 1, "other_product": 1}
REJECTED = {"version": 1}  # the crash reporter was given nothing to report


@pytest.fixture(scope="module")
def counted(tmp_path_factory: pytest.TempPathFactory, shared_data: Path) -> Path:
    folder = tmp_path_factory.mktemp("real")
    assert all(append(str(folder), "job", [[*legacy_pings(shared_data), *glean_pings(shared_data)]]))
    return folder


def test_all_pings_of_a_build_meet_in_one_row(counted: Path) -> None:
    names = ("application", "channel", "version", "build_id", "os_name", "architecture", "country")
    (row,) = mc.load(counted, every=None, by=["display_version", *names]).to_dict("records")
    assert row["display_version"] == "153.8.0esr", "crash pings say 153.8.0"
    assert tuple(row[name] for name in names) == BUILD
    assert (row["count"], row["usage_hours"], row["active_hours"]) == (20 + 12 + 9, 453 / 3600, 5 / 3600)
    assert {name: row[name] for name in contract.MEASURE_NAMES} == dict.fromkeys(contract.MEASURE_NAMES, 0) | CRASHES


def test_sums_by_window_are_those_found_by_hand(counted: Path) -> None:
    head, *lines = (line.split() for line in BY_WINDOW.strip().splitlines())
    kinds = ["main_pings", "glean_baseline_pings", "glean_crash_pings", "crash_pings", "active_hours"]
    rows = mc.load(counted, every="5min", measures=kinds).to_dict("records")
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
    assert delays.groupby("delay_hours")["usage_hours"].sum().to_dict() == pytest.approx({0.25: 453 / 3600})


def test_what_a_healthy_client_sends_is_passed_over_or_counted(counted: Path) -> None:
    opened = Dataset(counted)
    for rows, expected in ((opened.load_rejected(), REJECTED), (opened.load_passed_over(), PASSED_OVER)):
        assert rows.groupby("reason")["count"].sum().to_dict() == expected
    status = Collector(str(counted)).collect(moment("2026-11-29T05:00"))
    assert (status.last_hour.rejected, status.last_hour.passed_over) == (REJECTED, PASSED_OVER)
    assert status.last_hour.total == 41 + 1 + 10


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
