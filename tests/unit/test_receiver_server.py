"""The receiver over HTTP: answers, limits on what clients may take, its counts, its end, and bad options."""

import asyncio
import gzip
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from prometheus_client.parser import text_string_to_metric_families

from missioncontrol_nb.cli import group
from missioncontrol_nb.receiver import server
from missioncontrol_nb.receiver.answering import Receiver
from missioncontrol_nb.receiver.files import FileSink
from missioncontrol_nb.receiver.report import ask_receiver
from streaming.errors import MissionControlError
from tests.patience import PATIENCE_SECONDS, wait_until
from tests.services.place_file import write_places
from tests.services.ports import free_port
from tests.services.receiver import CRASH, ReceiverProcess, get, ids_in, path_of

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReceiverProcess]:
    """A receiver into `folder`, behind one proxy."""
    folder = tmp_path_factory.mktemp("receiver")
    places = write_places(folder / "places.mmdb", {"203.0.113.0/24": "DE"})
    options = ("--places", str(places), "--proxies", "1", "--file-seconds", "0.2")
    with ReceiverProcess(folder / "pings", *options) as started:
        started.folder = folder / "pings"
        yield started


def new_id() -> str:
    return str(uuid.uuid4())


def kept(receiver: ReceiverProcess, document_id: str) -> dict:
    """The document with an id, once it can be read."""

    def find() -> dict | None:
        for path in receiver.folder.glob("*.jsonl"):
            for line in path.read_bytes().splitlines():
                if document_id.encode() in line:
                    return json.loads(line)
        return None

    return wait_until(find, "the ping's file")


@pytest.mark.parametrize("method", ["POST", "PUT"])
@pytest.mark.parametrize("is_packed", [False, True])
def test_ping_is_kept_with_its_senders_country(receiver: ReceiverProcess, method: str, is_packed: bool) -> None:
    document_id = new_id()
    headers = {"Content_Encoding": "gzip"} if is_packed else {}
    body = gzip.compress(CRASH) if is_packed else CRASH
    forwarded = {"X_Forwarded_For": "198.51.100.1, 203.0.113.5"}
    assert receiver.post(path_of(document_id), body, method, **headers, **forwarded) == 200
    document = kept(receiver, document_id)
    assert document["normalized_country_code"] == "DE"
    assert "clientId" not in document
    assert "203.0.113" not in json.dumps(document)


def test_path_is_decoded_part_by_part(receiver: ReceiverProcess) -> None:
    document_id = new_id()
    assert receiver.post(f"/submit/telemetry/{document_id}/crash/My%2FApp/56.0/re%20lease/1") == 200
    assert kept(receiver, document_id)["metadata"]["uri"]["app_name"] == "My/App"


@pytest.mark.parametrize(
    ("request_line", "headers", "status"),
    [
        ("GET /submit/telemetry/x HTTP/1.1", "", 405),
        ("POST /submit/telemetry/x HTTP/1.1", "Content-Length: 0\r\n", 400),
        ("POST /other HTTP/1.1", "Content-Length: 0\r\n", 404),
        (f"POST {path_of(new_id())} HTTP/1.1", "Transfer-Encoding: chunked\r\n", 411),
        (f"POST {path_of(new_id())} HTTP/1.1", "Content-Length: 1048577\r\n", 413),
        (f"POST /submit/{'x' * 3000} HTTP/1.1", "Content-Length: 0\r\n", 414),
        (f"POST /submit/{'x' * 9000} HTTP/1.1", "", 414),
        (f"POST {path_of(new_id())} HTTP/1.1", f"X-Debug-ID: {'x' * 1025}\r\nContent-Length: 2\r\n", 431),
        (f"POST {path_of(new_id())} HTTP/1.1", f"X-Other: {'x' * 9000}\r\n", 431),
        (f"POST {path_of(new_id())} HTTP/1.1", "".join(f"X-{number}: 1\r\n" for number in range(200)), 431),
        ("POST / HTTP/1.1", "Content-Length: 2\r\nContent-Length: 3\r\n", 400),
        ("nonsense", "", 400),
        ("POST /__heartbeat__ HTTP/1.1", "Content-Length: 0\r\n", 405),
    ],
)
def test_request_that_is_refused(receiver: ReceiverProcess, request_line: str, headers: str, status: int) -> None:
    with socket.create_connection(("127.0.0.1", receiver.port), timeout=PATIENCE_SECONDS) as connection:
        connection.sendall(f"{request_line}\r\nHost: x\r\n{headers}\r\n".encode())
        assert connection.recv(1000).split()[1] == str(status).encode()


def test_bodies_that_are_refused(receiver: ReceiverProcess) -> None:
    bomb = gzip.compress(bytes(40 << 20))
    assert receiver.post(path_of(new_id()), bomb, Content_Encoding="gzip") == 413
    assert receiver.post(path_of(new_id()), b"[]") == 400
    assert receiver.post(path_of(new_id()), CRASH, Content_Encoding="gzip") == 400


def test_body_of_a_mebibyte_is_kept(receiver: ReceiverProcess) -> None:
    document_id = new_id()
    padding = b" " * ((1 << 20) - len(CRASH))
    assert receiver.post(path_of(document_id), CRASH + padding) == 200
    assert kept(receiver, document_id)["type"] == "crash"


def test_curl_may_ask_before_it_sends_the_body(receiver: ReceiverProcess) -> None:
    with socket.create_connection(("127.0.0.1", receiver.port), timeout=PATIENCE_SECONDS) as connection:
        head = f"POST {path_of(new_id())} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: {len(CRASH)}"
        connection.sendall(f"{head}\r\n\r\n".encode())
        assert connection.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(CRASH)
        assert connection.recv(1000).startswith(b"HTTP/1.1 200 ")


def test_pipelined_requests_are_answered_in_order(receiver: ReceiverProcess) -> None:
    ids = [new_id() for _ in range(20)]
    requests = [
        f"POST {path_of(each)} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(CRASH)}\r\n\r\n".encode() + CRASH
        for each in ids
    ]
    requests.insert(7, b"POST /submit/bad HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
    with socket.create_connection(("127.0.0.1", receiver.port), timeout=PATIENCE_SECONDS) as connection:
        connection.sendall(b"".join(requests))
        answers = b""
        while answers.count(b"HTTP/1.1 ") < len(requests):
            answers += connection.recv(65_536)
    statuses = [int(part[:3]) for part in answers.split(b"HTTP/1.1 ")[1:]]
    assert statuses == [200] * 7 + [400] + [200] * 13
    assert {kept(receiver, each)["document_id"] for each in ids} == set(ids)


def test_half_a_body_is_not_kept_and_delays_nobody(receiver: ReceiverProcess) -> None:
    halves, before = [], receiver.counts()["kept"]
    for _ in range(50):
        connection = socket.create_connection(("127.0.0.1", receiver.port), timeout=PATIENCE_SECONDS)
        head = f"POST {path_of(new_id())} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(CRASH)}\r\n\r\n"
        connection.sendall(head.encode() + CRASH[:-9])
        halves.append(connection)
    started = time.monotonic()
    assert receiver.post(path_of(new_id())) == 200
    assert time.monotonic() - started < 5
    for connection in halves:
        connection.close()
    assert receiver.post(path_of(new_id())) == 200
    assert receiver.counts()["kept"] == before + 2


def test_probes(receiver: ReceiverProcess) -> None:
    assert get(receiver.port, "/__heartbeat__") == (200, "")
    assert get(receiver.port, "/__lbheartbeat__") == (200, "")
    status, body = get(receiver.port, "/__version__")
    assert (status, json.loads(body)["name"]) == (200, "missioncontrol")


def test_counts_are_on_another_address_than_clients_reach(receiver: ReceiverProcess) -> None:
    assert get(receiver.port, "/metrics")[0] == 404
    receiver.post("/submit/strange/ping/1/" + new_id())
    status, text = get(receiver.metrics_port, "/metrics")
    assert status == 200
    families = {family.name: family for family in text_string_to_metric_families(text)}
    kept_pings = families["missioncontrol_receiver_kept_pings"].samples
    assert [sample.labels for sample in kept_pings] == [{"kind": "telemetry/crash"}]
    assert families["missioncontrol_receiver_cannot_keep"].samples[0].value == 0
    assert "strange" not in text
    assert get(receiver.metrics_port, "/metrics", Host="evil.example")[0] == 403
    assert get(receiver.metrics_port, "/metrics", Host=f"localhost:{receiver.metrics_port}")[0] == 200
    assert get(receiver.metrics_port, "/other")[0] == 404


def test_status_asks_the_receiver(receiver: ReceiverProcess) -> None:
    receiver.post(path_of(new_id()))
    report = ask_receiver(f"127.0.0.1:{receiver.metrics_port}")
    assert report.is_well
    assert report.kept == receiver.counts()["kept"] > 0
    assert report.last_kept
    assert report.last_kept >= report.started
    assert "Connection refused" in ask_receiver(f"127.0.0.1:{free_port()}").failure
    assert ask_receiver(f"127.0.0.1:{receiver.port}").failure


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_ended_receiver_answers_what_has_come_and_finishes_its_file(tmp_path: Path, number: int) -> None:
    with ReceiverProcess(tmp_path / "pings") as receiver:
        ids = [new_id() for _ in range(30)]
        statuses: list[int] = []
        threads = [
            threading.Thread(target=lambda each=each: statuses.append(receiver.post(path_of(each)))) for each in ids
        ]
        for thread in threads:
            thread.start()
        wait_until(lambda: len(statuses) >= 5, "answers", every=0.005)
        idle = socket.create_connection(("127.0.0.1", receiver.port))
        half = socket.create_connection(("127.0.0.1", receiver.port))
        half.sendall(f"POST {path_of(new_id())} HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n{{".encode())
        for thread in threads:
            thread.join()
        code, said = receiver.stop(number)
        assert (code, said) == (0, "30 pings kept\n")
        for connection in (idle, half):
            connection.close()
    assert statuses == [200] * 30
    assert sorted(ids_in(tmp_path / "pings")) == sorted(ids)
    assert list((tmp_path / "pings").glob(".*")) == []


def is_cut_off(connection: socket.socket) -> bool:
    """Whether the other end has ended a connection."""
    try:
        connection.sendall(b"GET /__lbheartbeat__ HTTP/1.1\r\nHost: x\r\n\r\n")
        return connection.recv(1000) == b""
    except OSError:
        return True


def run_in_process(tmp_path: Path, visit) -> None:
    """Serves a folder in this process while a function visits it in a thread of its own."""
    port = free_port()

    async def run() -> None:
        loop = asyncio.get_running_loop()
        visits = []

        def on_ready(url: str, metrics_url: str) -> None:
            visits.append(loop.run_in_executor(None, visit, port))
            visits[0].add_done_callback(lambda _: os.kill(os.getpid(), signal.SIGTERM))

        await server.serve(Receiver(FileSink(tmp_path)), server.Address("127.0.0.1", port), None, on_ready)
        await visits[0]

    asyncio.run(run())


def test_slow_clients_are_cut_off_and_others_are_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "REQUEST_SECONDS", 0.4)
    monkeypatch.setattr(server, "_SWEEP_SECONDS", 0.1)
    head = f"POST {path_of(new_id())} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(CRASH)}\r\n\r\n".encode()

    def visit(port: int) -> None:
        def drip(sent: bytes, rest: bytes) -> int:
            """How many bytes a slow client gets rid of; it sends one byte each 50 ms."""
            with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS) as connection:
                connection.sendall(sent)
                for count, byte in enumerate(rest[:100]):
                    time.sleep(0.05)
                    try:
                        connection.sendall(bytes((byte,)))
                    except OSError:
                        return count
            return 100

        assert drip(b"", head) < 40
        assert drip(head, CRASH) < 40
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS) as patient:
            for _ in range(3):  # idle between its requests, not within one
                patient.sendall(head + CRASH)
                assert patient.recv(1000).startswith(b"HTTP/1.1 200 ")
                time.sleep(0.6)

    run_in_process(tmp_path, visit)
    assert len(ids_in(tmp_path)) == 3


def test_too_many_connections_and_bodies_are_turned_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MAX_CONNECTIONS", 3)
    monkeypatch.setattr(server, "MAX_UNREAD_BYTES", 1000)

    def visit(port: int) -> None:
        head = f"POST {path_of(new_id())} HTTP/1.1\r\nHost: x\r\nContent-Length: 9000\r\n\r\n".encode()
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS) as large:
            large.sendall(head + bytes(800))
            time.sleep(0.1)
            large.sendall(bytes(800))
            time.sleep(0.1)
            large.sendall(bytes(800))
            assert large.recv(1000).startswith(b"HTTP/1.1 503 ")
        connections = [socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS) for _ in range(4)]
        wait_until(lambda: is_cut_off(connections[-1]), "the end of the connection")
        for connection in connections:
            connection.close()

    run_in_process(tmp_path, visit)


def test_fault_of_ours_is_a_500_and_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def fail(*_: object) -> int:
        raise RuntimeError("broken")

    monkeypatch.setattr(Receiver, "keep", fail)
    statuses = []

    def visit(port: int) -> None:
        process = ReceiverProcess(tmp_path, port=port)
        statuses.extend(process.post(path_of(new_id())) for _ in range(3))

    run_in_process(tmp_path, visit)
    assert statuses == [500] * 3
    assert capsys.readouterr().err.count("RuntimeError: broken") == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "Missing option '--to'"),
        (("--to", ""), "expected a value"),
        (("--to", "s3://bucket/pings"), "expected --to as a folder or kafka://HOST:PORT/TOPIC"),
        (("--to", "kafka://nowhere"), "expected kafka://HOST:PORT"),
        (("--to", "@/file"), "cannot write into the folder"),
        (("--to", "@", "--listen", "x:y"), "expected --listen as [HOST:]PORT"),
        (("--to", "@", "--listen", "127.0.0.1:99999"), "expected --listen as [HOST:]PORT"),
        (("--to", "@", "--listen", "192.0.2.1:0", "--metrics", "none"), "cannot listen on 192.0.2.1:0"),
        (("--to", "@", "--metrics", "nowhere"), "expected --metrics as [HOST:]PORT"),
        (("--to", "@", "--places", "@/none.mmdb"), "expected --places as a file in MaxMind's format"),
        (("--to", "@", "--proxies", "-1"), "--proxies"),
        (("--to", "@", "--kafka-config", "@/file"), "--kafka-config has no effect without"),
        (("--to", "kafka://127.0.0.1:9/x", "--file-seconds", "5"), "--file-seconds has no effect without"),
    ],
)
def test_bad_option_is_one_sentence(tmp_path: Path, options: tuple[str, ...], said: str) -> None:
    (tmp_path / "file").touch()
    given = [option.replace("@", str(tmp_path)) for option in options]
    ended = CliRunner().invoke(group, ["receive", *given])
    if isinstance(ended.exception, MissionControlError):
        sentence = str(ended.exception)
    else:
        assert ended.exit_code == 2
        *_, sentence = ended.output.splitlines()
    assert said in sentence
    assert "\n" not in sentence


def test_taken_port_is_one_sentence(receiver: ReceiverProcess, tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from missioncontrol_nb.cli import main; main()", "receive", "--to", str(tmp_path)]
    ended = subprocess.run(
        [*command, "--listen", f"127.0.0.1:{receiver.port}"], cwd=ROOT, capture_output=True, text=True
    )
    assert ended.returncode == 1
    assert ended.stderr.count("\n") == 1
    assert f"cannot listen on 127.0.0.1:{receiver.port}" in ended.stderr
