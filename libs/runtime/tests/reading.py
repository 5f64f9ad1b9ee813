"""Reads a topic for tests."""

from __future__ import annotations

import asyncio
from typing import Any

from aiokafka import AIOKafkaConsumer

from kit.testing import Bench


async def read_all(bench: Bench, at_least: int) -> list[Any]:
    """All records of the topic once there are that many, and what else comes within a moment; as they were read."""
    consumer = AIOKafkaConsumer(bench.topic, bootstrap_servers=bench.bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    records: list[Any] = []
    try:
        async with asyncio.timeout(60):
            while True:
                found = await consumer.getmany(timeout_ms=500)
                for batch in found.values():
                    records.extend(batch)
                if not found and len(records) >= at_least:
                    return records
    finally:
        await consumer.stop()
