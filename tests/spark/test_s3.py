"""Pings from a real S3 server and datasets on it: each ping counts once, whatever becomes of requests and keys."""

import gzip
import json
import os
import random
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
import s3fs
import zstandard
from click.testing import CliRunner
from deltalake.transaction import AddAction
from pyspark.sql import SparkSession

import missioncontrol_nb as mc
from missioncontrol_nb.cli import group
from missioncontrol_nb.incidents.files import annotation_files
from missioncontrol_nb.loading.dataset import Dataset
from streaming import contract
from streaming.aggregation.counter import Counter
from streaming.aggregation.partial_sums import rows_of
from streaming.aggregation.spill import files_of, spilled
from streaming.dataset import compaction, maintenance
from streaming.dataset.writer import TableWriter, open_writers
from streaming.errors import MissionControlError
from streaming.job.aggregate import aggregate
from streaming.job.backfill import backfill
from streaming.job.backfill_settings import BackfillSettings
from streaming.job.settings import AggregateSettings, Summary
from streaming.sources.files.listing import list_files
from streaming.sources.files.reader import read_documents
from streaming.sources.files.splits import assign_to_tasks
from streaming.storage import retry
from streaming.storage.s3 import check_credentials, storage_options, use_endpoint
from tests.patience import PATIENCE_SECONDS
from tests.plain_loop import Sums, plain_sums
from tests.services import s3
from tests.services.faults import FAULTS, FaultProxy
from tests.services.s3 import S3Server
from tests.spark.engines import SPARK_IN_LONG_TESTS, engine
from tests.spark.small_pings import crash_ping, dataset_sums, main_ping, some_pings, total_pings

FILES = 10
_ISSUE = """# What a credential_process may be: keys that are good for four seconds.
import datetime, json, pathlib
keys = json.loads(pathlib.Path(__file__).with_name("keys.json").read_text())
expires = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=4)
print(json.dumps({"Version": 1, **keys, "Expiration": expires.isoformat()}))
"""


@pytest.fixture(scope="module", params=SPARK_IN_LONG_TESTS)
def spark(request: pytest.FixtureRequest) -> SparkSession | None:
    return engine(request)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A server that no test stops."""
    if said := s3.missing():
        pytest.skip(said)
    with S3Server(tmp_path_factory.mktemp("s3")) as started:
        yield started


@pytest.fixture(scope="module")
def proxy(server: S3Server) -> Iterator[FaultProxy]:
    """A proxy before the server, that passes everything on until it is told otherwise."""
    with FaultProxy(server.port) as started:
        yield started


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The home of somebody who has no keys and knows no server."""
    for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "PROFILE", "ENDPOINT_URL", "FORCE_CREDENTIAL_LOAD"):
        monkeypatch.delenv(f"AWS_{name}", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    s3fs.S3FileSystem.clear_instance_cache()
    return tmp_path


@pytest.fixture
def bucket(server: S3Server, proxy: FaultProxy, nobody: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of a new bucket, reached through the proxy, with its keys in the environment."""
    proxy.start()
    proxy.disturb(0)
    name = f"bucket-{uuid.uuid4().hex[:8]}"
    server.create(name)
    for variable, value in zip(("ACCESS_KEY_ID", "SECRET_ACCESS_KEY"), s3.KEYS, strict=True):
        monkeypatch.setenv(f"AWS_{variable}", value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
    return f"s3://{name}"


@pytest.fixture
def count(spark: SparkSession, bucket: str, tmp_path: Path) -> Callable[..., Summary]:
    """Counts what is new below `pings` of the bucket into its `data`, or what it is told to."""

    def run(source: str = f"{bucket}/pings", dataset: str = f"{bucket}/data", **told) -> Summary:
        hooks = {name: told.pop(name) for name in list(told) if name.startswith("on_") or name == "stop"}
        settings = AggregateSettings(**({"checkpoint": str(tmp_path / "checkpoint")} | told))
        return aggregate(source, dataset, settings=settings, spark=spark, **hooks)

    return run


def lines(documents: list[bytes]) -> bytes:
    return b"".join(document + b"\n" for document in documents)


def put_pings(server: S3Server, url: str, seed: int, files: int = FILES) -> None:
    random_ = random.Random(seed)
    for number in range(files):
        server.put(f"{url}/{number}.jsonl", lines(some_pings(random_, 5)))


def loop_sums(server: S3Server, *urls: str) -> Sums:
    """What a plain loop makes of the files below some URLs."""
    files = server.files
    found = [item for url in urls for item in files.find(url, detail=True).items() if "/_" not in item[0]]
    return plain_sums(
        (document, round(details["LastModified"].timestamp() * 1e6))
        for name, details in found
        for document in decompressed(name, files.cat_file(name)).splitlines() or [b""]
    )


def decompressed(name: str, content: bytes) -> bytes:
    if name.endswith(".gz"):
        return gzip.decompress(content)
    return zstandard.decompress(content) if name.endswith(".zst") else content


def test_pings_of_a_bucket_count_once_into_a_dataset_of_a_bucket(server, bucket, count):
    large = lines([crash_ping(noise="x" * 40_000)] * 250)
    assert len(large) > 9 << 20, "more than one request brings"
    objects = {
        "one.json": crash_ping(1), "a b/ü.jsonl": lines([crash_ping(2), main_ping(3)]), "large.jsonl": large,
        "packed.jsonl.gz": gzip.compress(large), "packed.jsonl.zst": zstandard.compress(large), "empty.jsonl": b"",
        "_unfinished/a.json": crash_ping(), "_b.json": crash_ping(),
    }  # fmt: skip
    for name, content in objects.items():
        server.put(f"{bucket}/pings/{name}", content)
    summary = count()
    assert (summary.accepted, summary.rejected) == (3 + 3 * 250, {"empty": 1})
    assert count().pings == 0
    server.put(f"{bucket}/pings/more.jsonl", lines([crash_ping(), crash_ping()[:-5]]))
    assert count().pings == 2
    assert dataset_sums(f"{bucket}/data") == loop_sums(server, f"{bucket}/pings")
    loaded = mc.load(f"{bucket}/data", measures="main_crashes", every=None)
    assert loaded["main_crashes"].tolist() == [3 + 3 * 250]


@pytest.mark.long
def test_days_in_a_bucket_are_counted_anew_through_faults(server, bucket, proxy, count, spark, tmp_path):
    next_day = crash_ping(submission_timestamp="2017-10-03T12:00:00Z")
    server.put(f"{bucket}/pings/live.jsonl", lines([crash_ping(1), main_ping(2), next_day]))
    server.put(f"{bucket}/archive/all.jsonl", lines([crash_ping(1), main_ping(2), main_ping(3)]))
    count()
    proxy.disturb(0.1)
    settings = BackfillSettings(AggregateSettings(checkpoint=str(tmp_path / "checkpoint")))
    day = date(2017, 10, 2)
    changes = backfill(f"{bucket}/archive", f"{bucket}/data", day, day, settings=settings, spark=spark)
    proxy.disturb(0)
    assert [change.table for change in changes if change.is_changed] == [
        "error_aggregates", "coarse_aggregates", "reporting_delays"
    ]  # fmt: skip
    server.put(f"{bucket}/archive/other.jsonl", lines([next_day]))
    assert dataset_sums(f"{bucket}/data") == loop_sums(server, f"{bucket}/archive")


@pytest.mark.long
def test_what_is_done_to_a_url_with_options_leaves_the_dataset_before_them(server, bucket, monkeypatch):
    dataset = f"{bucket}/prod"
    for number in range(6):
        append_ping(dataset, number)
    left = f"{dataset}/error_aggregates/submission_date=2017-10-02/part-left.parquet"
    server.put(left, b"of a writer that was killed")
    server.put(f"{dataset}/error_aggregates/notes.txt", b"of a person")
    folder = server.folder / "buckets" / bucket.removeprefix("s3://")
    for path in folder.rglob("*"):
        os.utime(path, (time.time() - 3 * 86_400,) * 2)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    for suffix in ("?region=eu-central-1", "#x", "/../prod", "%3Fx"):
        for command in (["maintain"], ["maintain", "--keep-days", "1"], ["status"]):
            done = CliRunner().invoke(group, [*command, "--dataset", dataset + suffix])
            assert isinstance(done.exception, MissionControlError)
            assert "expected an s3:// URL" in str(done.exception) or "expected an s3:// key" in str(done.exception)
    for use in (lambda url: mc.load(url, every=None), open_writers, lambda url: aggregate(f"{bucket}/pings", url)):
        with pytest.raises(MissionControlError, match="is not an object key here"):
            use(f"{dataset}?x")
    with pytest.raises(MissionControlError, match="is not an object key here"):
        aggregate(f"{bucket}/pings?region=x", dataset)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    monkeypatch.setattr(compaction, "KEEP_REMOVED_HOURS", 1)
    done = maintenance.maintain(dataset)
    assert (done[0].unnamed.files, done[0].unnamed.bytes) == (1, len(b"of a writer that was killed"))
    assert server.files.exists(left)
    assert server.files.exists(f"{dataset}/error_aggregates/notes.txt")
    assert mc.load(dataset, every=None)["count"].tolist() == [6]


def append_ping(dataset: str, number: int) -> None:
    """A micro-batch of one ping."""
    counter = Counter()
    counter.add(crash_ping(number), 0)
    sums = pa.Table.from_batches([counter.partial_sums()])
    for writer in open_writers(dataset):
        writer.append(rows_of(writer.table, sums), number, "stream")


def test_dataset_in_a_bucket_is_at_the_key_that_is_named(server, bucket):
    name = "a b🔥 données=+@:&,;!~'()*{}<>::b"
    append_ping(f"{bucket}/top/{name}", 0)
    added = written_by_workers(f"{bucket}/top/{name}")
    TableWriter(f"{bucket}/top/{name}", contract.ERROR_AGGREGATES).append(added, 1, "stream")
    assert mc.load(f"{bucket}/top/{name}", every=None, by="country")["count"].sum() == 2
    maintenance.maintain(f"{bucket}/top/{name}")
    keys = [key.partition("/")[2] for key in server.files.find(bucket.removeprefix("s3://"))]
    assert {tuple(key.split("/")[:2]) for key in keys} == {("top", name)}


@pytest.mark.long
def test_annotations_of_a_dataset_in_a_bucket_survive_two_writers_and_upkeep(server, bucket, monkeypatch):
    dataset, times = f"{bucket}/a b/data", ("2017-10-02T10:00Z", "2017-10-02T12:00Z")
    with pytest.raises(MissionControlError, match="there is no dataset"):
        mc.annotate(dataset, *times, "x")
    append_ping(dataset, 0)
    assert mc.annotations(dataset).empty
    with ThreadPoolExecutor(8) as pool:
        ids = list(pool.map(lambda number: mc.annotate(dataset, *times, f"incident {number % 5}"), range(10)))
    assert ids[:5] == ids[5:]
    maintenance.maintain(dataset)
    keys = [key.rpartition("/")[2] for key in server.files.find(f"{dataset}/annotations")]
    assert sorted(keys) == sorted(f"{each}.json" for each in set(ids))
    listed = CliRunner().invoke(group, ["annotate", "--dataset", dataset, "--list"])
    assert len(listed.output.splitlines()) == 5
    assert CliRunner().invoke(group, ["annotate", "--dataset", dataset, "--remove", ids[3]]).exit_code == 0
    assert sorted(mc.annotations(dataset)["text"]) == [f"incident {number}" for number in (0, 1, 2, 4)]
    server.put(f"{dataset}/annotations/{ids[4]}.json", b'{"since": ')
    with pytest.raises(MissionControlError, match=rf"{dataset}/annotations/{ids[4]}.json is not a data incident"):
        mc.judge(dataset)
    with pytest.raises(MissionControlError, match=rf"{ids[4]}.json is not a data incident"):
        mc.annotate(dataset, *times, "incident 4")
    assert server.files.cat_file(f"{dataset}/annotations/{ids[4]}.json") == b'{"since": '
    options = {f"AWS_{name}": os.environ[f"AWS_{name}"] for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY")}
    server.files.rm_file(f"{dataset}/annotations/{ids[4]}.json")
    for name in options:
        monkeypatch.delenv(name)
    assert len(mc.annotations(mc.Dataset(dataset, options))) == 3


def test_annotations_are_written_and_read_through_faults(bucket, proxy):
    dataset = f"{bucket}/data"
    files = annotation_files(dataset, storage_options(dataset))
    proxy.disturb(0.2)
    for number in range(10):
        files.create(f"id-{number}", b"{}")
        assert not files.create(f"id-{number}", b"[]")
    assert files.ids() == [f"id-{number}" for number in range(10)]
    assert [files.read(name) for name in files.ids()] == [b"{}"] * 10
    for number in range(5):
        files.delete(f"id-{number}")
        files.delete(f"id-{number}")
    assert files.ids() == [f"id-{number}" for number in range(5, 10)]
    assert files.read("id-0") is None


def written_by_workers(dataset: str) -> list[AddAction]:
    """The file of a ping's row that a task has written."""
    counter = Counter()
    counter.add(crash_ping(2), 0)
    passed = list(spilled([counter.partial_sums()], dataset, 0))
    _, files = files_of(pa.Table.from_batches(passed))
    return files[contract.ERROR_AGGREGATES.name]


def test_names_of_files_in_a_bucket_are_taken_as_they_are(server, bucket):
    names = ["a::b.jsonl", "in[1]/a.jsonl", "a%20b.jsonl", "a b?c#d.jsonl", "x🔥*y.jsonl"]
    for name in names:
        server.put(f"{bucket}/pings/{name}", lines([crash_ping(1)]))
    found = list_files(f"{bucket}/pings")
    assert sorted(file.path for file in found) == sorted(f"{bucket}/pings/{name}" for name in names)
    splits = [split for share in assign_to_tasks(found, 1) for split in share]
    assert [len(list(read_documents(split))) for split in splits] == [1] * len(names)
    assert [file.path for file in list_files(f"{bucket}/pings/in[1]")] == [f"{bucket}/pings/in[1]/a.jsonl"]


def test_glob_of_a_bucket_finds_its_files(server, bucket):
    for name in ("2017-10-01/a.json", "2017-10-02/a.json", "2017-10-02/_b.json", "2017-11-01/a.json"):
        server.put(f"{bucket}/pings/{name}", crash_ping())
    found = [file.path for file in list_files(f"{bucket}/pings/2017-10-*/*.json")]
    assert found == [f"{bucket}/pings/2017-10-01/a.json", f"{bucket}/pings/2017-10-02/a.json"]


@pytest.mark.long
def test_run_through_faults_ends_with_the_right_sums(server, bucket, proxy, count):
    put_pings(server, f"{bucket}/pings", seed=1)
    before = proxy.done()
    proxy.disturb(0.1)
    summary = count(max_batch_bytes=5000)
    proxy.disturb(0)
    done = proxy.done() - before
    print(f"{dict(done)} in {summary.batches} micro-batches")
    assert all(done[fault] >= 3 for fault in FAULTS)
    assert dataset_sums(f"{bucket}/data") == loop_sums(server, f"{bucket}/pings")
    assert total_pings(f"{bucket}/data") == FILES * 5


@pytest.mark.long
def test_two_jobs_append_to_one_dataset_through_faults(server, bucket, proxy, count, tmp_path):
    proxy.disturb(0.1)
    jobs = []
    for name in ("a", "b"):
        put_pings(server, f"{bucket}/{name}", seed=ord(name), files=3)
        told = {"checkpoint": str(tmp_path / name), "max_batch_bytes": 3000}
        jobs.append(threading.Thread(target=count, args=(f"{bucket}/{name}",), kwargs=told))
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    proxy.disturb(0)
    assert dataset_sums(f"{bucket}/data") == loop_sums(server, f"{bucket}/a", f"{bucket}/b")
    assert total_pings(f"{bucket}/data") == 2 * 3 * 5


def test_same_batches_of_two_writers_land_once(bucket, proxy):
    proxy.disturb(0.1)
    landed: list[int] = []
    writers = [threading.Thread(target=deliver, args=(f"{bucket}/data", landed)) for _ in range(2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    proxy.disturb(0)
    rejects = Dataset(f"{bucket}/data").load_rejected()
    assert rejects["count"].tolist() == [sum(range(10))]
    assert len(landed) == len(set(landed)), "no batch is said to be new twice"


def deliver(dataset: str, landed: list[int]) -> None:
    """Ten batches, each of as many rejected pings as its number says."""
    import pyarrow as pa

    writer = TableWriter(dataset, contract.REJECTED_PINGS)
    start = datetime(2017, 10, 2, tzinfo=UTC)
    for batch in range(10):
        row = {
            "submission_date": start.date(), "window_start": start, "window_end": start + timedelta(minutes=5),
            "document_type": "crash", "reason": "channel", "count": batch,
        }  # fmt: skip
        rows = pa.Table.from_pylist([row], schema=contract.schema(contract.REJECTED_PINGS))
        if writer.append(rows, batch, "the same"):
            landed.append(batch)


def test_outages_are_said_and_outlived(server, bucket, proxy, count, monkeypatch):
    monkeypatch.setattr(retry, "OUTAGE_NOTICE_SECONDS", 0.5)  # of this process
    told, stop, batches = Told(), threading.Event(), Told()
    server.put(f"{bucket}/pings/0.jsonl", lines(some_pings(random.Random(0), 20)))

    def cut_in_mid_append(table: str, number: int) -> None:
        if (table, number) == (contract.ERROR_AGGREGATES.name, 1):
            proxy.stop()

    hooks = {"on_notice": told.add, "on_batch": batches.add, "on_commit": cut_in_mid_append, "stop": stop}
    job = threading.Thread(target=count, kwargs={"follow": True, "trigger_seconds": 0.1, **hooks})
    job.start()
    try:
        batches.await_number(1)
        with proxy.outage():
            server.put(f"{bucket}/pings/1.jsonl", lines(some_pings(random.Random(1), 20)))
            told.await_number(1)
        waiting, going_on = told.await_number(2)[:2]
        assert waiting.startswith(f"{bucket}/pings does not answer (")
        assert going_on == "going on"
        waiting = told.await_number(3)[2]
        assert waiting.startswith(f"{bucket}/data/")
        assert waiting.endswith(" does not answer (Connection refused (os error 111)): waiting")
        proxy.start()
        batches.await_number(2)
        assert told.await_number(4)[3:] == ["going on"]
    finally:
        proxy.start()
        stop.set()
        job.join()
    assert dataset_sums(f"{bucket}/data") == loop_sums(server, f"{bucket}/pings")
    assert total_pings(f"{bucket}/data") == 40


class Told:
    """What a job has told so far, for another thread to wait for."""

    def __init__(self) -> None:
        self._all: list = []
        self._changed = threading.Condition()

    def add(self, told: object) -> None:
        with self._changed:
            self._all.append(told)
            self._changed.notify_all()

    def await_number(self, number: int) -> list:
        """All, as soon as there are so many."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self._all) >= number, timeout=PATIENCE_SECONDS), self._all
            return list(self._all)


def test_job_told_to_stop_in_an_outage_ends_and_goes_on_later(server, bucket, proxy, count, monkeypatch):
    monkeypatch.setattr(retry, "OUTAGE_NOTICE_SECONDS", 0.5)
    put_pings(server, f"{bucket}/pings", seed=2, files=1)
    stop = threading.Event()
    with pytest.raises(MissionControlError, match=r"cannot write to .*: .*Connection refused"):
        count(stop=stop, on_commit=lambda table, number: proxy.stop(), on_notice=lambda said: stop.set())
    proxy.start()
    count()
    assert dataset_sums(f"{bucket}/data") == loop_sums(server, f"{bucket}/pings")


def test_keys_of_a_credential_process_are_exchanged_while_the_job_runs(server, bucket, count, monkeypatch, tmp_path):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_PROFILE", "counter")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    program = f"{sys.executable} {tmp_path / 'issue.py'}"
    (tmp_path / "config").write_text(f"[profile counter]\ncredential_process = {program}\n")
    (tmp_path / "issue.py").write_text(_ISSUE)
    use_endpoint(server.endpoint)
    batches, stop = Told(), threading.Event()
    told = {"follow": True, "trigger_seconds": 0.1, "on_batch": batches.add, "stop": stop}
    job = threading.Thread(target=count, kwargs=told)
    try:
        for number in range(2):
            server.admit(f"{bucket[5:]}-{number}", f"secret-{number}")
            unfinished = tmp_path / "keys.tmp"
            unfinished.write_text(
                json.dumps({"AccessKeyId": f"{bucket[5:]}-{number}", "SecretAccessKey": f"secret-{number}"})
            )
            unfinished.replace(tmp_path / "keys.json")
            if number:
                server.dismiss(f"{bucket[5:]}-{number - 1}")
            server.put(f"{bucket}/pings/{number}.jsonl", lines([crash_ping(number), b"nonsense"]))
            if not number:
                job.start()
            batches.await_number(number + 1)
    finally:
        stop.set()
        job.join()
    assert dataset_sums(f"{bucket}/data") == loop_sums(server, f"{bucket}/pings")
    assert total_pings(f"{bucket}/data") == 4


def test_wrong_keys_and_buckets_are_said_at_once(server, bucket, count, monkeypatch, tmp_path):
    (tmp_path / "ping.json").write_bytes(crash_ping())
    server.put(f"{bucket}/pings/a.json", crash_ping())
    with pytest.raises(MissionControlError, match=r"nothing there: 's3://no-such-bucket/pings'|NoSuchBucket"):
        count("s3://no-such-bucket/pings")
    with pytest.raises(MissionControlError, match=r"cannot write to 's3://no-such-bucket/.*NoSuchBucket"):
        count(str(tmp_path / "ping.json"), "s3://no-such-bucket/data")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "guessed")
    s3fs.S3FileSystem.clear_instance_cache()
    began = time.monotonic()
    with pytest.raises(MissionControlError, match=r"cannot reach .*InvalidAccessKeyId"):
        count(checkpoint=str(tmp_path / "a"))
    with pytest.raises(MissionControlError, match=r"cannot write to .*InvalidAccessKeyId"):
        count(str(tmp_path / "ping.json"), checkpoint=str(tmp_path / "b"))
    assert time.monotonic() - began < retry.START_TIMEOUT_SECONDS


# ---------- without a server ----------
@pytest.mark.parametrize(
    ("config", "profile", "said"),
    [
        ("", "", "no credentials for 's3://bucket/data': set AWS_ACCESS_KEY_ID"),
        ("[default]\nregion = eu-central-1\n", "", "no credentials for 's3://bucket/data': set AWS_ACCESS_KEY_ID"),
        ("[profile a]\nregion = eu-central-1\n", "b", r"The config profile \(b\) could not be found"),
        ("[profile a]\ncredential_process = false\n", "a", "Error when retrieving credentials from custom-process"),
        ("[profile a]\ncredential_process = /no/such/program\n", "a", "No such file or directory"),
    ],
)
def test_profile_without_keys_is_said_at_once(nobody, monkeypatch, config, profile, said):
    (nobody / ".aws").mkdir()
    (nobody / ".aws" / "config").write_text(config)
    if profile:
        monkeypatch.setenv("AWS_PROFILE", profile)
    with pytest.raises(MissionControlError, match=said):
        check_credentials("s3://bucket/data")


def test_half_of_the_keys_is_said(nobody, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "an-access-key")
    with pytest.raises(MissionControlError, match="set AWS_SECRET_ACCESS_KEY too"):
        check_credentials("s3://bucket/data")


def test_profile_says_region_and_endpoint(nobody):
    (nobody / ".aws").mkdir()
    (nobody / ".aws" / "config").write_text(
        "[default]\nregion = eu-central-1\nendpoint_url = http://127.0.0.1:9\naws_access_key_id = a\n"
        "aws_secret_access_key = b\n"
    )
    check_credentials("s3://bucket/data")
    assert storage_options("s3://bucket/data") == {
        "AWS_ALLOW_HTTP": "true", "AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_FORCE_CREDENTIAL_LOAD": "true",
        "AWS_REGION": "eu-central-1",
    }  # fmt: skip
