"""Fetching from addresses that strangers told us, on real servers that mean us ill."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import ipaddress
import socket
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from telephony_router.peers import networks
from telephony_router.recording_source import (
    Access,
    Limits,
    RecordingSource,
    Refused,
    SystemResolver,
    authorization,
    is_public,
)  # fmt: skip

NOW = datetime(2026, 3, 4, 6, 30, tzinfo=UTC)
NAME, OTHER = "recordings.example.com", "elsewhere.example.com"
LOOPBACK = ("127.0.0.0/8",)
OPEN = Access()
Listen = Callable[..., Awaitable[Any]]


@pytest.fixture
def source(names: Any, certificates: Any) -> Callable[..., RecordingSource]:
    def make(*, allow: tuple[str, ...] = LOOPBACK, allow_http: bool = False, **limits: Any) -> RecordingSource:
        return RecordingSource(
            limits=Limits(**limits),
            resolver=names,
            allow_networks=networks(allow),
            allow_http=allow_http,
            ca_file=str(certificates.authority),
        )

    return make


async def refused(source: RecordingSource, url: str, tmp_path: Path, access: Access = OPEN) -> tuple[str, bool]:
    with pytest.raises(Refused) as caught:
        await source.fetch(url, tmp_path / "file", access)
    return caught.value.reason, caught.value.again


async def test_a_recording_is_fetched_whole_under_the_name_it_has(
    source: Any, vendor: Any, replies: Any, sounds: Any, names: Any, tmp_path: Path
) -> None:
    sound = sounds.stereo()
    vendor.replies["/r.wav?x=1"] = replies.answer(sound)
    fetched = await source().fetch(vendor.url("/r.wav?x=1"), tmp_path / "file", OPEN)
    assert (fetched.sha256, fetched.size_bytes) == (hashlib.sha256(sound).hexdigest(), len(sound))
    assert (tmp_path / "file").read_bytes() == sound
    [(path, headers)] = vendor.asked
    assert path == "/r.wav?x=1"
    assert headers["host"] == f"{NAME}:{vendor.port}"
    assert headers["accept-encoding"] == "identity"
    assert "authorization" not in headers
    assert names.asked == [NAME]


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",  # noqa: S104
        "100.100.100.200", "168.63.129.16", "192.0.0.192", "224.0.0.1", "255.255.255.255", "240.0.0.1", "198.18.0.1",
        "192.88.99.1", "::", "::1", "::127.0.0.1", "::ffff:10.0.0.1", "::ffff:8.8.8.8", "64:ff9b::7f00:1",
        "64:ff9b:1::1", "2002:7f00:1::", "2001::1", "fe80::1", "fe80::1%1", "fec0::1", "fc00::1", "fd00:ec2::254",
        "ff02::1", "2001:db8::1",
    ],
)  # fmt: skip
def test_addresses_that_are_no_vendors_are_not_public(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", ["8.8.8.8", "13.126.0.1", "2606:4700::1111", "2a00:1450:4001:80b::200e"])
def test_vendors_addresses_are_public(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "2130706433", "0x7f000001", "127.1"])
async def test_the_machine_itself_is_not_reached_under_any_of_its_names(
    host: str, listen: Listen, certificates: Any, tmp_path: Path
) -> None:
    server = await listen()
    source = RecordingSource(limits=Limits(), resolver=SystemResolver(), allow_http=True)
    reason, _ = await refused(source, f"http://{host}:{server.port}/", tmp_path)
    assert reason in ("address_not_public", "dns_failed")
    assert server.asked == []


async def test_one_private_address_among_public_ones_refuses_the_name(
    source: Any, vendor: Any, names: Any, tmp_path: Path
) -> None:
    names.answers[NAME] = [["93.184.215.14", "10.0.0.8"]]
    assert await refused(source(), vendor.url("/"), tmp_path) == ("address_not_public", False)


async def test_a_name_that_stands_for_another_address_a_moment_later_is_not_followed_there(
    source: Any, listen: Listen, names: Any, replies: Any, sounds: Any, tmp_path: Path
) -> None:
    good = await listen(tls=NAME)
    inner = await listen(tls=NAME, host="127.0.0.2", port=good.port)
    for server in (good, inner):
        server.replies["/"] = replies.answer(sounds.stereo(1))
    names.answers[NAME] = [["127.0.0.1"], ["127.0.0.2"]]
    fetcher = source(allow=("127.0.0.1/32",))
    await fetcher.fetch(good.url("/"), tmp_path / "file", OPEN)
    assert names.asked == [NAME], "it was asked again between the check and the connection"
    assert await refused(fetcher, good.url("/"), tmp_path) == ("address_not_public", False)
    assert (len(good.asked), inner.asked) == (1, [])


@pytest.mark.parametrize(
    "to", ["https://169.254.169.254/latest/meta-data/", "https://[fd00:ec2::254]/", "https://127.0.0.2/"]
)
async def test_a_redirect_to_an_inner_address_is_not_followed(
    to: str, source: Any, vendor: Any, replies: Any, tmp_path: Path
) -> None:
    vendor.replies["/"] = replies.redirect(to)
    assert await refused(source(allow=("127.0.0.1/32",)), vendor.url("/"), tmp_path) == ("address_not_public", False)


@pytest.mark.parametrize(
    ("to", "reason"),
    [
        ("http://recordings.example.com/", "scheme_not_allowed"),
        ("file:///etc/passwd", "scheme_not_allowed"),
        ("gopher://x/", "scheme_not_allowed"),
        ("https://user:pass@recordings.example.com/", "address_malformed"),
        ("https://recordings.example.com:25/", "port_not_allowed"),
        ("", "redirect_to_nowhere"),
    ],
)
async def test_a_redirect_is_checked_like_the_first_address(
    to: str, reason: str, source: Any, vendor: Any, replies: Any, tmp_path: Path
) -> None:
    vendor.replies["/"] = replies.redirect(to)
    assert (await refused(source(), vendor.url("/"), tmp_path))[0] == reason


@pytest.mark.parametrize(
    "url",
    [
        "", "/var/spool/recordings/1.wav", "ftp://recordings.example.com/", "https://", "https:///x",
        "https://user@recordings.example.com/", "https://:secret@recordings.example.com/", "https://a b.example.com/",
        "https://recordings.example.com/\r\nx: y", "https://recordings.example.com\\@elsewhere.example.com/",
        "https://recordings.example.com:99999/", "https://recordings.example.com:22/", "https://[fe80::1%25eth0]/",
        "https://..example.com/", "https://recordings.example.com/" + "x" * 2048, "javascript:alert(1)",
        "http://recordings.example.com/",
    ],
)  # fmt: skip
async def test_what_is_no_plain_https_address_is_asked_nowhere(
    url: str, source: Any, names: Any, tmp_path: Path
) -> None:
    reason, again = await refused(source(), url, tmp_path)
    assert reason in ("address_malformed", "scheme_not_allowed", "port_not_allowed")
    assert not again
    assert names.asked == []


async def test_a_few_redirects_are_followed_and_no_more(
    source: Any, vendor: Any, replies: Any, sounds: Any, tmp_path: Path
) -> None:
    for number in range(4):
        vendor.replies[f"/{number}"] = replies.redirect(f"/{number + 1}")
    vendor.replies["/4"] = replies.answer(sounds.stereo(1))
    await source().fetch(vendor.url("/1"), tmp_path / "file", OPEN)
    assert await refused(source(), vendor.url("/0"), tmp_path) == ("too_many_redirects", False)


async def test_credentials_go_to_the_listed_host_and_no_further(
    source: Any, vendor: Any, listen: Listen, replies: Any, sounds: Any, tmp_path: Path
) -> None:
    storage = await listen(tls=OTHER)
    access = Access(hosts=("*.example.com",), authorization=authorization("key:secret", NOW))
    vendor.replies["/here"] = replies.redirect("/there")
    vendor.replies["/there"] = replies.redirect(storage.url("/file", OTHER))
    storage.replies["/file"] = replies.redirect(vendor.url("/back"))
    vendor.replies["/back"] = replies.answer(sounds.stereo(1))
    await source().fetch(vendor.url("/here"), tmp_path / "file", access)
    sent = [(path, headers.get("authorization")) for path, headers in (*vendor.asked, *storage.asked)]
    basic = "Basic a2V5OnNlY3JldA=="
    assert sent == [("/here", basic), ("/there", basic), ("/back", None), ("/file", None)]


async def test_credentials_are_not_shown_to_a_host_that_is_not_listed_nor_in_the_clear(
    source: Any, vendor: Any, listen: Listen, replies: Any, sounds: Any, tmp_path: Path
) -> None:
    plain = await listen()
    for server in (vendor, plain):
        server.replies["/"] = replies.answer(sounds.stereo(1))
    await source().fetch(
        vendor.url("/"), tmp_path / "file", Access(hosts=("api.example.com",), authorization="Bearer x")
    )
    await source(allow_http=True).fetch(
        plain.url("/"), tmp_path / "file", Access(hosts=(NAME,), authorization="Bearer x")
    )
    assert [headers.get("authorization") for _, headers in (*vendor.asked, *plain.asked)] == [None, None]


async def test_who_proves_nothing_has_us_fetch_from_listed_hosts_alone(
    source: Any, vendor: Any, listen: Listen, replies: Any, sounds: Any, names: Any, tmp_path: Path
) -> None:
    vendor.replies["/"] = replies.answer(sounds.stereo(1))
    vendor.replies["/away"] = replies.redirect("https://elsewhere.example.com/")
    listed = Access(hosts=(NAME,), listed_only=True)
    await source().fetch(vendor.url("/"), tmp_path / "file", listed)
    assert await refused(source(), vendor.url("/away"), tmp_path, listed) == ("host_not_listed", False)
    assert await refused(source(), vendor.url("/", OTHER), tmp_path, listed) == ("host_not_listed", False)
    assert OTHER not in names.asked


async def test_a_certificate_for_another_name_or_of_nobody_we_trust_is_refused(
    source: Any, listen: Listen, names: Any, replies: Any, sounds: Any, tmp_path: Path
) -> None:
    server = await listen(tls=OTHER)
    server.replies["/"] = replies.answer(sounds.stereo(1))
    assert await refused(source(), server.url("/"), tmp_path) == ("tls_failed", True)
    stranger = RecordingSource(limits=Limits(), resolver=names, allow_networks=networks(LOOPBACK))
    assert await refused(stranger, server.url("/", OTHER), tmp_path) == ("tls_failed", True)
    assert server.asked == []


async def endless(writer: asyncio.StreamWriter, *, head: str, chunk: bytes, pause: float = 0.0) -> None:
    writer.write(f"HTTP/1.1 200 OK\r\ncontent-type: audio/wav\r\n{head}\r\n\r\n".encode())
    while True:
        writer.write(chunk)
        await writer.drain()
        await asyncio.sleep(pause)


async def test_a_body_without_an_end_is_hung_up_on(source: Any, vendor: Any, sounds: Any, tmp_path: Path) -> None:
    sound = sounds.stereo(1)
    chunk = f"{len(sound):x}\r\n".encode() + sound + b"\r\n"
    vendor.replies["/"] = lambda writer: endless(writer, head="transfer-encoding: chunked", chunk=chunk)
    assert await refused(source(bytes_max=200_000), vendor.url("/"), tmp_path) == ("too_large", False)
    await asyncio.wait_for(vendor.broken.wait(), 60)
    assert (tmp_path / "file").stat().st_size <= 200_000


async def test_a_length_that_is_too_large_is_not_even_read(
    source: Any, vendor: Any, replies: Any, tmp_path: Path
) -> None:
    vendor.replies["/"] = replies.answer(b"", content_length="9999999999999")
    assert await refused(source(), vendor.url("/"), tmp_path) == ("too_large", False)


async def test_a_body_that_drips_is_given_up(source: Any, vendor: Any, sounds: Any, tmp_path: Path) -> None:
    sound = sounds.stereo(1)[:64]
    chunk = f"{len(sound):x}\r\n".encode() + sound + b"\r\n"
    vendor.replies["/"] = lambda writer: endless(writer, head="transfer-encoding: chunked", chunk=chunk, pause=0.02)
    slow = source(rate_seconds=0.3, rate_min=1_000_000)
    assert await refused(slow, vendor.url("/"), tmp_path) == ("too_slow", True)
    await asyncio.wait_for(vendor.broken.wait(), 60)


async def test_a_header_that_drips_and_an_answer_that_never_comes_are_given_up(
    source: Any, vendor: Any, tmp_path: Path
) -> None:
    async def drip(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n")
        while True:
            writer.write(b"x-more: 1\r\n")
            await writer.drain()
            await asyncio.sleep(0.05)

    async def nothing(writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    vendor.replies |= {"/drip": drip, "/nothing": nothing}
    hasty = source(connect_seconds=0.3, first_byte_seconds=0.3)
    assert await refused(hasty, vendor.url("/drip"), tmp_path) == ("timed_out", True)
    assert await refused(hasty, vendor.url("/nothing"), tmp_path) == ("timed_out", True)


async def test_the_whole_of_it_has_a_limit(source: Any, vendor: Any, sounds: Any, tmp_path: Path) -> None:
    sound = sounds.stereo(1)
    chunk = f"{len(sound):x}\r\n".encode() + sound + b"\r\n"
    vendor.replies["/"] = lambda writer: endless(writer, head="transfer-encoding: chunked", chunk=chunk, pause=0.05)
    assert await refused(source(total_seconds=0.5), vendor.url("/"), tmp_path) == ("timed_out", True)


async def test_what_is_compressed_is_refused_before_it_unfolds(
    source: Any, vendor: Any, replies: Any, sounds: Any, tmp_path: Path
) -> None:
    bomb = gzip.compress(bytes(50_000_000))
    vendor.replies["/said"] = replies.answer(bomb, content_encoding="gzip")
    vendor.replies["/hidden"] = replies.answer(bomb)
    assert await refused(source(), vendor.url("/said"), tmp_path) == ("compressed", False)
    assert await refused(source(), vendor.url("/hidden"), tmp_path) == ("not_audio", True)


@pytest.mark.parametrize(
    ("body", "kind"),
    [(b"<html>sign in</html>" * 9, "audio/wav"), (b"RIFF....WAVE" * 9, "text/html"), (b"", "audio/wav"), (b"RI", "")],
)
async def test_what_is_no_audio_by_its_type_or_its_bytes_is_refused(
    body: bytes, kind: str, source: Any, vendor: Any, replies: Any, tmp_path: Path
) -> None:
    vendor.replies["/"] = replies.answer(body, content_type=kind)
    assert await refused(source(), vendor.url("/"), tmp_path) == ("not_audio", True)


@pytest.mark.parametrize(
    ("status", "again"), [("404 Not Found", True), ("503 Busy", True), ("401 No", True), ("410 Gone", False)]
)
async def test_what_the_vendor_refuses_has_its_reason(
    status: str, again: bool, source: Any, vendor: Any, replies: Any, tmp_path: Path
) -> None:
    vendor.replies["/"] = replies.answer(b"no", status=status)
    assert await refused(source(), vendor.url("/"), tmp_path) == (f"http_{status[:3]}", again)


async def test_a_body_that_breaks_off_is_not_taken_for_the_whole(
    source: Any, vendor: Any, replies: Any, sounds: Any, tmp_path: Path
) -> None:
    sound = sounds.stereo(1)
    vendor.replies["/"] = replies.answer(sound[:-100], content_length=str(len(sound)))
    assert await refused(source(), vendor.url("/"), tmp_path) == ("broken_off", True)


async def test_nobody_there_is_worth_another_attempt(source: Any, names: Any, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert await refused(source(), f"https://{NAME}:{port}/", tmp_path) == ("connect_failed", True)
    assert await refused(source(), "https://nowhere.example.com/", tmp_path) == ("dns_failed", True)
