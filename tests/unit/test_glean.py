"""What Glean pings count as: programs, builds, processes, usage; and where they stand in for other pings."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import missioncontrol_nb as mc
from missioncontrol_nb.loading.dataset import Dataset
from missioncontrol_nb.monitor import Monitor
from missioncontrol_nb.releases.calendar import Calendar, Release
from streaming import contract
from streaming.contract.products.product_file import as_document, product_of
from streaming.pings.classify import Classifier, Ping, Rejected
from streaming.pings.decode import decode_document
from streaming.pings.envelope import Envelope
from streaming.pings.kinds import KINDS, kind_named
from tests.other_version import append
from tests.real_pings import android, crash, glean

BUILD_ID = "20261117185949"
CLASSIFIER = Classifier(Envelope())


def read(document: dict[str, Any], classifier: Classifier = CLASSIFIER) -> Ping | Rejected:
    text = json.dumps(document).encode()
    return classifier.classify(decode_document(text), text, 0)


def accepted(document: dict[str, Any], classifier: Classifier = CLASSIFIER) -> Ping:
    ping = read(document, classifier)
    assert isinstance(ping, Ping), ping
    return ping


def reason(document: dict[str, Any]) -> str:
    ping = read(document)
    assert isinstance(ping, Rejected), ping
    return ping.reason


def events(ping: Ping) -> dict[str, int]:
    return {contract.MEASURE_NAMES[place]: count for place, count in ping.counts.events}


def said(ping: Ping, *names: str) -> tuple[str, ...]:
    return tuple(ping.dimensions[contract.DIMENSION_NAMES.index(name)] for name in names)


# ---------- kinds ----------
@pytest.mark.parametrize(
    ("namespace", "document_type", "kind"),
    [
        ("firefox-desktop", "crash", "glean/crash"),
        ("firefox-crashreporter", "crash", "glean/crash"),
        ("org-mozilla-firefox", "crash", "glean/crash"),
        ("org-mozilla-firefox-beta", "crash", "glean/crash"),
        ("org-mozilla-fenix", "crash", "glean/crash"),
        ("telemetry", "crash", "telemetry/crash"),
        ("firefox-desktop", "baseline", "glean/baseline"),
        ("org-mozilla-focus", "baseline", "glean/baseline"),
        ("org-mozilla-ios-firefox", "baseline", "glean/baseline"),
        ("firefox-crashreporter", "baseline", None),
        ("firefox-desktop-background-update", "baseline", None),
        ("firefox-desktop-background-tasks", "crash", None),
        ("org-mozilla-ios-firefox", "crash", None),
        ("my-product", "crash", None),
        ("firefox-desktop", "main", None),
        ("telemetry", "first-shutdown", None),
        ("glean", "crash", None),
    ],
)
def test_kind_is_told_by_namespace_and_type(namespace: str, document_type: str, kind: str | None) -> None:
    found = kind_named(namespace, document_type)
    assert (found and found.id) == kind
    if kind is None:
        assert reason(glean(namespace, document_type)) == "not_counted"


def test_no_document_is_of_two_kinds() -> None:
    for kind in KINDS:
        for namespace in kind.namespaces or (kind.namespace,):
            of_it = [each.id for each in KINDS if each.is_of(namespace.replace("*", "x"), kind.document_type)]
            assert of_it == [kind.id]


# ---------- crashes ----------
@pytest.mark.parametrize(
    ("texts", "startup", "counted"),
    [
        ({}, None, {"main_crashes": 1}),
        ({}, False, {"main_crashes": 1}),
        ({}, True, {"main_crashes": 1, "startup_crashes": 1}),
        ({"process_type": "content"}, True, {"content_crashes": 1}),
        ({"process_type": "content", "ipc_channel_error": "x"}, None, {"content_crashes": 1}),
        ({"process_type": "content", "ipc_channel_error": "ShutDownKill"}, None, {"content_shutdown_crashes": 1}),
        ({"ipc_channel_error": "ShutDownKill"}, None, {"main_crashes": 1}),
        *(
            ({"process_type": name}, None, {f"{name}_crashes": 1})
            for name in ("gpu", "gmplugin", "rdd", "socket", "utility", "vr", "forkserver")
        ),
        ({"process_type": "extension"}, None, "process_type"),
        ({"process_type": ""}, None, "process_type"),
        ({"background_task_name": "backgroundupdate"}, None, "background_task"),
        ({"process_type": "content", "background_task_name": "x"}, None, "background_task"),
    ],
)
def test_crash_counts_by_its_process(
    texts: dict[str, str], startup: bool | None, counted: dict[str, int] | str
) -> None:
    document = crash(**{"version": "153.0", **texts})
    if startup is not None:
        document["metrics"]["boolean"] = {"crash.startup": startup}
    ping = read(document)
    assert (ping.reason if isinstance(ping, Rejected) else events(ping)) == counted


def test_program_that_crashed_is_not_the_reporter() -> None:
    names = (
        "application",
        "channel",
        "version",
        "display_version",
        "build_id",
        "os_name",
        "os_version",
        "architecture",
    )
    expected = ("Firefox", "beta", "153.0", "153.0", BUILD_ID, "Windows_NT", "10.0", "x86-64")
    assert said(accepted(crash()), *names) == expected
    without = crash(app_display_version="")
    assert reason(without) == "version", "1.0.0 is the reporter's"
    assert reason(crash(app_channel="")) == "channel"
    own = crash("firefox-desktop", app_display_version="", app_channel="", app_build="")
    assert said(accepted(own), "version", "display_version", "channel") == ("153.0", "153.0b3", "beta")


def test_system_of_a_crash_is_named_as_main_pings_name_it() -> None:
    document = crash(os_version="6.18.44 #1 SMP")
    assert said(accepted(document), "os_name", "os_version") == ("Windows_NT", "10.0")
    document["client_info"] |= {"os": "Linux", "os_version": "6.18"}
    assert said(accepted(document), "os_name", "os_version") == ("Linux", "6.18")
    assert said(accepted(crash() | {"client_info": document["client_info"]}), "os_version") == ("6.18",)


@pytest.mark.parametrize(
    ("namespace", "shown", "version"),
    [("org-mozilla-firefox", "153.0.1", "153.0.1"), ("org-mozilla-fenix", "153.0a1", "153.0a1"),
     ("org-mozilla-firefox-beta", "153.0b3", "153.0")],
)  # fmt: skip
def test_android_says_the_program_in_its_own_pings(namespace: str, shown: str, version: str) -> None:
    document = android(
        "crash", namespace, string={"crash.process_type": "content", "crash.application_build_id": BUILD_ID}
    )
    document["client_info"]["app_display_version"] = shown
    ping = accepted(document)
    names = ("application", "version", "display_version", "build_id", "os_name", "architecture")
    assert said(ping, *names) == ("Fenix", version, shown, BUILD_ID, "Android", "arm64-v8a")
    assert events(ping) == {"content_crashes": 1}
    assert (
        reason(document | {"client_info": document["client_info"] | {"app_display_version": "x"}}) == "display_version"
    )


@pytest.mark.parametrize(
    ("normalized", "own", "channel"),
    [("beta", "", "beta"), ("Other", "beta-cck-partner", "beta"), (None, "nightly-cck-partner", "nightly"),
     ("Other", "nightly", "nightly"), ("release", "x", "release")],
)  # fmt: skip
def test_channel_that_the_pipeline_does_not_know_is_the_documents(normalized: str, own: str, channel: str) -> None:
    document = glean("firefox-desktop", "baseline") | {"normalized_channel": normalized}
    document["client_info"]["app_channel"] = own
    if normalized is None:
        del document["normalized_channel"]
    assert said(accepted(document), "channel") == (channel,)


def test_country_that_the_pipeline_does_not_know_is_that_of_the_place() -> None:
    document = glean("firefox-desktop", "baseline") | {"normalized_country_code": "Other"}
    assert said(accepted(document), "country") == ("??",)
    document["metadata"]["geo"] = {"country": "FR"}
    assert said(accepted(document), "country") == ("FR",)


def test_experiments_are_those_of_the_ping_and_of_the_crash() -> None:
    document = crash()
    document["metrics"]["string_list"] = {"environment.nimbus_enrollments": ["one:control", "two:treatment", "three"]}
    document["ping_info"]["experiments"] = {"one": {"branch": "x"}, "four": {"branch": "y", "extra": {"type": "z"}}}
    assert dict(accepted(document).experiments) == {"one": "control", "two": "treatment", "four": "y"}
    document["metrics"]["string_list"]["environment.nimbus_enrollments"].append("<b>:x")
    assert reason(document) == "experiment"


def test_crash_is_told_from_others_by_its_event_and_its_dump() -> None:
    of_empty_file = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert accepted(crash(event_id="a1", minidump_sha256_hash="E3B0")).crash == ("a1", "e3b0")
    assert accepted(crash(event_id="a1", minidump_sha256_hash=of_empty_file)).crash == ("a1", "")
    assert accepted(crash(minidump_sha256_hash="e3b0")).crash == ("", "e3b0")
    assert accepted(crash(minidump_sha256_hash=of_empty_file)).crash == ()
    assert accepted(crash()).crash == ()


def test_site_of_a_content_process_is_not_read() -> None:
    document = crash(event_id="a1", remote_type="webIsolated=https://example.org/" + "x" * 300)
    assert events(accepted(document)) == {"main_crashes": 1}


# ---------- usage ----------
@pytest.mark.parametrize(
    ("ticks", "seconds"), [(None, 0), (0, 0), (1, 5), (18_000, 90_000), (18_001, 90_000), (-1, "count_negative")]
)
def test_active_time_is_five_seconds_a_tick(ticks: int | None, seconds: int | str) -> None:
    metrics = {} if ticks is None else {"counter": {"browser.engagement.active_ticks": ticks}}
    ping = read(glean("firefox-desktop", "baseline", **metrics))
    assert (ping.reason if isinstance(ping, Rejected) else ping.counts.active_seconds) == seconds


def test_baseline_without_metrics_counts() -> None:
    document = glean("firefox-desktop", "baseline")
    del document["metrics"]
    assert accepted(document).counts.active_seconds == 0


@pytest.mark.parametrize(
    ("value", "unit", "seconds"),
    [
        *((7_200, "second", 7200), (2, "hour", 7200), (120, "minute", 7200), (7_200_999, "millisecond", 7200)),
        *((7_200_000_000, "microsecond", 7200), (7_200_000_000_000, "nanosecond", 7200), (2, "day", 90_000)),
        *((100_000, "second", 90_000), (0, "second", 0), (-1, "second", "usage_negative"), (1, "year", "wrong_type")),
    ],
)
@pytest.mark.parametrize("namespace", ["org-mozilla-firefox-beta", "org-mozilla-ios-firefoxbeta"])
def test_phones_say_how_long_they_were_used(namespace: str, value: int, unit: str, seconds: int | str) -> None:
    duration = {"glean.baseline.duration": {"value": value, "time_unit": unit}}
    document = android("baseline", namespace, timespan=duration)
    if "ios" in namespace:
        document["client_info"] |= {"os": "iOS", "os_version": "26.1", "architecture": "arm64"}
    ping = read(document)
    assert (ping.reason if isinstance(ping, Rejected) else ping.counts.usage_seconds) == seconds
    if isinstance(ping, Ping):
        end = datetime(2026, 11, 29, 4, 21, 6, 978_000, tzinfo=UTC)
        assert ping.counts.used_until_us == round(end.timestamp() * 1e6)


def test_desktops_usage_is_that_of_main_pings() -> None:
    duration = {"glean.baseline.duration": {"value": 14, "time_unit": "second"}}
    counts = accepted(glean("firefox-desktop", "baseline", timespan=duration)).counts
    assert (counts.usage_seconds, counts.used_until_us) == (0, None)


def test_application_that_no_product_declares_is_passed_over() -> None:
    assert reason(android("baseline", "org-mozilla-focus")) == "other_product"
    assert {"other_product", "not_counted", "other_source", "background_task", "process_type"} <= contract.PASSED_OVER


# ---------- one source of crashes ----------
def legacy(version: str, document_type: str = "crash", **payload: Any) -> dict[str, Any]:
    return {
        "submission_timestamp": "2026-11-29T04:21:07Z",
        "metadata": {"document_namespace": "telemetry", "document_type": document_type},
        "normalized_country_code": "DE",
        "application": {
            **{"name": "Firefox", "channel": "beta", "version": version.split("b")[0], "displayVersion": version},
            **{"buildId": BUILD_ID, "architecture": "x86-64"},
        },
        "environment": {"system": {"os": {"name": "Windows_NT", "version": "10.0"}}},
        "payload": payload or {"processType": "main"},
    }


def main_ping(version: str, **crashes: int) -> dict[str, Any]:
    keyed = {name: {"values": {"0": number}} for name, number in crashes.items()}
    info = {"subsessionLength": 3600, "subsessionStartDate": "2026-11-29T03:00:00Z"}
    return legacy(version, "main", info=info, keyedHistograms={"SUBPROCESS_CRASHES_WITH_DUMP": keyed})


@pytest.mark.parametrize(
    ("version", "is_glean"), [("148.0", False), ("149.0.2", False), ("150.0a1", True), ("153.0", True)]
)
def test_crashes_of_a_version_are_counted_from_one_kind_of_ping(version: str, is_glean: bool) -> None:
    of_glean, of_legacy = read(crash(version=version)), read(legacy(version))
    counted, other = (of_glean, of_legacy) if is_glean else (of_legacy, of_glean)
    assert isinstance(counted, Ping)
    assert events(counted) == {"main_crashes": 1}
    assert isinstance(other, Rejected)
    assert other.reason == "other_source"
    of_main = accepted(main_ping(version, gpu=3, gmplugin=2, plugin=1))
    assert events(of_main) == {"plugin_crashes": 1} | ({} if is_glean else {"gpu_crashes": 3, "gmplugin_crashes": 2})
    assert of_main.counts.usage_seconds == 3600


def test_product_that_says_no_version_counts_all_of_them_from_glean() -> None:
    platforms = [replace(platform, since={}) for platform in contract.FIREFOX.platforms]
    product = replace(contract.FIREFOX, platforms=tuple(platforms))
    classifier = Classifier(Envelope(), contract.Products((product,)))
    assert events(accepted(crash(version="120.0"), classifier)) == {"main_crashes": 1}
    assert read(legacy("120.0"), classifier).reason == "other_source"  # type: ignore[union-attr]
    without = replace(product, platforms=tuple(replace(each, kinds=each.kinds[:2]) for each in platforms))
    assert read(crash(), Classifier(Envelope(), contract.Products((without,)))).reason == "other_source"  # type: ignore[union-attr]


def test_first_version_is_kept_with_the_product() -> None:
    kept = product_of(as_document(contract.FIREFOX))
    assert [platform.since for platform in kept.platforms] == [{"glean/crash": "150"}] * 3 + [{}]


def dataset_of(folder: Path, *documents: dict[str, Any]) -> Path:
    assert any(append(str(folder), "job", [[json.dumps(document).encode() for document in documents]]))
    return folder


def test_what_no_source_reported_is_missing(tmp_path: Path) -> None:
    """153 without crash pings but with main pings that count crashes of the GPU process; 148 without Glean pings."""
    dataset_of(tmp_path, main_ping("153.0", gpu=2), main_ping("148.0", gpu=2), legacy("148.0"), crash(version="148.0"))
    names = ["main_crashes", "gpu_crashes", "rdd_crashes", "plugin_crashes", "active_hours"]
    loaded = mc.load(tmp_path, every=None, by="version", measures=names).set_index("version")
    assert loaded.loc["148.0"].fillna(-1).tolist() == [2, 1.0, 1, 2, -1, 0, -1]
    assert loaded.loc["153.0"].fillna(-1).tolist() == [1, 1.0, -1, -1, -1, 0, -1]
    rates = mc.rates(mc.load(tmp_path, every=None, version="148.0"))
    assert "active_hours" not in set(rates["measure"])
    product, rdd = contract.FIREFOX, contract.measure("rdd_crashes")
    assert product.why_not_reported(rdd, "Linux", "148.0") == "Firefox reports it from version 150 on."
    assert product.why_not_reported(rdd, "Linux", "150.0") is None


# ---------- display versions ----------
CALENDAR = Calendar((Release("153.0b3", "beta", datetime(2026, 11, 18, tzinfo=UTC).date()),))


@pytest.fixture
def beta(tmp_path: Path) -> Path:
    """Crash pings of 153.0b3 say 153.0; another build of 153.0 has no other pings."""
    baseline = glean("firefox-desktop", "baseline", counter={"browser.engagement.active_ticks": 720})
    others = crash(process_type="content", app_build="20261110000000")
    return dataset_of(tmp_path, crash(), crash(), others, main_ping("153.0b3"), baseline)


def test_crashes_and_hours_of_a_build_meet(beta: Path) -> None:
    names = ["main_crashes", "content_crashes"]
    loaded = mc.load(beta, every=None, by=["display_version", "build_id"], measures=names)
    assert loaded.to_numpy().tolist() == [
        ["153.0", "20261110000000", 1, 0.0, 0, 1],
        ["153.0b3", BUILD_ID, 4, 1.0, 2, 0],
    ]
    only = mc.load(beta, every="5min", display_version="153.0b3")
    assert only[["main_crashes", "usage_hours", "active_hours"]].to_numpy().tolist() == [[2, 1.0, 1.0]]
    official = mc.load(beta, every=None, official=CALENDAR, by="country")
    assert official[["country", "main_crashes", "usage_hours"]].to_numpy().tolist() == [["DE", 2, 1.0]]
    opened = Dataset(beta)
    assert opened.versions()["display_version"].tolist() == ["153.0", "153.0b3"]
    newest = Monitor(opened, CALENDAR).table("beta", "Windows_NT")
    rows = {row.measure: row for row in newest.rows}
    assert (newest.newest.version, rows["main_crashes"].newest.value) == ("153.0b3", 2000.0)
    assert rows["vr_crashes"].newest.events == 0
    assert rows["slow_script_notice_count"].newest.events == 0


def test_dataset_from_before_glean_pings_is_read_as_it_is(beta: Path, tmp_path: Path) -> None:
    from deltalake import DeltaTable, write_deltalake

    path = beta / contract.ERROR_AGGREGATES.name
    rows = DeltaTable(str(path)).to_pyarrow_table().drop_columns(["glean_crash_pings", "active_seconds"])
    older = tmp_path / "older"
    older.mkdir()
    table = contract.ERROR_AGGREGATES.name
    write_deltalake(str(older / table), rows, partition_by=["submission_date"], name=table)
    loaded = mc.load(older, every=None, by="display_version")
    assert loaded["display_version"].tolist() == ["153.0", "153.0b3"]
    assert "active_hours" not in loaded
    dataset_of(older, glean("firefox-desktop", "baseline", counter={"browser.engagement.active_ticks": 720}))
    assert mc.load(older, every=None)["active_hours"].tolist() == [1.0]
