"""Deliveries to real servers, which fail in the ways in which servers fail."""

import fcntl
import json
import socket
import threading
import time
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from missioncontrol_nb.demo.firefox import make_certificate
from missioncontrol_nb.watching.changes import apply_look
from missioncontrol_nb.watching.delivery import Courier, delivering
from missioncontrol_nb.watching.outbox import FIRST_WAIT, add_targets
from missioncontrol_nb.watching.quiet import QuietHours
from missioncontrol_nb.watching.state import FILE, Message, Store, is_watched, open_store, read_state
from missioncontrol_nb.watching.targets import About, DeliveryError, posting, program, read_targets
from missioncontrol_nb.watching.targets.alertmanager import Alertmanager
from missioncontrol_nb.watching.targets.posting import post_json
from streaming.errors import MissionControlError
from tests.patience import wait_until
from tests.services import alertmanager, smtp
from tests.services.http_sink import HttpSink
from tests.services.ports import free_port
from tests.unit.watched import NOW, finding, look

ABOUT = About("data", "Firefox")
SECRET = "s3cr3t-T0ken"


class Delivering:
    """A store with targets and what the couriers say."""

    def __init__(self, store: Store, folder: Path) -> None:
        self.store, self.folder = store, folder
        self.lines: list[str] = []
        self.failures: list[str] = []

    def look(self, events, *still, stale=False):
        with self.store.changed() as state:
            return apply_look(state, look(events, *still, stale=stale), datetime.now(UTC))

    def await_all(self):
        wait_until(lambda: not self.store.state.messages, "all deliveries", every=0.01)


@contextmanager
def couriers_for(folder, *texts, quiet=None):
    targets = read_targets(texts)
    with open_store(folder, "data", "Firefox") as store:
        with store.changed() as state:
            add_targets(state, [target.name for target in targets], datetime.now(UTC))
        run = Delivering(store, folder)
        with delivering(
            [Courier(each, store, ABOUT, quiet, run.lines.append, run.failures.append) for each in targets]
        ):
            yield run


@pytest.fixture
def hasty(monkeypatch):
    """The time between attempts is a hundredth of a second, the time for an answer a fifth."""
    monkeypatch.setattr("missioncontrol_nb.watching.outbox.FIRST_WAIT", FIRST_WAIT / 500)
    monkeypatch.setattr("missioncontrol_nb.watching.outbox.LONGEST_WAIT", FIRST_WAIT / 100)
    monkeypatch.setattr(posting, "STEP_SECONDS", 0.2)


def test_each_message_arrives_once_at_each_target_and_in_order(tmp_path, hasty):
    with (
        HttpSink() as one,
        HttpSink() as other,
        couriers_for(tmp_path, f"webhook:{one.url}", f"webhook:{other.url}") as run,
    ):
        for number in range(20):
            run.look([finding(kind="recovered" if number % 2 else "alarm")])
        run.await_all()
    assert len(one.received) == 20
    assert [body["events"][0]["event"] for body in one.received] == ["alarm", "recovered"] * 10
    assert one.ids == other.ids
    assert len(run.lines) == 40
    assert run.failures == []


@pytest.mark.parametrize(
    ("answer", "reason", "repeats"),
    [
        (500, "HTTP 500", True),
        (404, "HTTP 404", True),
        ((302, {"Location": "http://127.0.0.1:1/"}), "HTTP 302, which is not followed", True),
        ((429, {"Retry-After": "1"}), "HTTP 429", True),
        ("cut", "the connection was cut before an answer came", True),
        ("hang", "no answer within 0 s", True),
    ],
)
def test_server_that_fails_gets_it_again_with_the_same_id(answer, reason, repeats, tmp_path, hasty):
    with HttpSink([answer, answer]) as sink, couriers_for(tmp_path, f"webhook:{sink.url}") as run:
        run.look([finding()])
        run.await_all()
    assert len(sink.received) == 3
    assert len({*sink.ids}) == 1
    assert run.failures == [f"not delivered to webhook:{sink.url}: {reason}; it will be tried again"]  # once
    if answer == (429, {"Retry-After": "1"}):
        assert sink.arrived_at[1] - sink.arrived_at[0] >= 1


def test_answer_that_comes_byte_by_byte_is_given_up():
    with HttpSink(["trickle"]) as sink:
        began = time.monotonic()
        with pytest.raises(DeliveryError, match="no whole answer within 0 s"):
            post_json(sink.url, {"id": "x"}, {}, seconds=0.3)
        assert time.monotonic() - began < 20


@contextmanager
def trickling(first: bytes):
    """A server that begins with some bytes and then sends one at a time; its port."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with suppress(OSError), server.accept()[0] as connection:
                connection.sendall(first)
                while True:
                    connection.sendall(b"x")
                    time.sleep(0.05)

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]


@pytest.mark.parametrize("security", ["none", "starttls"])
def test_mail_server_that_greets_byte_by_byte_is_given_up(security, monkeypatch):
    monkeypatch.setattr("missioncontrol_nb.watching.targets.mail.ALL_SECONDS", 0.3)
    with trickling(b"220 ") as port:
        form = f"email:a@example.org?from=w@example.org&server=127.0.0.1:{port}&security={security}"
        [target] = read_targets([form])
        with pytest.raises(DeliveryError, match="no whole answer within 0 s"):
            target.send(Message("id", "test", "test", NOW), ABOUT)


def test_fault_anywhere_in_an_attempt_does_not_end_deliveries(tmp_path, hasty, monkeypatch):
    monkeypatch.setattr("missioncontrol_nb.watching.delivery._PAUSE_SECONDS", 0.01)
    monkeypatch.setattr("missioncontrol_nb.watching.delivery._IDLE_SECONDS", 0.01)
    monkeypatch.setattr(Alertmanager, "refresh_seconds", 0.01)
    faults = [RuntimeError("can't start new thread")] * 3

    def refresh(*_, **__):
        if faults:
            raise faults.pop()

    monkeypatch.setattr(Alertmanager, "refresh", refresh)
    with HttpSink() as sink, couriers_for(tmp_path, f"alertmanager:{sink.url}") as run:
        wait_until(lambda: not faults, "the faults", every=0.01)
        run.look([finding()])
        run.await_all()
    assert len(sink.received) == 1
    assert run.failures == [
        f"not delivered to alertmanager:{sink.url}: a fault of Mission Control (RuntimeError); it will be tried again"
    ]


def test_watch_starts_while_others_ask_whether_it_runs(tmp_path):
    with open_store(tmp_path, "data", "Firefox"):
        pass
    for _ in range(5):
        with (tmp_path / "lock").open("rb") as asked:
            fcntl.flock(asked, fcntl.LOCK_SH)
            threading.Timer(0.1, asked.close).start()
            with open_store(tmp_path, "data", "Firefox"):
                assert is_watched(tmp_path)


def test_target_that_hangs_delays_no_other_and_no_look(tmp_path):
    with (
        HttpSink(["hang"]) as stuck,
        HttpSink() as sink,
        couriers_for(tmp_path, f"webhook:{stuck.url}", f"webhook:{sink.url}") as run,
    ):
        run.look([finding()])
        wait_until(lambda: bool(stuck.received), "the request that hangs", every=0.01)
        run.look([finding(kind="recovered")])
        wait_until(lambda: len(sink.received) == 2, "both messages", every=0.01)
        stuck.is_over.set()


def test_nobody_at_the_address_and_unknown_hosts_are_told_without_the_address(tmp_path):
    (tmp_path / "hook").write_text(f"http://127.0.0.1:{free_port()}/{SECRET}")
    [refused] = read_targets([f"webhook:@{tmp_path / 'hook'}"])
    [unknown] = read_targets(["webhook:http://no-such-host.invalid/hook"])
    for target, reason in ((refused, "the connection was refused"), (unknown, "its host name is not known here")):
        with pytest.raises(DeliveryError) as told:
            target.post({})
        assert str(told.value) == reason


def test_no_secret_is_in_the_state_or_in_what_is_said(tmp_path, hasty):
    with HttpSink([500, 302, "cut"]) as sink:
        (tmp_path / "hook").write_text(f"{sink.url}?token={SECRET}\nAuthorization: {SECRET}")
        with couriers_for(tmp_path / "state", f"slack:@{tmp_path / 'hook'}") as run:
            run.look([finding()])
            wait_until(lambda: bool(run.failures), "a failure", every=0.01)
            kept = (tmp_path / "state" / FILE).read_text()
            run.await_all()
    assert len(sink.received) == 4
    assert all(SECRET in path for path in sink.paths)
    assert SECRET not in kept + "".join(run.lines + run.failures) + (tmp_path / "state" / FILE).read_text()


def test_what_was_not_delivered_is_delivered_after_a_restart(tmp_path, hasty):
    port = free_port()
    with couriers_for(tmp_path, f"webhook:http://127.0.0.1:{port}/") as run:
        [message] = run.look([finding()])
        wait_until(lambda: bool(run.failures), "a failure", every=0.01)
    assert list(read_state(tmp_path).messages) == [message.id]
    got = tmp_path / "got"
    with couriers_for(tmp_path, f"command:sh -c 'cat > {got}'", f"webhook:http://127.0.0.1:{port}/"):
        wait_until(got.exists, "the new target's message", every=0.01)
    assert list(read_state(tmp_path).messages) == [message.id]


def test_disk_that_is_full_after_a_delivery_does_not_repeat_it(tmp_path, hasty, monkeypatch):
    monkeypatch.setattr("missioncontrol_nb.watching.delivery._PAUSE_SECONDS", 0.05)
    with HttpSink() as sink, couriers_for(tmp_path, f"webhook:{sink.url}") as run:

        def fill(_: object) -> None:  # a folder in the file's place: no write can succeed
            (tmp_path / f"{FILE}.tmp").mkdir()

        sink.on_received = fill
        run.look([finding()])
        wait_until(lambda: bool(run.failures), "the failed write", every=0.01)
        (tmp_path / f"{FILE}.tmp").rmdir()
        run.await_all()
    assert len(sink.received) == 1
    assert run.failures == ["the watch's state cannot be written: Is a directory; it will be tried again"]
    assert read_state(tmp_path).messages == {}


def test_two_watches_do_not_share_a_state_and_another_dataset_is_refused(tmp_path):
    with open_store(tmp_path, "data", "Firefox") as store, store.changed():
        pass
    with open_store(tmp_path, "data", "Firefox"), pytest.raises(MissionControlError, match="another watch is running"):
        open_store(tmp_path, "data", "Firefox").__enter__()
    with pytest.raises(MissionControlError, match="belongs to the dataset 'data', not to 'other'"):
        open_store(tmp_path, "other", "Firefox").__enter__()
    (tmp_path / FILE).write_bytes(b'{"dataset": "data", "pro')
    with pytest.raises(MissionControlError, match=r"is damaged .*: restore it from a copy, or remove it"):
        open_store(tmp_path, "data", "Firefox").__enter__()


def test_command_gets_json_and_its_exit_code_decides(tmp_path, hasty, monkeypatch):
    monkeypatch.setattr(program, "LONGEST_SECONDS", 0.5)
    script = tmp_path / "take.sh"
    script.write_text(
        f"#!/bin/sh\ncd {tmp_path}; cat >> got\nif [ ! -e failed ]; then touch failed; exit 7; fi\n"
        "if [ ! -e hung ]; then touch hung; sleep 60 & wait; fi\n"
    )
    script.chmod(0o755)
    with couriers_for(tmp_path / "state", f"command:{script}") as run:
        run.look([finding()])
        run.await_all()
    got = [json.loads(line) for line in (tmp_path / "got").read_text().splitlines()]
    assert len(got) == 3
    assert len({body["id"] for body in got}) == 1
    assert run.failures == [f"not delivered to command:{script}: exit code 7; it will be tried again"]
    [absent] = read_targets(["command:/no/such/program"])
    with pytest.raises(DeliveryError, match="it did not start: No such file or directory"):
        absent.send(next(iter(apply_look(read_state(tmp_path / "state"), look([finding("main_crashes")]), NOW))), ABOUT)


@pytest.fixture
def mail_certificate(tmp_path, monkeypatch):
    if said := smtp.missing():
        pytest.skip(said)
    certificate = tmp_path / "certificate.pem"
    make_certificate(certificate)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    return certificate


def test_mail_goes_through_starttls_with_a_login_from_a_file(tmp_path, mail_certificate, hasty):
    (tmp_path / "login").write_text(f"watch:{SECRET}\n")
    with smtp.MailSink(mail_certificate, ("watch", SECRET)) as sink:
        form = f"email:a@example.org,b@example.org?from=w@example.org&server={sink.address}&login=@{tmp_path / 'login'}"
        with couriers_for(tmp_path / "state", form) as run:
            [message] = run.look([finding()])
            run.await_all()
        assert sorted(sink.recipients) == ["a@example.org", "b@example.org"]
        assert {mail["Message-ID"] for mail in sink.received} == {f"<{message.id}@missioncontrol.invalid>"}
        assert sink.was_encrypted == [True, True]
        assert sink.logins == ["watch", "watch"]
        assert sink.received[0]["Subject"].startswith("Bad on Windows: Firefox 56.0 on release has ")
        [target] = read_targets([form.replace(",b@example.org", "")])
        (tmp_path / "login").write_text("watch:wrong")
        with pytest.raises(DeliveryError) as told:
            target.send(message, ABOUT)
        assert str(told.value) == "the server refused the log-in (SMTP 535)"
        (tmp_path / "login").write_text(f"watch:{SECRET}")
        sink.refuses = f"550 {SECRET} is unknown"
        with pytest.raises(DeliveryError) as told:
            target.send(message, ABOUT)
        assert str(told.value) == "the server refused the recipient (SMTP 550)"


def test_mail_is_not_sent_where_encryption_is_not_to_be_had(tmp_path, mail_certificate, monkeypatch):
    form = "email:a@example.org?from=w@example.org&server="
    [message] = apply_look(read_or_new(tmp_path), look([finding()]), NOW)
    with smtp.MailSink() as plain:
        [target] = read_targets([form + plain.address])
        with pytest.raises(DeliveryError, match="the server does not offer STARTTLS"):
            target.send(message, ABOUT)
        [target] = read_targets([f"{form}{plain.address}&security=none"])
        target.send(message, ABOUT)
        assert plain.was_encrypted == [False]
    with smtp.MailSink(mail_certificate) as sink:
        monkeypatch.delenv("SSL_CERT_FILE")
        [target] = read_targets([form + sink.address])
        with pytest.raises(DeliveryError, match="its certificate is not trusted: self-signed certificate"):
            target.send(message, ABOUT)
        assert sink.received == []


def test_mail_over_tls_from_the_first_byte_on(tmp_path, mail_certificate):
    [message] = apply_look(read_or_new(tmp_path), look([finding()]), NOW)
    with smtp.MailSink(mail_certificate, is_tls=True) as sink:
        [target] = read_targets([f"email:a@example.org?from=w@example.org&server={sink.address}&security=tls"])
        target.send(message, ABOUT)
        assert sink.recipients == ["a@example.org"]


def test_webhook_over_https_is_checked_by_its_certificate(mail_certificate, monkeypatch):
    with HttpSink(certificate=mail_certificate) as sink:
        [target] = read_targets([f"webhook:{sink.url}"])
        target.post({"id": "x"})
        assert sink.ids == ["x"]
        monkeypatch.delenv("SSL_CERT_FILE")
        with pytest.raises(DeliveryError, match="its certificate is not trusted: self-signed certificate"):
            target.post({"id": "y"})
        assert sink.ids == ["x"]


@pytest.mark.parametrize(
    ("host", "reason"), [("localhost", "it is for another host name"), ("127.0.0.2", "it is for another address")]
)
def test_certificate_of_another_host_is_told_without_the_host(host, reason, mail_certificate, monkeypatch):
    asked = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda _, *rest, **more: asked("127.0.0.1", *rest, **more))
    with HttpSink(certificate=mail_certificate) as sink:
        [target] = read_targets([f"webhook:{sink.url.replace('127.0.0.1', host)}"])
        with pytest.raises(DeliveryError) as told:
            target.post({})
    assert str(told.value) == f"its certificate is not trusted: {reason}"


def read_or_new(folder):
    with open_store(folder / "new", "data", "Firefox") as store:
        return store.state


@pytest.mark.skipif(not alertmanager.PROGRAM.exists(), reason="Alertmanager is not built yet: make long does it")
def test_alertmanager_has_what_is_up_until_it_is_over(tmp_path):
    check_alertmanager(tmp_path)


@pytest.mark.long
def test_alertmanager_that_is_built_here_has_what_is_up_until_it_is_over(tmp_path):
    if said := alertmanager.missing():
        pytest.skip(said)
    alertmanager.program()
    check_alertmanager(tmp_path)


def check_alertmanager(folder: Path) -> None:
    """From an alarm to its end: what the real Alertmanager says is up, and what it notifies."""
    with HttpSinkOfAlerts() as hook, alertmanager.Alertmanager(folder / "am", hook.url) as server:
        with couriers_for(folder / "state", f"alertmanager:{server.url}/") as run:
            run.look([finding(), finding("main_crashes", channel="beta")])
            run.await_all()
            alerts = server.alerts()
            assert {alert["labels"]["measure"] for alert in alerts} == {"content_crashes", "main_crashes"}
            assert {alert["status"]["state"] for alert in alerts} <= {"active", "unprocessed"}
            [alert] = [alert for alert in alerts if alert["labels"]["channel"] == "release"]
            assert alert["startsAt"].startswith("2017-10-02T20:00:00")
            assert alert["annotations"]["summary"] == "content crashes of Firefox 56.0 (release) on Windows"
            run.look([finding(kind="recovered")], finding("main_crashes", channel="beta"))
            run.look([], stale=True)
            run.await_all()
            wait_until(lambda: names_up(server) == {"main_crashes", "MissionControlDataStale"}, "the end", every=0.05)
            run.look([finding("main_crashes", "recovered", channel="beta")])
            run.await_all()
            wait_until(lambda: names_up(server) == set(), "the end of all", every=0.05)
        wait_until(lambda: ("release", "resolved") in hook.notified(), "the notice of the end", every=0.05)


def names_up(server):
    return {alert["labels"].get("measure", alert["labels"]["alertname"]) for alert in server.alerts()}


class HttpSinkOfAlerts(HttpSink):
    """What Alertmanager notifies."""

    def notified(self) -> set[tuple[str, str]]:
        """Channel and state of all that was notified."""
        return {(body["groupLabels"].get("channel", ""), body["status"]) for body in self.received}


def quiet_now() -> QuietHours:
    """Quiet hours that began an hour ago and last another one."""
    now = datetime.now(UTC)
    return QuietHours((now - timedelta(hours=1)).time(), (now + timedelta(hours=1)).time(), UTC)


def test_quiet_hours_hold_back_people_but_not_alertmanager_and_then_tell_one_message(tmp_path, hasty):
    with HttpSink() as people, HttpSink() as alerts:
        names = f"webhook:{people.url}", f"alertmanager:{alerts.url}"
        with couriers_for(tmp_path, *names, quiet=quiet_now()) as run:
            run.look([finding()])
            run.look([finding("main_crashes")], finding())
            run.look([finding(kind="recovered")], finding("main_crashes"))
            wait_until(lambda: not run.store.state.targets[names[1]].queue, "the alerts", every=0.01)
            wait_until(lambda: run.store.state.targets[names[0]].is_held, "that messages are held", every=0.01)
        assert people.received == []
        with couriers_for(tmp_path, *names) as run:
            run.await_all()
    [body] = people.received
    assert [event["measure"] for event in body["events"]] == ["main_crashes"]
    assert "Came up and is over again: content crashes" in body["text"]


def test_alerts_are_repeated_while_they_are_up(tmp_path, hasty, monkeypatch):
    monkeypatch.setattr(Alertmanager, "refresh_seconds", 0.01)
    monkeypatch.setattr("missioncontrol_nb.watching.delivery._IDLE_SECONDS", 0.02)
    with HttpSink() as sink, couriers_for(tmp_path, f"alertmanager:{sink.url}") as run:
        run.look([finding()])
        wait_until(lambda: len(sink.received) > 3, "repetitions", every=0.01)
        run.look([finding(kind="recovered")])
        run.await_all()
        number = len(sink.received)
        time.sleep(0.2)
    assert len(sink.received) == number
    assert set(sink.paths) == {"/hook/api/v2/alerts"}
    ends = [datetime.fromisoformat(body[0]["endsAt"]) for body in sink.received]
    assert ends[0] < ends[1] < ends[2]
    assert ends[-1] < ends[0]
    assert len({json.dumps(body[0]["labels"], sort_keys=True) for body in sink.received}) == 1


def test_couriers_that_wait_do_not_keep_the_processor_busy(tmp_path):
    script = f"command:sh -c 'cat > {tmp_path / 'got'}; exit 1'"
    later = [(429, {"Retry-After": "60"})]
    with HttpSink(later) as sink, couriers_for(tmp_path / "state", f"webhook:{sink.url}", script) as run:
        run.look([finding()])
        wait_until(lambda: len(run.failures) == 2, "both failures", every=0.01)
        before = time.process_time()
        time.sleep(1.5)
        assert time.process_time() - before < 0.5
