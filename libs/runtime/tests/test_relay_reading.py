"""The relay reads a little ahead of what it sends, and no further; what it cannot read ends what it sends."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from runtime.publisher import Held
from runtime.relay import READ_AHEAD, Relay, Rewound

BATCH = 3
BEGIN = (1, 0, 0)


class Outbox:
    """A connection on which so many rows wait; it notes where the position was stored."""

    def __init__(self, rows: int, *, generation: int = 1) -> None:
        self.rows = rows
        self.generation = generation
        self.reads = 0
        self.stored: list[tuple[int, ...]] = []

    async def fetch(self, _: str, epoch: int, xid: int, seq: int, limit: int) -> list[tuple[int, int, int]]:
        self.reads += 1
        return [(epoch, xid, number) for number in range(seq + 1, min(seq + limit, self.rows) + 1)]

    async def fetchval(self, _: str, relay: str, *values: Any) -> bool:
        place, generation = values[:3], values[3]
        self.stored.append(place)
        return bool(generation == self.generation)


class Kafka:
    """A publisher that holds everything at once, as soon as it may."""

    def __init__(self) -> None:
        self.sent: list[tuple[list[int], bool]] = []

    def send(self, rows: list[Any], *, settle: bool) -> Held | None:
        self.sent.append(([row[-1] for row in rows], settle))
        return Held(rows[-1][-3:], {"t/0": rows[-1][-1]}) if rows else None


@pytest.fixture
def relay() -> Relay:
    nowhere: Any = None
    made = Relay(database=nowhere, kafka_bootstrap="127.0.0.1:1", service="front-desk", batch=BATCH)
    made._generation = 1
    return made


async def test_reading_is_a_little_ahead_of_sending(relay: Relay) -> None:
    outbox, coming, room = Outbox(100), asyncio.Queue[list[Any]](), asyncio.Semaphore(READ_AHEAD)
    reading = asyncio.create_task(relay._read(outbox, BEGIN, coming, room))
    await asyncio.sleep(0.02)
    assert outbox.reads == coming.qsize() == READ_AHEAD
    room.release()
    await asyncio.sleep(0.02)
    assert outbox.reads == READ_AHEAD + 1
    reading.cancel()


@pytest.mark.parametrize(("rows", "settled_by"), [(7, [7]), (6, []), (1, [1])])
async def test_all_that_waits_is_sent_in_order_and_settled_last(relay: Relay, rows: int, settled_by: list[int]) -> None:
    outbox, kafka = Outbox(rows), Kafka()
    publisher: Any = kafka
    assert await relay._publish_waiting(outbox, publisher, BEGIN) == (1, 0, rows)
    assert [number for sent, _ in kafka.sent for number in sent] == list(range(1, rows + 1))
    assert [settle for _, settle in kafka.sent] == [False] * (len(kafka.sent) - 1) + [True]
    assert kafka.sent[-1][0] == settled_by
    assert outbox.stored[-1] == (1, 0, rows)


async def test_when_nothing_waits_nothing_is_sent_or_stored(relay: Relay) -> None:
    outbox, kafka = Outbox(0), Kafka()
    publisher: Any = kafka
    assert await relay._publish_waiting(outbox, publisher, BEGIN) == BEGIN
    assert (kafka.sent, outbox.stored) == ([], [])


async def test_a_position_that_was_moved_by_somebody_else_ends_it(relay: Relay) -> None:
    publisher: Any = Kafka()
    with pytest.raises(Rewound):
        await relay._publish_waiting(Outbox(100, generation=2), publisher, BEGIN)


async def test_what_cannot_be_read_is_told_after_what_was_read_is_sent(relay: Relay) -> None:
    class Broken(Outbox):
        async def fetch(self, *arguments: Any) -> list[tuple[int, int, int]]:
            if self.reads == 2:
                raise ConnectionResetError
            return await super().fetch(*arguments)

    kafka = Kafka()
    publisher: Any = kafka
    with pytest.raises(ConnectionResetError):
        await relay._publish_waiting(Broken(100), publisher, BEGIN)
    assert [number for sent, _ in kafka.sent for number in sent] == list(range(1, 2 * BATCH + 1))


async def test_reading_ends_with_what_kafka_does_not_take(relay: Relay) -> None:
    class Refusing(Kafka):
        def send(self, rows: list[Any], *, settle: bool) -> Held | None:
            raise OSError

    outbox = Outbox(100)
    publisher: Any = Refusing()
    with pytest.raises(OSError):  # noqa: PT011 - made here
        await relay._publish_waiting(outbox, publisher, BEGIN)
    reads = outbox.reads
    await asyncio.sleep(0.02)
    assert outbox.reads == reads
