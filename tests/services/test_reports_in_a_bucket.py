"""Reports in a real S3 bucket: whole or not listed, also when the server or the process dies in the middle."""

import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import s3fs

from missioncontrol_nb.report import publishing
from missioncontrol_nb.report.parameters import Subject
from missioncontrol_nb.report.shelves import Bucket, shelf_of
from streaming import contract
from streaming.errors import MissionControlError
from streaming.storage import object_store
from tests.report_checks import faults, files_of
from tests.services import s3
from tests.services.faults import FAULTS, FaultProxy
from tests.services.s3 import KEYS, S3Server

NOON = datetime(2017, 10, 2, 12, tzinfo=UTC)
# Publishes for ever, as fast as it can: tests kill it. Its arguments: the URL, a seed, hours from which on.
PUBLISHER = """
import random, sys
from datetime import timedelta
from tests.services.test_reports_in_a_bucket import NOON, publish
from missioncontrol_nb.report.shelves import Bucket
chance, shelf = random.Random(int(sys.argv[2])), Bucket(sys.argv[1])
print("ready", flush=True)
while True:
    publish(shelf, NOON + timedelta(hours=chance.randrange(5)), f"{chance.randrange(3)}", sys.argv[2])
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    if said := s3.missing():
        pytest.skip(said)
    with S3Server(tmp_path_factory.mktemp("s3")) as started:
        yield started


@pytest.fixture
def bucket(server: S3Server, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """An empty place in the server, and its keys in the environment."""
    name = f"b{abs(hash(request.node.name)) % 10**9}"
    server.create(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEYS[0])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", KEYS[1])
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.endpoint)
    shelf = shelf_of(f"s3://{name}/reports")
    assert isinstance(shelf, Bucket)
    return shelf


class _Dataset:
    url = "/data"


def subject(as_of: datetime) -> Subject:
    return Subject(_Dataset(), contract.FIREFOX, ("release",), as_of)  # type: ignore[arg-type]


def publish(shelf: Bucket, as_of: datetime, said: str = "fine", made_at: str = "now") -> str:
    return publishing.publish(shelf, subject(as_of), files_of(f"{as_of:%Y-%m-%dT%H:%M:%SZ}", said, made_at, 50_000))


def test_bucket_is_tried_before_anything_is_made_and_nothing_is_left(bucket: Bucket) -> None:
    bucket.require_writable()
    assert not bucket._find()
    with pytest.raises(MissionControlError):
        shelf_of("s3://no-such-bucket/reports").require_writable()


def test_bucket_has_the_same_files_as_a_folder(bucket, server):
    assert publish(bucket, NOON) == publish(bucket, NOON, made_at="again") == "2017-10-02T12-00Z"
    assert publish(bucket, NOON, "after a backfill") == "2017-10-02T12-00Z.2"
    assert publish(bucket, NOON - timedelta(hours=1)) == "2017-10-02T11-00Z"
    assert faults(bucket) == []
    there = sorted(path.partition("/reports/")[2] for path in server.files.find(bucket.place))
    report = ["alarms.json", "headline.png", "report.html", "report.ipynb"]
    names = ["2017-10-02T11-00Z", "2017-10-02T12-00Z", "2017-10-02T12-00Z.2"]
    whole = [f"{name}/{file}" for name in names for file in report]
    assert there == sorted([*whole, "index.html", "latest.html", "latest.json"])
    assert b"after a backfill" in (bucket.read("latest.html") or b"")


def test_failed_notebooks_are_kept_beside_the_newest_of_them(bucket, server, monkeypatch):
    publish(bucket, NOON)
    wheres = [publishing.keep_failed(bucket, subject(NOON), b"{}") for _ in range(3)]
    for where in wheres:
        assert re.fullmatch(rf"{bucket.place}/failed/2017-10-02T12-00Z-[0-9a-f]{{8}}/report.ipynb", where)
    assert bucket.names() == ["2017-10-02T12-00Z"]
    monkeypatch.setattr("missioncontrol_nb.report.shelves.MOST_FAILED", 2)
    publish(bucket, NOON)
    assert len(server.files.find(f"{bucket.place}/failed")) == 2


def test_report_that_a_killed_run_began_is_finished_though_another_run_sweeps(bucket, monkeypatch):
    """Times of S3 are whole seconds."""
    monkeypatch.setattr("missioncontrol_nb.report.shelves.ABANDONED_AFTER", timedelta(seconds=3))
    files = files_of(f"{NOON:%Y-%m-%dT%H:%M:%SZ}", size=50_000)
    assert bucket._create("2017-10-02T12-00Z/report.html", files["report.html"])
    time.sleep(4)
    replace = object_store.replace_file

    def replace_and_sweep(url, content, policy):
        replace(url, content, policy)
        if url.endswith("/headline.png"):
            Bucket(bucket.place).sweep()

    monkeypatch.setattr(object_store, "replace_file", replace_and_sweep)
    assert publish(bucket, NOON) == "2017-10-02T12-00Z"
    assert faults(bucket) == []
    assert bucket.names() == ["2017-10-02T12-00Z"]


def test_report_that_lost_its_page_is_passed_over_and_finished_by_the_same_one(bucket, server):
    """Another one of that moment does not become a part of it."""
    publish(bucket, NOON)
    publish(bucket, NOON + timedelta(hours=1))
    server.files.rm(f"{bucket.place}/2017-10-02T13-00Z/report.html")
    publishing.bring_up_to_date(bucket)
    assert bucket.names() == ["2017-10-02T12-00Z"]
    assert bucket.read("latest.html") == bucket.read("2017-10-02T12-00Z/report.html")
    assert publish(bucket, NOON + timedelta(hours=1), "after a backfill") == "2017-10-02T13-00Z.2"
    assert publish(bucket, NOON + timedelta(hours=1), made_at="again") == "2017-10-02T13-00Z"
    assert len(bucket.names()) == 3
    assert faults(bucket) == []


@pytest.mark.long
def test_kills_leave_no_half_report_in_a_bucket(bucket, server):
    chance = random.Random(0)
    publish(bucket, NOON)
    command = [sys.executable, "-c", PUBLISHER, bucket.place]
    root = Path(__file__).parents[2]
    with subprocess.Popen([*command, "1"], stdout=subprocess.PIPE, cwd=root) as other:
        for number in range(20):
            with subprocess.Popen([*command, f"{number}"], stdout=subprocess.PIPE, cwd=root, text=True) as process:
                assert process.stdout is not None
                process.stdout.readline()
                time.sleep(chance.uniform(0, 0.4))
                os.kill(process.pid, signal.SIGKILL)
        other.kill()
    assert faults(bucket) == []
    last = publish(bucket, NOON + timedelta(days=1))
    assert bucket.read("latest.html") == bucket.read(f"{last}/report.html")


def test_server_that_dies_in_the_middle_leaves_no_half_report(bucket, server):
    """It is back after some seconds, which the writer waits for."""
    chance = random.Random(1)
    names = [publish(bucket, NOON)]
    for number in range(3):
        killer = threading.Timer(chance.uniform(0.0, 0.1), server.kill)
        killer.start()
        back = threading.Timer(1.0, server.start)
        back.start()
        names.append(publish(bucket, NOON + timedelta(hours=1 + number)))
        killer.join()
        back.join()
        assert faults(bucket) == []
    assert bucket.names() == names
    assert bucket.read("latest.html") == bucket.read(f"{names[-1]}/report.html")


def test_report_is_listed_though_the_server_says_that_a_lost_file_is_there(bucket, monkeypatch):
    """As versitygw does, without extended attributes, of an upload in whose middle it was killed."""
    create = object_store.create_file

    def create_but_alarms(url, content, policy):
        return not url.endswith("/alarms.json") and create(url, content, policy)

    monkeypatch.setattr(object_store, "create_file", create_but_alarms)
    assert publish(bucket, NOON) == "2017-10-02T12-00Z"
    assert bucket.names() == ["2017-10-02T12-00Z"]
    assert faults(bucket) == []


def test_server_that_is_away_leaves_all_as_it_was(bucket, server, monkeypatch):
    publish(bucket, NOON)
    before = bucket.read("latest.json")
    monkeypatch.setattr("missioncontrol_nb.report.shelves.START_TIMEOUT_SECONDS", 1.0)
    impatient = Bucket(bucket.place)
    server.kill()
    try:
        with pytest.raises(MissionControlError, match=r"cannot reach 's3://"):
            publish(impatient, NOON + timedelta(hours=1))
    finally:
        server.start()
    assert bucket.read("latest.json") == before
    assert bucket.names() == ["2017-10-02T12-00Z"]


@pytest.mark.long
def test_faults_of_the_network_leave_no_half_report(bucket, server, monkeypatch):
    """A third of the requests fail, some of them after they have been carried out."""
    with FaultProxy(server.port) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        s3fs.S3FileSystem.clear_instance_cache()  # fsspec keeps clients, whatever the environment says by then
        proxy.disturb(0.3)
        disturbed = Bucket(bucket.place)
        for number in range(6):
            publish(disturbed, NOON + timedelta(hours=number))
        happened = proxy.done()
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.endpoint)
    s3fs.S3FileSystem.clear_instance_cache()
    assert sum(happened[kind] for kind in FAULTS) > 10
    assert faults(bucket) == []
    assert bucket.names() == [f"2017-10-02T{12 + number}-00Z" for number in range(6)]
