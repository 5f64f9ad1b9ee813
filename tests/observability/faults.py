"""Faults that are cheap to make, each with the alerts that have to tell of it and those that may come along."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import redis
from confluent_kafka import Consumer, Producer, TopicPartition
from tests.conftest import Stack, Tenant
from tests.observability.pace import PATIENCE

from contracts.envelope import Envelope, partition_key
from kit.ids import uuid7
from trunkline.stack import control

__all__ = ["AT_ONCE", "OF_A_KIND", "OF_THE_MACHINE", "SEEN", "UNSEEN", "Fault", "poison", "repeat", "wait_behind"]

Make = Callable[[Stack, Tenant], contextlib.AbstractContextManager[None]]

#: Follow from how fast the machine is, not only from a fault; a busy one raises them at any time. The last one since a
#: caller is answered within the budget, whether the disk was as quick or not.
OF_THE_MACHINE = frozenset(
    {
        "QueriesSlowBurnFast",
        "QueriesSlowBurnSlow",
        "ApiSlowBurnFast",
        "ApiSlowBurnSlow",
        "RingAnswersSlow",
        "RingUnrecorded",
    }
)


@dataclass(frozen=True, kw_only=True)
class Fault:
    name: str
    make: Make
    """Makes the fault, and mends it at the end."""
    alert: str
    labels: dict[str, str] = field(default_factory=dict)
    """What the alert has to say about where it is."""
    also: frozenset[str] = frozenset()
    """Others that must fire while it lasts, pages or tickets."""
    with_it: frozenset[str] = frozenset()
    """Pages that rightly come with it."""
    mended: bool = True
    """Whether all is well afterwards; else it stays as it is, and the fault comes last."""
    settle: float = 5.0
    """For how long nobody must have been woken before the next: consumers flap while their groups settle."""


@contextlib.contextmanager
def _stopped(stack: Stack, name: str) -> Iterator[None]:
    control.stop_one(stack.layout, name)
    try:
        yield
    finally:
        control.start_one(stack.layout, name)


def stopped(name: str) -> Make:
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


def frozen(name: str) -> Make:
    """SIGSTOP: the process is there, holds its partitions, and does nothing."""

    @contextlib.contextmanager
    def make(stack: Stack, _: Tenant) -> Iterator[None]:
        pid = stack.process(name)["pid"]
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    return make


@contextlib.contextmanager
def _over_and_over(act: Callable[[], object], pause: float) -> Iterator[None]:
    """Something that goes on in the background."""
    ended = threading.Event()

    def run() -> None:
        while not ended.wait(pause):
            # What is refused or takes too long is tried again.
            with contextlib.suppress(httpx.HTTPError, asyncpg.PostgresError, OSError):
                act()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(PATIENCE)


@contextlib.contextmanager
def strangers_knock(stack: Stack, tenant: Tenant) -> Iterator[None]:
    """Somebody tries secrets, or an account was removed and its PBX was not told."""
    with httpx.Client() as client:
        url = f"{stack.addresses.router}{tenant.hook_path}x/ring"
        with _over_and_over(lambda: client.post(url, json={}, timeout=10), 0.05):
            yield


def locked_again_and_again(table: str, mode: str, seconds: float, free: float) -> Make:
    """Who needs the table waits so long, again and again; in between it is free for a moment."""

    @contextlib.contextmanager
    def make(stack: Stack, _: Tenant) -> Iterator[None]:
        # Several statements in one query are one transaction.
        lock = f"LOCK TABLE {table} IN {mode} MODE; SELECT pg_sleep({seconds})"
        with _connected(stack) as (runner, connection):
            with _over_and_over(lambda: runner.run(connection.execute(lock)), free):
                yield

    return make


@contextlib.contextmanager
def _connected(stack: Stack) -> Iterator[tuple[asyncio.Runner, Any]]:
    with asyncio.Runner() as runner:
        connection = runner.run(asyncpg.connect(stack.layout.admin_dsn("trunkline"), timeout=PATIENCE))
        try:
            yield runner, connection
        finally:
            runner.run(connection.close())


@contextlib.contextmanager
def deadlocks(stack: Stack, _: Tenant) -> Iterator[None]:
    """Two programs take the same locks in opposite orders."""

    async def clash(ours: Any, theirs: Any) -> None:
        for connection in (ours, theirs):
            await connection.execute("BEGIN; SET LOCAL deadlock_timeout = '20ms'")
        await ours.execute("SELECT pg_advisory_xact_lock(901)")
        await theirs.execute("SELECT pg_advisory_xact_lock(902)")
        await asyncio.gather(
            ours.execute("SELECT pg_advisory_xact_lock(902)"),
            theirs.execute("SELECT pg_advisory_xact_lock(901)"),
            return_exceptions=True,
        )
        for connection in (ours, theirs):
            await connection.execute("ROLLBACK")

    with _connected(stack) as (runner, ours):
        theirs = runner.run(asyncpg.connect(stack.layout.admin_dsn("trunkline"), timeout=PATIENCE))
        try:
            with _over_and_over(lambda: runner.run(clash(ours, theirs)), 0.2):
                yield
        finally:
            runner.run(theirs.close())


@contextlib.contextmanager
def crowded(stack: Stack, _: Tenant) -> Iterator[None]:
    """A program forgets to give its connections to Postgres back."""

    async def crowd() -> list[Any]:
        found = [await asyncpg.connect(stack.layout.admin_dsn("trunkline"), timeout=PATIENCE)]
        most = int(await found[0].fetchval("SHOW max_connections"))
        while await found[0].fetchval("SELECT count(*) FROM pg_stat_activity WHERE datname <> ''") < 0.85 * most:
            found.append(await asyncpg.connect(stack.layout.admin_dsn("trunkline"), timeout=PATIENCE))
        return found

    with asyncio.Runner() as runner:
        connections = runner.run(crowd())
        try:
            yield
        finally:
            for connection in connections:
                connection.terminate()


@contextlib.contextmanager
def redis_full(stack: Stack, _: Tenant) -> Iterator[None]:
    """Redis was given too little memory, and leave to throw things away: ours, since they expire first."""
    server = redis.Redis.from_url(stack.layout.redis_url)
    before = {name: str(server.config_get(name)[name]) for name in ("maxmemory", "maxmemory-policy")}
    server.config_set("maxmemory-policy", "volatile-ttl")
    server.config_set("maxmemory", server.info("memory")["used_memory"] + 2_000_000)

    def fill() -> None:
        for _ in range(20):
            with contextlib.suppress(redis.RedisError):
                server.set(f"test:filling:{uuid7()}", b"x" * 20_000, ex=20)

    try:
        with _over_and_over(fill, 0.1):
            yield
    finally:
        for name, value in before.items():
            server.config_set(name, value)
        server.close()


def relay_shut_out(service: str) -> Make:
    """Somebody holds the lock of a service's relay, and publishes nothing: a replica whose machine was cut off."""

    @contextlib.contextmanager
    def make(stack: Stack, _: Tenant) -> Iterator[None]:
        async def take(connection: Any) -> None:
            taking = asyncio.create_task(
                connection.execute(
                    "SELECT pg_advisory_lock(hashtext('relay'), hashtext($1))", service, timeout=PATIENCE
                )
            )
            # Who waits in the queue has it before the relay asks again.
            await asyncio.sleep(1)
            await asyncio.to_thread(
                stack.query,
                "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted "
                "AND classid::bigint = hashtext('relay')::bigint & 4294967295 "
                "AND objid::bigint = hashtext($1)::bigint & 4294967295",
                service,
            )
            await taking

        with _connected(stack) as (runner, connection):
            runner.run(take(connection))
            yield

    return make


@contextlib.contextmanager
def rules_may_not_read(stack: Stack, _: Tenant) -> Iterator[None]:
    """A restored backup has lost a grant."""
    stack.query("REVOKE SELECT ON anomaly_engine.call FROM anomaly_engine_ro")
    try:
        yield
    finally:
        stack.query("GRANT SELECT ON anomaly_engine.call TO anomaly_engine_ro")


@contextlib.contextmanager
def old_letters(stack: Stack, _: Tenant) -> Iterator[None]:
    """The dead letters have been waiting for two days."""
    move = "UPDATE brain_distiller.dead_letter SET first_failed_at = first_failed_at {} interval '2 days'"
    stack.query(move.format("-"))
    try:
        yield
    finally:
        stack.query(move.format("+"))


@contextlib.contextmanager
def an_erasure_is_not_answered(stack: Stack, tenant: Tenant) -> Iterator[None]:
    """The other services were told two days ago of somebody to forget, and none has said that it did."""
    erasure = stack.query(
        "INSERT INTO vault_importer.erasure (tenant_id, id, subject_id, state, scope, ground, asked_by, asked_at, "
        "mode, effective_at, told_at, parts) SELECT $1::text::uuid, gen_random_uuid(), gen_random_uuid(), 'told', "
        "'person', 'request', 'desk', at, 'at_once', at, at, 1 FROM (SELECT now() - interval '2 days' AS at) then_ "
        "RETURNING id",
        tenant.id,
    )[0][0]
    try:
        yield
    finally:
        stack.query("DELETE FROM vault_importer.erasure WHERE id = $1", erasure)


@contextlib.contextmanager
def mails_do_not_leave(stack: Stack, tenant: Tenant) -> Iterator[None]:
    """The mail server is away while six messages are due."""
    control.stop_one(stack.layout, "smtp-sink")
    stack.query(
        "INSERT INTO notifier.send (tenant_id, send_id, kind, local_day, channel, recipient, subject_line, text_body, "
        "html_body, state) SELECT $1::text::uuid, gen_random_uuid(), 'pulse', current_date - day, 'email', $2, "
        "'Pulse', 'Nothing', 'Nothing', 'pending' FROM generate_series(1, 6) day",
        tenant.id,
        tenant.owner_email,
    )
    try:
        yield
    finally:
        control.start_one(stack.layout, "smtp-sink")


@contextlib.contextmanager
def another_kafka(stack: Stack, _: Tenant) -> Iterator[None]:
    """The archive's relay has published into another cluster than the one that is there."""
    ((known,),) = stack.query("SELECT kafka_cluster FROM vault_importer.relay_position")
    change = "UPDATE vault_importer.relay_position SET kafka_cluster = $1"
    stack.query(change, "another")
    try:
        yield
    finally:
        stack.query(change, known)


CONSUMERS = frozenset({"ConsumerWithoutMembers", "ConsumerLags", "ConsumerStuck"})
EVENTS = frozenset({"OutboxWaits", "RelayWithoutLeader", "RelayHeldBack"})
INTAKE = frozenset({"JournalNotDraining", "WebhooksWait", "ApiErrorsBurnFast", "WebhooksFailBurnFast"})
AT_ONCE: tuple[tuple[Fault, ...], ...] = (
    (
        Fault(
            name="a service is kept down", make=stopped("anomaly-engine"), alert="ServiceDown",
            labels={"job": "anomaly-engine"},
            also=frozenset({"ConsumerWithoutMembers", "ConsumerLags", "ConsumerStuck"}), with_it=CONSUMERS,
        ),
        Fault(
            name="the staff are locked", make=locked_again_and_again("front_desk.staff", "ACCESS EXCLUSIVE", 0.9, 0.1),
            alert="ApiSlowBurnFast", labels={"service": "front-desk"},
            also=frozenset({"ApiSlowBurnSlow", "QueriesSlowBurnSlow"}),
            with_it=CONSUMERS,
        ),
        Fault(name="strangers knock", make=strangers_knock, alert="WebhooksRefused", labels={"vendor": "generic"}),
    ),
    (
        Fault(
            name="a transaction is left open", make=open_transaction, alert="RelayHeldBack",
            also=frozenset({"PostgresLongTransaction"}), with_it=EVENTS,
        ),
        Fault(name="two take each other's locks", make=deadlocks, alert="PostgresDeadlocks"),
        Fault(name="connections are not given back", make=crowded, alert="PostgresConnectionsHigh"),
        Fault(name="a grant is lost", make=rules_may_not_read, alert="RulesFail"),
        Fault(
            name="the lag exporter is down", make=stopped("lag-exporter"), alert="LagNotMeasured",
            also=frozenset({"ExporterDown"}),
        ),
    ),
    (
        Fault(name="redis is down", make=stopped("redis"), alert="RedisDown", also=frozenset({"CacheHitsLow"})),
        Fault(name="mails do not leave", make=mails_do_not_leave, alert="MailsFail", labels={"channel": "email"}),
        Fault(
            name="kafka is another", make=another_kafka, alert="RelayHalted", labels={"service": "vault-importer"},
            with_it=EVENTS,
        ),
    ),
    (
        Fault(
            # The supervisor asks whether it makes progress, and it cannot answer.
            name="a service is frozen", make=frozen("notifier"), alert="ServiceDown", labels={"job": "notifier"},
            also=frozenset({"ConsumerWithoutMembers"}), with_it=CONSUMERS | EVENTS,
        ),
        Fault(
            name="a relay is shut out", make=relay_shut_out("brain-distiller"), alert="RelayWithoutLeader",
            labels={"service": "brain-distiller"}, with_it=EVENTS,
        ),
        Fault(name="redis is full", make=redis_full, alert="RedisMemoryHigh", also=frozenset({"RedisEvicts"})),
        Fault(
            name="letters lie about", make=old_letters, alert="DeadLettersOld", labels={"consumer": "brain-distiller"},
        ),
        Fault(name="nobody answers an erasure", make=an_erasure_is_not_answered, alert="ErasureNotAnswered"),
    ),
    (
        Fault(
            name="kafka is down", make=stopped("kafka"), alert="KafkaDown", also=frozenset({"OutboxWaits"}),
            with_it=CONSUMERS | EVENTS | {"ServiceDown"}, settle=15,
        ),
    ),
    (
        Fault(
            name="postgres is down", make=stopped("postgres"), alert="PostgresDown",
            also=frozenset({"JournalNotDraining", "SnapshotOld", "ApiErrorsBurnFast", "ApiErrorsBurnSlow",
                            "ComponentFails", "RulesNotEvaluated"}),
            with_it=CONSUMERS | EVENTS | INTAKE, settle=15,
        ),
    ),
    (
        Fault(
            name="every record is poison", make=everything_poisoned, alert="ConsumerHalted", with_it=CONSUMERS,
            mended=False,
        ),
    ),
)  # fmt: skip
"""What does not touch each other is made at once: together they last as long as the slowest."""

SEEN = frozenset(alert for faults in AT_ONCE for fault in faults for alert in (fault.alert, *fault.also)) | {
    "DeadLettersRise", "ImportsFail", "KeysParked", "Watchdog", "WebhooksParked",
}  # fmt: skip
"""Every alert that is made to fire on this stack."""

_PASSES = "it is over before anybody could get up; what it breaks for longer has the alert of what is then broken"
OF_A_KIND: dict[str, frozenset[str] | str] = {
    "kill_service": frozenset({"ServiceDown", "ConsumerWithoutMembers"}),
    "kill_server": frozenset({"KafkaDown", "PostgresDown", "RedisDown", "MailsFail"}),
    "restart_server": frozenset({"KafkaDown", "PostgresDown", "RedisDown"}),
    "crash": "it runs again within seconds; that it repeats is for ServiceRestarts to tell, as promtool sees",
    "crash_in_migration": "a person started it and reads its error; a service that finds an old schema is ServiceDown",
    "pause": frozenset({"ServiceDown", "ConsumerLags"}),
    "storm": "RebalanceStorm needs eleven rebalances in a window that no group manages scaled down; promtool sees it",
    "latency": frozenset({"QueriesSlowBurnSlow"}),
    "slow": frozenset({"QueriesSlowBurnSlow"}),
    "sliced": _PASSES,
    "reset": _PASSES,
    "black_hole": frozenset({"KafkaDown", "PostgresDown", "RedisDown", "MailsFail"}),
    "one_way": frozenset({"KafkaDown", "PostgresDown", "RedisDown", "MailsFail"}),
    "read_transaction": frozenset({"PostgresLongTransaction"}),
    "write_transaction": frozenset({"RelayHeldBack"}),
    "dump": "a dump only reads, and holds nobody up",
    "clock": "no service decides by its own clock what another has to do; the faults' run proves that it does no harm",
    "bad_deploy": frozenset({"ConsumerHalted"}),
    "disk_full": "DiskFilling looks at the disks of the host, which a test must not fill; promtool sees it",
    "restore_postgres": frozenset({"PostgresDown"}),
    "lose_kafka": frozenset({"RelayHalted"}),
}
"""Of each kind of fault that the faults' run makes: the alerts that tell of it, seen to fire here, or why none does."""

_LOSS = "it tells of a loss, a repetition or a bug that other tests prove does not happen under any fault of the suite"
_OFTEN = "it counts to more in a window than happens while the window is scaled down to seconds"
_LONG = "it tells of something that a fault ends before it is long enough, also scaled down"
UNSEEN: dict[str, str] = {
    **dict.fromkeys(("JournalCorrupt", "RecordsMissed", "RingAnswerConflicts", "SendOutcomeUnknown"), _LOSS),
    **dict.fromkeys(("CommitsRefused", "RebalanceStorm", "RelayFails", "ServiceRestarts",
                     "ViewDrifts"), _OFTEN),
    **dict.fromkeys(("ConsumerPaused", "MailsWait", "QueriesSlowBurnFast", "ReplayFails", "ReplayStuck",
                     "WebhooksWait"), _LONG),
    **dict.fromkeys(("DiskFilling", "RingUnrecorded", "WebhooksFailBurnFast", "WebhooksFailBurnSlow"),
                    "it takes a disk that is full, and that is the host's"),
    **dict.fromkeys(("CallsStuck", "MissedCallersWait", "OutboundUnknown", "RecordingsWait", "VendorBreakerOpen"),
                    "it tells of people and vendors that do nothing for long, not of a fault of ours"),
    "RecordingsDamaged": "it tells of a store that gives back other bytes; its tests change a file by hand",
    "RingAnswersSlow": "the router answers in time whatever is down; only a machine that is too busy raises it",
}  # fmt: skip
"""Every other alert, which promtool alone sees fire, and why."""
