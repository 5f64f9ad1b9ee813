"""Sends webhooks at the moments they are due, whether or not the ones before were answered: an open loop.

Every latency is counted from the moment at which the webhook was due. A slow answer therefore makes nobody wait to
be measured (coordinated omission), and if this process itself is late, that is in its figures and told as slip.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import httpx

from trunkline.loadtest.dialects import Shot

__all__ = ["Due", "Fired", "shoot"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Due:
    """One webhook to send, ``at`` seconds after the start."""

    at: float
    call_id: str
    kind: str
    """``ring`` or the status that is told."""
    shot: Shot


@dataclass(frozen=True, kw_only=True, slots=True)
class Fired:
    """What became of one webhook."""

    kind: str
    call_id: str
    due: float
    """Wall clock, seconds since the epoch."""
    slip: float
    """How late it left, in seconds."""
    seconds: float
    """From when it was due until the answer was there."""
    status: int
    """HTTP, or 0 when no answer came."""
    error: str = ""
    """Of what kind, when no answer came: ``ConnectError``, ``ReadTimeout`` …"""


async def shoot(base: str, dues: Iterable[Due], *, timeout: float, connections: int) -> list[Fired]:
    """Send all of them to the account at ``base``; returns when each was answered or given up after ``timeout``."""
    limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
    fired: list[Fired] = []
    # The webhooks of one call go out one after the other, so that a status never overtakes its ring.
    turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
    began, began_wall = time.monotonic(), time.time()
    async with httpx.AsyncClient(limits=limits, timeout=httpx.Timeout(timeout), follow_redirects=False) as client:

        async def send(due: Due) -> None:
            left = time.monotonic()
            async with turns[due.call_id]:
                status, error = await _ask(client, base, due.shot)
            fired.append(
                Fired(
                    kind=due.kind,
                    call_id=due.call_id,
                    due=began_wall + due.at,
                    slip=max(0.0, left - began - due.at),
                    seconds=time.monotonic() - began - due.at,
                    status=status,
                    error=error,
                )
            )

        async with asyncio.TaskGroup() as group:
            for due in sorted(dues, key=lambda each: each.at):
                await asyncio.sleep(max(0.0, began + due.at - time.monotonic()))
                group.create_task(send(due))
    return fired


async def _ask(client: httpx.AsyncClient, base: str, shot: Shot) -> tuple[int, str]:
    try:
        response = await client.request(
            shot.method, f"{base}/{shot.path}", content=shot.body or None, headers=dict(shot.headers)
        )
    except httpx.HTTPError as error:
        return 0, type(error).__name__
    return response.status_code, ""
