"""Targets that take JSON over HTTP: any webhook, Slack and Microsoft Teams."""

import re
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from missioncontrol_nb.watching.state import Message
from missioncontrol_nb.watching.targets.posting import post_json
from missioncontrol_nb.watching.targets.secret import Secret
from missioncontrol_nb.watching.targets.target import About, DeliveryError, Target, payload
from missioncontrol_nb.watching.wording import lines_of, title_of
from streaming.errors import MissionControlError

_SLACK_SECTION = 2900  # characters; Slack takes 3000
_OPEN_PAGE = "Open the page"


class Posted(Target):
    """A target that takes JSON at a URL. where: the URL, or the secret with it and, a line each, further headers."""

    def __init__(self, name: str, where: str | Secret) -> None:
        super().__init__(name)
        self._where = where

    def check(self) -> None:
        """Raises MissionControlError where the secret cannot be read, or holds no URL or no headers."""
        self._address()

    def _address(self) -> tuple[str, dict[str, str]]:
        """The URL and the headers."""
        if isinstance(self._where, str):
            return self._where, {}
        first, *lines = self._where.read().splitlines()
        if not is_http_url(first.strip()):
            raise MissionControlError(
                f"expected a URL such as https://... in the first line of what {self.name!r} names; it is not one"
            )
        headers = {}
        for line in filter(str.strip, lines):
            name, colon, value = line.partition(":")
            if not colon or not re.fullmatch(r"[A-Za-z0-9-]+", name.strip()):
                raise MissionControlError(
                    "expected headers such as 'Authorization: Bearer ...' after the first line of what "
                    f"{self.name!r} names; a line has another form"
                )
            headers[name.strip()] = value.strip()
        return first.strip(), headers

    def post(self, body: object, below: str = "") -> None:
        """Posts a body to the address, or to a path below it. Raises DeliveryError."""
        try:
            url, headers = self._address()
        except MissionControlError as error:
            raise DeliveryError(str(error)) from error
        post_json(url.rstrip("/") + below if below else url, body, headers)

    def send(self, message: Message, about: About) -> None:
        """Posts a message. Raises DeliveryError."""
        self.post(self.body(message, about))

    @abstractmethod
    def body(self, message: Message, about: About) -> object:
        """A message in the form that the target takes."""


class Webhook(Posted):
    """A webhook of one's own."""

    def body(self, message: Message, about: About) -> object:
        """The message as a JSON object, see `target.payload`."""
        return payload(message, about)


class Slack(Posted):
    """A channel of Slack, by an incoming webhook."""

    def body(self, message: Message, about: About) -> object:
        """The title in bold, the lines as plain text."""
        title, page = title_of(message), about.page(message.findings)
        blocks: list[Mapping[str, Any]] = [_section("mrkdwn", f"*{_slack_escaped(title)[:_SLACK_SECTION]}*")]
        blocks += [_section("plain_text", text) for text in _chunks(message)]
        if page:
            blocks.append(_section("mrkdwn", f"<{_slack_escaped(page)}|{_OPEN_PAGE}>"))
        blocks.append({"type": "context", "elements": [{"type": "plain_text", "text": _origin(message, about)}]})
        return {"text": _slack_escaped(title), "blocks": blocks}


class Teams(Posted):
    """A channel or chat of Microsoft Teams, by a workflow that begins when a webhook request is received."""

    def body(self, message: Message, about: About) -> object:
        """An Adaptive Card; its texts are runs of rich text, in which no character is special."""
        page = about.page(message.findings)
        content = {
            "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
            "type": "AdaptiveCard",
            "version": "1.4",
            "msteams": {"width": "Full"},
            "body": [
                _run(title_of(message), weight="Bolder", size="Medium"),
                *map(_run, lines_of(message)),
                _run(_origin(message, about), isSubtle=True, size="Small"),
            ],
            "actions": [{"type": "Action.OpenUrl", "title": _OPEN_PAGE, "url": page}] if page else [],
        }
        card = {"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": None, "content": content}
        return {"type": "message", "attachments": [card]}


def is_http_url(text: str) -> bool:
    """Whether a text is a whole URL of HTTP."""
    try:
        parts = urlsplit(text)
        is_whole = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    return is_whole and not re.search(r"\s", text)


def _run(text: str, **style: Any) -> Mapping[str, Any]:
    return {"type": "RichTextBlock", "inlines": [{"type": "TextRun", "text": text, **style}]}


def _section(kind: str, text: str) -> Mapping[str, Any]:
    return {"type": "section", "text": {"type": kind, "text": text}}


def _origin(message: Message, about: About) -> str:
    return f"Mission Control · {about.dataset} · {message.id}"


def _slack_escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _chunks(message: Message) -> Iterator[str]:
    """The lines, as many together as a section takes."""
    chunk = ""
    for line in lines_of(message):
        if chunk and len(chunk) + 1 + len(line) > _SLACK_SECTION:
            yield chunk
            chunk = ""
        chunk = f"{chunk}\n{line[:_SLACK_SECTION]}" if chunk else line[:_SLACK_SECTION]
    if chunk:
        yield chunk
