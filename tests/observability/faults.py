"""Faults that are cheap to make, each with the alert that has to tell of it and those that may come along."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import asyncpg
from confluent_kafka import Consumer, Producer, TopicPartition
from tests.conftest import Stack, Tenant

from contracts.envelope import Envelope, partition_key
from kit.ids import uuid7
from trunkline.stack import control

__all__ = ["FAULTS", "Fault", "poison", "repeat", "wait_behind"]

#: Follow from how fast the machine is, not only from a fault; a busy one raises them at any time.
OF_THE_MACHINE = frozenset({"QueriesSlowBurnFast", "ApiSlowBurnFast", "RingAnswersSlow"})


@dataclass(frozen=True, kw_only=True)
class Fault:
    name: str
    make: Callable[[Stack, Tenant], contextlib.AbstractContextManager[None]]
    """Makes the fault, and mends it at the end."""
    alert: str
    labels: dict[str, str] = field(default_factory=dict)
    """What the alert has to say about where it is."""
    with_it: frozenset[str] = frozenset()
    """Pages that rightly come with it."""
    mended: bool = True
    """Whether all is well afterwards; else it stays as it is, and the fault comes last."""


@contextlib.contextmanager
def _stopped(stack: Stack, name: str) -> Iterator[None]:
    control.stop_one(stack.layout, name)
    try:
        yield
    finally:
        control.start_one(stack.layout, name)


def stopped(name: str) -> Callable[[Stack, Tenant], contextlib.AbstractContextManager[None]]:
    return lambda stack, _: _stopped(stack, name)


@contextlib.contextmanager
def open_transaction(stack: Stack, _: Tenant) -> Iterator[None]:
    """Somebody writes and forgets to commit."""
    with asyncio.Runner() as runner:
        connection = runner.run(asyncpg.connect(stack.layout.admin_dsn("trunkline")))
        try:
            runner.run(connection.execute("BEGIN; SELECT pg_current_xact_id();"))
            yield
        finally:
            runner.run(connection.close())


def poison(stack: Stack, tenant: Tenant, topic: str, count: int) -> None:
    """Records that break the contract of their topic, each of a key of its own."""
    producer = _producer(stack)
    for number in range(count):
        key = partition_key(UUID(tenant.id), f"poisoned-{time.time_ns()}-{number}")
        envelope = Envelope(
            id=str(uuid7()), type=f"{topic}.v1", source="/test", time=datetime.now(UTC), tenant=UUID(tenant.id),
            subject="poisoned", partitionkey=key,
        )  # fmt: skip
        producer.produce(topic, key=key, value=json.dumps({"x": number}), headers=list(envelope.to_headers()))
    assert producer.flush(10) == 0


def repeat(stack: Stack, topic: str) -> None:
    """The first records of a topic once more, as a relay does that died before it noted what it had sent."""
    producer = _producer(stack)
    for record in _first(stack, topic):
        producer.produce(topic, key=record.key(), value=record.value(), headers=record.headers())
    assert producer.flush(10) == 0


def wait_behind(stack: Stack, topic: str) -> None:
    """Poison for a key, and then something that could be handled, which has to wait behind it."""
    producer, record = _producer(stack), _first(stack, topic)[0]
    for value in (b'{"x": 1}', record.value()):
        headers = [*((k, v) for k, v in record.headers() if k != "ce_id"), ("ce_id", str(uuid7()).encode())]
        producer.produce(topic, key=record.key(), value=value, headers=headers)
        assert producer.flush(10) == 0


def _producer(stack: Stack) -> Producer:
    return Producer({"bootstrap.servers": stack.layout.kafka_bootstrap, "log_level": 0})


def _first(stack: Stack, topic: str) -> list[Any]:
    reader = Consumer(
        {
            "bootstrap.servers": stack.layout.kafka_bootstrap, "group.id": "reads-again", "log_level": 0,
            "auto.offset.reset": "earliest", "enable.auto.commit": False,
        }
    )  # fmt: skip
    partitions = reader.list_topics(topic).topics[topic].partitions
    reader.assign([TopicPartition(topic, partition, 0) for partition in partitions])
    records = [record for record in reader.consume(20, timeout=10) if not record.error()]
    reader.close()
    assert records, f"nothing is on {topic}"
    return records


@contextlib.contextmanager
def everything_poisoned(stack: Stack, tenant: Tenant) -> Iterator[None]:
    """A producer that breaks its contract on every record: its consumers stop instead of parking all of it."""
    poison(stack, tenant, "notification.state", 60)
    yield


CONSUMERS = frozenset({"ConsumerWithoutMembers", "ConsumerLags", "ConsumerStuck"})
EVENTS = frozenset({"OutboxWaits", "RelayWithoutLeader", "RelayHeldBack"})
INTAKE = frozenset({"JournalNotDraining", "WebhooksWait", "ApiErrorsBurnFast", "WebhooksFailBurnFast"})
FAULTS = (
    Fault(
        name="a service is killed and kept down", make=stopped("anomaly-engine"), alert="ServiceDown",
        labels={"job": "anomaly-engine"}, with_it=CONSUMERS,
    ),
    Fault(
        name="a transaction is left open", make=open_transaction, alert="RelayHeldBack", with_it=EVENTS,
    ),
    Fault(name="redis is down", make=stopped("redis"), alert="RedisDown"),
    Fault(name="kafka is down", make=stopped("kafka"), alert="KafkaDown", with_it=CONSUMERS | EVENTS | {"ServiceDown"}),
    Fault(
        name="postgres is down", make=stopped("postgres"), alert="PostgresDown",
        with_it=CONSUMERS | EVENTS | INTAKE,
    ),
    Fault(
        name="every record is poison", make=everything_poisoned, alert="ConsumerHalted", with_it=CONSUMERS,
        mended=False,
    ),
)  # fmt: skip
