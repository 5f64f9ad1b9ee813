"""Work on a server that may be gone: given up in time, left to end by itself, and not tried while it is known down."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

__all__ = ["Budget", "Unavailable", "in_time"]

T = TypeVar("T")


async def in_time(done: asyncio.Future[T], seconds: float) -> T:
    """What a future comes to that nobody else waits for. It fails itself with ``TimeoutError`` after so many seconds.

    ``asyncio.timeout`` would do, and costs several times as much: it cancels the task that waits. A ring waits twice.
    """
    timer = done.get_loop().call_later(seconds, _expire, done)
    try:
        return await done
    finally:
        timer.cancel()


def _expire(done: asyncio.Future[Any]) -> None:
    if not done.done():
        done.set_exception(TimeoutError())


class Unavailable(Exception):
    """The server did not do it within the budget. The work may still end well, unseen."""


class Budget:
    """A time budget, and a pause after each failure in which the server is not asked.

    Work that takes too long is abandoned, not cancelled: cancelling a transaction waits for the very server that
    does not answer. Its outcome is ignored, so it must be harmless to do it again.
    """

    def __init__(
        self,
        seconds: float,
        *,
        failures: tuple[type[BaseException], ...],
        pause_seconds: float = 1.0,
        abandoned_max: int = 4,
    ) -> None:
        self._seconds = seconds
        self._failures = failures
        self._pause_seconds = pause_seconds
        self._abandoned_max = abandoned_max
        self._paused_until = 0.0
        self._abandoned: set[asyncio.Task[Any]] = set()

    @property
    def open(self) -> bool:
        """Whether it is worth asking."""
        return self._paused_until <= time.monotonic() and len(self._abandoned) < self._abandoned_max

    def failed(self) -> None:
        self._paused_until = time.monotonic() + self._pause_seconds

    def worked(self) -> None:
        self._paused_until = 0.0

    async def spend(self, work: Callable[[], Coroutine[Any, Any, T]], *, seconds: float | None = None) -> T:
        """Do it within the budget, or within ``seconds`` when that is less. Raises :class:`Unavailable`."""
        if not self.open:
            raise Unavailable("paused")
        limit = self._seconds if seconds is None else min(self._seconds, seconds)
        task = asyncio.create_task(work())
        await asyncio.wait((task,), timeout=limit)
        if not task.done():
            self.failed()
            self._abandoned.add(task)
            task.add_done_callback(self._ended)
            raise Unavailable("slow")
        try:
            result = task.result()
        except self._failures as error:
            self.failed()
            raise Unavailable("down") from error
        self.worked()
        return result

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._abandoned.discard(task)
        if not task.cancelled():
            task.exception()

    async def close(self) -> None:
        for task in list(self._abandoned):
            task.cancel()
        if self._abandoned:
            await asyncio.wait(set(self._abandoned), timeout=1.0)
