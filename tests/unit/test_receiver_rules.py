"""What a receiver makes of paths, bodies, headers and addresses: pure functions, and files in a folder."""

import asyncio
import errno
import fcntl
import gzip
import json
import os
import tracemalloc
import zlib
from collections.abc import Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
from confluent_kafka import KafkaError
from hypothesis import given
from hypothesis import strategies as st

from missioncontrol_nb.receiver import files
from missioncontrol_nb.receiver.addresses import Address, read_address
from missioncontrol_nb.receiver.answering import Receiver, Refusal
from missioncontrol_nb.receiver.bodies import MAX_BODY_BYTES, BadBody, unpacked
from missioncontrol_nb.receiver.documents import document_of
from missioncontrol_nb.receiver.files import FileLimits, FileSink, UnfinishedFile, recover
from missioncontrol_nb.receiver.places import Places, client_address
from missioncontrol_nb.receiver.sinks import CannotKeepError
from missioncontrol_nb.receiver.topics import TopicSink
from streaming.errors import MissionControlError
from streaming.pings.classify import Ping, decode
from streaming.pings.envelope import Envelope
from streaming.pings.kinds import KINDS
from streaming.sources.kafka.topic import Topic
from tests.services.place_file import write_places
from tests.services.receiver import CRASH

ID = "2c3a0767-d84a-4d02-8a92-fa54a3376049"
LEGACY = Address("telemetry", "crash", "4", ID, ("Firefox", "56.0", "release", "20170926190823"))
GLEAN = Address("firefox-desktop", "baseline", "1", ID)
NOW = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"


@pytest.mark.parametrize(
    ("path", "query", "address"),
    [
        (f"/submit/telemetry/{ID}/crash/Firefox/56.0/release/20170926190823", "v=4", LEGACY),
        (f"/submit/telemetry/{ID.upper()}/crash/Firefox/56.0/release/20170926190823", "", LEGACY),
        (f"/submit/telemetry/{ID}/main/My%20%2FApp/1//%C3%BC", "v=5",
         Address("telemetry", "main", "5", ID, ("My /App", "1", "", "ü"))),
        (f"/submit/firefox-desktop/baseline/1/{ID}", "", GLEAN),
        (f"/submit/firefox%2Ddesktop/baseline/1/{ID}", "", GLEAN),
        (f"/submit/firefox-desktop/baseline/1/{ID}/", "", None),
        (f"/submit/firefox-desktop/baseline/{ID}", "", None),
        (f"/submit/telemetry/baseline/1/{ID}", "", None),
        (f"/submit/telemetry/{ID}/crash/Firefox/56.0/release", "v=4", None),
        (f"/submit/a%2Fb/baseline/1/{ID}", "", None),
        (f"/submit//baseline/1/{ID}", "", None),
        (f"/submit/telemetry/{ID}/crash/Fire%0Afox/56.0/release/1", "", None),
        (f"/submit/telemetry/{ID}/crash/%FF/56.0/release/1", "", None),
        (f"/submit/telemetry/{ID}/crash/{'x' * 201}/56.0/release/1", "", None),
        ("/submit/firefox-desktop/baseline/1/no-id", "", None),
    ],
)  # fmt: skip
def test_path_has_one_of_two_forms(path: str, query: str, address: Address | None) -> None:
    assert read_address(path, query) == address


@given(st.text(st.characters(max_codepoint=0x2FF), max_size=80))
def test_no_path_is_an_error(text: str) -> None:
    read_address(f"/submit/{text}", text)


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "", "identity"])
def test_body_is_plain_or_gzip(encoding: str) -> None:
    assert unpacked(gzip.compress(CRASH) if "gzip" in encoding else CRASH, encoding) == CRASH


def test_gzip_may_be_of_several_streams_and_end_with_zeros() -> None:
    assert unpacked(gzip.compress(CRASH[:9]) + gzip.compress(CRASH[9:]) + bytes(5), "gzip") == CRASH


@pytest.mark.parametrize(
    ("body", "encoding"),
    [
        (CRASH, "gzip"),
        (b"", "gzip"),
        (gzip.compress(CRASH, mtime=0)[:-9], "gzip"),
        (gzip.compress(CRASH, mtime=0) + b"more", "gzip"),
        (gzip.compress(CRASH, mtime=0)[:-8] + bytes(8), "gzip"),
        (zlib.compress(CRASH), "gzip"),
        (CRASH, "br"),
    ],
)
def test_damaged_or_other_packing_is_400(body: bytes, encoding: str) -> None:
    with pytest.raises(BadBody) as error:
        unpacked(body, encoding)
    assert error.value.status == 400


@pytest.mark.parametrize("streams", [1, 3])
def test_bomb_is_413_and_costs_no_more_memory_than_the_largest_body(streams: int) -> None:
    bomb = gzip.compress(bytes(100 << 20 if streams == 1 else 5 << 20), 9) * streams
    assert len(bomb) < 1 << 20
    tracemalloc.start()
    with pytest.raises(BadBody) as error:
        unpacked(bomb, "gzip")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (error.value.status, error.value.reason) == (413, "too_large")
    assert peak < 3 * MAX_BODY_BYTES
    assert len(unpacked(gzip.compress(bytes(MAX_BODY_BYTES)), "gzip")) == MAX_BODY_BYTES


def document(body: bytes, address: Address = LEGACY, country: str | None = "DE") -> dict:
    line = document_of(address, body, NOW, {"date": "today"}, country)
    assert line.count(b"\n") == 1
    assert line.endswith(b"}\n")
    return json.loads(line)


def test_envelope_says_what_the_path_and_the_server_know() -> None:
    found = document(CRASH)
    assert found["submission_timestamp"] == NOW
    assert found["document_id"] == ID
    assert found["metadata"] == {
        "document_namespace": "telemetry",
        "document_type": "crash",
        "document_version": "4",
        "header": {"date": "today"},
        "geo": {"country": "DE"},
        "uri": {
            "app_name": "Firefox",
            "app_version": "56.0",
            "app_update_channel": "release",
            "app_build_id": "20170926190823",
        },
    }
    normalized = {name: found[f"normalized_{name}"] for name in ("app_name", "channel", "os", "os_version")}
    assert normalized == {"app_name": "Firefox", "channel": "release", "os": "Windows", "os_version": "10.0"}
    assert found["normalized_country_code"] == "DE"
    assert found["sample_id"] == zlib.crc32(b"0e1b5e4d-7c1a-4c0e-9d8a-2b1f8d3c5a6e") % 100
    assert found["payload"] == {"processType": "main", "metadata": {}}


def test_kept_document_counts_as_the_path_says() -> None:
    line = document_of(LEGACY, CRASH, NOW, {}, "DE")
    ping = decode(line, Envelope(), 0)
    assert isinstance(ping, Ping)
    assert (ping.document_type, ping.document_id) == ("crash", ID)
    assert "DE" in ping.dimensions


def test_nothing_that_a_client_wrote_under_the_servers_names_survives() -> None:
    forged = b"""{"submission_timestamp": "2001-01-01T00:00:00Z", "document_id": "mine",
        "metadata": {"geo": {"country": "FR"}},
        "normalized_channel": "nightly", "normalized_app_name": "Mine", "normalized_country_code": "FR",
        "normalized_x": 1,
        "sample_id": 7, "\\u0073ubmission_timestamp": "2002-01-01T00:00:00Z", "a": 1, "document_id": "again", "a": 2}"""
    found = document(forged)
    assert found["submission_timestamp"] == NOW
    assert found["document_id"] == ID
    assert found["metadata"]["geo"] == {"country": "DE"}
    assert (found["normalized_channel"], found["normalized_country_code"]) == ("release", "DE")
    assert found["normalized_app_name"] == "Firefox"
    assert found["a"] == 2
    assert not {"normalized_x", "sample_id"} & set(found)


def test_client_cannot_begin_a_line_of_its_own() -> None:
    assert document(b'{"a":\n{"b": 1},\r\n\n"c": {"environment":\n[]}\n}\n')["a"] == {"b": 1}
    for forged in (b'{"a": "\n{}\n"}', b'{"environment": {"a": "\n{}\n"}}', b'{"metrics": {"uuid": "\n"}}'):
        with pytest.raises(BadBody):
            document(forged)


def test_ids_of_clients_are_dropped_wherever_the_schemas_have_them() -> None:
    body = {
        "client_info": {
            "client_id": "secret-1",
            "session_id": "secret-2",
            "app_channel": "nightly-cck-x",
            "os": "Darwin",
        },
        "metrics": {"uuid": {"legacy.telemetry.client_id": "secret-3"}, "string": {"crash.event_id": "kept"}},
        "clientId": "secret-4",
        "profileGroupId": "secret-5",
        "ping_info": {"seq": 1},
    }
    line = document_of(GLEAN, json.dumps(body).encode(), NOW, {}, None)
    assert b"secret" not in line
    found = json.loads(line)
    assert found["metrics"] == {"string": {"crash.event_id": "kept"}}
    assert (found["normalized_channel"], found["normalized_os"]) == ("nightly", "Mac")
    assert "normalized_country_code" not in found
    assert "sample_id" in found


def test_real_pings_of_todays_clients_are_kept_without_their_clients_ids(shared_data: Path) -> None:
    for bare, enveloped in (("real/legacy.bare.jsonl", "real/legacy.enveloped.jsonl"),
                            ("glean/real.bare.jsonl", "glean/real.enveloped.jsonl")):  # fmt: skip
        pairs = zip(
            (shared_data / bare).read_bytes().splitlines(),
            map(json.loads, (shared_data / enveloped).read_bytes().splitlines()),
            strict=True,
        )
        for body, expected in pairs:
            said = expected["metadata"]
            uri = said.get("uri")
            parts = [uri[f"app_{name}"] for name in ("name", "version", "update_channel", "build_id")] if uri else None
            about = (said["document_namespace"], said["document_type"], said["document_version"], ID)
            line = document_of(Address(*about, tuple(parts) if parts else None), body, NOW, {}, None)
            found, client = json.loads(line), json.loads(body)
            for secret in (client.get("clientId"), client.get("client_info", {}).get("client_id")):
                assert secret is None or secret.encode() not in line
            for name in ("normalized_channel", "normalized_os", "normalized_os_version", "normalized_app_name"):
                wanted = expected.get(name, "")
                assert found.get(name, "") == ("" if wanted == "Other" and name != "normalized_os" else wanted)
            assert found.get("sample_id") == expected.get("sample_id")
            assert (found.get("payload"), found.get("ping_info")) == (client.get("payload"), client.get("ping_info"))


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"null", b'{"a": }', b"{}{}", b"\xff", b'{"a":' * 100_000])
def test_body_that_is_no_object_is_400(body: bytes) -> None:
    with pytest.raises(BadBody) as error:
        document_of(LEGACY, body, NOW, {}, None)
    assert (error.value.status, error.value.reason) == (400, "not_json")


@pytest.mark.parametrize(
    "body", [b"\xef\xbb\xbf{}", b' {"a": "\\ud83d"}', b'{"environment": 5, "client_info": [], "metrics": 1}']
)
def test_odd_forms_that_the_job_takes_are_kept(body: bytes) -> None:
    assert document_of(LEGACY, body, NOW, {}, None).startswith(b'{"submission_timestamp"')


@given(
    st.binary(max_size=60) | st.recursive(st.none() | st.text() | st.floats(), st.lists).map(json.dumps).map(str.encode)
)
def test_any_body_is_kept_or_refused(body: bytes) -> None:
    with suppress(BadBody, UnicodeDecodeError):  # the latter of json.loads: text that is not read need not be UTF-8
        json.loads(document_of(LEGACY, body, NOW, {}, None))


@pytest.mark.parametrize(
    ("forwarded", "proxies", "address"),
    [
        ([], 0, "192.0.2.9"),
        (["203.0.113.1"], 0, "192.0.2.9"),
        (["203.0.113.1"], 1, "203.0.113.1"),
        (["198.51.100.7, 203.0.113.1"], 1, "203.0.113.1"),
        (["198.51.100.7", "203.0.113.1, 203.0.113.2"], 2, "203.0.113.1"),
        (["203.0.113.1:4711"], 1, "203.0.113.1"),
        (["[2001:db8::1]:4711"], 1, "2001:db8::1"),
        (["2001:db8::1"], 1, "2001:db8::1"),
        (["203.0.113.1"], 2, ""),
        ([], 1, ""),
        (["198.51.100.7, unknown"], 1, ""),
    ],
)
def test_forwarded_address_is_counted_from_the_right(forwarded: list[str], proxies: int, address: str) -> None:
    assert client_address("192.0.2.9", forwarded, proxies) == address


def test_country_is_looked_up_in_the_file(tmp_path: Path) -> None:
    networks = {"203.0.113.0/24": "DE", "2001:db8::/32": "FR", "198.51.100.0/24": "XX"}
    places = Places(write_places(tmp_path / "places.mmdb", networks))
    assert [places.country(each) for each in ("203.0.113.1", "2001:db8::1", "192.0.2.1", "198.51.100.1", "", "no")] == [
        *("DE", "FR", "??", "??", "??", "??")
    ]


@pytest.mark.parametrize("content", [None, b"", b"text", "Test-ASN"])
def test_file_that_is_not_of_countries_is_refused(tmp_path: Path, content: bytes | str | None) -> None:
    path = tmp_path / "places.mmdb"
    if isinstance(content, str):
        write_places(path, {"203.0.113.0/24": "DE"}, kind=content)
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(MissionControlError, match="--places"):
        Places(path)


HEADERS = {"content-length": "2"}
PATH = f"/submit/telemetry/{ID}/crash/Firefox/56.0/release/20170926190823"


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("POST", PATH, {}, None),
        ("PUT", PATH, {}, None),
        ("GET", PATH, {}, 405),
        ("DELETE", PATH, {}, 405),
        ("POST", "/", {}, 404),
        ("POST", "/submi", {}, 404),
        ("POST", "/submit/telemetry", {}, 400),
        ("POST", PATH + "x" * 3000, {}, 414),
        ("POST", PATH, {"content-length": ""}, 411),
        ("POST", PATH, {"content-length": "x"}, 411),
        ("POST", PATH, {"content-length": str((1 << 20) + 1)}, 413),
        ("POST", PATH, {"content-length": str(1 << 20)}, None),
        ("POST", PATH, {"user-agent": "x" * 1025}, 431),
        ("POST", PATH, {"cookie": "x" * 1025}, None),
    ],
)
def test_what_is_admitted(method: str, path: str, headers: dict[str, str], status: int | None) -> None:
    admitted = Receiver(_Kept()).admit(method, path, "v=4", HEADERS | headers)
    assert (admitted.status if isinstance(admitted, Refusal) else None) == status


class _Kept:
    """A sink that keeps lines in a list, or raises."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.lines: list[bytes] = []
        self._failure = failure

    async def keep(self, document_id: str, document: bytes) -> None:
        if self._failure:
            raise self._failure
        self.lines.append(document)


def answer(receiver: Receiver, body: bytes = CRASH, namespace: str = "telemetry", **headers: str) -> int:
    address = LEGACY._replace(namespace=namespace)
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return asyncio.run(receiver.keep(address, given, [], "203.0.113.1", body))


def test_each_kind_that_is_counted_is_kept_and_no_other() -> None:
    receiver = Receiver(_Kept())
    for kind in KINDS:
        address = LEGACY._replace(namespace=(*kind.namespaces, kind.namespace)[0], document_type=kind.document_type)
        assert asyncio.run(receiver.keep(address, {}, [], "", b"{}")) == 200
    assert len(receiver.sink.lines) == len(KINDS)
    assert answer(receiver, namespace="strange") == 200
    assert len(receiver.sink.lines) == len(KINDS)
    assert receiver.counts.passed_over == {"kind": 1}
    assert receiver.counts.answers == {200: len(KINDS) + 1}


def test_test_traffic_is_passed_over_by_choice() -> None:
    kept, skipping = Receiver(_Kept()), Receiver(_Kept(), skips_automation=True)
    for receiver in (kept, skipping):
        assert answer(receiver, x_source_tags="automation, perf") == 200
    assert json.loads(kept.sink.lines[0])["metadata"]["header"] == {"x_source_tags": "automation, perf"}
    assert skipping.counts.passed_over == {"automation": 1}
    assert not skipping.sink.lines


@pytest.mark.parametrize("status", [503, 507])
def test_what_cannot_be_kept_is_never_4xx(status: int) -> None:
    receiver = Receiver(_Kept(CannotKeepError(status, "reason")))
    assert answer(receiver) == status
    assert receiver.counts.not_kept == {"reason": 1}
    assert not receiver.counts.kept


def test_no_address_and_no_id_of_a_client_is_kept(tmp_path: Path) -> None:
    places = Places(write_places(tmp_path / "places.mmdb", {"203.0.113.0/24": "DE"}))
    receiver = Receiver(_Kept(), places)
    assert answer(receiver, user_agent="\udcff Firefox", cookie="a=b", x_forwarded_for="198.51.100.7") == 200
    [line] = receiver.sink.lines
    assert json.loads(line)["normalized_country_code"] == "DE"
    for secret in (b"203.0.113", b"198.51.100", b"0e1b5e4d", b"a=b"):
        assert secret not in line
    assert "203.0.113" not in receiver.counts.as_metrics(0, "")


# Files


@asynccontextmanager
async def open_sink(folder: Path, limits: FileLimits | None = None):
    sink = FileSink(folder, limits or FileLimits())
    try:
        yield sink
    finally:
        await sink.close()


def lines_in(folder: Path, pattern: str = "*.jsonl") -> list[bytes]:
    return [line for path in sorted(folder.glob(pattern)) for line in path.read_bytes().splitlines(keepends=True)]


def numbered(*numbers: int) -> list[bytes]:
    return [b'{"n":%d}\n' % number for number in numbers]


def test_file_has_an_unfinished_name_until_it_is_finished(tmp_path: Path) -> None:
    async def keep() -> None:
        async with open_sink(tmp_path) as sink:
            await asyncio.gather(*(sink.keep("", line) for line in numbered(*range(50))))
            assert lines_in(tmp_path) == []
            assert sorted(lines_in(tmp_path, ".*.tmp")) == sorted(numbered(*range(50)))

    asyncio.run(keep())
    assert sorted(lines_in(tmp_path)) == sorted(numbered(*range(50)))
    assert list(tmp_path.glob(".*")) == []


def test_file_is_finished_by_size_and_by_age(tmp_path: Path) -> None:
    async def keep() -> None:
        async with open_sink(tmp_path, FileLimits(bytes=20, seconds=1000)) as sink:
            for line in numbered(1, 2, 3, 4):
                await sink.keep("", line)
            assert len(list(tmp_path.glob("*.jsonl"))) == 1
        async with open_sink(tmp_path / "by_age", FileLimits(seconds=0.1)) as sink:
            await sink.keep("", numbered(1)[0])
            await asyncio.sleep(0.5)
            assert lines_in(tmp_path / "by_age") == numbered(1)
            await sink.keep("", numbered(2)[0])

    asyncio.run(keep())
    assert lines_in(tmp_path) == numbered(1, 2, 3, 4)
    assert lines_in(tmp_path / "by_age") == numbered(1, 2)


@pytest.mark.parametrize("tail", [b"", b'{"n":3', b"\0" * 50, b"\0\0\n" + numbered(4)[0], b'{"n":3}x\n', b"\n"])
def test_whole_lines_of_a_killed_receiver_are_kept_once(tmp_path: Path, tail: bytes) -> None:
    left = tmp_path / ".pings-1.jsonl.tmp"
    left.write_bytes(b"".join(numbered(1, 2)) + tail)
    assert recover(tmp_path) == 1
    assert lines_in(tmp_path) == numbered(1, 2)
    assert recover(tmp_path) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["pings-1.jsonl"]


def test_unfinished_file_of_a_living_receiver_is_left_alone(tmp_path: Path) -> None:
    file = UnfinishedFile(tmp_path)
    file.append(numbered(1))
    assert recover(tmp_path) == 0
    file.append(numbered(2))
    file.finish()
    assert lines_in(tmp_path) == numbered(1, 2)


def test_empty_unfinished_file_is_removed(tmp_path: Path) -> None:
    (tmp_path / ".pings-1.jsonl.tmp").touch()
    assert recover(tmp_path) == 0
    assert list(tmp_path.iterdir()) == []


def test_file_that_another_start_has_removed_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fcntl, "flock", lambda *_: next(tmp_path.iterdir()).unlink())
    with pytest.raises(FileNotFoundError):
        UnfinishedFile(tmp_path)


@pytest.mark.parametrize("call", ["writev", "fdatasync"])
@pytest.mark.parametrize(("number", "status"), [(errno.ENOSPC, 507), (errno.EDQUOT, 507), (errno.EIO, 503)])
def test_group_that_fails_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int, status: int
) -> None:
    real = {name: getattr(os, name) for name in ("writev", "fdatasync")}
    failures = [OSError(number, "failed")]

    def fail(descriptor: int, *arguments: object) -> int:
        if call == "writev":
            os.write(descriptor, b'{"half')
        if failures:
            raise failures.pop()
        return real[call](descriptor, *arguments)

    async def keep() -> None:
        async with open_sink(tmp_path) as sink:
            await sink.keep("", numbered(1)[0])
            monkeypatch.setattr(os, call, fail)
            with pytest.raises(CannotKeepError) as error:
                await sink.keep("", numbered(2)[0])
            assert error.value.status == status
            monkeypatch.setattr(os, call, real[call])
            assert sink._problem
            assert await sink.check() == ""
            await sink.keep("", numbered(3)[0])

    asyncio.run(keep())
    assert lines_in(tmp_path) == numbered(1, 3)


def test_file_that_cannot_be_renamed_is_renamed_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failures = [OSError(errno.EIO, "failed")]
    rename = Path.rename

    def fail_once(path: Path, target: Path) -> Path:
        if failures:
            raise failures.pop()
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", fail_once)

    async def keep() -> None:
        async with open_sink(tmp_path, FileLimits(bytes=8)) as sink:
            await sink.keep("", numbered(1)[0])
            await sink.keep("", numbered(2)[0])

    asyncio.run(keep())
    assert lines_in(tmp_path) == numbered(1, 2)


def test_full_queue_is_503(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_QUEUED_BYTES", 10)

    async def keep() -> list[object]:
        async with open_sink(tmp_path) as sink:
            lines = numbered(*range(10))
            return await asyncio.gather(*(sink.keep("", line) for line in lines), return_exceptions=True)

    results = asyncio.run(keep())
    refused = [result for result in results if isinstance(result, CannotKeepError)]
    assert {error.status for error in refused} == {503}
    assert len(lines_in(tmp_path)) == len(results) - len(refused) == 2


def test_receiver_that_is_closed_keeps_nothing(tmp_path: Path) -> None:
    async def keep() -> None:
        sink = FileSink(tmp_path)
        await sink.close()
        with pytest.raises(CannotKeepError):
            await sink.keep("", numbered(1)[0])

    asyncio.run(keep())


def test_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    async def make() -> None:
        FileSink(tmp_path / "file")

    with pytest.raises(MissionControlError, match="cannot write into the folder"):
        asyncio.run(make())


# A topic, without brokers


class _Message:
    """What librdkafka says of a message that was not delivered."""

    def __init__(self, code: int, *, fatal: bool) -> None:
        self.code, self._fatal = code, fatal

    def error(self) -> KafkaError:
        return KafkaError(self.code, fatal=self._fatal)


class _Producer:
    """A producer whose messages fail at the next poll; the first one is finished for good."""

    def __init__(self, message: _Message | None) -> None:
        self._message, self._waiting = message, []

    def produce(self, topic: str, value: bytes, key: bytes, on_delivery: Callable) -> None:
        self._waiting.append(on_delivery)

    def poll(self, seconds: float) -> None:
        waiting, self._waiting = self._waiting, []
        for on_delivery in waiting:
            on_delivery(self._message and self._message.error(), None)


def test_setting_that_would_weaken_an_answer_is_refused() -> None:
    with pytest.raises(MissionControlError, match="acks in --kafka-config would have no effect"):
        TopicSink("kafka://127.0.0.1:9/pings", {"acks": "1"})


def test_producer_that_has_failed_for_good_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    producers = [_Producer(_Message(KafkaError.INVALID_PRODUCER_EPOCH, fatal=True)), _Producer(None)]
    monkeypatch.setattr(Topic, "require", lambda topic: None)
    monkeypatch.setattr(Topic, "producer", lambda topic, settings: producers.pop(0))

    async def keep() -> list[object]:
        sink = TopicSink("kafka://127.0.0.1:9/pings", {})
        failed = await asyncio.gather(*(sink.keep("", line) for line in numbered(1, 2, 3)), return_exceptions=True)
        await sink.keep("", numbered(4)[0])
        await sink.close()
        return failed

    failed = asyncio.run(keep())
    assert [(error.status, error.reason) for error in failed] == [(503, "INVALID_PRODUCER_EPOCH")] * 3
