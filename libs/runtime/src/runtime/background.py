"""A part of a service that is one task."""

from __future__ import annotations

import asyncio

from runtime.tasks import end

__all__ = ["Background"]


class Background:
    """A component whose task runs from its start until it is stopped. Subclasses have a ``name`` and say ``_run``."""

    name: str
    ended: str
    """What is wrong when the task has ended by itself, which it never should."""
    _task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name=self.name)

    async def stop(self) -> None:
        if self._task is not None:
            await end(self._task)
            self._task = None

    def alive(self) -> str | None:
        return self.ended if self._task is not None and self._task.done() else None

    def ready(self) -> str | None:
        return None

    async def _run(self) -> None:
        raise NotImplementedError
