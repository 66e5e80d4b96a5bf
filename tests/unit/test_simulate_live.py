"""The simulated fleet's live pings: valid, counted as planned, always the same, and fast enough."""

import gzip
import json
from collections import Counter as Tally
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from threading import Event
from time import process_time

import jsonschema
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from click.testing import CliRunner

from missioncontrol_nb.commands.simulate import command
from missioncontrol_nb.releases.sources import load_calendar
from missioncontrol_nb.simulator import Bad, Fleet, live
from missioncontrol_nb.simulator.batches import batches
from missioncontrol_nb.simulator.faulty_pings import FAULTS
from missioncontrol_nb.simulator.fleet import window_of
from missioncontrol_nb.simulator.live import Sent, sink_of, write_live
from missioncontrol_nb.simulator.sampling import Sender
from missioncontrol_nb.simulator.sessions import MEAN_LENGTH_HOURS
from streaming.aggregation.counter import Counter
from streaming.errors import MissionControlError

NOW = datetime(2017, 10, 3, 12, 0, tzinfo=UTC)
BAD = Bad("56.0", NOW - timedelta(hours=1), "content_crashes", 20.0, os_name="Windows_NT")


@pytest.fixture(scope="module")
def fleet():
    return Fleet(load_calendar(), seed=7)


def kind_of(document):
    return next(kind for kind in ("main", "crash", "core") if b'"document_type":"%s"' % kind.encode() in document[:300])


@dataclass
class Counted:
    """What the real job makes of ten minutes of pings, of which the first are kept."""

    first: list[bytes]
    pings: int
    broken: Tally
    reasons: Tally
    sums: pa.RecordBatch


def count(fleet) -> Counted:
    counter, broken, reasons, first = Counter(), Tally(), Tally(), []
    for batch in islice(batches(fleet, NOW, timedelta(seconds=20)), 30):
        reasons.update(counter.add(document, 0) for document in batch.documents)
        broken.update(batch.broken)
        first += batch.documents[: 5000 - len(first)]
    return Counted(first, reasons.total(), broken, reasons, counter.partial_sums())


@pytest.fixture(scope="module")
def counted(fleet):
    return count(fleet)


def total(sums, column, **where):
    keep = pc.equal(sums["table"], "error_aggregates")
    for name, value in where.items():
        keep = pc.and_kleene(keep, pc.equal(sums[name], value))
    return pc.sum(sums.filter(keep)[column]).as_py() or 0


def test_sound_pings_are_valid_by_the_schemas_of_envelope_and_client(counted, shared_data):
    schemas = {
        name: jsonschema.Draft4Validator(json.loads((shared_data / "schemas" / f"{name}.schema.json").read_text()))
        for name in ("main.4", "crash.4", "core.10", "telemetry-ingestion.1")
    }
    versions = {"main": "main.4", "crash": "crash.4", "core": "core.10"}
    counter, checked = Counter(), Tally()
    for document in counted.first:
        kind = kind_of(document)
        if checked[kind] < 100 and counter.add(document, 0) is None:
            ping = json.loads(document)
            schemas[versions[kind]].validate(ping)
            schemas["telemetry-ingestion.1"].validate(ping)
            checked[kind] += 1
    assert checked["main"] == checked["core"] == 100
    assert checked["crash"] > 20


def test_pings_have_the_size_of_real_ones(counted):
    sizes = {}
    for document in counted.first:
        if document.endswith(b"}"):  # one that is cut short does not
            sizes.setdefault(kind_of(document), []).append(len(document))
    assert min(sizes["main"]) > 15_000
    assert max(sizes["main"]) < 70_000
    assert 3_000 < sum(sizes["crash"]) / len(sizes["crash"]) < 6_000


def test_all_pings_count_but_those_that_are_broken_on_purpose(counted):
    assert counted.reasons == counted.broken + Tally({None: counted.pings - counted.broken.total()})
    assert 0.002 < counted.broken.total() / counted.pings < 0.006


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.reason)
def test_a_broken_ping_is_rejected_for_what_is_wrong_with_it(fault, fleet):
    sender = Sender(fleet, window_of(NOW), fleet.generator("test"))
    place = FAULTS.index(fault)
    found = sender._draw_broken(np.array([place] * 5), 0, NOW.timestamp(), 2.0)
    for _, document in found:
        counter = Counter()
        assert counter.add(document, 0) == fault.reason
        rows = counter.partial_sums().to_pylist()
        rejected = [row["document_type"] for row in rows if row["table"] == "rejected_pings"]
        assert rejected == [fault.document_type]


def test_counted_pings_have_the_rates_of_the_model(fleet, counted):
    partial = counted.sums
    expected = fleet.expect(window_of(NOW), 2)
    hours = total(partial, "usage_hours")
    assert hours == pytest.approx(expected.reported_hours.sum(), rel=0.05)
    for measure in ("main_crashes", "content_crashes", "slow_script_notice_count", "slow_script_page_count"):
        is_crash = measure.endswith("crashes")
        of_model = ((expected.used_hours if is_crash else expected.reported_hours) * expected.rates(measure)).sum()
        assert total(partial, measure) == pytest.approx(of_model, rel=0.35), measure
    windows = [build.os_name == "Windows_NT" for build in expected.builds]
    share = expected.reported_hours[windows].sum() / expected.reported_hours.sum()
    assert total(partial, "usage_hours", os_name="Windows_NT") / hours == pytest.approx(share, rel=0.03)


def test_use_begins_on_an_hour_and_ends_to_the_millisecond(counted):
    ends = set()
    sound = [
        document for document in counted.first if kind_of(document) == "main" and Counter().add(document, 0) is None
    ]
    for ping in map(json.loads, sound[:200]):
        info = ping["payload"]["info"]
        start, created = (datetime.fromisoformat(text) for text in (info["subsessionStartDate"], ping["creationDate"]))
        assert (start.minute, start.second, start.microsecond) == (0, 0, 0)
        assert info["sessionStartDate"] == info["subsessionStartDate"]
        cut = created - timedelta(seconds=info["subsessionLength"]) - start
        assert timedelta(0) <= cut < timedelta(hours=1)
        ends.add(created.microsecond)
    assert len(ends) > 100


def test_android_has_crashes_of_its_one_process_only(counted):
    partial = counted.sums
    assert total(partial, "usage_hours", os_name="Android") > 1000
    assert total(partial, "main_crashes", os_name="Android") > 0
    assert total(partial, "content_crashes", os_name="Android") == 0


def test_pings_come_in_between_the_moments_and_in_order(counted):
    times = [json.loads(document)["submission_timestamp"] for document in counted.first if document.endswith(b"}")]
    assert times == sorted(times)
    assert times[0].startswith("2017-10-03T12:00:00.")
    assert times[-1] < "2017-10-03T12:10:00"


def test_pings_come_at_the_rate_of_the_fleet(fleet, counted):
    a_tuesday_noon = fleet.expect(window_of(NOW), 2).reported_hours.sum() / MEAN_LENGTH_HOURS
    assert counted.pings == pytest.approx(a_tuesday_noon, rel=0.05)
    slow = next(batches(Fleet(load_calendar(), seed=7, rate=4.0), NOW, timedelta(minutes=5)))
    assert len(slow.documents) == pytest.approx(a_tuesday_noon / 20, rel=0.1)


def test_a_bad_release_crashes_more_in_its_slice():
    sums = count(Fleet(load_calendar(), seed=7, bad=[BAD])).sums
    rates = {
        version: total(sums, "content_crashes", os_name="Windows_NT", display_version=version, channel="release")
        / total(sums, "usage_hours", os_name="Windows_NT", display_version=version, channel="release")
        for version in ("56.0", "55.0.3")
    }
    assert 12 < rates["56.0"] / rates["55.0.3"] < 32


def test_the_same_seed_and_start_give_the_same_bytes(fleet, tmp_path):
    folders = [tmp_path / name for name in ("first", "second", "third")]
    for folder, seed in zip(folders, (7, 7, 8), strict=True):
        write_live(Fleet(load_calendar(), seed=seed), folder, NOW, at_most=300, is_paced=False)
    first, second, third = ({p.name: p.read_bytes() for p in folder.iterdir()} for folder in folders)
    assert first == second
    assert first != third
    assert all(name.endswith(".jsonl.gz") for name in first)


def test_files_hold_what_was_sent(fleet, tmp_path):
    sent = write_live(fleet, tmp_path, NOW, at_most=500, is_paced=False, every=timedelta(seconds=5))
    files = sorted(tmp_path.iterdir())
    lines = [line for path in files for line in gzip.decompress(path.read_bytes()).split(b"\n") if line]
    assert len(files) == sent.files
    assert (len(lines), sum(map(len, lines))) == (sent.pings, sent.bytes)
    assert 500 <= sent.pings < 1000


def test_a_paced_file_appears_when_its_time_has_passed(fleet, tmp_path):
    start = datetime.now(UTC)
    seen = []

    def look(sent: Sent) -> None:
        [newest] = sorted(tmp_path.iterdir())[-1:]
        seen.append(newest.stat().st_mtime - start.timestamp())

    write_live(
        Fleet(load_calendar(), weeks=0), tmp_path, start, every=timedelta(seconds=0.5),
        until=start + timedelta(seconds=1.6), on_progress=look,
    )  # fmt: skip
    assert len(seen) == 3
    assert all(written >= 0.5 * number for number, written in enumerate(seen, 1))


def test_writing_stops_when_told_to(fleet, tmp_path):
    stop = Event()
    stop.set()
    assert write_live(fleet, tmp_path, datetime.now(UTC), stop=stop) == Sent()


def test_a_folder_that_cannot_be_made_is_said(fleet, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(MissionControlError, match="cannot make the folder"):
        write_live(fleet, tmp_path / "file" / "folder", NOW, at_most=1, is_paced=False)


@pytest.mark.parametrize("to", ["s3://b/x", "http://x", "S3A://b/x", "s3:/b/x"])
@pytest.mark.parametrize("write", [lambda fleet, to: sink_of(to), lambda *to: write_live(*to, NOW, at_most=1)])
def test_place_that_is_no_folder_is_refused_and_no_folder_is_made_of_its_name(fleet, to, write, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MissionControlError, match=r"expected (a folder or kafka://HOST:PORT/TOPIC|two slashes.*); got"):
        write(fleet, to)
    assert list(tmp_path.iterdir()) == []


def test_folder_may_be_a_file_url(fleet, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_live(fleet, sink_of(f"file://{tmp_path}/a%20b"), NOW, at_most=1, is_paced=False)
    assert [path.name for path in tmp_path.iterdir()] == ["a b"]
    assert list((tmp_path / "a b").glob("pings-*.jsonl.gz"))


def test_five_hundred_pings_a_second_leave_time_to_spare(fleet):
    source = batches(fleet, NOW)
    next(source)
    began = process_time()
    pings = sum(len(batch.documents) for batch in islice(source, 30))
    assert pings / (process_time() - began) > 1500


def run(*arguments: object):
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


def test_command_writes_history_and_live_pings_that_go_on_from_it(tmp_path):
    dataset, folder = tmp_path / "dataset", tmp_path / "pings"
    result = run(
        "--history", dataset, "--days", 1, "--live", folder, "--rate", 0, "--pings", 100, "--now", "2017-10-03T12:00",
        "--bad", "56.0", "--bad-os", "Windows_NT",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert load_calendar(dataset / "releases.json").released("56.0", "release").isoformat() == "2017-09-28"
    assert len(list(folder.iterdir())) > 0
    assert "broken on purpose" in result.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "--history"),
        (["--live", "folder", "--rate", 0], "--pings or --minutes"),
        (["--live", "folder", "--bad", "56.0", "--bad-since", "yesterday"], "--bad-since"),
        (["--live", "folder", "--bad", "99.0"], "99.0"),
    ],
)
def test_command_says_what_is_wrong_with_its_arguments(arguments, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run(*arguments)
    assert result.exit_code != 0
    assert said in result.output + str(result.exception)
    assert not Path("folder").exists()


class Producer:
    """A Kafka producer whose brokers take what was produced at the third flush."""

    def __init__(self) -> None:
        self.produced: list[bytes] = []
        self._waiting, self._flushes = 0, 0

    def produce(self, _topic, value, on_delivery):
        self.produced.append(value)
        self._waiting += 1

    def poll(self, _seconds):
        return 0

    def flush(self, _seconds):
        self._flushes += 1
        if self._flushes == 3:
            self._waiting = 0
        return self._waiting

    def __len__(self):
        return self._waiting


@pytest.mark.parametrize(("grace", "is_whole"), [(300.0, True), (-1.0, False)])
def test_batch_is_sent_whole_or_not_counted_where_a_stop_comes_meanwhile(monkeypatch, fleet, grace, is_whole):
    monkeypatch.setattr(live, "STOP_GRACE_SECONDS", grace)
    sink, stop = object.__new__(live.TopicSink), Event()
    sink._name, sink._producer, sink._failure = "pings", Producer(), None
    batch = next(iter(batches(fleet, NOW, timedelta(seconds=20))))
    stop.set()
    assert batch.documents
    assert sink.write(batch, stop) is is_whole
    assert len(sink._producer.produced) == (len(batch.documents) if is_whole else 0)
