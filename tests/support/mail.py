"""A mail server that keeps what it is given."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from tests.support.waiting import wait_for

HOST = "127.0.0.1"


class MailServer:
    """The emails it took, in the order in which they came."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.emails: list[EmailMessage] = []
        self.recipients: list[list[str]] = []
        self.accepts = True
        """False: it knows no recipient."""

    async def handle_RCPT(  # noqa: N802
        self,
        _server: SMTP,
        _session: Session,
        envelope: Envelope,
        address: str,
        _options: list[str],
    ) -> str:
        if self.accepts:
            envelope.rcpt_tos.append(address)
        return "250 OK" if self.accepts else "550 no such person"

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        content = envelope.content
        assert isinstance(content, bytes)
        message = message_from_bytes(content, policy=default)
        assert isinstance(message, EmailMessage)
        self.emails.append(message)
        self.recipients.append(envelope.rcpt_tos)
        return "250 OK"

    @property
    def settings(self) -> dict[str, str]:
        """The settings by which alerts come here."""
        return {
            "SMTP_HOST": HOST,
            "SMTP_PORT": str(self.port),
            "SMTP_TLS": "false",
            "ALERT_EMAIL_FROM": "Hoplink <alerts@example.com>",
            "ALERT_EMAIL_TO": "sre@example.com, boss@example.com",
        }

    def has(self, subject: str) -> bool:
        """Whether there is an email whose subject begins so."""
        return bool(self._found(subject))

    def wait_for(self, subject: str, *, seconds: float = 30) -> EmailMessage:
        """The first email whose subject begins so."""
        found = wait_for(lambda: self._found(subject), f"an email {subject!r}", seconds=seconds)
        return found[0]

    def _found(self, subject: str) -> list[EmailMessage]:
        return [email for email in self.emails if email["Subject"].startswith(subject)]


@contextmanager
def mail_server(port: int) -> Iterator[MailServer]:
    """A mail server without TLS; gone afterwards."""
    server = MailServer(port)
    controller = Controller(server, hostname=HOST, port=port)
    controller.start()
    try:
        yield server
    finally:
        controller.stop()


def text_of(email: EmailMessage, kind: str = "plain") -> str:
    """Its text, or with "html" its page."""
    part = email.get_body((kind,))
    assert part is not None
    return str(part.get_content())
