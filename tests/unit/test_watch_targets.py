"""Targets as people write them, what they are sent, and that no secret leaves its file."""

import json
from contextlib import suppress
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from missioncontrol_nb.watching.changes import apply_look
from missioncontrol_nb.watching.quiet import read_quiet_hours
from missioncontrol_nb.watching.targets import About, DeliveryError, read_targets
from missioncontrol_nb.watching.targets.alertmanager import Alertmanager
from missioncontrol_nb.watching.targets.mail import Mail, MailServer
from missioncontrol_nb.watching.targets.webhooks import Slack, Teams, Webhook
from missioncontrol_nb.watching.wording import line_of
from streaming.errors import MissionControlError
from tests.services.http_sink import HttpSink
from tests.unit.watched import NOW, finding, look, state_with

SECRET = "s3cr3t-T0ken"
ABOUT = About("data/", "Firefox", "https://mc.example.org/")


def message_of(*events):
    [message] = apply_look(state_with("a"), look(list(events)), NOW)
    return message


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"slack:https://hooks.slack.com/services/{SECRET}", "never from the command line"),
        (f"teams:https://prod.westeurope.logic.azure.com/{SECRET}", "never from the command line"),
        (f"webhook:https://user:{SECRET}@example.org/hook", "without user, password, query and fragment"),
        (f"webhook:https://example.org/hook?token={SECRET}", "without user, password, query and fragment"),
        (f"webhook:https://hooks.slack.com/services/{SECRET}", "expected slack:@FILE or slack:env:NAME for this host"),
        (f"alertmanager:http://user:{SECRET}@127.0.0.1:9093", "without user, password, query and fragment"),
        (f"email:a@example.org?from=b@example.org&server=h&login=me:{SECRET}", "never from the command line"),
        (f"email:a@example.org?from=b@example.org&server=me:{SECRET}@h", "expected email:TO"),
        ("email:a@example.org?from=b@example.org&server=h&login=@f&security=none", "would travel unencrypted"),
        ("email:a@example.org?from=b@example.org&server=h&secruity=tls", "did you mean security?"),
        ("email:a@example.org?from=b@example.org&server=h&security=ssl", "did you mean none, starttls, tls?"),
        ("email:a@example.org?server=h", "expected email:TO"),
        ("email:a b@example.org?server=h&from=b@example.org", "expected e-mail addresses"),
        (f"webhook:https://hooks.slack-gov.com/services/{SECRET}", "expected slack:@FILE or slack:env:NAME"),
        (f"webhook:https://hooks.slack.com./services/{SECRET}", "expected slack:@FILE or slack:env:NAME"),
        (f"webhook:https://ptb.discord.com//API/web%68ooks/1/{SECRET}", "expected webhook:@FILE or webhook:env:NAME"),
        (f"alertmanager:https://discord.com/api/webhooks/1/{SECRET}", "expected webhook:@FILE or webhook:env:NAME"),
        ("https://example.org/hook", "expected a kind of target before a URL"),
        ("slakc:@file", "did you mean slack?"),
        ("webhook:ftp://example.org", "got neither a URL of HTTP nor @FILE or env:NAME"),
        ("command:", "expected command:PROGRAM"),
        ("command:echo 'half", "expected command:PROGRAM"),
        ("slack:@/no/such/file", "cannot read the secret in '/no/such/file': No such file"),
        ("slack:env:NO_SUCH_VARIABLE", "the environment variable NO_SUCH_VARIABLE; it is empty or missing"),
        ("nonsense", "expected a target: webhook:"),
    ],
)
def test_other_forms_are_told_without_the_secret(text, said):
    with pytest.raises(MissionControlError) as told:
        read_targets([text])
    assert said in str(told.value)
    assert SECRET not in str(told.value)


@pytest.mark.parametrize(
    "address",
    ["a@b@example.org", ".a@example.org", "a.@example.org", "a..b@example.org", "a@example..org", "a@.", "a@", "@b",
     "a", "a@example.org.", "a b@example.org", "ä@example.org", "(c)a@example.org", "<a@example.org>", ""],
)  # fmt: skip
def test_address_to_which_no_mail_can_be_sent_is_told_at_the_start(address):
    for text in (f"email:{address}?from=b@example.org&server=h", f"email:b@example.org?from={address}&server=h"):
        with pytest.raises(MissionControlError, match="expected e-mail addresses such as"):
            read_targets([text])


@given(st.text("ab.+@%'\"()<>- _?", max_size=6))
def test_mail_goes_to_every_address_that_is_accepted(text):
    with suppress(MissionControlError):
        for target in read_targets([f"email:{text}@example.org?from=b@example.org&server=h"]):
            assert isinstance(target, Mail)
            assert target.mail(message_of(finding()), ABOUT).as_bytes()


def test_plus_in_an_address_or_a_path_stays_a_plus(tmp_path):
    (tmp_path / "a+b").write_text("user:password")
    form = f"email:a+b@example.org?from=mc+watch@example.org&server=h&login=@{tmp_path / 'a+b'}"
    [target] = read_targets([form])
    mail = target.mail(message_of(finding()), ABOUT)
    assert (mail["To"], mail["From"]) == ("a+b@example.org", "mc+watch@example.org")


@given(st.text(max_size=60))
def test_any_text_is_a_target_or_an_error_in_words(text):
    for kind in ("", "webhook:", "email:", "slack:", "alertmanager:"):
        with suppress(MissionControlError):
            assert read_targets([kind + text])


def test_each_recipient_of_mail_is_a_target_of_its_own_and_targets_are_named_once():
    form = "email:a@example.org,b@example.org?from=c@example.org&server=mail.example.org"
    names = [target.name for target in read_targets([form, form, "command:cat", " command:cat"])]
    assert names == [
        "email:a@example.org?from=c@example.org&server=mail.example.org",
        "email:b@example.org?from=c@example.org&server=mail.example.org",
        "command:cat",
    ]


def test_secret_file_holds_url_and_headers_and_is_read_anew_each_time(tmp_path):
    with HttpSink([401]) as first, HttpSink() as second:
        file = tmp_path / "hook"
        file.write_text(f"{first.url}?token={SECRET}\nAuthorization: Bearer {SECRET}\n\n")
        [target] = read_targets([f"webhook:@{file}"])
        with pytest.raises(DeliveryError) as told:
            target.send(message_of(finding()), ABOUT)
        assert str(told.value) == "HTTP 401"
        assert first.paths == [f"/hook?token={SECRET}"]
        assert first.headers[0]["Authorization"] == f"Bearer {SECRET}"
        file.write_text(second.url)
        target.send(message_of(finding()), ABOUT)
        assert len(second.received) == 1


@pytest.mark.parametrize("content", [f"user:{SECRET}", f"https://example.org/\nBearer {SECRET}", "https://[::1"])
def test_secret_file_of_another_form_is_told_without_its_content(content, tmp_path):
    (tmp_path / "hook").write_text(content)
    with pytest.raises(MissionControlError, match=r"expected a URL such as|expected headers such as") as told:
        read_targets([f"webhook:@{tmp_path / 'hook'}"])
    assert SECRET not in str(told.value)


def test_webhook_gets_the_published_json():
    message = message_of(finding(), finding("main_crashes"))
    with HttpSink() as sink:
        Webhook("w", sink.url).send(message, ABOUT)
    [body] = sink.received
    assert body == {
        "id": message.id,
        "kind": "alarms",
        "cause": message.cause,
        "dataset": "data/",
        "product": "Firefox",
        "text": body["text"],
        "url": "https://mc.example.org/?view=detail&measure=content_crashes",
        "events": [finding().event, finding("main_crashes").event],
    }
    assert body["text"].split("\n")[1] == (
        "Bad on Windows: Firefox 56.0 on release has 2.0 times as many content crashes as expected, since Mon 2 Oct "
        "18:00 UTC. 8.0 per 1000 hours of use since then, 4.0 expected (1.8 to 2.2 times)."
    )


def test_slack_and_teams_get_their_formats_and_no_character_is_special():
    odd = finding(version="<!channel>&\x1b[31m")
    message = message_of(odd, finding("main_crashes"))
    slack = Slack("s", "https://example.org").body(message, ABOUT)
    assert "&lt;!channel&gt;&amp;\\x1b[31m" in slack["text"]
    assert [block["text"]["type"] for block in slack["blocks"][:3]] == ["mrkdwn", "plain_text", "mrkdwn"]
    assert "<!channel>&\\x1b[31m" in slack["blocks"][1]["text"]["text"]  # plain text has no escapes
    assert message.id in slack["blocks"][-1]["elements"][0]["text"]
    teams = Teams("t", "https://example.org").body(message, ABOUT)
    [card] = teams["attachments"]
    assert (teams["type"], card["contentType"]) == ("message", "application/vnd.microsoft.card.adaptive")
    assert (card["content"]["type"], card["content"]["version"]) == ("AdaptiveCard", "1.4")
    assert {block["type"] for block in card["content"]["body"]} == {"RichTextBlock"}
    assert card["content"]["actions"][0]["url"].startswith("https://mc.example.org/?")


def test_message_of_very_many_events_stays_within_what_chats_take():
    events = [finding(version=f"56.{number}", os_name="Windows_NT") for number in range(500)]
    message = message_of(*events)
    slack = Slack("s", "https://example.org").body(message, ABOUT)
    assert len(slack["blocks"]) <= 50
    assert max(len(block["text"]["text"]) for block in slack["blocks"] if "text" in block) <= 3000
    assert len(json.dumps(Teams("t", "https://example.org").body(message, ABOUT))) < 28_000
    assert "And 480 more." in slack["blocks"][-3]["text"]["text"]


def test_alerts_have_the_same_labels_from_beginning_to_end_and_another_moment_of_their_end():
    target, now = Alertmanager("a", "http://127.0.0.1"), datetime.now(UTC)
    bad, moved, over = finding(), finding(kind="update", ratio=3.0), finding(kind="recovered", ratio=None)
    [[first], [second], [last]] = [target.body(message_of_end(each), ABOUT) for each in (bad, moved, over)]
    assert first["labels"] == second["labels"] == last["labels"]
    assert first["labels"]["alertname"] == "MissionControlRelease"
    assert first["startsAt"] == "2017-10-02T20:00:00+00:00"
    assert (datetime.fromisoformat(first["endsAt"]) - now).total_seconds() == pytest.approx(3600, abs=60)
    assert abs((datetime.fromisoformat(last["endsAt"]) - now).total_seconds()) < 60
    assert "2.0 times" in first["annotations"]["description"]


def message_of_end(event):
    state = state_with("a")
    if event.kind != "alarm":
        apply_look(state, look([finding()]), NOW)
    return apply_look(state, look([event]), NOW)[-1]


def test_mail_has_text_and_html_with_everything_escaped():
    server = MailServer("h", 25, "none", "watch@example.org", None)
    message = message_of(finding(version="<b>56</b>\nBcc: x@example.org"))
    mail = Mail("m", "a@example.org", server).mail(message, ABOUT)
    assert mail["Subject"] == (
        "Bad on Windows: Firefox <b>56</b>\\nBcc: x@example.org on release has 2.0 times as many content crashes as "
        "expected, since Mon 2 Oct 18:00 UTC"
    )
    assert mail["Bcc"] is None
    assert mail["Message-ID"] == f"<{message.id}@missioncontrol.invalid>"
    assert mail["References"] == f"<{message.cause}@missioncontrol.invalid>"
    text, html = (mail.get_body((kind,)).get_content() for kind in ("plain", "html"))
    assert "&lt;b&gt;56&lt;/b&gt;" in html
    assert "<b>56</b>" not in html
    assert "https://mc.example.org/?view=detail&measure=content_crashes" in text


def test_events_without_figures_are_told_too():
    event = finding(kind="recovered", ratio=None, version=None, since=None)
    assert line_of(event) == (
        "Over on Windows: all Firefox versions on release have no more content crashes than expected any longer, or "
        "hardly any users left."
    )


@pytest.mark.parametrize(
    ("text", "moment", "is_quiet"),
    [
        ("22:00-07:00", "2026-01-10T23:00:00+00:00", True),
        ("22:00-07:00", "2026-01-10T06:59:59+00:00", True),
        ("22:00-07:00", "2026-01-10T07:00:00+00:00", False),
        ("22:00-07:00@Europe/Berlin", "2026-01-10T06:30:00+00:00", False),
        ("22:00-07:00@Europe/Berlin", "2026-07-10T20:00:00+00:00", True),  # summer time
        ("12:00-13:00", "2026-01-10T12:30:00+00:00", True),
        ("12:00-13:00", "2026-01-10T13:00:00+00:00", False),
    ],
)
def test_quiet_hours_are_hours_of_a_zone(text, moment, is_quiet):
    assert read_quiet_hours(text).cover(datetime.fromisoformat(moment)) == is_quiet


@pytest.mark.parametrize(
    "text", ["22-7", "25:00-07:00", "22:00-22:00", "22:00-07:00@Atlantis/City", "22:00-07:00@/etc"]
)
def test_other_quiet_hours_are_told(text):
    with pytest.raises(MissionControlError, match=r"expected quiet hours such as|expected a time zone such as"):
        read_quiet_hours(text)
