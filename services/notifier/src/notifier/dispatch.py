"""The dispatcher: looks for what is due and has it sent. A component that finishes what it has begun when stopped."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from kit.metrics import gauge
from kit.postgres import Database
from kit.telemetry import METRICS, get_logger
from notifier import store
from notifier.deliver import Deliverer, recover

__all__ = ["Dispatcher"]

log = get_logger(__name__)
stalled = gauge("trunkline_sends_due", "1", "Messages that were due at the last look")

STOP_SECONDS = 20.0


class Dispatcher:
    """Several processes may run one: a message is leased to one of them."""

    name = "dispatcher"

    def __init__(self, *, database: Database, deliverer: Deliverer, every_seconds: float, at_once: int = 4) -> None:
        self._database = database
        self._deliverer = deliverer
        self._every = every_seconds
        self._places = asyncio.Semaphore(at_once)
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._attempts = 0
        self._last_error: str | None = None

    async def start(self) -> None:
        self._stopping.clear()
        self._task = asyncio.create_task(self._loop(), name=self.name)

    async def stop(self) -> None:
        """Let the messages that are being sent end; none is begun any more."""
        self._stopping.set()
        if self._task is not None:
            try:
                await asyncio.wait_for(self._task, STOP_SECONDS)
            except TimeoutError:
                log.warning("dispatcher_cut_off")
            self._task = None

    def alive(self) -> str | None:
        return f"{self.name} has ended" if self._task is not None and self._task.done() else None

    def ready(self) -> str | None:
        return None

    def status(self) -> dict[str, object]:
        return {"attempts": self._attempts, "last_error": self._last_error}

    async def run_once(self) -> int:
        """Settle what was abandoned, then attempt everything that is due; return how many were attempted."""
        await recover(self._database, now=datetime.now(UTC))
        due = await store.due_sends(self._database)
        stalled.set(len(due))

        async def one(index: int) -> bool:
            async with self._places:
                return not self._stopping.is_set() and await self._deliverer.deliver(*due[index]) is not None

        results = await asyncio.gather(*(one(index) for index in range(len(due))), return_exceptions=True)
        for error in results:
            if isinstance(error, BaseException):
                raise error
        attempted = sum(result is True for result in results)
        self._attempts += attempted
        return attempted

    async def _loop(self) -> None:
        while not self._stopping.is_set():
            try:
                await self.run_once()
                self._last_error = None
            except Exception as error:
                self._last_error = type(error).__name__
                METRICS.component_errors.labels(self.name).inc()
                log.warning("run_failed", component=self.name, error=type(error).__name__)
            try:
                await asyncio.wait_for(self._stopping.wait(), self._every)
            except TimeoutError:
                continue
