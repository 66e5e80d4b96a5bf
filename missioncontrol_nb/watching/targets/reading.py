"""Reads targets as people write them, such as `slack:@/run/secrets/slack`."""

import re
import shlex
from collections.abc import Callable, Iterable
from urllib.parse import parse_qsl, unquote, urlsplit

from missioncontrol_nb.watching.targets.alertmanager import Alertmanager
from missioncontrol_nb.watching.targets.mail import PORTS, Mail, MailServer
from missioncontrol_nb.watching.targets.program import Program
from missioncontrol_nb.watching.targets.secret import FROM, Secret, as_secret
from missioncontrol_nb.watching.targets.target import Target
from missioncontrol_nb.watching.targets.webhooks import Slack, Teams, Webhook, is_http_url
from streaming.errors import MissionControlError, unknown_name

FORMS = {
    "webhook": "webhook:https://HOST/PATH, or webhook:@FILE or webhook:env:NAME",
    "slack": "slack:@FILE or slack:env:NAME",
    "teams": "teams:@FILE or teams:env:NAME",
    "email": "email:TO[,TO...]?from=ADDRESS&server=HOST[:PORT][&login=@FILE][&security=starttls|tls|none]",
    "alertmanager": "alertmanager:http://HOST:9093, or alertmanager:@FILE or alertmanager:env:NAME",
    "command": "command:PROGRAM [ARGUMENT...]",
}
_MAIL_OPTIONS = ("from", "server", "login", "security")
_SECRET_URLS = {  # by host, or host and beginning of the path: who knows the URL can post there
    "hooks.slack.com": "slack",
    "hooks.slack-gov.com": "slack",
    "webhook.office.com": "teams",
    "logic.azure.com": "teams",
    "powerplatform.com": "teams",
    "outlook.office.com/webhook": "teams",
    "discord.com/api/webhooks": "webhook",
    "discordapp.com/api/webhooks": "webhook",
    "hooks.zapier.com": "webhook",
    "maker.ifttt.com": "webhook",
}
_THIS_MACHINE = ("localhost", "127.0.0.1", "::1")


def read_targets(texts: Iterable[str]) -> list[Target]:
    """The targets, each once. Raises MissionControlError for other forms, and where a secret cannot be read."""
    targets = {target.name: target for text in texts for target in _read(text.strip())}
    for target in targets.values():
        target.check()
    return list(targets.values())


def _read(text: str) -> list[Target]:
    kind, colon, rest = text.partition(":")
    if kind in _READERS and colon:
        return _READERS[kind](text, rest)
    if kind in ("http", "https"):
        raise MissionControlError(f"expected a kind of target before a URL, such as {FORMS['webhook']}")
    if colon and kind.isalpha():
        raise unknown_name("kind of target", kind, FORMS)
    raise MissionControlError(f"expected a target: {'; '.join(FORMS.values())}")


def _webhook(name: str, rest: str) -> list[Target]:
    return [Webhook(name, _address("webhook", rest))]


def _alertmanager(name: str, rest: str) -> list[Target]:
    return [Alertmanager(name, _address("alertmanager", rest))]


def _slack(name: str, rest: str) -> list[Target]:
    return [Slack(name, _secret_url("slack", rest))]


def _teams(name: str, rest: str) -> list[Target]:
    return [Teams(name, _secret_url("teams", rest))]


def _secret_url(kind: str, rest: str) -> Secret:
    """Where a secret URL is. The error does not repeat what was given instead, which is the secret."""
    secret = as_secret(rest)
    if secret is None:
        raise MissionControlError(
            f"expected {FORMS[kind]}: whoever knows the URL can post there, so it is read from a file or an "
            "environment variable, never from the command line"
        )
    return secret


def _address(kind: str, rest: str) -> str | Secret:
    secret = as_secret(rest)
    if secret is not None:
        return secret
    if not is_http_url(rest):
        raise MissionControlError(f"expected {FORMS[kind]}; got neither a URL of HTTP nor {FROM}")
    parts = urlsplit(rest)
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise MissionControlError(
            f"expected {FORMS[kind]}, the URL without user, password, query and fragment, which may be secret: write a "
            f"URL that has one into a file and name that, {kind}:@FILE; headers may follow it there, a line each"
        )
    host, path = f".{parts.hostname}".rstrip("."), re.sub("/+", "/", unquote(parts.path)).lower()
    for known, of in _SECRET_URLS.items():
        of_host, _, of_path = known.partition("/")
        if host.endswith(f".{of_host}") and path.startswith(f"/{of_path}".rstrip("/")):
            raise MissionControlError(f"expected {of}:@FILE or {of}:env:NAME for this host, whose URLs are secret")
    return rest


def _email(_: str, rest: str) -> list[Target]:
    recipients, _, query = rest.partition("?")
    given = dict(parse_qsl(query.replace("+", "%2B"), keep_blank_values=True))  # a + is no blank in an address
    for option in given:
        if option not in _MAIL_OPTIONS:
            raise unknown_name("option of email", option, _MAIL_OPTIONS)
    security = next((each for each in PORTS if each == given.get("security", "starttls")), None)
    if security is None:
        raise unknown_name("security of email", given["security"], PORTS)
    host, port = _host_and_port(given.get("server", ""))
    if not host or "from" not in given:
        raise MissionControlError(f"expected {FORMS['email']}")
    login = _login(given.get("login"), security, host)
    server = MailServer(host, port or PORTS[security], security, given["from"], login)
    addresses = [each.strip() for each in recipients.split(",")]
    return [Mail(f"email:{address}?{query}", address, server) for address in addresses]


def _host_and_port(text: str) -> tuple[str | None, int | None]:
    try:
        parts = urlsplit(f"//{text}")
        return (None, None) if parts.netloc != text or "@" in text else (parts.hostname, parts.port)
    except ValueError:
        return None, None


def _login(given: str | None, security: str, host: str) -> Secret | None:
    if given is None:
        return None
    login = as_secret(given)
    if login is None:
        raise MissionControlError(
            f"expected login={FROM}: user and password are read from there, as USER:PASSWORD, never from the command "
            "line"
        )
    if security == "none" and host not in _THIS_MACHINE:
        raise MissionControlError(
            "expected security=starttls or security=tls with a login: without, the password would travel unencrypted"
        )
    return login


def _command(name: str, rest: str) -> list[Target]:
    try:
        command = shlex.split(rest)
    except ValueError:
        command = []
    if not command:
        raise MissionControlError(f"expected {FORMS['command']}, its arguments quoted as in a shell")
    return [Program(name, command)]


_READERS: dict[str, Callable[[str, str], list[Target]]] = {
    "webhook": _webhook,
    "slack": _slack,
    "teams": _teams,
    "email": _email,
    "alertmanager": _alertmanager,
    "command": _command,
}
