"""How many pings a receiver keeps in a CPU second, and how long an answer takes: python -m benchmarks.receive

The load is `wrk` (Debian: apt-get install wrk), on one core; the server is on another one. A ping is a main ping of
the simulated fleet, about 10 kB packed and 33 kB unpacked. A CPU second is user and system time of the server with all
its threads. Answers are durable: 200 after fsync, or after Kafka's acknowledgement (needs Java and Maven). Beside it,
in the same rounds, runs the same HTTP server that reads the body and answers 200 at once.

--servers also measures the same handler, into files, behind uvicorn and granian, where they are installed.
"""

import argparse
import gzip
import importlib.util
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil

from missioncontrol_nb.receiver.addresses import read_address
from missioncontrol_nb.receiver.answering import Receiver
from missioncontrol_nb.receiver.bodies import unpacked
from missioncontrol_nb.receiver.documents import document_of
from missioncontrol_nb.releases.sources import load_calendar
from missioncontrol_nb.simulator import Fleet, weeks_until
from missioncontrol_nb.simulator.batches import batches
from tests.patience import wait_until
from tests.services import kafka
from tests.services.ports import free_port, is_free
from tests.services.receiver import path_of

ROOT = Path(__file__).parents[1]
PACKED_BYTES = 10_000
GOAL_PER_CPU_SECOND, GOAL_P99_MS = 5_000, 100.0
WARM_UP_SECONDS = 1
HEADERS = {
    "Content-Encoding": "gzip",
    "Content-Type": "application/json; charset=UTF-8",
    "Date": "Mon, 30 Nov 2026 17:00:00 GMT",
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:153.0) Gecko/20100101 Firefox/153.0",
    "X-Telemetry-Agent": "Glean/67.3.2 (Rust on Linux)",
}
# Each request has an id of its own. A 200 is the only answer that does not end up in wrk's count of errors.
SCRIPT = """
local file = io.open("{body}", "rb")
local body = file:read("*a")
local number = 0
wrk.method = "POST"
function init() math.randomseed(os.time()) end
function request()
  number = number + 1
  local id = string.format("%08x-%04x-4000-8000-%012x", number, math.random(0, 65535), math.random(0, 2147483647))
  return wrk.format("POST", ("{path}"):gsub("ID", id, 1), {headers}, body)
end
"""


@dataclass(frozen=True)
class Measured:
    """What a run of wrk gave. cpu_us: of the server, a request."""

    requests: int
    per_second: float
    cpu_us: float
    p50_ms: float
    p99_ms: float


def client_ping() -> bytes:
    """The main ping whose packed size is nearest to PACKED_BYTES, as a client sends it: without an envelope."""
    now = datetime.now(UTC)
    fleet = Fleet(load_calendar(None), weeks_until(now), 0, [])
    candidates = []
    for batch in batches(fleet, now - timedelta(hours=1), timedelta(seconds=10)):
        for document in batch.documents:
            if b'"document_type":"main"' in document and document.startswith(b"{") and document.endswith(b"}"):
                ping = json.loads(document)
                for key in [key for key in ping if key in ("metadata", "submission_timestamp", "sample_id")]:
                    del ping[key]
                candidates.append(json.dumps(ping, separators=(",", ":")).encode())
        if len(candidates) > 300:
            break
    return min(candidates, key=lambda ping: abs(len(gzip.compress(ping)) - PACKED_BYTES))


def milliseconds(text: str) -> float:
    number, unit = re.fullmatch(r"([0-9.]+)(us|ms|s|m)", text).groups()  # type: ignore[union-attr]
    return float(number) * {"us": 0.001, "ms": 1, "s": 1000, "m": 60_000}[unit]


def run_wrk(port: int, script: Path, seconds: int, connections: int) -> str:
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s", "--latency", "-s", script]
    run = subprocess.run(
        [*map(str, command), f"http://127.0.0.1:{port}"], check=True, capture_output=True, text=True,
        preexec_fn=lambda: os.sched_setaffinity(0, {other_core()}),
    )  # fmt: skip
    for fault in ("Non-2xx", "Socket errors"):
        if fault in run.stdout:
            sys.exit(run.stdout)
    return run.stdout


def server_core() -> int:
    return min(os.sched_getaffinity(0))


def other_core() -> int:
    return max(os.sched_getaffinity(0))


def measure(command: list[str], port: int, script: Path, seconds: int, connections: int) -> Measured:
    """Starts a server on a core of its own, loads it, and ends it."""
    server = subprocess.Popen(
        [sys.executable, *command], cwd=ROOT, stdout=subprocess.DEVNULL,
        preexec_fn=lambda: os.sched_setaffinity(0, {server_core()}),
    )  # fmt: skip
    try:
        wait_until(lambda: not is_free(port), "the server", every=0.05)
        run_wrk(port, script, WARM_UP_SECONDS, connections)
        process = psutil.Process(server.pid)
        before = process.cpu_times()
        said = run_wrk(port, script, seconds, connections)
        after = process.cpu_times()
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(60)
    cpu_seconds = after.user + after.system - before.user - before.system
    requests = int(re.search(r"(\d+) requests in", said)[1])  # type: ignore[index]
    return Measured(
        requests,
        float(re.search(r"Requests/sec:\s+([0-9.]+)", said)[1]),  # type: ignore[index]
        cpu_seconds / requests * 1e6,
        *(milliseconds(re.search(rf"\n\s+{share}%\s+(\S+)", said)[1]) for share in (50, 99)),  # type: ignore[index]
    )


def cpu_us(work: Callable[[], Any], times: int = 2000) -> float:
    """The CPU time of a call, in microseconds: the median of ten runs."""
    found = []
    for _ in range(10):
        start = time.process_time()
        for _ in range(times // 10):
            work()
        found.append((time.process_time() - start) / (times // 10) * 1e6)
    return statistics.median(found)


def print_where_it_goes(body: bytes, bare_us: float, files_us: float) -> None:
    """The CPU time of each step, measured alone, and what is left of a request into files."""
    packed = gzip.compress(body)
    path, _, query = path_of("2c3a0767-d84a-4d02-8a92-fa54a3376049", "main").partition("?")
    headers = {**{name.lower(): value for name, value in HEADERS.items()}, "content-length": str(len(packed))}
    address = read_address(path, query)
    assert address
    receiver = Receiver(None)  # type: ignore[arg-type]
    steps = {
        "HTTP: the bare server, of the same rounds": bare_us,
        "path, headers and limits": cpu_us(lambda: receiver.admit("POST", path, query, headers)),
        "unpacking": cpu_us(lambda: unpacked(packed, "gzip")),
        "checking JSON, ids out, envelope in": cpu_us(
            lambda: document_of(address, body, "2026-11-30T17:00:00.000000Z", {"date": "x"}, None)
        ),
    }
    steps["waiting, writing, fsync and counting (the rest)"] = files_us - sum(steps.values())
    print(f"\nWhere the CPU time of a request into files goes, {files_us:.0f} us in all")
    for step, microseconds in steps.items():
        print(f"  {step:<50}{microseconds:>7.1f} us {100 * microseconds / files_us:>5.0f} %")


def print_table(results: dict[str, list[Measured]]) -> None:
    head = f"{'':<20}{'requests/s':>11}{'per CPU s':>11}{'range':>16}{'of bare':>9}{'p50 ms':>8}{'p99 ms':>8}"
    print(f"\n{head}")
    bare_us = statistics.median(each.cpu_us for each in results["bare"])
    for name, rounds in results.items():
        per_cpu = sorted(1e6 / each.cpu_us for each in rounds)
        median = {
            field: statistics.median(getattr(each, field) for each in rounds) for field in Measured.__annotations__
        }
        print(
            f"{name:<20}{median['per_second']:>11,.0f}{1e6 / median['cpu_us']:>11,.0f}"
            f"{f'{per_cpu[0]:,.0f}-{per_cpu[-1]:,.0f}':>16}{bare_us / median['cpu_us']:>9.2f}"
            f"{median['p50_ms']:>8.1f}{median['p99_ms']:>8.1f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--servers", action="store_true", help="also behind uvicorn and granian")
    parser.add_argument("--no-kafka", action="store_true")
    given = parser.parse_args()
    if not shutil.which("wrk"):
        sys.exit("The load is wrk; on Debian: apt-get install wrk")
    with ExitStack() as stack:
        folder = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="missioncontrol-receive-", dir=ROOT / ".cache"))
        )
        body = client_ping()
        (folder / "body.gz").write_bytes(gzip.compress(body))
        said = ", ".join(f'["{name}"] = "{value}"' for name, value in HEADERS.items())
        script = folder / "post.lua"
        script.write_text(SCRIPT.format(body=folder / "body.gz", path=path_of("ID", "main"), headers=f"{{{said}}}"))
        print(
            f"A ping has {len(gzip.compress(body)):,} bytes packed, {len(body):,} unpacked; "
            f"{given.connections} connections"
        )

        own = ["-c", "from missioncontrol_nb.cli import main; main()", "receive", "--metrics", "none"]
        others = ["-m", "benchmarks.receive_servers"]
        cases: dict[str, Callable[[int, Path], list[str]]] = {
            "bare": lambda port, out: [*others, "aiohttp", "bare", str(port), str(out)],
            "files": lambda port, out: [*own, "--listen", str(port), "--to", str(out)],
        }
        if not given.no_kafka and not kafka.missing():
            broker = stack.enter_context(kafka.Broker(folder / "kafka"))
            os.sched_setaffinity(broker.pid, {other_core()})
            broker.create("pings", 4)
            cases["Kafka"] = lambda port, out: [*own, "--listen", str(port), "--to", f"kafka://{broker.address}/pings"]
        for name in ("aiohttp", "uvicorn", "granian") if given.servers else ():
            if importlib.util.find_spec(name):
                for mode in ("bare", "files"):
                    cases[f"{name} {mode}"] = lambda port, out, name=name, mode=mode: [
                        *others,
                        name,
                        mode,
                        str(port),
                        str(out),
                    ]
        results: dict[str, list[Measured]] = {name: [] for name in cases}
        for number in range(given.rounds):
            for name, command_of in cases.items():
                port, out = free_port(), folder / f"{name} {number}".replace(" ", "-")
                results[name].append(measure(command_of(port, out), port, script, given.seconds, given.connections))
                shutil.rmtree(out, ignore_errors=True)
        print_table(results)
        bare_us, files_us = (statistics.median(each.cpu_us for each in results[name]) for name in ("bare", "files"))
        print_where_it_goes(body, bare_us, files_us)
        p99_ms = statistics.median(each.p99_ms for each in results["files"])
        is_met = 1e6 / files_us >= GOAL_PER_CPU_SECOND and p99_ms < GOAL_P99_MS
        verdict = "met" if is_met else "MISSED"
        print(f"\nGoal, into files: {GOAL_PER_CPU_SECOND:,} a CPU second, p99 below {GOAL_P99_MS:.0f} ms: {verdict}")


if __name__ == "__main__":
    main()
