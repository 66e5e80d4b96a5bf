"""What `missioncontrol status` says of a dataset: to people, to programs, to Prometheus and to probes."""

import json
import os
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from pathlib import Path

import pytest
from click.testing import CliRunner
from prometheus_client.parser import text_string_to_metric_families

from missioncontrol_nb import cli
from missioncontrol_nb.receiver.report import ReceiverReport
from missioncontrol_nb.status import Collector, Lag, metrics, server, wording
from missioncontrol_nb.status.collect import unread_messages
from missioncontrol_nb.status.page import as_page
from streaming import contract
from streaming.dataset.writer import open_writers
from streaming.errors import MissionControlError
from streaming.job.checkpoint import open_checkpoint
from tests.patience import PATIENCE_SECONDS
from tests.unit.small_dataset import _append, moment, write

NOW = moment("05T13:08")
ROWS = """
    window     os_name     count  usage_hours
    05T13:00   Windows_NT    500         10.0
    05T13:05   Windows_NT    280          5.0
    05T13:05   Darwin         11          2.0
    05T12:10   Darwin         20          1.0
    05T10:00   Darwin        100          1.0
    01T10:00   Darwin       1000          1.0
"""
REJECTS = (("05T13:05", "not_json", 9), ("05T12:10", "channel", 10), ("05T10:00", "not_json", 30))


def write_rejects(folder):
    rows = []
    for window, reason, count in REJECTS:
        start = moment(window)
        row = {"submission_date": start.date(), "window_start": start, "window_end": start + contract.WINDOW}
        rows.append({**row, "document_type": "main", "reason": reason, "count": count})
    _append(folder, contract.REJECTED_PINGS, rows, None)


@pytest.fixture
def dataset(tmp_path):
    folder = tmp_path / "dataset"
    write(folder, ROWS, "05T13:07:40")
    write_rejects(folder)
    return folder


@pytest.fixture
def status(dataset):
    return Collector(str(dataset)).collect(NOW)


def write_now(folder, ago_seconds=0.0):
    """A dataset whose newest ping came just now, or some time ago."""
    newest = datetime.now(UTC) - timedelta(seconds=ago_seconds)
    window = newest.replace(minute=newest.minute // 5 * 5, second=0, microsecond=0, tzinfo=None)
    write(folder, f"window count\n{window.isoformat()} 3", newest.replace(tzinfo=None).isoformat())


def test_figures_are_those_of_the_rows(status):
    assert status.data_up_to == moment("05T13:07:40")
    assert status.age_seconds == 20
    assert not status.is_stale
    assert (status.newest.since, status.newest.until) == (moment("05T13:00"), moment("05T13:07:40"))
    assert status.newest.per_second == pytest.approx((500 + 280 + 11 + 9) / 460)
    assert (status.last_hour.total, status.last_hour.rejected) == (830, {"channel": 10, "not_json": 9})
    assert (status.last_day.total, status.last_day.rejected) == (960, {"not_json": 39, "channel": 10})
    assert [(table.name, table.rows, table.files) for table in status.tables] == [
        ("error_aggregates", 6, 2),
        ("rejected_pings", 3, 1),
    ]
    assert all(table.small_files == table.files and table.bytes > 1000 for table in status.tables)
    assert abs((status.last_write - datetime.now(UTC)).total_seconds()) < 60
    assert (status.is_job_running, status.lag) == (None, None)
    assert not status.is_maintenance_due


@pytest.mark.parametrize(("seconds", "is_stale"), [(600, False), (601, True)])
def test_stale_is_older_than_it_may_be(dataset, seconds, is_stale):
    status = Collector(str(dataset)).collect(moment("05T13:07:40") + timedelta(seconds=seconds))
    assert status.is_stale is is_stale


def test_dataset_in_which_nothing_is_yet_is_stale(tmp_path):
    open_writers(str(tmp_path))
    status = Collector(str(tmp_path)).collect(NOW)
    assert status.is_stale
    assert (status.data_up_to, status.newest, status.last_day.total) == (None, None, 0)
    assert wording.as_text(status).splitlines()[0] == "STALE        nothing was counted yet"
    assert "Nothing yet" in as_page(status)


def test_upkeep_is_due_where_it_would_leave_many_files_fewer(tmp_path, monkeypatch):
    from missioncontrol_nb.status import collect
    from streaming.dataset.maintenance import maintain

    monkeypatch.setattr(collect, "SPARE_FILES", 4)
    for number in range(5):
        write(tmp_path, f"window count\n03T10:{number}0 1\n05T10:{number}0 1")
    collector = Collector(str(tmp_path))
    status = collector.collect(NOW)
    assert [(table.files, table.spare_files, table.is_maintenance_due) for table in status.tables] == [(10, 8, True)]
    assert "due: 8 files too many; run missioncontrol maintain" in wording.as_text(status)
    maintain(str(tmp_path), now=lambda: NOW)
    status = collector.collect(NOW)
    assert [(table.files, table.spare_files, table.is_maintenance_due) for table in status.tables] == [(2, 0, False)]


def test_checkpoint_that_is_named_must_be_there_and_be_the_datasets(dataset, tmp_path):
    with pytest.raises(MissionControlError, match="there is no checkpoint in"):
        Collector(str(dataset), checkpoint=str(tmp_path / "none"))
    with open_checkpoint(tmp_path / "other", "pings", "elsewhere"):
        pass
    with pytest.raises(MissionControlError, match="which is of 'elsewhere'"):
        Collector(str(dataset), checkpoint=str(tmp_path / "other"))


# ---------- in words ----------
def test_text_says_what_matters_first(status):
    lines = wording.as_text(status).splitlines()
    assert lines[0] == "FRESH        data up to 13:07:40 UTC, 20 s ago (stale after 10 min)"
    assert lines[2] == "Pings        1.7 a second (13:00:00 to 13:07:40 UTC); 960 in 24 hours"
    assert lines[3] == "Rejected     19 of 830 (2.29 %) in the last hour, 49 of 960 (5.10 %) in 24 hours"
    assert lines[5] == "                    10        10  channel: The channel is missing or not a known one."
    assert lines[6].startswith("                     9        39  not_json: The document is not JSON")
    assert lines[-1] == "Upkeep       not due"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.4, "0 s"), (119, "119 s"), (125, "2 min"), (3600, "1 h"), (3960, "1 h 6 min"), (90_000, "1 d 1 h")],
)
def test_durations_are_said_as_people_do(seconds, said):
    assert wording.duration(seconds) == said


def test_what_is_behind_is_said_by_partition_and_the_unknown_with_its_reason():
    assert wording.lag(Lag("kafka://host:1/pings", {0: 5, 1: 0, 2: 1200})) == (
        "1,205 messages of kafka://host:1/pings (by partition 2: 1,200, 0: 5, 1: 0)"
    )
    assert wording.lag(Lag("/pings", files=1)) == "1 file of /pings not counted yet"
    assert wording.lag(Lag("/pings", unknown="nobody says")) == "not known: nobody says"
    assert wording.lag(Lag("t", dict.fromkeys(range(20), 1))).endswith("15: 1, 4 more with fewer)")


# ---------- the command ----------
def run(*arguments):
    return CliRunner().invoke(cli.group, ["status", *map(str, arguments)])


def test_exit_code_tells_fresh_from_stale(tmp_path):
    write_now(tmp_path / "fresh")
    write_now(tmp_path / "old", 90)
    assert run("--dataset", tmp_path / "fresh").exit_code == 0
    assert run("--dataset", tmp_path / "old").exit_code == 0
    stale = run("--dataset", tmp_path / "old", "--stale-after", 60)
    assert stale.exit_code == 3
    assert stale.output.startswith("STALE ")
    assert stale.output.splitlines()[0].endswith(" s ago: more than 60 s")


def test_json_is_one_line_of_all_of_it(dataset):
    result = run("--dataset", dataset, "--json")
    assert result.exit_code == 3
    said = json.loads(result.output)
    assert result.output.count("\n") == 1
    assert said["is_stale"] is True
    assert said["data_up_to"] == "2017-10-05T13:07:40+00:00"
    assert said["pings_per_second"] == pytest.approx(800 / 460)
    assert said["tables"][0] | {"bytes": 0, "last_write": ""} == {
        "name": "error_aggregates", "rows": 6, "files": 2, "small_files": 2, "bytes": 0, "last_write": "",
        "spare_files": 0,
    }  # fmt: skip


# ---------- Prometheus ----------
def parsed(text):
    """Values by name and labels, as Prometheus's own client reads them; each family has a help and is a gauge."""
    values = {}
    for family in text_string_to_metric_families(text):
        assert family.type == "gauge"
        assert family.documentation.endswith(".")
        for sample in family.samples:
            assert sample.timestamp is None
            values[sample.name, frozenset(sample.labels.items())] = sample.value
    return values


def value(values, name, **labels):
    return values[f"missioncontrol_{name}", frozenset(labels.items())]


def test_metrics_are_read_by_prometheus(status, dataset):
    values = parsed(metrics.as_metrics(replace(status, lag=Lag("kafka://host:1/pings", {0: 5, 3: 7}))))
    name = str(dataset)
    assert value(values, "stale", dataset=name) == 0
    assert value(values, "data_up_to_timestamp_seconds", dataset=name) == moment("05T13:07:40").timestamp()
    assert value(values, "pings_per_second", dataset=name) == pytest.approx(800 / 460)
    assert value(values, "rejected_pings", dataset=name, period="24h", reason="not_json") == 39
    assert value(values, "rows", dataset=name, table="rejected_pings") == 3
    assert value(values, "lag_messages", dataset=name, source="kafka://host:1/pings", partition="3") == 7
    assert not [key for key in values if key[0] == "missioncontrol_waiting_files"]


def test_labels_are_escaped(status):
    name = 's3://a "quoted" \\ back\nslash\\'
    values = parsed(metrics.as_metrics(replace(status, dataset=name)))
    assert value(values, "stale", dataset=name) == 0


def test_file_of_metrics_is_written_whole_or_not_at_all(dataset, tmp_path):
    path = tmp_path / "textfiles" / "missioncontrol.prom"
    result = run("--dataset", dataset, "--prometheus", path)
    assert isinstance(result.exception, MissionControlError)
    assert "cannot write" in str(result.exception)
    path.parent.mkdir()
    path.write_text("of before")
    with path.open() as reader:
        result = run("--dataset", dataset, "--prometheus", path)
        assert reader.read() == "of before", "who reads the old one goes on reading it"
    assert (result.exit_code, result.output) == (3, "")
    assert value(parsed(path.read_text()), "stale", dataset=str(dataset)) == 1
    assert [file.name for file in path.parent.iterdir()] == ["missioncontrol.prom"]


# ---------- over HTTP ----------
@contextmanager
def served(dataset, **options):
    stop, ready, urls = threading.Event(), threading.Event(), []

    def tell(url):
        urls.append(url)
        ready.set()

    collector = Collector(str(dataset), stale_after_seconds=options.pop("stale_after_seconds", 600.0))
    arguments = (collector, options.pop("host", "127.0.0.1"), 0, stop, tell)
    thread = threading.Thread(target=server.serve, args=arguments, kwargs={"refresh_seconds": 0.05} | options)
    thread.start()
    try:
        assert ready.wait(PATIENCE_SECONDS)
        yield urls[0]
    finally:
        stop.set()
        thread.join()


def get(url):
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, answer.headers, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read().decode()


def get_until(url, is_right):
    pause = threading.Event()
    for _ in range(200):
        answer = get(url)
        if is_right(answer):
            return answer
        pause.wait(0.05)
    raise AssertionError(answer)


def test_probe_is_answered_by_how_fresh_the_data_are_and_news_are_seen(tmp_path):
    folder = tmp_path / "<i>data</i>"
    write_now(folder, 700)
    with served(folder) as url:
        code, headers, text = get(url + "healthz")
        assert (code, text.split(":")[0]) == (503, "stale")
        write_now(folder)
        code, headers, text = get_until(url + "healthz", lambda answer: answer[0] == 200)
        assert text.startswith("fresh: data up to ")
        code, headers, text = get(url + "metrics")
        assert (code, headers["Content-Type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
        assert value(parsed(text), "stale", dataset=str(folder)) == 0
        code, headers, text = get(url)
        assert "<strong>Fresh: the newest ping is " in text
        assert "&lt;i&gt;data" in text
        assert "<i>data" not in text
        assert not [word for word in ("<script", "http://", "https://", "src=", "@import", "url(") if word in text]
        assert headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert "Python" not in headers["Server"]
        assert get(url + "nothing")[0] == 404
        assert get(url + "healthz?verbose=1")[0] == 200


def test_data_grow_old_while_it_answers(tmp_path):
    write_now(tmp_path)
    with served(tmp_path, stale_after_seconds=1.0) as url:
        get_until(url + "healthz", lambda answer: answer[0] == 503)


def test_only_reading_is_served(tmp_path):
    write_now(tmp_path)
    with served(tmp_path) as url:
        connection = HTTPConnection(url.removeprefix("http://").rstrip("/"), timeout=10)
        for method, code in (("HEAD", 200), ("POST", 501), ("DELETE", 501)):
            connection.request(method, "/healthz")
            answer = connection.getresponse()
            assert (answer.status, method == "HEAD" and answer.read()) in ((code, b""), (code, False))
            connection.close()


@pytest.mark.parametrize(
    ("host", "code"),
    [
        ("127.0.0.1:9464", 200),
        ("localhost", 200),
        ("[::1]:80", 200),
        ("Status.example.org:9464", 200),
        ("rebound.example.org", 403),
        ("127.0.0.1.example.org", 403),
        ("", 403),
        (None, 200),  # what is no browser may leave it out
    ],
)
@pytest.mark.parametrize("path", ["/", "/metrics", "/healthz"])
def test_status_is_for_the_hosts_that_are_named(tmp_path, host, code, path):
    write_now(tmp_path)
    with served(tmp_path, names=["status.example.org"]) as url:
        connection = HTTPConnection(url.removeprefix("http://").rstrip("/"), timeout=10)
        connection.putrequest("GET", path, skip_host=True)
        if host is not None:
            connection.putheader("Host", host)
        connection.endheaders()
        answer = connection.getresponse()
        assert answer.status == code
        assert code == 200 or b"rejected" not in answer.read()
        connection.close()


@pytest.mark.parametrize("method", ["POST", "TRACE", "<b>"])
def test_error_of_the_status_server_carries_the_headers_of_other_answers(tmp_path, method):
    write_now(tmp_path)
    with served(tmp_path) as url:
        connection = HTTPConnection(url.removeprefix("http://").rstrip("/"), timeout=10)
        connection.request(method, "/")
        answer = connection.getresponse()
        assert answer.status == 501
        assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        connection.close()


def test_failure_to_look_again_is_told_on_the_page(tmp_path, monkeypatch):
    write_now(tmp_path)
    collector = Collector(str(tmp_path))
    board = server.StatusCache(collector)
    monkeypatch.setattr(collector, "checkpoint", str(tmp_path / "gone"))
    before, _ = board.read()
    board.refresh()
    status, problem = board.read()
    assert not status.is_stale
    assert status.looked_up == before.looked_up < status.at
    assert "This is not the newest: there is no checkpoint in" in as_page(status, problem)


def test_command_serves_until_told_to_stop(tmp_path):
    write_now(tmp_path / "dataset")
    command = [sys.executable, "-c", "from missioncontrol_nb.cli import main; main()", "status", "--dataset", "dataset"]
    root = {"PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.Popen(
        [*command, "--serve", "0"], cwd=tmp_path, env=os.environ | root, stdout=subprocess.PIPE, text=True
    )
    with process:
        url = process.stdout.readline().strip()
        assert url.startswith("http://127.0.0.1:")
        assert get(url + "healthz")[0] == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_SECONDS) == 0


@pytest.mark.parametrize(
    ("read", "firsts", "ends", "lag"),
    [
        ({"0": 7}, {0: 2}, {0: 9}, {0: 2}),
        ({"0": 7}, {0: 2, 1: 40}, {0: 9, 1: 45}, {0: 2, 1: 5}),  # a partition that was added since
        ({}, {0: 100, 1: 0}, {0: 103, 1: 2}, {0: 3, 1: 2}),  # a topic made anew
        ({"0": 7}, {0: 20}, {0: 25}, {0: 5}),  # retention took what was not read
        ({"0": 7}, {0: 0}, {0: 5}, {0: 0}),
    ],
)
def test_lag_begins_at_the_first_message_that_is_kept(read, firsts, ends, lag):
    assert unread_messages(read, firsts, ends) == lag


def test_receivers_that_are_named_are_asked(dataset, monkeypatch):
    reports = {
        "one:1": ReceiverReport("one:1", kept=1200, refused={"path": 2}, not_kept={"ENOSPC": 3}, last_kept=NOW),
        "two:2": ReceiverReport("two:2", problem="No space left on device"),
        "three:3": ReceiverReport("three:3", failure="Connection refused"),
    }
    monkeypatch.setattr("missioncontrol_nb.status.collect.ask_receiver", reports.get)
    status = Collector(str(dataset), receivers=[*reports]).collect(NOW)
    text = wording.as_text(status)
    assert "one:1: 1,200 pings kept (the newest 13:08:00 UTC), 0 passed over, 2 requests refused, 3 to be" in text
    assert "two:2: 0 pings kept (none yet), 0 passed over, 0 requests refused, 0 to be sent again; CANNOT KEEP" in text
    assert "three:3 does not answer: Connection refused" in text
    assert [record["failure"] for record in wording.as_record(status)["receivers"]] == [
        *(None, None, "Connection refused")
    ]
    families = {family.name: family for family in text_string_to_metric_families(metrics.as_metrics(status))}
    up = families["missioncontrol_receiver_up"].samples
    assert {sample.labels["receiver"]: sample.value for sample in up} == {"one:1": 1, "two:2": 0, "three:3": 0}
    assert "three:3 does not answer" in as_page(status)
    assert "Receiver" not in wording.as_text(Collector(str(dataset)).collect(NOW))
