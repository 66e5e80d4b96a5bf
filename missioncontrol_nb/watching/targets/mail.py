"""E-mail, by SMTP."""

import smtplib
import socket
import ssl
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime
from html import escape
from typing import Literal

from missioncontrol_nb.watching.state import Message
from missioncontrol_nb.watching.targets.posting import ALL_SECONDS, CUT, STEP_SECONDS, Deadline, reason_of
from missioncontrol_nb.watching.targets.secret import Secret
from missioncontrol_nb.watching.targets.target import About, DeliveryError, Target
from missioncontrol_nb.watching.wording import lines_of, title_of
from streaming.errors import MissionControlError

Security = Literal["starttls", "tls", "none"]
PORTS: dict[Security, int] = {"starttls": 587, "tls": 465, "none": 25}
_DOMAIN = "missioncontrol.invalid"  # of ids


@dataclass(frozen=True)
class MailServer:
    """An SMTP server. login: where USER:PASSWORD is; None: without."""

    host: str
    port: int
    security: Security
    sender: str
    login: Secret | None


class Mail(Target):
    """One recipient: where a server refuses one of several, that one would be lost or the others get the mail twice.

    Raises MissionControlError for addresses to which no mail can be sent.
    """

    def __init__(self, name: str, to: str, server: MailServer) -> None:
        super().__init__(name)
        self._to, self._from, self._server = as_address(to), as_address(server.sender), server

    def check(self) -> None:
        """Raises MissionControlError where the log-in cannot be read."""
        self._login()

    def _login(self) -> tuple[str, str] | None:
        if self._server.login is None:
            return None
        user, colon, password = self._server.login.read().partition(":")
        if not colon or not user or not password:
            raise MissionControlError(f"expected USER:PASSWORD in {self._server.login.where!r}; it is something else")
        return user, password

    def send(self, message: Message, about: About) -> None:
        """Sends a message. Raises DeliveryError."""
        try:
            login = self._login()
        except MissionControlError as error:
            raise DeliveryError(str(error)) from error
        with Deadline(ALL_SECONDS) as deadline:
            try:
                self._send(self.mail(message, about), login, deadline)
            except (smtplib.SMTPException, OSError, ValueError) as error:
                raise DeliveryError(deadline.reason or _reason_of(error)) from None

    def _send(self, mail: EmailMessage, login: tuple[str, str] | None, deadline: Deadline) -> None:
        server, context = self._server, ssl.create_default_context()

        class Client(smtplib.SMTP):
            def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
                return deadline.connect((host, port), timeout)

        class TlsClient(smtplib.SMTP_SSL, Client):  # its connection is that of Client
            pass

        client: smtplib.SMTP
        if server.security == "tls":
            client = TlsClient(server.host, server.port, timeout=STEP_SECONDS, context=context)
        else:
            client = Client(server.host, server.port, timeout=STEP_SECONDS)
        try:
            if server.security == "starttls":
                client.starttls(context=context)
            if login:
                client.login(*login)
            client.send_message(mail)
        finally:
            client.close()  # not quit(): the server has the mail already, whatever it answers to that

    def mail(self, message: Message, about: About) -> EmailMessage:
        """The mail, as text and as HTML. Mails of one cause are one conversation; a repeated mail has the same id."""
        title, lines, page = title_of(message), lines_of(message), about.page(message.findings)
        mail = EmailMessage()
        mail["Subject"] = title
        mail["From"], mail["To"] = self._from, self._to
        mail["Date"] = format_datetime(datetime.now(UTC))
        mail["Message-ID"] = f"<{message.id}@{_DOMAIN}>"
        mail["References"] = f"<{message.cause or message.id}@{_DOMAIN}>"
        mail["Auto-Submitted"] = "auto-generated"
        origin = f"Mission Control, {about.product} in {about.dataset}"
        mail.set_content("\n\n".join([title, *lines, *([page] if page else []), f"-- \n{origin}"]) + "\n")
        items = "".join(f"<li>{escape(line)}</li>" for line in lines)
        body = [
            f"<p><strong>{escape(title)}</strong></p>",
            f"<ul>{items}</ul>" if items else "",
            f'<p><a href="{escape(page)}">Open the page</a></p>' if page else "",
            f"<p><small>{escape(origin)}</small></p>",
        ]
        html = f'<!doctype html><html lang="en"><body>{"".join(body)}</body></html>\n'
        mail.add_alternative(html, subtype="html")
        return mail


def as_address(text: str) -> Address:
    """An address such as releases@example.org. Raises MissionControlError for others."""
    with suppress(ValueError, LookupError, MessageError):
        address = Address(addr_spec=text)
        if address.addr_spec == text and text.isascii():
            return address
    raise MissionControlError("expected e-mail addresses such as releases@example.org; one has another form")


def _reason_of(error: Exception) -> str:
    """An error of SMTP in words, with the server's code, but not its text: that may hold an address or a name."""
    if isinstance(error, smtplib.SMTPAuthenticationError):
        return f"the server refused the log-in (SMTP {error.smtp_code})"
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return f"the server refused the recipient (SMTP {min(code for code, _ in error.recipients.values())})"
    if isinstance(error, smtplib.SMTPResponseException):
        return f"the server refused the mail (SMTP {error.smtp_code})"
    if isinstance(error, smtplib.SMTPNotSupportedError):
        return f"the server does not offer {'STARTTLS' if 'STARTTLS' in str(error) else 'what the mail needs'}"
    return CUT if isinstance(error, smtplib.SMTPException) else reason_of(error)
