"""Ending tasks, also those that forget that they were cancelled."""

from __future__ import annotations

import asyncio

import pytest

from runtime import tasks


async def test_tasks_have_ended_when_it_returns() -> None:
    async def fails() -> None:
        raise ValueError("of its own")

    for_ever, failed = asyncio.create_task(asyncio.sleep(3600)), asyncio.create_task(fails())
    await asyncio.sleep(0)
    await tasks.end(for_ever, failed)
    assert for_ever.cancelled()
    assert isinstance(failed.exception(), ValueError)


async def test_a_task_that_forgets_a_cancellation_is_cancelled_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "AGAIN_SECONDS", 0.01)
    forgot = asyncio.Event()

    async def forgetful() -> None:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            forgot.set()
        await asyncio.sleep(3600)

    task = asyncio.create_task(forgetful())
    await asyncio.sleep(0)
    await asyncio.wait_for(tasks.end(task), 30)
    assert forgot.is_set()
    assert task.cancelled()


async def test_cleaning_up_is_given_time() -> None:
    cleaned = asyncio.Event()

    async def tidy() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            await asyncio.sleep(0.05)
            cleaned.set()

    task = asyncio.create_task(tidy())
    await asyncio.sleep(0)
    await tasks.end(task)
    assert cleaned.is_set()
