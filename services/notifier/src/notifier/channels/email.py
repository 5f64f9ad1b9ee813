"""E-mail over SMTP, one message per connection, with every phase's failure told apart.

Until the final dot of DATA nothing has been taken (RFC 5321, 4.1.1.4); from the dot to its reply nobody knows.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Awaitable
from contextlib import suppress
from dataclasses import dataclass
from email.errors import HeaderParseError
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP as SMTP_POLICY
from email.utils import format_datetime, parseaddr
from pathlib import Path
from typing import Literal, TypeVar

import aiosmtplib
from aiosmtplib import (
    SMTPConnectError,
    SMTPException,
    SMTPRecipientRefused,
    SMTPResponseException,
    SMTPSenderRefused,
    SMTPServerDisconnected,
    SMTPTimeoutError,
)

from kit.telemetry import redact
from notifier.channels.base import Entering, Message, OutcomeUnknown, Receipt, Refused, TryLater

__all__ = ["EmailChannel", "SmtpOptions", "rfc5322"]

Tls = Literal["none", "if_offered", "starttls", "implicit"]
R = TypeVar("R")

START_INPUT = 354
QUIT_SECONDS = 2.0
DETAIL_CHARACTERS = 200
_ADDRESS = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]{1,64}@[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?")
_LINE_START_DOT = re.compile(rb"(?m)^\.")


@dataclass(frozen=True, kw_only=True, slots=True)
class SmtpOptions:
    host: str
    port: int
    sender: str
    """``Name <address>``"""
    tls: Tls = "if_offered"
    ca_file: Path | None = None
    username: str = ""
    password: str = ""
    timeout_seconds: float = 20.0
    """For each step of the exchange."""


class EmailChannel:
    name = "email"

    def __init__(self, options: SmtpOptions) -> None:
        self._options = options

    async def send(self, message: Message, to: str, *, entering: Entering) -> Receipt:
        if len(to) > 254 or not _ADDRESS.fullmatch(to):
            raise Refused("the recipient's address is not an e-mail address")
        try:
            content = rfc5322(message, sender=self._options.sender, to=to)
        except (ValueError, HeaderParseError) as error:
            raise Refused(f"the message cannot be written as a mail ({type(error).__name__})") from error
        smtp = await self._connected()
        try:
            await _answered(smtp.mail(parseaddr(self._options.sender)[1]), "the sender")
            await _answered(smtp.rcpt(to), "the recipient")
            await entering()
            start = await _answered(smtp.execute_command(b"DATA"), "the message")
            if start.code != START_INPUT:
                raise _unwelcome(start.code, start.message, "the message")
            return await self._deliver(smtp, content)
        finally:
            await _close(smtp)

    async def _connected(self) -> aiosmtplib.SMTP:
        options = self._options
        smtp = aiosmtplib.SMTP(
            hostname=options.host,
            port=options.port,
            timeout=options.timeout_seconds,
            use_tls=options.tls == "implicit",
            start_tls={"none": False, "implicit": False, "if_offered": None, "starttls": True}[options.tls],
            username=options.username or None,
            password=options.password or None,
            cert_bundle=str(options.ca_file) if options.ca_file else None,
        )
        try:
            await smtp.connect()
        except SMTPResponseException as error:
            # Also a permanent "no" to a greeting or a login is about the server, not about this message.
            await _close(smtp)
            raise TryLater(f"the mail server did not let us in ({error.code})", code=error.code) from error
        except (SMTPConnectError, SMTPException, ssl.SSLError, OSError) as error:
            await _close(smtp)
            raise TryLater(f"the mail server could not be reached ({type(error).__name__})") from error
        return smtp

    async def _deliver(self, smtp: aiosmtplib.SMTP, content: bytes) -> Receipt:
        protocol = smtp.protocol
        if protocol is None:
            raise TryLater("the connection was lost before the message was sent")
        try:
            protocol.write(content)
        except SMTPServerDisconnected as error:
            raise TryLater("the connection was lost before the message was sent") from error
        try:
            reply = await protocol.read_response(timeout=self._options.timeout_seconds)
        except (SMTPException, OSError) as error:
            raise OutcomeUnknown("the message was sent and its reply never came") from error
        if 200 <= reply.code < 300:
            return Receipt(code=reply.code, detail=_short(reply.message))
        if not 400 <= reply.code < 600:
            raise OutcomeUnknown("the message was sent and its reply made no sense", code=reply.code)
        raise _unwelcome(reply.code, reply.message, "the message")


def rfc5322(message: Message, *, sender: str, to: str) -> bytes:
    """The message as it travels in DATA: lines end in CRLF, leading dots are doubled, the final dot ends it.

    The same message gives the same bytes. Header values with line breaks are refused by the policy.
    """
    name, address = parseaddr(sender)
    mail = EmailMessage(policy=SMTP_POLICY)
    mail["From"] = Address(name, addr_spec=address)
    mail["To"] = Address(addr_spec=to)
    mail["Subject"] = message.subject
    mail["Date"] = format_datetime(message.at)
    mail["Message-ID"] = message.id
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content(message.text, cte="quoted-printable")
    mail.add_alternative(message.html, subtype="html", cte="quoted-printable")
    mail.set_boundary("=_" + re.sub(r"[^A-Za-z0-9]", "", message.id)[:40])
    content = mail.as_bytes()
    if not content.endswith(b"\r\n"):
        content += b"\r\n"
    return _LINE_START_DOT.sub(b"..", content) + b".\r\n"


async def _answered(step: Awaitable[R], what: str) -> R:
    """One step before the message; its failure is certain to have sent nothing."""
    try:
        return await step
    except (SMTPRecipientRefused, SMTPSenderRefused, SMTPResponseException) as error:
        raise _unwelcome(error.code, str(error.message), what) from error
    except (SMTPTimeoutError, SMTPServerDisconnected, SMTPException, OSError) as error:
        raise TryLater(f"the connection was lost before the message was sent ({type(error).__name__})") from error


def _unwelcome(code: int, said: str, what: str) -> TryLater | Refused:
    kind = Refused if 500 <= code < 600 else TryLater
    return kind(f"the mail server refused {what} ({code}): {_short(said)}", code=code)


def _short(text: str) -> str:
    """What a server said: it often repeats the address, and some of them write novels."""
    return redact(" ".join(text.split()))[:DETAIL_CHARACTERS]


async def _close(smtp: aiosmtplib.SMTP) -> None:
    with suppress(SMTPException, OSError, TimeoutError):
        if smtp.is_connected:
            await smtp.quit(timeout=QUIT_SECONDS)
    smtp.close()
