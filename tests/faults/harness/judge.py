"""From the ledger and from what the outside world saw to verdicts. Our own tables are read only where an invariant is
about them: outboxes (I5), outcomes behind offsets (I7), dead letters and the audit log."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import httpx
from confluent_kafka import KafkaException
from tests.faults.harness import checks
from tests.faults.harness.checks import Violation
from tests.faults.harness.faults import Context
from tests.faults.harness.groups import Groups, owner_of
from tests.faults.harness.ledger import Ledger, Operation
from tests.faults.harness.load import ENDS
from tests.faults.harness.outside import Seen
from tests.faults.harness.stack import FaultStack

from kit.ids import name_uuid
from kit.postgres import SERVER_AWAY
from trunkline.demo.world import CommandFailed, command
from trunkline.stack.layout import SERVICES

__all__ = ["HEAL_SECONDS", "Figures", "Judge", "pending_of"]

HEAL_SECONDS = 60.0
BEFORE, AFTER = 12.0, 6.0
"""How much wider a window of doubt is taken: what was acknowledged just before may still have been on its way."""
UNREAD = 40.0
"""A record of an outsider's may be unread for so long when Kafka's data is lost; no outbox brings it back."""
PENDING = """
SELECT count(*) FROM {schema}.outbox o, {schema}.relay_position p
WHERE (o.epoch, o.xid, o.seq) > (p.epoch, p.xid, p.seq)
"""
OUTCOMES = """
SELECT e.event_id FROM unnest($2::uuid[], $3::text[]) AS e (tenant_id, event_id)
WHERE EXISTS (SELECT FROM {schema}.inbox i WHERE i.tenant_id = e.tenant_id AND i.consumer = $1
              AND i.replay_id = '' AND i.event_id = e.event_id)
"""
UNSENT = "SELECT count(*) FROM notifier.send WHERE state IN ('pending', 'sending')"
FEW, MANY = 2, 60
"""Mails and records that come within a moment."""


@dataclass
class Figures:
    """What a run came to, in numbers."""

    acknowledged: Counter[str] = field(default_factory=Counter)
    unknown: Counter[str] = field(default_factory=Counter)
    """Never acknowledged: whether they were taken, only the outside world tells."""
    taken_after_all: Counter[str] = field(default_factory=Counter)
    unrecorded: int = 0
    """Rings that the router answered in time and said itself that it had no record of them by then."""
    told_otherwise: int = 0
    """Rings whose PBX asked again and was told something else: the router had restarted and Postgres was away."""
    doubted: int = 0
    records: int = 0
    repeated: int = 0
    mails: int = 0
    mails_unknown: int = 0
    poison: int = 0
    probes: int = 0


class Judge:
    def __init__(self, stack: FaultStack, ledger: Ledger, groups: Groups, context: Context) -> None:
        self._stack = stack
        self._groups = groups
        self._ledger = ledger
        self._doubts = context.doubts
        self._losses = context.losses
        self.figures = Figures()
        self._verified: set[tuple[str, int, str, int, int]] = set()

    def in_doubt(self, at: float) -> bool:
        return any(doubt.begin - BEFORE <= at <= doubt.end + AFTER for doubt in self._doubts)

    def outside(self, seen: Sequence[Seen]) -> list[Violation]:
        """I1, I2, I3 and I6, from the topics alone."""
        self.figures.records = len(seen)
        firsts = _first_of_each_event(seen)
        self.figures.repeated = sum(1 for each in seen if each.event_id) - len(firsts)
        doubtful = {each.entity for each in seen if self.in_doubt(each.at)}
        certain = [each for each in seen if each.entity not in doubtful]
        effects = Counter(each.effect for each in firsts if each.entity and each.entity not in doubtful)
        return [
            *self._calls([each for each in firsts if each.entity]),
            *self._imports([each for each in firsts if each.entity]),
            *checks.effects_once(effects),
            *checks.order_per_key(certain),
        ]

    def _sure(self, operations: Iterable[Operation]) -> list[Operation]:
        """Acknowledged, and not taken back by a fault's design."""
        sure = []
        for operation in operations:
            if not operation.acknowledged:
                self.figures.unknown[operation.kind] += 1
            elif self.in_doubt(operation.settled_at):
                self.figures.doubted += 1
            else:
                self.figures.acknowledged[operation.kind] += 1
                sure.append(operation)
        return sure

    def _calls(self, firsts: Sequence[Seen]) -> list[Violation]:
        rings = {s.fields["vendor_call_id"]: s for s in firsts if s.topic == "call.inbound"}
        states: dict[str, str] = {}
        newest: dict[str, int] = defaultdict(int)
        for each in firsts:
            if each.topic == "call.state" and each.version > newest[each.fields["vendor_call_id"]]:
                newest[each.fields["vendor_call_id"]] = each.version
                states[each.fields["vendor_call_id"]] = each.fields["state"]
        asked, told = self._ledger.of("ring"), self._ledger.of("status")
        wanted: dict[str, set[str]] = {}
        ends: dict[str, str] = {}
        declared = declared_unrecorded(self._stack)
        for operation in self._sure(asked):
            call = operation.value["call"]
            if _call_id(operation) in declared:
                self.figures.unrecorded += 1
                continue
            wanted[operation.key] = {"answered as told"}
            if call in rings:
                answers = operation.value["answers"]
                self.figures.told_otherwise += len(set(answers)) > 1
                same = rings[call].fields.get("answer") in answers
                ends[operation.key] = "answered as told" if same else "answered otherwise"
        known = {operation.key for operation in told}
        for operation in self._sure(told):
            call, _, status = operation.key.partition("/")
            wanted[operation.key] = _right_ends(call, status, known)
            if call in states:
                ends[operation.key] = states[call]
        done = {call for call in rings if not call.startswith("warm-up")}
        for operation in asked:
            taken = not operation.acknowledged and operation.value["call"] in done
            self.figures.taken_after_all["ring"] += taken
        return [
            *checks.all_done(wanted, ends),
            *checks.conserved({operation.value["call"] for operation in asked}, done, {}),
        ]

    def _imports(self, firsts: Sequence[Seen]) -> list[Violation]:
        messages: dict[str, set[str]] = defaultdict(set)
        for each in firsts:
            if each.topic == "message.imported":
                messages[each.fields["account_id"]].add(each.fields["message_id"])
        asked = self._ledger.of("import")
        sure = self._sure(asked)
        wanted = {operation.key: {"completed"} for operation in sure}
        ends = {o.key: "completed" for o in sure if messages[o.value["account"]]}
        counted = {o.key: (int(o.value["messages"]), len(messages[o.value["account"]])) for o in sure}
        return [
            *checks.all_done(wanted, ends),
            *checks.conserved({o.value["account"] for o in asked}, set(messages), counted),
        ]

    def mails(self, seen: Sequence[Seen]) -> list[Violation]:
        """I1 and I2 of mails: one cause, one terminal state, at most one mail at the server; unknown is told apart."""
        listed = httpx.get(f"{self._stack.addresses.mail}/api/mails", timeout=60).json()["mails"]
        arrived = Counter(str(mail["to"]) for mail in listed)
        self.figures.mails = len(listed)
        states: dict[str, tuple[int, str]] = {}
        for each in seen:
            if each.topic == "notification.state":
                states[each.fields["recipient"]] = max(
                    states.get(each.fields["recipient"], (0, "")), (each.version, each.fields["state"])
                )
        wanted, ends = {}, {}
        for operation in self._sure(self._ledger.of("mail")):
            _, state = states.get(operation.key, (0, ""))
            self.figures.mails_unknown += state == "unknown"
            wanted[operation.key] = {"sent with a mail", "unknown", "unknown with a mail"}
            if state in ("sent", "failed", "unknown", "suppressed"):
                ends[operation.key] = state + (" with a mail" if arrived[operation.key] else "")
        asked = {operation.key for operation in self._ledger.of("mail")}
        doubted = {o.key for o in self._ledger.of("mail") if self.in_doubt(o.settled_at)}
        once = {f"mail to {to}": count for to, count in arrived.items() if to not in doubted}
        return [*checks.all_done(wanted, ends), *checks.effects_once(once), *checks.conserved(asked, set(arrived), {})]

    async def poison(self) -> list[Violation]:
        """I6: every record that nobody can read is a dead letter of each of its consumers, byte for byte."""
        sent = [
            o
            for o in self._ledger.of("poison")
            if o.acknowledged
            and not self.in_doubt(o.settled_at)
            and not any(loss - UNREAD <= o.settled_at <= loss for loss in self._losses)
        ]
        self.figures.poison = len(sent)
        wanted = {
            f"{group} {o.value['topic']}[{o.value['partition']}]@{o.value['offset']}": str(o.value["digest"])
            for o in sent
            for group in self._groups.readers(str(o.value["topic"]))
        }
        kept: dict[str, str] = {}
        connection = await self._stack.admin()
        try:
            for service in SERVICES:
                rows = await connection.fetch(
                    "SELECT consumer, topic, partition, \"offset\", encode(sha256(value), 'hex') AS digest "
                    f"FROM {service.package}.dead_letter WHERE value IS NOT NULL"
                )
                for row in rows:
                    kept[f"{row['consumer']} {row['topic']}[{row['partition']}]@{row['offset']}"] = row["digest"]
        finally:
            await connection.close()
        return checks.same_bytes(wanted, kept)

    async def offsets(self, seen: Sequence[Seen], epoch: int) -> list[Violation]:
        """I7, for everything that was committed past since it was last looked at."""
        groups = self._groups
        committed = {group: await asyncio.to_thread(groups.committed, group) for group in groups.topics}
        passed: list[tuple[str, Seen]] = []
        for each in seen:
            if each.epoch != epoch or not each.event_id or self.in_doubt(each.at):
                continue
            for group in groups.readers(each.topic):
                place = (group, each.epoch, each.topic, each.partition, each.offset)
                if place not in self._verified and each.offset < committed[group].get((each.topic, each.partition), 0):
                    passed.append((group, each))
        outcomes = await self._outcomes(passed)
        violations = checks.offsets_behind_outcomes(((group, _place(each)) for group, each in passed), outcomes)
        if not violations:
            self._verified |= {(g, each.epoch, each.topic, each.partition, each.offset) for g, each in passed}
        return violations

    async def _outcomes(self, passed: Sequence[tuple[str, Seen]]) -> set[tuple[str, str]]:
        """Which of these have an inbox row or a dead letter."""
        outcomes: set[tuple[str, str]] = set()
        connection = await self._stack.admin()
        try:
            for group in {group for group, _ in passed}:
                schema = owner_of(group).package
                mine = [each for g, each in passed if g == group]
                known = await connection.fetch(
                    OUTCOMES.format(schema=schema), group, [m.tenant for m in mine], [m.event_id for m in mine]
                )
                handled = {row["event_id"] for row in known}
                letters = await connection.fetch(f'SELECT topic, partition, "offset" FROM {schema}.dead_letter')
                parked = {(row["topic"], row["partition"], row["offset"]) for row in letters}
                outcomes |= {
                    (group, _place(m))
                    for m in mine
                    if m.event_id in handled or (m.topic, m.partition, m.offset) in parked
                }
        finally:
            await connection.close()
        return outcomes

    async def audit(self) -> list[Violation]:
        """I4, by the vault's own command and by a recomputation of ours."""
        connection = await self._stack.admin()
        try:
            rows = await connection.fetch("SELECT * FROM vault_importer.audit_log ORDER BY tenant_id, sequence")
        finally:
            await connection.close()
        by_tenant: dict[str, list[Any]] = defaultdict(list)
        for row in rows:
            by_tenant[str(row["tenant_id"])].append(row)
        violations: list[Violation] = []
        for tenant, records in by_tenant.items():
            violations += checks.audit_chain(records)
            try:
                verdict = await asyncio.to_thread(command, self._stack.addresses, "vault", "verify", "--tenant", tenant)
            except CommandFailed as error:
                violations.append(Violation("I4 audit chain", f"vault verify: {error}", 1, (tenant,)))
            else:
                counted = {f"audit records of {tenant}": (len(records), int(verdict["records"]))}
                violations += checks.conserved((), (), counted)
        return violations

    async def settled(self, within: float = HEAL_SECONDS) -> tuple[float, list[Violation]]:
        """I5 and I9: wait until outboxes are empty and nobody is behind; how long that took, and what is left."""
        began = time.monotonic()
        while True:
            pending, lag = await self._unfinished()
            if not any(pending.values()) and not any(lag.values()):
                return time.monotonic() - began, []
            if time.monotonic() - began > within:
                return within, [*checks.drained(pending, within=within), *checks.live(lag, (), within=within)]
            await asyncio.sleep(0.5)

    async def caught_up(self) -> bool:
        """Whether nobody has more to do than what came within the last moments."""
        pending, lag = await self._unfinished()
        mails = FEW + 1
        with contextlib.suppress(*SERVER_AWAY, asyncpg.PostgresError):
            connection = await self._stack.admin()
            try:
                mails = int(await connection.fetchval(UNSENT))
            finally:
                await connection.close()
        return mails <= FEW and all(count <= MANY for count in (*pending.values(), *lag.values()))

    async def _unfinished(self) -> tuple[dict[str, int], dict[str, int]]:
        pending, lag = {"postgres": 1}, {"kafka": 1}
        with contextlib.suppress(*SERVER_AWAY, asyncpg.PostgresError):
            pending = await pending_of(self._stack)
        with contextlib.suppress(KafkaException, TimeoutError):
            lag = await asyncio.to_thread(self._groups.lag)
        return pending, lag


def declared_unrecorded(stack: FaultStack) -> set[str]:
    """Calls that the router says it answered without a record: the caller's deadline goes before everything."""
    found: set[str] = set()
    for path in stack.layout.logs.glob("telephony-router.log*"):
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            if '"ring_answered_unrecorded"' in line:
                with contextlib.suppress(ValueError, KeyError):
                    found.add(str(json.loads(line)["call_id"]))
    return found


def _call_id(operation: Operation) -> str:
    value = operation.value
    return str(name_uuid(value["tenant"], "generic", value["account"], value["call"]))


def _right_ends(call: str, status: str, told: set[str]) -> set[str]:
    """The states that a call may end in, once this status of it was acknowledged."""
    told_ends = {state for word, state in ENDS.items() if f"{call}/{word}" in told}
    if status in ENDS:
        return {ENDS[status]}
    return {"answered", *told_ends} if status == "answered" else {"ringing", "answered", *told_ends}


def _first_of_each_event(seen: Iterable[Seen]) -> list[Seen]:
    firsts: dict[str, Seen] = {}
    for each in seen:
        if each.event_id:
            firsts.setdefault(each.event_id, each)
    return list(firsts.values())


def _place(each: Seen) -> str:
    return f"{each.topic}[{each.partition}]@{each.offset}"


async def pending_of(stack: FaultStack) -> dict[str, int]:
    """Events in each service's outbox that its relay has not published."""
    connection = await stack.admin()
    try:
        return {
            service.name: int(await connection.fetchval(PENDING.format(schema=service.package)) or 0)
            for service in SERVICES
        }
    finally:
        await connection.close()
