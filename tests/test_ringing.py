"""The open loop by which benches ring, against a small server: what counts is when a ring was due."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from bench.results import percentile
from bench.ringing import Callers, Line, Rings

LINES = [Line("/hooks/kochi", "+914842000100"), Line("/hooks/thrissur", "+914872000100")]
NUMBERS = ["+919847000001", "+919847000002", "+919847000003"]
CONNECTIONS = 4
KNOWN, STRANGER = b'{"reason":"owner"}', b'{"reason":"default"}'


@dataclass
class Router:
    """Answers each ring by ``answer``, and not before ``not_before``."""

    answer: Callable[[str], tuple[int, bytes]] = lambda _: (200, KNOWN)
    not_before: float = 0.0
    hangs_up: bool = False
    rings: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = re.search(rb"content-length: (\d+)", head)
                assert length is not None
                path = head.split(b" ")[1].decode()
                self.rings.append((path, json.loads(await reader.readexactly(int(length.group(1))))))
                if self.hangs_up:
                    return
                await asyncio.sleep(max(0.0, self.not_before - asyncio.get_running_loop().time()))
                status, body = self.answer(path)
                # In two pieces, as a network may deliver it.
                writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body[:5])
                await writer.drain()
                writer.write(body[5:])
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def listening(router: Router) -> AsyncIterator[int]:
    server = await asyncio.start_server(router.serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.fixture(scope="module")
def callers() -> Iterator[Callers]:
    with Callers(LINES, NUMBERS, connections=CONNECTIONS, patience=0.5, core=0) as made:
        yield made


async def test_each_portion_rings_at_its_rate(callers: Callers) -> None:
    router = Router(lambda path: (200, STRANGER if path == LINES[1].path else KNOWN))
    async with listening(router) as port:
        began = asyncio.get_running_loop().time()
        first = await callers.ring(port, rate=200, seconds=0.3)
        second = await callers.ring(port, rate=200, seconds=0.1)
        took = asyncio.get_running_loop().time() - began
    rings = first + second
    assert (len(first.latencies), len(second.latencies)) == (60, 20)
    assert took >= 0.4 - 2 / 200
    assert len(rings.slips) == len(rings.latencies) == len({body["call_id"] for _, body in router.rings}) == 80
    assert min(rings.slips) >= 0
    assert rings.unknown == 40
    assert f"late by {percentile(rings.slips, 0.99):.2f} ms" in rings.lateness
    # Two lines and three numbers: each line is rung by every number.
    dids = {line.path: line.did for line in LINES}
    assert {(path, body["from"], body["to"]) for path, body in router.rings} == {
        (path, number, did) for path, did in dids.items() for number in NUMBERS
    }


async def test_rings_behind_a_stall_count_from_when_they_were_due(callers: Callers) -> None:
    router, stall, rate = Router(), 0.3, 100
    async with listening(router) as port:
        await callers.ring(port, rate=rate, seconds=0.05)
        router.not_before = asyncio.get_running_loop().time() + 0.05 + stall
        rings = await callers.ring(port, rate=rate, seconds=0.5)
    late = [latency for latency in rings.latencies if latency > stall / 3 * 1000]
    # Whoever waited for each answer before the next ring would see no more late ones than there are connections.
    assert len(late) > 3 * CONNECTIONS
    assert max(late) > stall * 0.8 * 1000
    # The router was late, not the sender.
    assert percentile(rings.slips, 0.5) < stall / 3 * 1000


@pytest.mark.parametrize(
    ("router", "said"),
    [
        (Router(lambda _: (503, b"not now")), "a ring was answered with 503"),
        (Router(hangs_up=True), "the router closed a connection"),
        (Router(not_before=float("inf")), "the router cannot keep up with the rate"),
    ],
)
async def test_what_is_no_answer_ends_the_measurement(callers: Callers, router: Router, said: str) -> None:
    async with listening(router) as port:
        with pytest.raises(SystemExit, match=rf"^{said}$"):
            await callers.ring(port, rate=500, seconds=5)


def test_portions_add_up_from_nothing() -> None:
    assert sum([Rings((1.0,), (0.1,), 1), Rings((2.0,), (0.2,), 0)], Rings()) == Rings((1.0, 2.0), (0.1, 0.2), 1)
