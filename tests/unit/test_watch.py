"""The command `missioncontrol watch`, what `missioncontrol status` says of it, and the watch beside a job."""

import dataclasses
import errno
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import psutil
import pytest
from click.testing import CliRunner

from missioncontrol_nb.cli import group
from missioncontrol_nb.status import Collector, metrics, wording
from missioncontrol_nb.status.page import as_page
from missioncontrol_nb.watching import beside, looking, watch
from missioncontrol_nb.watching.changes import apply_look
from missioncontrol_nb.watching.outbox import add_targets, note_delivered, note_failed
from missioncontrol_nb.watching.state import FILE, open_store, read_state
from missioncontrol_nb.watching.targets import read_targets
from streaming.errors import MissionControlError
from tests.patience import PATIENCE_SECONDS, wait_until
from tests.services.cluster import lives
from tests.services.http_sink import HttpSink
from tests.services.ports import free_port
from tests.unit.small_dataset import write
from tests.unit.watched import at, finding, look

CLI = (sys.executable, "-c", "from missioncontrol_nb.cli import main; main()")


def run(*arguments):
    return CliRunner().invoke(group, ["watch", *map(str, arguments)])


def write_now(folder, ago_seconds=0.0):
    """A dataset whose newest ping came some time ago."""
    newest = datetime.now(UTC) - timedelta(seconds=ago_seconds)
    window = newest.replace(minute=newest.minute // 5 * 5, second=0, microsecond=0, tzinfo=None)
    write(folder, f"window count\n{window.isoformat()} 3", newest.replace(tzinfo=None).isoformat())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "expected --notify TARGET, or --dry-run"),
        (("--notify", "command:cat", "--at", "2017-10-02", "--every", "60"), "--at is one look, --every are many"),
        (("--notify", "command:cat", "--dry-run", "--test"), "--test sends a message and --dry-run sends none"),
        (("--notify", "command:cat", "--dry-run", "--every", "60"), "--every has no effect with --dry-run"),
        (("--notify", "command:cat", "--test", "--at", "2017-10-02"), "--at has no effect with --test"),
    ],
)
def test_options_that_do_not_go_together_are_told(options, said, tmp_path):
    result = run("--dataset", tmp_path, *options)
    assert result.exit_code == 2
    assert said in result.output


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--notify", "slakc:@f"), "did you mean slack?"),
        (("--dry-run", "--quiet-hours", "22-7"), "expected quiet hours such as 22:00-07:00"),
        (("--dry-run", "--dashboard", "mc.example.org"), "expected --dashboard as a URL"),
        (("--dry-run", "--at", "yesterday"), "at takes an ISO time"),
        (("--dry-run",), "there is no dataset at"),
    ],
)
def test_wrong_values_are_told(options, said, tmp_path):
    result = run("--dataset", tmp_path, *options)
    assert isinstance(result.exception, MissionControlError)
    assert said in str(result.exception)
    assert not (tmp_path / "_watch").exists()


def test_folder_that_is_not_there_is_told_and_not_made(tmp_path):
    result = run("--dataset", tmp_path / "typo", "--notify", "command:cat")
    assert "there is no such folder" in str(result.exception)
    assert not (tmp_path / "typo").exists()


def test_dataset_in_a_store_needs_a_local_state():
    result = run("--dataset", "s3://bucket/data", "--notify", "command:cat")
    assert "expected --watch-state with a dataset in a store" in str(result.exception)


def test_test_message_is_marked_and_needs_no_dataset(tmp_path):
    with HttpSink() as sink:
        result = run("--dataset", tmp_path / "none", "--notify", f"webhook:{sink.url}", "--test")
        assert result.exit_code == 0
        assert (sink.received[0]["kind"], sink.received[0]["events"]) == ("test", [])
        assert sink.received[0]["text"].startswith("Test: ")
        both = ("--notify", f"webhook:{sink.url}", "--notify", f"webhook:http://127.0.0.1:{free_port()}/")
        result = run("--dataset", tmp_path / "none", *both, "--test")
        assert result.exit_code == 1
        assert "the connection was refused" in result.output
    assert not (tmp_path / "none").exists()


def test_unknown_measure_and_product_are_told_with_near_ones(tmp_path):
    write_now(tmp_path)
    for option, said in (("--measure=main_crahses", "main_crashes"), ("--product=Firefx", "Firefox")):
        result = run("--dataset", tmp_path, "--dry-run", option)
        assert f"did you mean {said}" in str(result.exception)


def test_stale_data_are_told_once_and_that_they_are_fresh_again(tmp_path):
    write_now(tmp_path, ago_seconds=1000)
    with HttpSink() as sink:
        for _ in range(2):
            assert run("--dataset", tmp_path, "--notify", f"webhook:{sink.url}").exit_code == 0
        assert [body["kind"] for body in sink.received] == ["stale"]
        write_now(tmp_path)
        for _ in range(2):
            assert run("--dataset", tmp_path, "--notify", f"webhook:{sink.url}").exit_code == 0
        assert [body["kind"] for body in sink.received] == ["stale", "fresh"]
        assert sink.received[1]["events"] == []


def test_dry_run_prints_what_would_be_sent_and_writes_nothing(tmp_path):
    write_now(tmp_path, ago_seconds=1000)
    result = run("--dataset", tmp_path, "--notify", "command:cat", "--dry-run")
    assert result.exit_code == 0
    assert result.output.startswith("Data are stale: the newest ping is of ")
    assert result.output.endswith("This would go to command:cat.\n")
    assert not (tmp_path / "_watch").exists()


def test_one_look_whose_messages_are_not_taken_says_so_and_the_next_run_delivers(tmp_path):
    write_now(tmp_path, ago_seconds=1000)
    with HttpSink([500, 500]) as sink:
        result = run("--dataset", tmp_path, "--notify", f"webhook:{sink.url}")
        assert result.exit_code == 1
        assert "HTTP 500; it will be tried again" in result.output
        waiting = wording.as_text(Collector(str(tmp_path)).collect())
        assert f"1 message waits for webhook:{sink.url} since " in waiting
        assert ": HTTP 500" in waiting
        assert run("--dataset", tmp_path, "--notify", f"webhook:{sink.url}").exit_code == 0
        assert len(sink.received) == 3
        assert len({*sink.ids}) == 1
    assert "all is delivered" in wording.as_text(Collector(str(tmp_path)).collect())


def test_watch_that_goes_on_looks_again_and_ends_in_order_by_sigterm(tmp_path):
    write_now(tmp_path, ago_seconds=1000)
    command = [*CLI, "watch", "--dataset", tmp_path, "--notify", "command:true", "--every", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        wait_until(lambda: (tmp_path / "_watch" / FILE).exists() and read_state(tmp_path / "_watch").is_stale, "a look")
        refused = run("--dataset", tmp_path, "--notify", "command:true")
        assert "another watch is running with the state" in str(refused.exception)
        assert Collector(str(tmp_path)).collect().watch.is_running
        first = read_state(tmp_path / "_watch").last_look
        wait_until(lambda: read_state(tmp_path / "_watch").last_look > first, "another look", process)
        process.send_signal(signal.SIGTERM)
        said, failed = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0
    assert failed == ""
    lines = [line.partition(" ")[2] for line in said.splitlines()]
    assert [line[:20] for line in lines if "stale" in line] == [
        "to tell: Data are st",
        "looked, data up to 2",
        "delivered to command",
    ]
    assert not Collector(str(tmp_path)).collect().watch.is_running


def test_status_of_a_damaged_watch_says_so_and_all_the_rest(tmp_path):
    write_now(tmp_path)
    (tmp_path / "_watch").mkdir()
    (tmp_path / "_watch" / FILE).write_text("{")
    status = Collector(str(tmp_path)).collect()
    assert wording.as_record(status)["age_seconds"] is not None
    assert "is damaged" in wording.as_record(status)["watch"]["damage"]
    for said in (wording.as_text(status), as_page(status)):
        assert "is damaged" in said
    assert re.search(r"^missioncontrol_watch_state_damaged\{.*\} 1", metrics.as_metrics(status), re.MULTILINE)


def state_for_status(folder):
    with open_store(folder / "_watch", str(folder), "Firefox") as store, store.changed() as state:
        add_targets(state, ["slack:@file", "command:cat"], at(0))
        [message] = apply_look(state, look([finding()]), at(0))
        note_delivered(state, "command:cat", message, at(0))
        note_failed(state, "slack:@file", at(0), "HTTP 500")


def test_status_says_what_is_up_and_what_waits_since_when(tmp_path):
    write(tmp_path, "window count\n02T20:00 3", "2017-10-02T20:01:00")
    assert Collector(str(tmp_path)).collect(at(1)).watch is None
    state_for_status(tmp_path)
    status = Collector(str(tmp_path)).collect(at(1))
    lines = wording.watch(status)
    assert lines[0] == "not running now, looked 20:00:00 UTC: 1 alarm up"
    assert lines[1].startswith("Bad on Windows: Firefox 56.0 on release has 2.0 times as many content crashes")
    assert lines[2] == "1 message waits for slack:@file since 20:00:00 UTC: HTTP 500"
    record = json.loads(json.dumps(wording.as_record(status)))["watch"]
    assert record["waiting"] == [
        {"target": "slack:@file", "messages": 1, "since": "2017-10-02T20:00:00+00:00", "failure": "HTTP 500"}
    ]
    text = metrics.as_metrics(status)
    assert f'missioncontrol_watch_alarms{{dataset="{tmp_path}"}} 1.0' in text
    assert f'missioncontrol_watch_waiting_messages{{dataset="{tmp_path}",target="command:cat"}} 0.0' in text
    assert "<h2>Watch</h2>" in as_page(status)
    with pytest.raises(MissionControlError, match="there is no state of a watch in"):
        Collector(str(tmp_path), watch_state=str(tmp_path)).collect()


def test_watch_beside_a_job_runs_at_low_priority_and_ends_with_it(tmp_path):
    write_now(tmp_path, ago_seconds=1000)
    with HttpSink() as sink:
        told: list[str] = []
        with beside.watched(str(tmp_path), [f"webhook:{sink.url}"], None, told.append):
            wait_until(lambda: bool(sink.received), "the message")
            [process] = [each for each in psutil.Process().children() if beside.__name__ in each.cmdline()]
            assert process.nice() > os.getpriority(os.PRIO_PROCESS, 0)
        assert not lives(process)
    assert [body["kind"] for body in sink.received] == ["stale"]
    assert told[0].startswith("watch: to tell: Data are stale")
    with pytest.raises(MissionControlError, match="did you mean slack"):
        beside.watched(str(tmp_path), ["slakc:@file"], None, told.append).__enter__()


def test_looks_that_fail_for_long_are_stale_data_and_are_said_once(tmp_path):
    with open_store(tmp_path / "state", str(tmp_path), "Firefox") as store, store.changed() as state:
        state.data_up_to = at(0)
    with HttpSink() as sink:
        command = [*CLI, "watch", f"--dataset={tmp_path}", f"--state={tmp_path / 'state'}", "--every=1"]
        with subprocess.Popen(
            [*command, f"--notify=webhook:{sink.url}"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            wait_until(lambda: bool(sink.received), "the message", process)
            time.sleep(2)  # for another look that fails
            process.send_signal(signal.SIGINT)
            _, failed = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0
    assert [body["kind"] for body in sink.received] == ["stale"]
    [line] = failed.splitlines()
    assert f"there is no dataset at {tmp_path}" in line
    assert line.endswith("; it will be tried again")


@pytest.fixture
def looks(monkeypatch):
    """What the next looks find, or why they fail; the last one again and again."""
    found: list = []

    def next_look(*_):
        outcome = found.pop(0) if len(found) > 1 else found[0]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    monkeypatch.setattr(looking, "look", next_look)
    return found


class Run:
    """Watches that look once, with what they said."""

    def __init__(self, folder) -> None:
        self.settings = watch.WatchSettings("data", folder, "Firefox", 600.0)
        self.failures: list[str] = []

    def __call__(self, *targets, **options):
        settings = dataclasses.replace(self.settings, **options)
        return watch.watch(settings, read_targets(targets), threading.Event(), str, self.failures.append)

    @contextmanager
    def state(self):
        """The state, to change what a run before has left."""
        with open_store(self.settings.folder, "data", "Firefox") as store, store.changed() as state:
            yield state


UNREACHABLE = MissionControlError("the store does not answer")


def test_nothing_is_sent_before_the_first_look(tmp_path, looks):
    run = Run(tmp_path)
    with HttpSink() as old, HttpSink() as new, HttpSink() as alerts:
        names = [f"webhook:{old.url}", f"alertmanager:{alerts.url}"]
        with run.state() as state:
            add_targets(state, names, at(0))
            [message] = apply_look(state, look([finding()]), at(0))
            note_delivered(state, names[1], message, at(0))
        looks.append(look(stale=True))
        assert run(*names, f"webhook:{new.url}")
        for sink in (old, new):
            assert [body["kind"] for body in sink.received] == ["stale"]
        assert {alert["labels"]["alertname"] for body in alerts.received for alert in body} == {
            "MissionControlDataStale"
        }
        looks[:] = [look([], finding(ratio=3.0))]
        assert run(*names, f"webhook:{new.url}")
        assert [body["kind"] for body in old.received[1:]] == ["alarms", "fresh"]
        assert [body["kind"] for body in new.received[1:]] == ["fresh", "alarms"]
        assert new.received[2]["events"][0]["rate_ratio"] == 3.0


def test_store_that_one_look_after_the_other_cannot_reach_is_told_and_waiting_messages_go(tmp_path, looks):
    run = Run(tmp_path)
    looks.append(UNREACHABLE)
    with HttpSink() as sink:
        for kinds in ([], ["stale"], ["stale"]):
            with pytest.raises(MissionControlError, match="the store does not answer"):
                run(f"webhook:{sink.url}")
            assert [body["kind"] for body in sink.received] == kinds
            with run.state() as state:
                state.failing_since = at(0)
        looks[:] = [look([finding()])]
        assert run(f"webhook:{sink.url}")
        assert [body["kind"] for body in sink.received] == ["stale", "fresh", "alarms"]
    assert read_state(tmp_path).failing_since is None


def test_looks_of_the_past_that_fail_say_nothing_about_now(tmp_path, looks):
    looks.append(UNREACHABLE)
    with pytest.raises(MissionControlError, match="the store does not answer"):
        Run(tmp_path)("command:false", at=at(0))
    assert read_state(tmp_path).failing_since is None


def test_looks_that_fail_and_disks_that_are_full_are_told_apart(tmp_path, monkeypatch):
    def no_process(*_, **__):
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))

    monkeypatch.setattr(looking.subprocess, "Popen", no_process)
    with pytest.raises(MissionControlError, match="no process can be started to look: Cannot allocate memory"):
        Run(tmp_path)("command:true")


def test_watch_goes_on_after_a_disk_was_full_and_delivers_then(tmp_path, looks, monkeypatch):
    monkeypatch.setattr(watch, "RETRY_SECONDS", 0.1)
    looks.append(look([finding()]))
    run, stop = Run(tmp_path), threading.Event()
    with run.state():
        pass
    with HttpSink() as sink:
        sink.on_received = lambda _: stop.set()
        (tmp_path / f"{FILE}.tmp").mkdir()  # a folder in the file's place: no write can succeed

        def failed(line: str) -> None:
            run.failures.append(line)
            (tmp_path / f"{FILE}.tmp").rmdir()

        settings = dataclasses.replace(run.settings, every_seconds=300.0)
        assert watch.watch(settings, read_targets([f"webhook:{sink.url}"]), stop, str, failed)
    assert run.failures == ["the watch's state cannot be written: Is a directory; it will be tried again"]
    assert [body["kind"] for body in sink.received] == ["alarms"]


def test_runs_that_look_once_heed_retry_after_but_not_the_watch_s_own_waits(tmp_path, looks):
    run, began = Run(tmp_path), time.monotonic()
    looks += [look([finding()]), look([], finding())]
    with HttpSink([(429, {"Retry-After": "3600"})] * 9) as sink:
        for _ in range(2):
            assert not run(f"webhook:{sink.url}")
        assert len(sink.received) == 1
        assert ": HTTP 429; not before " in run.failures[-1]
        assert time.monotonic() - began < watch.PATIENCE_SECONDS
        with run.state() as state:
            [target] = state.targets.values()
            target.attempts, target.not_before, target.next_attempt = 20, None, datetime.now(UTC) + timedelta(hours=1)
        sink.answers = [500]
        assert not run(f"webhook:{sink.url}")
        assert run.failures[-1] == f"not delivered to webhook:{sink.url}: HTTP 500; it will be tried again"
        assert run(f"webhook:{sink.url}")
    assert len(sink.received) == 3


def test_dry_run_shows_by_target_what_waits_and_what_is_new(tmp_path, looks):
    run = Run(tmp_path)
    with run.state() as state:
        add_targets(state, ["command:one", "command:two"], at(0))
        [message] = apply_look(state, look([finding()]), at(0))
        note_delivered(state, "command:two", message, at(0))
        note_failed(state, "command:one", datetime.now(UTC), "HTTP 429", 3600)
    before = (tmp_path / FILE).read_bytes()
    looks.append(look([], finding()))
    shown = watch.preview(run.settings, read_targets(["command:one", "command:two", "command:new"]), threading.Event())
    assert [names for _, names in shown] == [["command:one"], ["command:new"]]
    assert all(text.startswith("Bad on Windows: Firefox 56.0 on release") for text, _ in shown)
    assert (tmp_path / FILE).read_bytes() == before
    other = dataclasses.replace(run.settings, dataset="other")
    with pytest.raises(MissionControlError, match="belongs to the dataset 'data', not to 'other'"):
        watch.preview(other, [], threading.Event())
