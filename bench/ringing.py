"""Callers who ring a router's webhook from a process of their own, in an open loop.

Each ring has its intended time and its latency counts from there: a slow answer makes the ones behind it late, as real
callers would be. Nothing else of a bench shares the callers' interpreter, so that what waits is the router or what it
runs on, and not a sender that was busy; how late the sender was all the same is told beside it.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import re
import secrets
import selectors
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Self

from bench.results import cores, percentile
from runtime.priority import go_first

__all__ = ["Callers", "Line", "Rings"]


@dataclass(frozen=True, slots=True)
class Line:
    """A number that can be called, and the webhook that tells of its calls."""

    path: str
    did: str


@dataclass(frozen=True, slots=True)
class Rings:
    """What became of them; those of one portion and of the next can be added."""

    latencies: tuple[float, ...] = ()
    """In ms, from each ring's intended time to its answer. Waiting for a free connection is part of it."""
    slips: tuple[float, ...] = ()
    """In ms, from each ring's intended time until the sender came to it: its own lateness, none of the router's."""
    unknown: int = 0
    """Answered without saying that the caller has an owner."""

    def __add__(self, later: Rings) -> Rings:
        return Rings(self.latencies + later.latencies, self.slips + later.slips, self.unknown + later.unknown)

    @property
    def lateness(self) -> str:
        """How late the sender was, for a note."""
        return f"the sender itself was late by {percentile(self.slips, 0.99):.2f} ms (p99)"


@dataclass(frozen=True, slots=True)
class _Calls:
    lines: Sequence[Line]
    numbers: Sequence[str]
    connections: int
    patience: float
    port: int
    rate: int
    seconds: float


class Callers:
    """``numbers`` who call ``lines``, each line by another each time, by a process that lives until the context ends.

    It keeps to one core when it is given one and the machine has more, and goes before everything else there when the
    system lets it (root): real callers wait for no core of the router's machine. The measurement ends (``SystemExit``)
    when an answer is not 200, when the router closes a connection, and when it is ``patience`` seconds of rings behind.
    """

    def __init__(
        self,
        lines: Sequence[Line],
        numbers: Sequence[str],
        *,
        connections: int = 32,
        patience: float = 20,
        core: int | None = None,
    ) -> None:
        self._who = (lines, numbers, connections, patience)
        self._process = ProcessPoolExecutor(1, get_context("spawn"), initializer=_settle, initargs=(core,))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.shutdown()

    async def ring(self, port: int, *, rate: int, seconds: float) -> Rings:
        """Ring at a steady rate until every ring was answered."""
        calls = _Calls(*self._who, port, rate, seconds)
        return await asyncio.get_running_loop().run_in_executor(self._process, _ring, calls)


def _settle(core: int | None) -> None:
    if core is not None and cores() > 1:
        os.sched_setaffinity(0, {core})
    # Looked through while nobody can be kept from a core by it: 40 ms, once more before each portion otherwise.
    gc.disable()
    gc.collect()
    gc.freeze()
    with contextlib.suppress(PermissionError):
        go_first()


def _ring(calls: _Calls) -> Rings:
    gc.collect()
    # Sleeps to the microsecond; the usual selector knows only whole milliseconds.
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selectors.SelectSelector())) as runner:
        return runner.run(_open_loop(calls))


async def _open_loop(calls: _Calls) -> Rings:
    return await _Portion(calls).run()


class _Portion:
    """Rings when it is time to, never because another was answered."""

    def __init__(self, calls: _Calls) -> None:
        self._calls, self._run_id, self._loop = calls, secrets.token_hex(4), asyncio.get_running_loop()
        self._total, self._number, self._begun = round(calls.rate * calls.seconds), 0, 0.0
        self._free, self._waiting = deque[_Connection](), deque[tuple[float, bytes]]()
        self._latencies, self._slips, self._unknown = list[float](), list[float](), 0
        self._ended = self._loop.create_future()

    async def run(self) -> Rings:
        for _ in range(self._calls.connections):
            _, connection = await self._loop.create_connection(lambda: _Connection(self), "127.0.0.1", self._calls.port)
            self._free.append(connection)
        connections = list(self._free)
        self._begun = self._loop.time() + 0.05
        self._pace()
        try:
            await self._ended
        finally:
            for each in connections:
                each.transport.close()
        return Rings(tuple(self._latencies), tuple(self._slips), self._unknown)

    def answered(self, connection: _Connection, answer: bytes) -> None:
        self._latencies.append((self._loop.time() - connection.intended) * 1000)
        self._unknown += b'"reason":"owner"' not in answer
        if not answer.startswith(b"HTTP/1.1 200"):
            self.fail(f"a ring was answered with {answer[9:12].decode()}")
        elif self._waiting:
            connection.carry(*self._waiting.popleft())
        else:
            self._free.append(connection)
        if len(self._latencies) == self._total and not self._ended.done():
            self._ended.set_result(None)

    def fail(self, reason: str) -> None:
        if not self._ended.done():
            self._ended.set_exception(SystemExit(reason))

    def _pace(self) -> None:
        """Ring all that are due, and come again when the next one is."""
        while self._number < self._total and not self._ended.done():
            intended = self._begun + self._number / self._calls.rate
            if intended > self._loop.time():
                self._loop.call_at(intended, self._pace)
                return
            self._due(intended)
            self._number += 1

    def _due(self, intended: float) -> None:
        request = self._request()
        self._slips.append((self._loop.time() - intended) * 1000)
        if self._free:
            self._free.popleft().carry(intended, request)
            return
        self._waiting.append((intended, request))
        if len(self._waiting) > self._calls.patience * self._calls.rate:
            self.fail("the router cannot keep up with the rate")

    def _request(self) -> bytes:
        number, lines, numbers = self._number, self._calls.lines, self._calls.numbers
        time, at = divmod(number, len(lines))
        caller = numbers[(time + at) % len(numbers)]
        ring = {"call_id": f"{self._run_id}-{number}", "from": caller, "to": lines[at].did}
        body = json.dumps(ring).encode()
        return f"POST {lines[at].path} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body


class _Connection(asyncio.Protocol):
    """Kept open; carries one ring at a time."""

    transport: asyncio.Transport

    def __init__(self, portion: _Portion) -> None:
        self._portion, self._received = portion, bytearray()
        self.intended = 0.0
        """When the ring that it carries was due."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def carry(self, intended: float, request: bytes) -> None:
        self.intended = intended
        self._received.clear()
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: (\d+)", head)
        if end and len(body) >= (int(length.group(1)) if length else 0):
            self._portion.answered(self, bytes(self._received))

    def connection_lost(self, exc: Exception | None) -> None:
        self._portion.fail("the router closed a connection")
