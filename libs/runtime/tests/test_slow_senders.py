"""Requests that never become complete: cut off after their time, while everybody else is answered."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
import uvicorn

from kit.testing import eventually
from runtime import slow_senders
from runtime.slow_senders import TimedProtocol

HEAD = b"POST /a HTTP/1.1\r\nhost: x\r\ncontent-length: 30000\r\n\r\n"


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Tells how long the body was."""
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        size += len(message.get("body", b""))
        more = message.get("more_body", False)
    body = str(size).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slow_senders, "HEAD_SECONDS", 1.0)
    monkeypatch.setattr(slow_senders, "BODY_SECONDS", 1.0)
    monkeypatch.setattr(slow_senders, "BODY_BYTES", 5_000)
    monkeypatch.setattr(slow_senders, "HEAD_MAX", 20_000)


@contextlib.asynccontextmanager
async def served() -> AsyncIterator[int]:
    config = uvicorn.Config(app, port=0, http=TimedProtocol, log_config=None, lifespan="off")
    server = uvicorn.Server(config)
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign, assignment]
    task = asyncio.create_task(server.serve())
    await eventually(lambda: server.started, every=0.01)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        await task


@contextlib.asynccontextmanager
async def connection(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def drip(port: int, first: bytes, each: bytes, every: float, count: int = 200) -> bytes:
    """Send ``first``, then ``each`` now and then; return what came back until the connection ended."""
    async with connection(port) as (reader, writer):

        async def send() -> None:
            writer.write(first)
            for _ in range(count):
                await asyncio.sleep(every)
                writer.write(each)

        sending = asyncio.create_task(send())
        try:
            return await asyncio.wait_for(reader.read(), 30)
        except ConnectionError:
            return b""
        finally:
            sending.cancel()


async def ask(port: int) -> bytes:
    async with connection(port) as (reader, writer):
        writer.write(b"POST /a HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\nconnection: close\r\n\r\nabc")
        return await asyncio.wait_for(reader.read(), 10)


@pytest.mark.parametrize(
    ("first", "each"),
    [(b"", b""), (b"POST /a HTTP/1.1\r\n", b"x-a: b\r\n"), (b"P", b"O"), (HEAD, b"x")],
    ids=["nothing at all", "a header now and then", "one letter", "a byte of the body"],
)
@pytest.mark.usefixtures("short")
async def test_who_never_finishes_is_cut_off_and_nobody_waits_for_them(first: bytes, each: bytes) -> None:
    async with served() as port:
        began = time.monotonic()
        slow = [asyncio.create_task(drip(port, first, each, 0.1)) for _ in range(50)]
        await asyncio.sleep(0.2)
        assert (await ask(port)).endswith(b"\r\n\r\n3")
        ended = await asyncio.gather(*slow)
        assert time.monotonic() - began < 15
    assert not any(b"200" in each for each in ended)


@pytest.mark.usefixtures("short")
async def test_a_head_without_end_is_cut_off_by_its_size() -> None:
    async with served() as port:
        before = slow_senders.CUT_OFF.labels("size")._value.get()
        await drip(port, b"GET /a HTTP/1.1\r\n", b"x-a: " + b"b" * 4000 + b"\r\n", 0.01)
        assert slow_senders.CUT_OFF.labels("size")._value.get() == before + 1


@pytest.mark.usefixtures("short")
async def test_a_body_that_comes_on_is_taken_however_long_it_takes() -> None:
    async with served() as port:
        answer = await drip(
            port, HEAD.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n"), b"x" * 2_000, 0.2, count=15
        )
    assert answer.endswith(b"\r\n\r\n30000")


@pytest.mark.usefixtures("short")
async def test_the_second_request_of_a_connection_has_no_more_time_than_the_first() -> None:
    async with served() as port, connection(port) as (reader, writer):
        writer.write(b"POST /a HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\nx")
        assert await reader.readuntil(b"\r\n\r\n1")
        writer.write(b"POST /a HT")
        with contextlib.suppress(ConnectionError):
            assert await asyncio.wait_for(reader.read(), 10) == b""


async def test_requests_in_one_piece_never_start_a_timer() -> None:
    async with served() as port, connection(port) as (reader, writer):
        for _ in range(3):
            writer.write(b"POST /a HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\nx")
            assert await reader.readuntil(b"\r\n\r\n1")
            served_by = [each for each in _protocols() if not each.transport.is_closing()]
            assert [each._timer for each in served_by] == [None]


def _protocols() -> list[TimedProtocol]:
    return [each for each in gc.get_objects() if isinstance(each, TimedProtocol)]
