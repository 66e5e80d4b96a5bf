"""A real SMTP server, aiosmtpd, with STARTTLS, log-in, and a list of what it took."""

import shutil
import ssl
import warnings
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

from tests.services.ports import free_port


def missing() -> str | None:
    """What must be installed before the server has a certificate; None when nothing is."""
    return None if shutil.which("openssl") else "A certificate needs openssl; on Debian: apt-get install openssl"


class MailSink:
    """Mails that were taken, in order. is_tls: encrypted from the first byte on, not by STARTTLS.

    refuses: the answer to each recipient instead of taking it, such as "550 no".
    """

    def __init__(
        self, certificate: Path | None = None, login: tuple[str, str] | None = None, *, is_tls: bool = False
    ) -> None:
        self.received: list[EmailMessage] = []
        self.recipients: list[str] = []
        self.logins: list[str] = []
        self.was_encrypted: list[bool] = []
        self.refuses: str | None = None
        context = None
        if certificate:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(certificate)
        sink, starts_tls = self, context is not None and not is_tls

        def authenticate(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
            given = (data.login.decode(), data.password.decode()) if isinstance(data, LoginPassword) else None
            sink.logins.append(given[0] if given else "")
            return AuthResult(success=given == login, handled=False)

        class Server(Controller):
            def factory(self) -> SMTP:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # that log-ins may be asked for without encryption
                    return SMTP(
                        self.handler, hostname="sink",
                        tls_context=context if starts_tls else None,
                        require_starttls=starts_tls,
                        authenticator=authenticate if login else None, auth_required=login is not None,
                        auth_require_tls=starts_tls,
                    )  # fmt: skip

        ssl_context = context if is_tls else None
        self._server = Server(self, hostname="127.0.0.1", port=free_port(), ssl_context=ssl_context)

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:  # noqa: N802
        if self.refuses:
            return self.refuses
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        self.received.append(message_from_bytes(envelope.content, policy=policy.default))  # type: ignore[arg-type]
        self.recipients += envelope.rcpt_tos
        self.was_encrypted.append(session.ssl is not None)
        return "250 OK"

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._server.port}"

    def __enter__(self) -> "MailSink":
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop()
