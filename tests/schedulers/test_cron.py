"""The recipe for cron: its lines run by sh as cron does, and, among the long tests, by Debian's cron itself."""

import json

import pytest

from tests.patience import wait_until
from tests.schedulers.crontab import Line, lock_held, read_crontab
from tests.schedulers.debian_cron import debian_cron, needs_debian
from tests.schedulers.recipes import Places, recipes
from tests.services.http_sink import HttpSink


def lines_of(places: Places) -> list[Line]:
    [crontab] = recipes("Cron", places)
    assert crontab.name == "/etc/cron.d/missioncontrol"
    return read_crontab(crontab.text)


def test_crontab_has_three_lines_of_one_user(places: Places) -> None:
    lines = lines_of(places)
    assert [line.when for line in lines] == [
        ("7", "*", "*", "*", "*"),
        ("*/5", "*", "*", "*", "*"),
        ("23", "4", "*", "*", "*"),
    ]
    assert {line.user for line in lines} == {"missioncontrol"}
    assert {line.settings["HOME"] for line in lines} == {str(places.home)}


@pytest.mark.long
def test_lines_mail_nothing_where_all_is_well_and_say_what_failed(places: Places) -> None:
    report, watch, maintain = lines_of(places)
    assert maintain.run() == ""
    with HttpSink() as slack:
        (places.secrets / "slack_url").write_text(slack.url)
        with lock_held(places.home / "report.lock"):
            assert report.run() == ""
            assert not places.reports.exists(), "another run holds the lock"
        assert watch.run() == ""
    [told] = slack.received
    assert "stale" in json.dumps(told), "the newest data are of 2017"
    assert report.run() == ""
    latest = places.reports / "latest.json"
    assert json.loads(latest.read_text())["as_of"] == "2017-10-02T13:00:00Z"
    before = latest.read_bytes()
    places.data.rename(places.folder / "moved")
    assert f"there is no dataset at {places.data}" in report.run()
    assert str(places.data) in watch.run()
    assert latest.read_bytes() == before


def test_crontab_is_read_as_cron_reads_it() -> None:
    written = 'A = "b c"\n\n# x\n1 2 * * 3 someone  cat; echo "$A" "$LOGNAME" $0 \\% %first%second\n'
    [line] = read_crontab(written)
    assert (line.when, line.user, line.settings) == (("1", "2", "*", "*", "3"), "someone", {"A": "b c"})
    assert line.run() == "first\nsecondb c someone /bin/sh %\n"


@pytest.mark.long
@needs_debian
def test_debians_cron_runs_the_lines_and_mails_failures_alone(bad_places: Places) -> None:
    [crontab] = recipes("Cron", bad_places)
    latest = bad_places.reports / "latest.json"
    with HttpSink() as slack, debian_cron(crontab.text, bad_places.folder) as mails:
        (bad_places.secrets / "slack_url").write_text(slack.url)
        wait_until(lambda: slack.received and latest.exists(), "the report and the watch's message")
        assert json.loads(latest.read_text())["state"] == "alarm"
        assert list(mails.iterdir()) == []
        bad_places.data.unlink()
        why = f"missioncontrol: there is no dataset at {bad_places.data}"

        def told() -> list[str]:
            texts = [mail.read_text() for mail in mails.iterdir()]
            return [text for text in texts if "To: releases@example.org" in text and why in text]

        wait_until(lambda: len(told()) >= 2, "the mails of both lines")
