"""The mail sink keeps what it accepts, shows it safely, and fails as it is told to."""

from __future__ import annotations

import contextlib
import smtplib
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path

import httpx
import pytest

from trunkline.smtp_sink import Mailbox, Sink, page


def mail(subject: str = "Pulse") -> EmailMessage:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "pulse@example.com", "owner@example.com", subject
    message["Message-ID"] = "<1@example.com>"
    message.set_content("plain words")
    message.add_alternative("<p>rich <script>alert(1)</script></p>", subtype="html")
    return message


@pytest.fixture
def mailbox(tmp_path: Path) -> Mailbox:
    return Mailbox(tmp_path / "mails")


def test_what_is_kept_is_read_again_newest_first(mailbox: Mailbox) -> None:
    first, second = mailbox.keep(mail("one").as_bytes()), mailbox.keep(mail("two").as_bytes())
    assert mailbox.newest_first() == [second, first]
    kept = mailbox.read(first)
    assert kept is not None
    assert kept["Subject"] == "one"


def browser(mailbox: Mailbox) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=page(mailbox, Sink(mailbox))), base_url="http://sink")


@pytest.mark.parametrize("name", ["../secrets", "/etc/passwd", "", "nothing"])
def test_nothing_outside_the_folder_can_be_asked_for(mailbox: Mailbox, name: str) -> None:
    mailbox.keep(mail().as_bytes())
    assert mailbox.read(name) is None


async def test_pages_escape_what_strangers_wrote(mailbox: Mailbox) -> None:
    name = mailbox.keep(mail("<script>alert(1)</script>").as_bytes())
    async with browser(mailbox) as client:
        for path in ("/", f"/mails/{name}"):
            answer = await client.get(path)
            assert "<script>" not in answer.text
            assert "default-src 'none'" in answer.headers["content-security-policy"]
        rich = await client.get(f"/mails/{name}/html")
        assert "sandbox" in rich.headers["content-security-policy"]
        assert (await client.get("/mails/unknown")).status_code == 404


async def test_an_empty_box_says_what_will_appear(mailbox: Mailbox) -> None:
    async with browser(mailbox) as client:
        assert "No mail yet" in (await client.get("/")).text


async def test_a_behaviour_that_does_not_exist_is_refused(mailbox: Mailbox) -> None:
    async with browser(mailbox) as client:
        assert (await client.put("/api/behaviour", json={"behaviour": "explode"})).status_code == 422


@pytest.fixture
def running(tmp_path: Path) -> Iterator[tuple[int, str]]:
    """The sink as a process on ports of its own: its SMTP port and its page's address."""
    ports = []
    for _ in range(2):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            ports.append(probe.getsockname()[1])
    command = [sys.executable, "-m", "trunkline.smtp_sink", "--smtp-port", str(ports[0]), "--page-port", str(ports[1])]
    url = f"http://127.0.0.1:{ports[1]}"
    with subprocess.Popen([*command, "--folder", str(tmp_path / "mails")]) as process:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"{url}/livez").status_code == 200:
                    break
            time.sleep(0.02)
        yield ports[0], url
        process.terminate()
        assert process.wait(60) == 0


@pytest.mark.real
def test_a_mail_is_on_disk_before_it_is_accepted_and_failures_come_as_asked(running: tuple[int, str]) -> None:
    port, url = running
    with smtplib.SMTP("127.0.0.1", port, timeout=60) as client:
        client.send_message(mail("accepted"))
    assert [m["subject"] for m in httpx.get(f"{url}/api/mails").json()["mails"]] == ["accepted"]
    for behaviour, code in (("reject", 550), ("tempfail", 451)):
        httpx.put(f"{url}/api/behaviour", json={"behaviour": behaviour}).raise_for_status()
        with smtplib.SMTP("127.0.0.1", port, timeout=60) as client, pytest.raises(smtplib.SMTPDataError) as error:
            client.send_message(mail(behaviour))
        assert error.value.smtp_code == code
    httpx.put(f"{url}/api/behaviour", json={"behaviour": "drop_after_data"}).raise_for_status()
    client = smtplib.SMTP("127.0.0.1", port, timeout=60)
    with pytest.raises(smtplib.SMTPServerDisconnected):
        client.send_message(mail("dropped"))
    client.close()
    subjects = [m["subject"] for m in httpx.get(f"{url}/api/mails").json()["mails"]]
    assert subjects == ["dropped", "accepted"], "a dropped connection leaves the mail delivered and the sender unsure"
