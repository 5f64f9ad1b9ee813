"""A TCP proxy that misbehaves when told to: between the services and one server, each direction by itself.

It runs in a thread with a loop of its own, so that a fault is never the harness's own slowness.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import socket
import struct
import threading
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = ["HEALTHY", "Direction", "Proxies", "Proxy", "Toxics"]

Direction = Literal["up", "down"]
CHUNK = 65536


@dataclass(frozen=True, kw_only=True, slots=True)
class Toxics:
    """What is wrong with a connection. ``up`` is towards the server, ``down`` is what it answers."""

    latency: float = 0.0
    """Seconds added to every chunk, each way."""
    jitter: float = 0.0
    bytes_per_second: int = 0
    slice_bytes: int = 0
    """Chunks leave in pieces of at most so many bytes."""
    swallow_up: bool = False
    """Nothing that is sent arrives; the connection stays open."""
    swallow_down: bool = False
    refuse: bool = False
    """New connections are reset at once."""

    def swallows(self, direction: Direction) -> bool:
        return self.swallow_up if direction == "up" else self.swallow_down

    @classmethod
    def together(cls, every: Iterable[Toxics]) -> Toxics:
        """What several come to: delays add up, the narrowest decides, what one swallows is swallowed."""
        given = list(every)
        return cls(
            latency=sum(each.latency for each in given),
            jitter=sum(each.jitter for each in given),
            bytes_per_second=min((each.bytes_per_second for each in given if each.bytes_per_second), default=0),
            slice_bytes=min((each.slice_bytes for each in given if each.slice_bytes), default=0),
            swallow_up=any(each.swallow_up for each in given),
            swallow_down=any(each.swallow_down for each in given),
            refuse=any(each.refuse for each in given),
        )


HEALTHY = Toxics()


@dataclass(eq=False, slots=True)
class _Pair:
    """Both ends of one connection. One that lost bytes can never be whole again."""

    near: asyncio.StreamWriter
    far: asyncio.StreamWriter
    swallowed: bool = False
    broken: asyncio.Event = field(default_factory=asyncio.Event)

    def reset(self) -> None:
        self.broken.set()
        _reset(self.near)
        _reset(self.far)


class Proxy:
    """Listens on one port for one server."""

    def __init__(self, name: str, *, listen: int, target: int, seed: int = 0) -> None:
        self.name = name
        self.listen = listen
        self.target = target
        self.toxics = HEALTHY
        self.given: dict[int, Toxics] = {}
        """What is at work now; ``toxics`` is what it comes to."""
        self.connections = 0
        self._random = random.Random(seed)
        self._pairs: set[_Pair] = set()
        self._serving: set[asyncio.Task[Any]] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.listen)

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        self.reset_all()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    def reset_all(self) -> None:
        """Break every connection with a reset, as a machine that lost power and came back does."""
        for pair in list(self._pairs):
            pair.reset()

    def give(self, number: int, toxics: Toxics) -> None:
        self.given[number] = toxics
        self.toxics = Toxics.together(self.given.values())

    def take(self, number: int | None) -> None:
        """Without these toxics, or without any. When nothing is swallowed any more, what lost bytes is broken."""
        if number is None:
            self.given.clear()
        else:
            self.given.pop(number, None)
        self.toxics = Toxics.together(self.given.values())
        if not self.toxics.swallow_up and not self.toxics.swallow_down:
            for pair in [each for each in self._pairs if each.swallowed]:
                pair.reset()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._serving.add(task)
            task.add_done_callback(self._serving.discard)
        with contextlib.suppress(asyncio.CancelledError):
            await self._carry(reader, writer)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        if self.toxics.refuse:
            _reset(writer)
            return
        try:
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            _reset(writer)
            return
        pair = _Pair(writer, up_writer)
        self._pairs.add(pair)
        pumps = [asyncio.create_task(self._pump(pair, reader, up_writer, "up")),
                 asyncio.create_task(self._pump(pair, up_reader, writer, "down"))]  # fmt: skip
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._pairs.discard(pair)
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            for each in (pair.near, pair.far):
                each.close()
                with contextlib.suppress(OSError):
                    await each.wait_closed()

    async def _pump(
        self, pair: _Pair, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, direction: Direction
    ) -> None:
        swallowed = False
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK):
                if self.toxics.swallows(direction):
                    # Once a byte is lost the stream never fits together again: like a dead link, it stays silent.
                    swallowed = pair.swallowed = True
                if not swallowed:
                    await self._forward(writer, data, self.toxics)
        if swallowed or self.toxics.swallows(direction):
            # An end is lost like any byte: the other side learns of it when the link is healed, by a reset.
            pair.swallowed = True
            await pair.broken.wait()

    async def _forward(self, writer: asyncio.StreamWriter, data: bytes, toxics: Toxics) -> None:
        if toxics.latency or toxics.jitter:
            await asyncio.sleep(max(0.0, toxics.latency + self._random.uniform(-1, 1) * toxics.jitter))
        size = toxics.slice_bytes or len(data)
        for start in range(0, len(data), size):
            piece = data[start : start + size]
            writer.write(piece)
            await writer.drain()
            if toxics.bytes_per_second:
                await asyncio.sleep(len(piece) / toxics.bytes_per_second)


def _reset(writer: asyncio.StreamWriter) -> None:
    """RST instead of FIN: close with a linger time of zero."""
    raw = writer.get_extra_info("socket")
    if raw is not None:
        with contextlib.suppress(OSError):
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


class Proxies:
    """All proxies of a stack in one thread. Methods may be called from any thread."""

    def __init__(self, *proxies: Proxy) -> None:
        self.by_name = {proxy.name: proxy for proxy in proxies}
        self._numbers = itertools.count()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=lambda: self._running.run_forever(), name="proxies", daemon=True)

    @property
    def _running(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            raise RuntimeError("the proxies were not started")
        return self._loop

    def start(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread.start()
        for proxy in self.by_name.values():
            self._call(proxy.start())

    def stop(self) -> None:
        if self._loop is None:
            return
        for proxy in self.by_name.values():
            self._call(proxy.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def poison(self, name: str, **toxics: Any) -> int:
        """Make a proxy misbehave from the next chunk on, beside what else it does; return what ``heal`` takes."""
        number = next(self._numbers)
        self._call(self._give(name, number, Toxics(**toxics)))
        return number

    def reset(self, name: str) -> None:
        self._call(self._reset(name))

    def heal(self, name: str, number: int | None = None) -> None:
        """End what ``poison`` began, or all of it. Connections that lost bytes are broken once nothing is swallowed."""
        self._call(self._take(name, number))

    async def _give(self, name: str, number: int, toxics: Toxics) -> None:
        self.by_name[name].give(number, toxics)

    async def _take(self, name: str, number: int | None) -> None:
        self.by_name[name].take(number)

    async def _reset(self, name: str) -> None:
        self.by_name[name].reset_all()

    def _call(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._running).result(10)
