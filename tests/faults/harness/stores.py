"""Our own tables, as far as an invariant is about them: read past the proxies, by a superuser, and never written."""

from __future__ import annotations

import asyncio
import email.policy
import json
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from email.parser import BytesHeaderParser
from typing import Any

import httpx
from tests.faults.harness.groups import owner_of
from tests.faults.harness.stack import FaultStack

from trunkline.demo.world import CommandFailed, command
from trunkline.stack.layout import SERVICES

__all__ = ["PROJECTIONS", "Letter", "Projection", "Stores"]

AT_ONCE = 10_000
PENDING = """
SELECT count(*) FROM {schema}.outbox o, {schema}.relay_position p
WHERE (o.epoch, o.xid, o.seq) > (p.epoch, p.xid, p.seq)
"""
LETTERS = """
SELECT consumer, topic, partition, "offset", event_id, value, state FROM {schema}.dead_letter
"""
CLAIMED = """
SELECT e.event_id FROM unnest($2::uuid[], $3::text[]) AS e (tenant_id, event_id)
WHERE EXISTS (SELECT FROM {schema}.inbox i WHERE i.tenant_id = e.tenant_id AND i.consumer = $1
              AND i.replay_id = '' AND i.event_id = e.event_id)
"""
INBOX = "SELECT consumer, event_id, extract(epoch FROM seen_at)::float AS at FROM {schema}.inbox WHERE replay_id = ''"
UNSENT = "SELECT recipient FROM notifier.send WHERE state IN ('pending', 'sending')"
UNPROCESSED = "SELECT count(*) FROM telephony_router.intake WHERE processed_at IS NULL AND parked IS NULL"
KEPT = "SELECT id FROM {schema}.outbox WHERE id = ANY ($1::uuid[])"
HEADS = """
SELECT DISTINCT ON (tenant_id) tenant_id, sequence, hash FROM vault_importer.audit_log
ORDER BY tenant_id, sequence DESC
"""
READ = """
SELECT e.source_id, e.quote FROM brain_distiller.evidence e JOIN brain_distiller.fact f USING (tenant_id, fact_id)
WHERE f.key = 'gstin' AND e.withdrawn_at IS NULL
"""


@dataclass(frozen=True, slots=True)
class Projection:
    """What a consumer makes of a topic: each entity with the version and the state that it shows."""

    service: str
    topic: str
    query: str
    says: str = "state"
    """The published field that is the state it shows; empty when it shows that the entity is there, and no more."""

    @property
    def name(self) -> str:
        return f"{self.service} {self.topic}"


PROJECTIONS = (
    Projection(
        "front-desk", "call.inbound",
        "SELECT call_id, 1, coalesce(destinations -> 0 ->> 'number', '') FROM front_desk.board_call "
        "WHERE asked_at IS NOT NULL", says="answer",
    ),
    Projection(
        "front-desk", "call.state",
        "SELECT call_id, state_version, state FROM front_desk.board_call WHERE state_version > 0",
    ),
    Projection("front-desk", "fact.extracted", "SELECT fact_id, version, state FROM front_desk.board_fact"),
    Projection(
        "front-desk", "message.imported", "SELECT message_id, revision, '' FROM front_desk.board_message", says=""
    ),
    Projection(
        "front-desk", "notification.state", "SELECT notification_id, version, state FROM front_desk.board_mail"
    ),
    Projection("front-desk", "anomaly.fired", "SELECT anomaly_id, 1, '' FROM front_desk.board_anomaly", says=""),
    Projection(
        "front-desk", "vault.state",
        "SELECT import_id, CASE state WHEN 'started' THEN 1 ELSE 2 END, state FROM front_desk.board_import",
    ),
    Projection(
        "anomaly-engine", "call.inbound", "SELECT call_id, 1, '' FROM anomaly_engine.call WHERE chosen_by IS NOT NULL",
        says="",
    ),
    Projection(
        "anomaly-engine", "call.state", "SELECT call_id, version, state FROM anomaly_engine.call WHERE version > 0"
    ),
    Projection("anomaly-engine", "fact.extracted", "SELECT fact_id, version, state FROM anomaly_engine.fact"),
    Projection("notifier", "directory.tenant", "SELECT tenant_id::text, version, '' FROM notifier.recipient", says=""),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter that waits or was dropped."""

    consumer: str
    topic: str
    partition: int
    offset: int
    event_id: str
    value: bytes

    @property
    def place(self) -> str:
        return f"{self.topic}[{self.partition}]@{self.offset}"


class Stores:
    """One look at a time, each over a connection of its own: what is looked at is killed in between."""

    def __init__(self, stack: FaultStack) -> None:
        self._stack = stack
        self._declared: set[str] = set()

    @asynccontextmanager
    async def _admin(self) -> AsyncIterator[Any]:
        connection = await self._stack.admin()
        try:
            yield connection
        finally:
            await connection.close()

    async def pending(self) -> dict[str, int]:
        """Events in each service's outbox that its relay has not published."""
        async with self._admin() as connection:
            return {
                service.name: int(await connection.fetchval(PENDING.format(schema=service.package)) or 0)
                for service in SERVICES
            }

    async def unsent(self) -> frozenset[str]:
        """To whom mails are still to be sent."""
        async with self._admin() as connection:
            return frozenset(str(row["recipient"]) for row in await connection.fetch(UNSENT))

    async def waiting(self) -> dict[str, int]:
        """What was taken and is not worked off, where no offset and no outbox tells of it."""
        async with self._admin() as connection:
            webhooks = int(await connection.fetchval(UNPROCESSED))
        journals = (self._stack.layout.run_dir / "router" / "journal").glob("*")
        return {
            "mails not sent": len(await self.unsent()),
            "webhooks not processed": webhooks,
            "journals not drained": sum(path.stat().st_size > 0 for path in journals),
        }

    async def kept(self, events: Sequence[str]) -> set[str]:
        """Which of these are in an outbox."""
        async with self._admin() as connection:
            return {
                str(row["id"])
                for service in SERVICES
                for row in await connection.fetch(KEPT.format(schema=service.package), events)
            }

    async def letters(self) -> list[Letter]:
        async with self._admin() as connection:
            return [
                Letter(row["consumer"], row["topic"], row["partition"], row["offset"], row["event_id"] or "",
                       row["value"] or b"")
                for service in SERVICES
                for row in await connection.fetch(LETTERS.format(schema=service.package))
            ]  # fmt: skip

    async def claimed(self, consumer: str, events: Sequence[tuple[str, str]]) -> set[str]:
        """Which of these events (tenant and id) a consumer has claimed."""
        query, known = CLAIMED.format(schema=owner_of(consumer).package), set()
        async with self._admin() as connection:
            for some in (events[start : start + AT_ONCE] for start in range(0, len(events), AT_ONCE)):
                tenants, ids = zip(*some, strict=True)
                known |= {row["event_id"] for row in await connection.fetch(query, consumer, tenants, ids)}
        return known

    async def taken(self) -> dict[tuple[str, str], float]:
        """When each consumer claimed each event, by the database's clock."""
        async with self._admin() as connection:
            return {
                (row["consumer"], row["event_id"]): row["at"]
                for service in SERVICES
                for row in await connection.fetch(INBOX.format(schema=service.package))
            }

    async def shown(self, projection: Projection) -> dict[str, tuple[int, str]]:
        async with self._admin() as connection:
            return {entity: (version, state) for entity, version, state in await connection.fetch(projection.query)}

    async def read_gstins(self) -> list[tuple[str, str]]:
        """Every place where brain-distiller has read a tax number: the message and the words."""
        async with self._admin() as connection:
            return [(row["source_id"], row["quote"]) for row in await connection.fetch(READ)]

    async def audit_log(self) -> list[Mapping[str, Any]]:
        async with self._admin() as connection:
            return list(await connection.fetch("SELECT * FROM vault_importer.audit_log ORDER BY tenant_id, sequence"))

    async def heads(self) -> dict[str, tuple[int, str]]:
        """The newest audit record of each tenant: its number and its hash."""
        async with self._admin() as connection:
            return {
                str(row["tenant_id"]): (row["sequence"], row["hash"].hex()) for row in await connection.fetch(HEADS)
            }

    async def verified(self, tenant: str) -> int | str:
        """How many records the vault's own command verifies, or what it says against it."""
        try:
            verdict = await asyncio.to_thread(command, self._stack.addresses, "vault", "verify", "--tenant", tenant)
        except CommandFailed as error:
            return str(error)
        return int(verdict["records"])

    def mails(self) -> Counter[str]:
        """What arrived, from the mail server's own files: asking it for a list of thousands takes minutes."""
        parser = BytesHeaderParser(policy=email.policy.default)
        arrived: Counter[str] = Counter()
        for path in self._stack.layout.mails.glob("*.eml"):
            with path.open("rb") as file:
                arrived[str(parser.parse(file)["to"])] += 1
        return arrived

    def declared(self) -> set[str]:
        """Calls that the router says it answered without a record. Logs rotate: what was once read is kept."""
        for path in self._stack.layout.logs.glob("telephony-router.log*"):
            for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
                if '"ring_answered_unrecorded"' in line:
                    try:
                        self._declared.add(str(json.loads(line)["call_id"]))
                    except (ValueError, KeyError):
                        continue
        return set(self._declared)

    async def retry_letters(self, consumers: Sequence[str]) -> int:
        """What an operator does after a fault: have every dead letter of these consumers tried again."""
        asked = 0
        headers = {"Authorization": f"Bearer {self._stack.addresses.admin_token}", "X-Operator": "fault-harness"}
        async with httpx.AsyncClient(timeout=30, headers=headers) as client:
            for consumer in consumers:
                url = f"{self._stack.layout.url(owner_of(consumer).name)}/v1/dead-letters/retry"
                answer = await client.post(url, json={"consumer": consumer, "why": "the fault is mended"})
                answer.raise_for_status()
                asked += int(answer.json()["asked"])
        return asked
