"""Ending what runs in the background."""

from __future__ import annotations

import asyncio
from typing import Any

__all__ = ["end"]

AGAIN_SECONDS = 5.0


async def end(*tasks: asyncio.Task[Any]) -> None:
    """Cancel tasks, and return when all of them have ended. What they raised is theirs to tell.

    They are cancelled again now and then: before Python 3.12 ``asyncio.wait_for``, which clients of servers use as
    well, forgets a cancellation that comes in the very moment in which what it waits for is done.
    """
    while left := [task for task in tasks if not task.done()]:
        for task in left:
            task.cancel()
        await asyncio.wait(left, timeout=AGAIN_SECONDS)
    for task in tasks:
        if not task.cancelled():
            task.exception()
