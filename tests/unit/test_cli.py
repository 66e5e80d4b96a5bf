"""The command line, misused: one sentence that says what was expected and what came, and an exit code."""

import os
import signal
import subprocess
import sys
import threading

import pytest
from click.testing import CliRunner

from missioncontrol_nb import cli
from missioncontrol_nb.terminal import plural, stopped_by_signals
from streaming.dataset.writer import open_writers
from streaming.errors import MissionControlError
from streaming.sources.files import source as files_source
from streaming.storage.s3 import check_credentials

MISUSES = """
    agregate                                         | did you mean aggregate
    aggregate                                        | Missing argument 'SOURCE'
    aggregate nothing --dataset d                    | no such file or folder
    aggregate ping.txt --dataset d                   | expected a file that ends in
    aggregate ping.json --dataset d --trigger inf    | not in the range
    aggregate ping.json --dataset d --trigger nan    | not a finite number
    aggregate ping.json --dataset d --channel nigtly | did you mean nightly
    aggregate ping.json --dataset ping.txt           | Not a directory
    aggregate ping.json --dataset d --endpoint-url s | expected --endpoint-url as a URL
    status --dataset s3://bucket/d --endpoint-url http://127.0.0.1:99999 | the port from 1 to 65535; got 'http://127.0.0.1:99999'
    status --dataset s3://bucket/d --endpoint-url http://127.0.0.1:0  | the port from 1 to 65535
    status --dataset s3://bucket/d --endpoint-url http://:9000        | expected --endpoint-url as a URL
    status --dataset s3://bucket/d --endpoint-url http://[::1         | expected --endpoint-url as a URL
    aggregate ping.json --dataset http://x/y --checkpoint c | expected a folder or s3://BUCKET/KEY as dataset
    aggregate folder --dataset d --checkpoint folder/state  | expected a checkpoint outside
    aggregate ftp://127.0.0.1:1/x.jsonl --dataset d  | cannot reach 'ftp://127.0.0.1:1/x.jsonl'
    backfill ping.json --dataset gs://b/k --from 2017-10-02 --to 2017-10-02 | expected a folder or s3://BUCKET/KEY
    dashboard --dataset gs://bucket/k                | expected a folder or s3://BUCKET/KEY as dataset
    maintain --dataset gs://bucket/k                 | expected a folder or s3://BUCKET/KEY as dataset
    simulate --history gs://bucket/k                 | expected a folder or s3://BUCKET/KEY as dataset
    simulate --live s3://b/x --pings 1               | expected a folder or kafka://HOST:PORT/TOPIC; got 's3://b/x'
    status --dataset tables --prometheus ping.txt/x.prom | cannot write 'ping.txt/x.prom': Not a directory
    aggregate ping.json --dataset d --spark-config nothing | cannot read --spark-config
    aggregate ping.json --dataset d --spark-config ping.txt | expected lines of name = value in --spark-config
    aggregate ping.json --dataset d --spark-config kafka.conf | expected names that begin with spark.
    aggregate ping.json --dataset d --environment nothing | no such --environment
    aggregate ping.json --dataset d --master spark://127.0.0.1:9 | no master answers at --master
    environment --output ping.txt/environment.tar.gz | cannot write
    backfill nothing --dataset d --from 2017-10-02 --to 2017-10-02 | no such file or folder
    backfill ping.json --dataset d --from monday --to 2017-10-02   | expected --from as a day such as
    backfill ping.json --dataset d --from 2017-10-02               | Missing option '--to'
    simulate                                         | say what to write
    simulate --live l --rate 0                       | needs an end
    simulate --live l --rate nan                     | not a finite number
    simulate --live ping.txt                         | is a file
    simulate --history ping.txt                      | that is a file
    simulate --live l --now 9999-12-31               | expected --now between 1970 and 2200
    simulate --live l --bad 56.0 --bad-since -99999999d | expected --bad-since between
    simulate --live l --bad 56.0 --bad-since lately  | --bad-since takes an ISO time
    releases show --at noon                          | --at takes an ISO time
    releases show --releases ping.txt                | is not JSON
    releases update --from http://127.0.0.1:9        | cannot be reached (Connection refused)
    releases update --from folder                    | cannot be read
    dashboard                                        | Missing option '--dataset'
    dashboard --dataset nothing                      | no such folder
    dashboard --dataset ping.txt                     | that is a file
    dashboard --dataset folder --base-url a?b        | expected --base-url as a path
    dashboard --dataset folder --base-url aaaaaaaaaaaaaaaaaaaaaaaaaaaaa! | expected --base-url as a path
    dashboard --dataset folder --most-pages-each 200 | expected --most-pages-each at most as large as --most-pages
    dashboard --dataset folder --releases nothing    | cannot be read
    status                                           | Missing option '--dataset'
    status --dataset nothing                         | no such folder
    status --dataset folder --checkpoint folder      | there is no checkpoint in
    status --dataset folder --stale-after nan        | not a finite number
    status --dataset folder --serve http             | expected --serve as [HOST:]PORT
    status --dataset folder --serve 0 --json         | goes neither with
    status --dataset tables --serve 192.0.2.1:9      | cannot listen on 192.0.2.1:9
    demo --minutes nan                               | not a finite number
    demo --port 0 --folder ping.txt                  | is not a demo's folder
    demo --port 0 --folder ping.txt/demo             | cannot be written
"""


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """One without rows."""
    folder = tmp_path_factory.mktemp("dataset")
    open_writers(str(folder))
    return folder


@pytest.fixture
def folder(dataset, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ping.txt").write_text("no ping")
    (tmp_path / "ping.json").write_text("{}")
    (tmp_path / "kafka.conf").write_text("security.protocol = SSL")
    (tmp_path / "folder").mkdir()
    (tmp_path / "tables").symlink_to(dataset)


@pytest.mark.parametrize("misuse", [line for line in MISUSES.splitlines() if line])
def test_misuse_is_told_in_one_line(misuse, folder, monkeypatch, capsys):
    arguments, told = map(str.strip, misuse.split("|"))
    monkeypatch.setattr("sys.argv", ["missioncontrol", *arguments.split()])
    monkeypatch.setattr(files_source, "START_TIMEOUT_SECONDS", 0.5)  # for a server that does not answer
    with pytest.raises(SystemExit) as ended:
        cli.main()
    last = capsys.readouterr().err.splitlines()[-1]
    assert ended.value.code in (1, 2)
    assert told in last


def test_endpoint_of_the_environment_that_no_client_takes_is_refused(monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "x")
    for endpoint in ("http://127.0.0.1:99999", "nonsense"):
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        with pytest.raises(MissionControlError, match=f"expected AWS_ENDPOINT_URL as a URL .*; got '{endpoint}'"):
            check_credentials("s3://bucket/d")
        with pytest.raises(MissionControlError, match="expected endpoint as a URL"):
            check_credentials("s3://bucket/d", {"endpoint": endpoint, "AWS_ENDPOINT_URL": "http://127.0.0.1:9/x"})
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9/behind/a/path")
    check_credentials("s3://bucket/d")


def test_ctrl_c_while_the_command_is_imported_is_exit_code_130(tmp_path):
    (tmp_path / "click.py").write_text("raise KeyboardInterrupt")
    done = subprocess.run(
        [sys.executable, "-c", "from missioncontrol_nb.cli import main"],
        env=os.environ | {"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (130, "missioncontrol: interrupted\n")


@pytest.mark.parametrize("name", ["releases show", "releases update", *cli.COMMANDS])
def test_every_option_has_a_help(name):
    context = cli.group.make_context("missioncontrol", name.split(), resilient_parsing=True)
    command = cli.group
    for part in name.split():
        command = command.get_command(context, part)
    options = [option for option in command.params if option.param_type_name == "option"]
    assert [option.name for option in options if not option.help] == []


def test_signals_set_the_event_and_are_given_back():
    before = signal.getsignal(signal.SIGTERM)
    with stopped_by_signals() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.wait(5)
    assert signal.getsignal(signal.SIGTERM) is before
    assert isinstance(stop, threading.Event)


def test_counts_are_in_words():
    assert [plural(1, "file"), plural(2000, "file")] == ["1 file", "2,000 files"]


def test_list_of_commands_imports_none():
    result = CliRunner().invoke(cli.group, ["--help"])
    assert result.exit_code == 0
    assert all(name in result.output for name in cli.COMMANDS)


def test_dashboard_is_hosted_as_its_options_say(dataset, monkeypatch):
    from missioncontrol_nb.dashboard.server import configuration, server

    hosted: list[configuration.Hosting] = []
    monkeypatch.setattr(server, "serve", lambda settings, hosting, on_ready: hosted.append(hosting))
    for options in ([], ["--most-pages", "9", "--most-pages-each", "3", "--pool", "1", "--name", "a.example"]):
        monkeypatch.setattr("sys.argv", ["missioncontrol", "dashboard", "--dataset", str(dataset), *options])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert ended.value.code == 0
    usual, told = hosted
    assert (usual.most_pages, usual.most_pages_of_one, usual.pool) == (100, 50, 2)
    assert (told.most_pages, told.most_pages_of_one, told.pool, told.names) == (9, 3, 1, ("a.example",))
