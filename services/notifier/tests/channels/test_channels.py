"""One suite for every channel: what it takes, what it refuses, and that it never guesses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from notifier.channels import CHANNELS, Channel, EmailChannel, Message, OutcomeUnknown, Refused, TryLater
from notifier.channels.email import SmtpOptions, rfc5322

from ..conftest import FakeChannel, MailServer

SAMPLES = Path(__file__).parent / "samples"
MESSAGE = Message(
    id="<0199a000-0000-7000-8000-000000000001@example.com>",
    subject="കൊച്ചി Traders: 2 red rules, 2 Mar",
    text="Kochi Traders\n\n.a line that begins with a dot\n* ₹ 1,20,000 — long " + "line " * 40 + "\n",
    html="<p>Kochi Traders</p>\n",
    at=datetime(2026, 3, 2, 4, tzinfo=UTC),
)
SENDER = "Trunkline <pulse@example.com>"
TO = "owner@kochi.example"


@dataclass
class Bench:
    channel: Channel
    behave: Callable[[str], Awaitable[None]]
    taken: Callable[[], int]


@pytest.fixture(params=["fake", pytest.param("email", marks=pytest.mark.real)])
async def bench(request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    if request.param == "fake":
        fake = FakeChannel()

        async def behave_fake(behaviour: str) -> None:
            fake.behaviour = behaviour

        yield Bench(fake, behave_fake, lambda: len(fake.taken))
        return
    server = MailServer()
    await server.start()

    async def behave(behaviour: str) -> None:
        server.behaviour = behaviour
        if behaviour == "down":
            await server.stop()

    options = SmtpOptions(host=server.host, port=server.port, sender=SENDER, tls="none", timeout_seconds=0.5)
    yield Bench(EmailChannel(options), behave, lambda: len(server.mails))
    await server.stop()


class Entered:
    def __init__(self) -> None:
        self.times = 0

    async def __call__(self) -> None:
        self.times += 1


async def test_a_message_is_taken_once(bench: Bench) -> None:
    entered = Entered()
    receipt = await bench.channel.send(MESSAGE, TO, entering=entered)
    assert (receipt.code, bench.taken(), entered.times) == (250, 1, 1)


@pytest.mark.parametrize(
    ("behaviour", "raises", "entered_times"),
    [
        ("down", TryLater, 0),
        ("put_off_mail", TryLater, 0),
        ("refuse_mail", Refused, 0),
        ("put_off_rcpt", TryLater, 0),
        ("refuse_rcpt", Refused, 0),
        ("drop_at_data", TryLater, 1),
        ("refuse_data", Refused, 1),
        ("put_off_message", TryLater, 1),
        ("refuse_message", Refused, 1),
        ("nonsense_after_data", OutcomeUnknown, 1),
        ("drop_after_data", OutcomeUnknown, 1),
        ("silent_after_data", OutcomeUnknown, 1),
    ],
)
async def test_every_way_to_fail_is_told_apart(
    bench: Bench, behaviour: str, raises: type[Exception], entered_times: int
) -> None:
    await bench.behave(behaviour)
    entered = Entered()
    with pytest.raises((TryLater, Refused, OutcomeUnknown)) as caught:
        await bench.channel.send(MESSAGE, TO, entering=entered)
    assert (type(caught.value), entered.times) == (raises, entered_times)
    if raises is not OutcomeUnknown:
        assert bench.taken() == 0


async def test_what_stops_the_entering_stops_the_message(bench: Bench) -> None:
    async def refuse() -> None:
        raise KeyError("the lease is lost")

    with pytest.raises(KeyError):
        await bench.channel.send(MESSAGE, TO, entering=refuse)
    assert bench.taken() == 0


def test_every_channel_is_in_the_table_and_has_samples() -> None:
    modules = {entry.name.removesuffix(".py") for entry in files("notifier.channels").iterdir() if entry.name[0] != "_"}
    assert modules - {"base"} == set(CHANNELS)
    assert {folder.name for folder in SAMPLES.iterdir()} == set(CHANNELS)


# E-mail alone.


def test_the_mail_is_as_in_its_sample() -> None:
    assert rfc5322(MESSAGE, sender=SENDER, to=TO) == (SAMPLES / "email" / "message.eml").read_bytes()


def test_lines_end_in_crlf_and_no_line_is_a_lonely_dot() -> None:
    lines = rfc5322(replace(MESSAGE, text=".\n..\nend\n"), sender=SENDER, to=TO).split(b"\r\n")
    assert lines[-2:] == [b".", b""]
    assert b"." not in lines[:-2]
    assert not any(b"\n" in line or b"\r" in line or len(line) > 998 for line in lines)


@pytest.mark.parametrize("subject", ["a\r\nBcc: all@example.com", "a\nb", "a\rb"])
def test_a_header_cannot_be_injected(subject: str) -> None:
    with pytest.raises(ValueError, match=r"linefeed|newline|return"):
        rfc5322(replace(MESSAGE, subject=subject), sender=SENDER, to=TO)


@pytest.mark.parametrize(
    "to", ["", "nobody", "a@b\r\nRCPT TO:<c@d>", "a@b\n", "a b@x.example", "<a@x.example>x", "a@-x", "a..b@x.example"]
)
async def test_what_is_no_address_is_refused_before_anything_is_asked(to: str) -> None:
    with pytest.raises(Refused):
        await EmailChannel(SmtpOptions(host="127.0.0.1", port=1, sender=SENDER)).send(MESSAGE, to, entering=Entered())


@pytest.mark.real
async def test_the_mail_arrives_as_it_was_written(mail_server: MailServer) -> None:
    options = SmtpOptions(host=mail_server.host, port=mail_server.port, sender=SENDER)
    await EmailChannel(options).send(MESSAGE, TO, entering=Entered())
    [mail] = mail_server.mails
    assert mail_server.recipients == [TO]
    assert (mail["From"], mail["To"], mail["Subject"]) == (SENDER, TO, MESSAGE.subject)
    assert (mail["Message-ID"], mail["Auto-Submitted"]) == (MESSAGE.id, "auto-generated")
    text, html = (mail.get_body((kind,)) for kind in ("plain", "html"))
    assert text is not None
    assert html is not None
    assert text.get_content().replace("\r\n", "\n") == MESSAGE.text
    assert html.get_content().replace("\r\n", "\n") == MESSAGE.html


@pytest.mark.real
async def test_what_a_server_says_is_told_without_addresses(mail_server: MailServer) -> None:
    channel = EmailChannel(SmtpOptions(host=mail_server.host, port=mail_server.port, sender=SENDER))
    mail_server.behaviour = "refuse_rcpt"
    with pytest.raises(Refused) as caught:
        await channel.send(MESSAGE, TO, entering=Entered())
    assert caught.value.reason == "the mail server refused the recipient (550): 5.1.1 <[email]> is unknown here"
    assert caught.value.code == 550


@pytest.mark.real
async def test_a_server_without_tls_is_not_used_when_tls_is_demanded(mail_server: MailServer) -> None:
    for tls in ("starttls", "implicit"):
        options = SmtpOptions(
            host=mail_server.host,
            port=mail_server.port,
            sender=SENDER,
            tls=tls,
            timeout_seconds=0.5,  # type: ignore[arg-type]
        )
        with pytest.raises(TryLater):
            await EmailChannel(options).send(MESSAGE, TO, entering=Entered())
    assert mail_server.mails == []


@pytest.mark.real
@pytest.mark.parametrize("greeting", [b"554 go away\r\n", b"421 later\r\n", b"", b"\x00\xff nonsense\r\n"])
async def test_a_server_that_does_not_greet_is_tried_later(greeting: bytes) -> None:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting)
        await writer.drain()
        writer.close()

    server: Any = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with pytest.raises(TryLater):
        await EmailChannel(SmtpOptions(host="127.0.0.1", port=port, sender=SENDER, timeout_seconds=0.5)).send(
            MESSAGE, TO, entering=Entered()
        )
    server.close()
    await server.wait_closed()
