"""Programs on a network that has only a loopback: what they reach, and when they end."""

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from missioncontrol_nb.demo import offline
from missioncontrol_nb.demo.firefox import make_certificate
from streaming.errors import MissionControlError
from tests.patience import PATIENCE_SECONDS, wait_until

PROBE = """
import errno, socket
with socket.create_server(("127.0.0.1", 0)) as server:
    socket.create_connection(server.getsockname(), 5).close()
for address in ("192.0.2.1", "2001:db8::1"):
    try:
        socket.create_connection((address, 443), 5)
    except OSError as error:
        print(errno.errorcode[error.errno], flush=True)
"""
ECHO = """
import socket
with socket.create_server(("127.0.0.1", 9000)) as server:
    while True:
        connection, _ = server.accept()
        connection.sendall(connection.recv(100).upper())
        connection.close()
"""
HOLDER = """
from pathlib import Path
from missioncontrol_nb.demo.offline import OfflineNetwork
network = OfflineNetwork()
network.start("sleep", ["/bin/sh", "-c", "sleep 999 & exec sleep 999"], {}, Path("/dev/null"))
print("ready", flush=True)
input()
"""


RIGHTS = """
from pathlib import Path
lines = Path("/proc/self/status").read_text().splitlines()
print(*(line.split()[1] for line in lines if line.startswith(("CapPrm", "CapEff", "CapAmb"))))
"""


def run(network, tmp_path: Path, program: str, name: str = "probe") -> Path:
    log = tmp_path / f"{name}.log"
    network.start(name, [sys.executable, "-c", program], {"PATH": os.environ["PATH"]}, log)
    return log


def test_programs_reach_each_other_and_nothing_else(network, tmp_path):
    log = run(network, tmp_path, PROBE)
    wait_until(lambda: network.exit_code("probe") is not None)
    assert network.exit_code("probe") == 0
    assert log.read_text().split() == ["ENETUNREACH", "ENETUNREACH"]


@pytest.mark.skipif(os.geteuid() == 0, reason="programs of root keep root's capabilities")
def test_programs_of_a_user_have_no_capability(network, tmp_path):
    log = run(network, tmp_path, RIGHTS)
    wait_until(lambda: network.exit_code("probe") is not None)
    assert [int(each, 16) for each in log.read_text().split()] == [0, 0, 0]


def test_environment_of_any_size_reaches_a_program(network, tmp_path):
    environment = {f"LONG_{number}": "\udcff" * 100_000 for number in range(9)}
    log = tmp_path / "probe.log"
    script = "import os; print(sum(len(each) for name, each in os.environ.items() if name.startswith('LONG')))"
    network.start("probe", [sys.executable, "-c", script], environment, log)
    wait_until(lambda: network.exit_code("probe") is not None)
    assert log.read_text() == "900000\n"


def test_relay_passes_connections_on_with_and_without_tls(network, tmp_path):
    certificate = tmp_path / "certificate.pem"
    make_certificate(certificate)
    run(network, tmp_path, ECHO, "echo")
    network.relay(tmp_path / "plain", 9000)
    network.relay(9443, 9000, certificate)
    wait_until(lambda: answer(tmp_path / "plain") == b"HELLO")
    command = ["openssl", "s_client", "-quiet", "-connect", "127.0.0.1:9443"]
    script = f"import subprocess; subprocess.run({command}, input=b'hello', stderr=subprocess.DEVNULL)"
    log = run(network, tmp_path, script)
    wait_until(lambda: network.exit_code("probe") is not None)
    assert log.read_text() == "HELLO"


def answer(path: Path) -> bytes:
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(str(path))
            connection.sendall(b"hello")
            return connection.recv(100)
        except OSError:
            return b""


def test_nothing_outlives_a_process_that_is_killed(network):
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "ready\n"
        wait_until(lambda: len(psutil.Process(process.pid).children(recursive=True)) == 4)
        started = psutil.Process(process.pid).children(recursive=True)
        process.kill()
    assert psutil.wait_procs(started, timeout=PATIENCE_SECONDS)[1] == []


def test_file_that_is_no_program_is_an_error_that_names_it(network, tmp_path):
    (tmp_path / "firefox").touch(0o755)
    network.start("firefox", [str(tmp_path / "firefox")], {}, tmp_path / "log")
    with pytest.raises(MissionControlError, match="Exec format error"):
        wait_until(lambda: network.exit_code("firefox"))


@pytest.mark.parametrize(("seconds", "is_stopped", "why"), [(0.2, False, "it took 0.2 s"), (60.0, True, "a stop was")])
def test_wait_for_namespaces_ends_after_a_time_and_when_a_stop_is_requested(seconds, is_stopped, why, monkeypatch):
    monkeypatch.setattr(offline, "_UNSHARE", ("sh", "-c", "exec sleep 999"))
    monkeypatch.setattr(offline, "_START_TIMEOUT_SECONDS", seconds)
    stop, others = threading.Event(), psutil.Process().children()
    if is_stopped:
        stop.set()
    with pytest.raises(MissionControlError, match=f"did not start: {why}"):
        offline.OfflineNetwork(stop)
    assert set(psutil.Process().children()) <= set(others)


def test_no_namespaces_are_an_error_that_says_what_the_system_said(monkeypatch):
    monkeypatch.setattr(offline, "_UNSHARE", ("unshare", "--no-such-option"))
    with pytest.raises(MissionControlError, match="--no-such-option"):
        offline.OfflineNetwork()
