"""How commands end: any error is one sentence; values that are empty and options without effect are refused."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import click
import pytest

from missioncontrol_nb import cli, failures
from missioncontrol_nb.commands.command import Command
from missioncontrol_nb.loading.dataset import Dataset
from missioncontrol_nb.monitor import Monitor
from streaming.errors import MissionControlError, printable
from streaming.job.option_checks import FOLLOW_SETTINGS, TOPIC_SETTINGS, check_settings
from streaming.job.settings import AggregateSettings, Summary
from streaming.pings import validation
from streaming.pings.envelope import Envelope
from streaming.sources.kafka.source import TopicSettings
from tests.patience import PATIENCE_SECONDS

PROGRAM = [sys.executable, "-c", "from missioncontrol_nb.cli import main; main()"]
SHOW = [*PROGRAM, "releases", "show"]


def commands() -> list[tuple[str, click.Command]]:
    context = click.Context(cli.group)
    named = [(name, cli.group.get_command(context, name)) for name in cli.COMMANDS]
    [(_, releases)] = [each for each in named if each[0] == "releases"]
    return [each for each in named if each[0] != "releases"] + [
        (f"releases {name}", command) for name, command in releases.commands.items()
    ]


def ends(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr("sys.argv", ["missioncontrol", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return ended.value.code


@pytest.mark.parametrize("name", [name for name, _ in commands()])
def test_every_command_refuses_every_empty_value(name, monkeypatch, capsys):
    [command] = [command for each, command in commands() if each == name]
    assert isinstance(command, Command)
    valued = [each for each in command.params if not getattr(each, "is_flag", False) and each.name != "help"]
    assert valued
    for parameter in valued:
        for empty in ("", "  "):
            given = [parameter.opts[0], empty] if isinstance(parameter, click.Option) else [empty]
            assert ends(monkeypatch, *name.split(), *given) == 2
            last = capsys.readouterr().err.splitlines()[-1]
            assert "expected a value" in last, parameter.name


def test_places_that_the_library_takes_are_not_empty(monkeypatch, tmp_path):
    import missioncontrol_nb as mc

    monkeypatch.chdir(tmp_path)
    for take in (mc.load, Monitor, Dataset, lambda place: mc.load(f"file://{place}")):
        for place in ("", " "):
            with pytest.raises(MissionControlError, match="expected a path"):
                take(place)


IDLE = """
    aggregate p.json --dataset d --trigger 1           | --trigger has no effect without --follow
    aggregate p.json --dataset d --no-maintain         | --no-maintain has no effect without --follow
    aggregate p.json --dataset d --starting-offsets earliest | --starting-offsets has no effect without a SOURCE
    aggregate p.json --dataset d --on-data-loss count  | --on-data-loss has no effect without a SOURCE that is a topic
    aggregate p.json --dataset d --kafka-config k.conf | --kafka-config has no effect without a SOURCE that is a topic
    aggregate p.json --dataset d --once-days -1        | not in the range
    maintain --dataset d --every 5                     | --every has no effect without --follow
    simulate --history d --minutes 1                   | --minutes has no effect without --live
    simulate --live d --minutes 1 --days 3             | --days has no effect without --history
    simulate --live kafka://h:1/t --no-compress        | --compress has no effect without --live FOLDER
    simulate --live d --minutes 1 --bad-os Windows_NT  | --bad-os has no effect without --bad
    maintain --dataset d --keep-days 1180591620717411303424 | not in the range
    simulate --live d --pings 1180591620717411303424   | not in the range
    simulate --live d --minutes 1e300                  | not in the range
    simulate --live d --rate -1                        | not in the range
    simulate --live d --seed 1180591620717411303424    | not in the range
    aggregate p.json --dataset d --batch-megabytes 1180591620717411303424 | not in the range
    aggregate p.json --dataset d --submitted-at 0001-01-01 | expected --submitted-at between 2001 and 2100
    aggregate kafka://h:1/t --dataset d --starting-offsets 0001-01-01 | expected --starting-offsets between 1970
    aggregate kafka://h:99999/t --dataset d            | expected kafka://HOST:PORT
    aggregate kafka://h:²/t --dataset d                | expected kafka://HOST:PORT
    backfill p.json --dataset d --from 0001-01-01 --to 9999-12-31 | expected --from and --to between 2001 and 2100
    backfill kafka://h:1/t --dataset d --from 2017-10-02 --to 2017-10-02 --starting-offsets latest | would be emptied
    backfill kafka://h:1/t --dataset d --from 2017-10-02 --to 2017-10-02 --starting-offsets 2017-10-03 | be emptied
    status --dataset d --stale-after 1e300             | not in the range
    status --dataset folder --serve 99999              | expected --serve as [HOST:]PORT
    status --dataset folder --serve ²                  | expected --serve as [HOST:]PORT
    dashboard --dataset folder --pool 1180591620717411303424 | not in the range
    releases show --last 1180591620717411303424        | not in the range
"""


@pytest.mark.parametrize("misuse", [line for line in IDLE.splitlines() if line])
def test_option_without_effect_and_number_out_of_bounds_are_refused(misuse, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "p.json").write_text("{}")
    (tmp_path / "k.conf").write_text("security.protocol = SSL")
    (tmp_path / "folder").mkdir()
    arguments, told = map(str.strip, misuse.split("|"))
    assert ends(monkeypatch, *arguments.split()) in (1, 2)
    assert told in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "d").exists()


GIVEN = {
    "--starting-offsets": {"topic": TopicSettings(starting_offsets="latest")},
    "--kafka-config": {"topic": TopicSettings(config={"security.protocol": "SSL"})},
    "--on-data-loss": {"topic": TopicSettings(on_data_loss="count")},
    "--trigger": {"trigger_seconds": 2.0},
    "--no-maintain": {"maintains": False},
}


@pytest.mark.parametrize("setting", [*TOPIC_SETTINGS, *FOLLOW_SETTINGS], ids=lambda setting: setting.option)
def test_library_refuses_the_settings_that_the_command_refuses(setting):
    settings = AggregateSettings(**GIVEN[setting.option])
    with pytest.raises(MissionControlError, match=f"{setting.option} has no effect"):
        check_settings(settings, "pings/", is_topic=False)
    check_settings(AggregateSettings(**GIVEN[setting.option], follow=True), "kafka://h:1/t", is_topic=True)
    check_settings(AggregateSettings(), "pings/", is_topic=False)


@pytest.mark.parametrize(
    "settings",
    [{"trigger_seconds": float("nan")}, {"trigger_seconds": -1.0}, {"trigger_seconds": 1e300},
     {"max_batch_bytes": 0}, {"max_batch_bytes": 1 << 70}, {"write_from": "elsewhere"}],
)  # fmt: skip
def test_library_refuses_numbers_out_of_bounds(settings):
    with pytest.raises(MissionControlError, match="expected"):
        check_settings(AggregateSettings(**settings, follow=True), "pings/", is_topic=False)


def test_library_refuses_words_and_times_that_mean_nothing():
    for wrong in ({"starting_offsets": "lastest"}, {"on_data_loss": "skip"}, {"starting_offsets": datetime(1, 1, 1)}):
        with pytest.raises(MissionControlError, match="expected"):
            TopicSettings(**wrong)
    with pytest.raises(MissionControlError, match="expected --submitted-at between"):
        Envelope(submitted_at=datetime(1, 1, 1, tzinfo=UTC))
    assert validation.SUBMISSION_YEARS[0] == 2001


@pytest.mark.parametrize("command", [["releases", "show"], ["--help"], ["maintain", "--help"], ["--version"]])
def test_output_that_cannot_be_written_is_told_in_one_sentence(command):
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([*PROGRAM, *command], stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.stderr == (
        "missioncontrol: standard output cannot be written: No space left on device; what was said there is not whole\n"
    )
    assert done.returncode == 1


def test_output_that_nobody_reads_is_told_in_one_sentence():
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(SHOW, stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert done.stderr.splitlines() == [
        "missioncontrol: standard output cannot be written: Broken pipe; what was said there is not whole"
    ]
    assert done.returncode == 1


def test_closed_output_is_told_before_anything_is_done():
    done = subprocess.run(["sh", "-c", '"$@" >&-', "sh", *SHOW], stderr=subprocess.PIPE, text=True)
    assert done.stderr == "missioncontrol: standard output is closed: send it to a file, or to /dev/null\n"
    assert done.returncode == 1


def test_command_whose_messages_cannot_be_written_says_so_by_its_exit_code():
    ended = [subprocess.run(["sh", "-c", f'"$@" {to}', "sh", *SHOW]).returncode for to in (">/dev/full 2>&-",)]
    assert ended == [1]
    assert subprocess.run(["sh", "-c", '"$@" 2>&-', "sh", *SHOW], stdout=subprocess.DEVNULL).returncode == 0


def raises(error: BaseException, capsys: pytest.CaptureFixture) -> tuple[int, str]:
    def command() -> int:
        raise error

    return failures.run_to_exit_code(command), capsys.readouterr().err


def test_error_of_the_system_is_one_sentence_with_what_to_do(capsys):
    full = OSError(28, "No space left on device", "/data/x\n\x1b[31mFAKE")
    assert raises(full, capsys) == (
        1,
        "missioncontrol: No space left on device: '/data/x\\n\\x1b[31mFAKE'; make room there and start it again\n",
    )
    assert "see to the permissions" in raises(PermissionError(13, "Permission denied", "/data"), capsys)[1]
    assert "not enough memory" in raises(MemoryError(), capsys)[1]


def test_bug_and_error_of_a_library_are_one_sentence_that_names_the_file_with_the_traceback(
    tmp_path, monkeypatch, capsys
):
    import pyarrow as pa

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    errors = {
        KeyError("measure"): "a fault of Mission Control: KeyError: 'measure'",
        pa.ArrowInvalid("Parquet magic\nbytes not found"): "Parquet magic bytes not found (ArrowInvalid)",
    }
    for error, says in errors.items():
        code, said = raises(error, capsys)
        assert code == 1
        assert says in said
        assert said.count("\n") == 1
        [kept] = tmp_path.iterdir()
        assert str(kept) in said
        assert "in command" in kept.read_text()
        kept.unlink()


def test_bug_on_a_full_disk_names_the_line_that_raised_it(monkeypatch, capsys):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.NamedTemporaryFile", full)
    code, said = raises(KeyError("measure"), capsys)
    assert code == 1
    assert "test_cli_errors.py, its traceback cannot be written (No space left on device)" in said


def test_ctrl_c_is_exit_code_130(capsys):
    assert raises(KeyboardInterrupt(), capsys) == (130, "missioncontrol: interrupted\n")


def test_error_names_no_line_that_it_does_not_say(capsys):
    error = MissionControlError("no such file: a\x1b[2K\x9b\u2028FAKE\udcff")
    assert raises(error, capsys)[1] == "missioncontrol: no such file: a\\x1b[2K\\x9b\\u2028FAKE\\udcff\n"
    assert printable("a.json ü €") == "a.json ü €"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_simulation_that_is_ended_before_its_end_says_so(number, code, tmp_path):
    job = subprocess.Popen(
        [*PROGRAM, "simulate", "--live", str(tmp_path / "pings"), "--minutes", "9", "--every", "0.2"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 120
        while not list(tmp_path.glob("pings/*.gz")) and time.monotonic() < deadline:
            threading.Event().wait(0.05)
        job.send_signal(number)
        assert job.wait(PATIENCE_SECONDS) == code
    finally:
        job.kill()


@pytest.mark.parametrize("command", ["releases", "environment"])
def test_device_is_not_replaced_by_a_file(command, tmp_path, monkeypatch, capsys):
    pipe = tmp_path / "pipe.json"
    os.mkfifo(pipe)
    arguments = {
        "releases": ["simulate", "--live", str(tmp_path / "l"), "--pings", "1", "--releases-to", str(pipe)],
        "environment": ["environment", "--output", str(pipe)],
    }
    assert ends(monkeypatch, *arguments[command]) == 1
    assert "which is a folder, a device or a pipe" in capsys.readouterr().err.splitlines()[-1]
    assert pipe.is_fifo()


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2017-10-02T14:01:00z", datetime(2017, 10, 2, 14, 1, tzinfo=UTC)),
        ("2016-12-31T23:59:60Z", datetime(2017, 1, 1, tzinfo=UTC)),
        ("2017-10-02T16:01:00.5+02:00", datetime(2017, 10, 2, 14, 1, 0, 500_000, tzinfo=UTC)),
    ],
)
def test_times_on_the_command_line_have_the_forms_that_those_of_pings_have(text, moment, monkeypatch, capsys):
    given = []

    def aggregate(source, dataset, *, settings, **_):
        given.append(settings)
        raise MissionControlError("enough")

    monkeypatch.setattr("streaming.job.aggregate.aggregate", aggregate)
    arguments = ["aggregate", "kafka://h:1/t", "--dataset", "d", "--submitted-at", text, "--starting-offsets", text]
    assert ends(monkeypatch, *arguments) == 1, capsys.readouterr().err
    assert [(each.envelope.submitted_at, each.topic.starting_offsets) for each in given] == [(moment, moment)]


@pytest.mark.parametrize(
    ("option", "target", "says"),
    [("--releases-to", "/dev/null", "which is a folder, a device or a pipe"),
     ("--seed", "3", "got 'new/history/releases.json', which is a folder"),
     ("--releases-to", "file/releases.json", "cannot be written to file/releases.json: Not a directory"),
     ("--releases-to", "x" * 300, "File name too long"),
     ("--releases-to", "new", "expected the name of a file as --releases-to; got 'new'"),
     ("--releases-to", "new/history", "expected the name of a file as --releases-to"),
     ("--live", "file", "cannot make the folder")],
)  # fmt: skip
def test_simulation_checks_where_it_writes_before_it_writes_anything(
    option, target, says, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("missioncontrol_nb.simulator.history.write_history", lambda *_: pytest.fail("it wrote"))
    (tmp_path / "file").write_text("")
    if option == "--seed":
        (tmp_path / "new" / "history" / "releases.json").mkdir(parents=True)
    before = set(tmp_path.rglob("*"))
    assert ends(monkeypatch, "simulate", "--history", "new/history", "--days", "1", option, target) == 1
    assert says in capsys.readouterr().err.splitlines()[-1]
    assert set(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_history_that_a_signal_ends_leaves_no_folder_that_it_made(number, code, tmp_path, monkeypatch, capsys):
    def write_history(fleet, dataset, until, days, on_progress):
        Path(dataset, "error_aggregates").mkdir(parents=True)
        os.kill(os.getpid(), number)
        on_progress(1, 2)

    monkeypatch.setattr("missioncontrol_nb.simulator.history.write_history", write_history)
    (tmp_path / "there").mkdir()
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "notes.txt").write_text("")
    for name in ("new/history", "there", "own"):
        live = str(tmp_path / "pings" / "live")
        assert ends(monkeypatch, "simulate", "--history", str(tmp_path / name), "--live", live, "--pings", "1") == code
        said = capsys.readouterr().err
        assert said.endswith(f"Stopped: the history in {tmp_path / name} was not whole and is removed\n")
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")) == ["own", "own/notes.txt", "there"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("name", ["aggregate", "maintain"])
def test_work_that_a_signal_ends_says_that_it_is_not_finished(name, number, code, monkeypatch, capsys):
    def work(*_, stop, **__):
        os.kill(os.getpid(), number)
        assert stop.wait(PATIENCE_SECONDS)
        return Summary(1, 1, {}, 1, 1.0, 1.0, 1, finished=False)

    module = {"aggregate": "streaming.job.aggregate", "maintain": "streaming.dataset.maintenance"}[name]
    monkeypatch.setattr(f"{module}.{name}", work)
    source = ["pings/"] if name == "aggregate" else []
    assert ends(monkeypatch, name, *source, "--dataset", "data", "--json") == code
    assert json.loads(capsys.readouterr().out)["finished"] is False


@pytest.mark.parametrize(
    ("topic", "says"),
    [("pings/", "expected --kafka as kafka://"), ("kafka://h", "expected kafka://HOST:PORT"),
     ("kafka://127.0.0.1:1/pings", "no broker answers at 127.0.0.1:1")],
)  # fmt: skip
def test_demo_checks_its_topic_before_it_makes_anything(topic, says, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("streaming.sources.kafka.outages.BROKER_TIMEOUT_SECONDS", 0.1)
    monkeypatch.setattr("streaming.sources.kafka.topic.REQUEST_TIMEOUT_SECONDS", 1.0)
    assert ends(monkeypatch, "demo", "--port", "0", "--folder", str(tmp_path / "demo"), "--kafka", topic) == 1
    output, errors = capsys.readouterr()
    assert says in errors.splitlines()[-1]
    assert output == (f"Looking for the topic {topic} ...\n" if "broker" in says else "")
    assert not (tmp_path / "demo").exists()
