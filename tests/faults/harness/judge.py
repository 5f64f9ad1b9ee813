"""From the ledger and from what the outside world saw to verdicts. Our own tables are read only where an invariant is
about them: outboxes (I5), outcomes behind offsets (I7), dead letters and the audit log."""

from __future__ import annotations

import asyncio
import contextlib
import email.policy
import json
import math
import time
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from email.parser import BytesHeaderParser
from pathlib import Path
from typing import Any

import asyncpg
from confluent_kafka import KafkaException
from tests.faults.harness import checks
from tests.faults.harness.checks import Violation
from tests.faults.harness.doubt import Standing
from tests.faults.harness.faults import Context
from tests.faults.harness.groups import Groups, owner_of
from tests.faults.harness.ledger import Ledger, Operation
from tests.faults.harness.load import ENDS
from tests.faults.harness.outside import Seen, Tail
from tests.faults.harness.stack import FaultStack

from kit.ids import name_uuid
from kit.postgres import SERVER_AWAY
from trunkline.demo.world import CommandFailed, command
from trunkline.stack.layout import SERVICES

__all__ = ["HEAL_SECONDS", "TOO_MUCH", "Figures", "Index", "Judge", "Unanswered", "pending_of"]

HEAL_SECONDS = 60.0
MOMENT = 15.0
"""What the last inputs may take after the limit, when their senders were not done before."""
TOO_MUCH = 0.25
"""The share of inputs, events or outcomes that may be in doubt; beyond it a run says nothing."""
PENDING = """
SELECT count(*) FROM {schema}.outbox o, {schema}.relay_position p
WHERE (o.epoch, o.xid, o.seq) > (p.epoch, p.xid, p.seq)
"""
OUTCOMES = """
SELECT e.event_id FROM unnest($2::uuid[], $3::text[]) AS e (tenant_id, event_id)
WHERE EXISTS (SELECT FROM {schema}.inbox i WHERE i.tenant_id = e.tenant_id AND i.consumer = $1
              AND i.replay_id = '' AND i.event_id = e.event_id)
"""
UNSENT = "SELECT recipient FROM notifier.send WHERE state IN ('pending', 'sending')"
KEPT = "SELECT id FROM {schema}.outbox WHERE id = ANY ($1::uuid[])"
LETTERS = 'SELECT topic, partition, "offset", event_id FROM {schema}.dead_letter WHERE consumer = $1'
UNPROCESSED = "SELECT count(*) FROM telephony_router.intake WHERE processed_at IS NULL AND parked IS NULL"
AT_ONCE = 10_000
CALM = 4
"""So many looks in a row find nothing to do."""
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
    """Inputs that were under way when a restore took back what had come of them."""
    forgotten: int = 0
    """Events of transactions that a restore took back."""
    passed: int = 0
    """Pairs of a record and a consumer that were looked at for I7, and how many a restore had taken back."""
    passed_in_doubt: int = 0
    records: int = 0
    repeated: int = 0
    mails: int = 0
    mails_unknown: int = 0
    poison: int = 0
    probes: int = 0
    probes_that_saw: int = 0

    @property
    def in_doubt(self) -> float:
        """The largest share of anything that was not judged, because a restore took it back."""
        inputs = sum(self.acknowledged.values()) + self.doubted
        shares = [(self.doubted, inputs), (self.forgotten, self.records), (self.passed_in_doubt, self.passed)]
        return max(part / max(whole, 1) for part, whole in shares)


class Unanswered(Exception):
    """What would have to be known was not told; the message says by whom."""


class Judge:
    def __init__(self, stack: FaultStack, ledger: Ledger, groups: Groups, context: Context, tail: Tail) -> None:
        self._stack = stack
        self._groups = groups
        self._ledger = ledger
        self.doubts = context.doubts
        self._losses = context.losses
        self._tail = tail
        self.figures = Figures()
        self._index = Index()
        self._without: set[tuple[str, str]] = set()
        self.forgotten: frozenset[str] = frozenset()

    def in_doubt(self, operation: Operation) -> bool:
        """Whether a restore may have taken back what was acknowledged."""
        settled_at = operation.settled_at if operation.acknowledged else math.inf
        return any(doubt.touches(operation.first_at, settled_at) for doubt in self.doubts)

    async def standing(self) -> Standing:
        """How far everybody is now."""
        epoch = self._tail.epoch
        committed = await asyncio.to_thread(self._groups.everywhere)
        connection = await self._stack.admin()
        try:
            unsent = frozenset(str(row["recipient"]) for row in await connection.fetch(UNSENT))
        finally:
            await connection.close()
        return Standing(epoch, committed, unsent)

    async def ends(self) -> dict[tuple[str, int], int]:
        return {place: end for place, (_, end) in (await asyncio.to_thread(self._groups.bounds)).items()}

    async def tail_is_there(self) -> bool:
        """Whether the tail has seen all that lies in the topics now."""
        return self._tail.has_reached(await asyncio.to_thread(self._groups.bounds))

    async def forget(self, seen: Sequence[Seen]) -> list[Violation]:
        """Find the events of transactions that a restore took back: seen in its window, and in no outbox now."""
        firsts = _first_of_each_event(seen)
        suspects = [e.event_id for e in firsts if e.entity and any(d.may_have_forgotten(e.at) for d in self.doubts)]
        kept: set[str] = set()
        if suspects:
            connection = await self._stack.admin()
            try:
                for service in SERVICES:
                    rows = await connection.fetch(KEPT.format(schema=service.package), suspects)
                    kept |= {str(row["id"]) for row in rows}
            finally:
                await connection.close()
        self.forgotten = frozenset(suspects) - kept
        self.figures.forgotten = len(self.forgotten)
        return []

    def outside(self, seen: Sequence[Seen]) -> list[Violation]:
        """I1, I2, I3 and I6, from the topics alone. What a restore made forgotten is as if it had never been."""
        self.figures.records = len(seen)
        certain = [each for each in seen if each.event_id not in self.forgotten]
        firsts = _first_of_each_event(certain)
        self.figures.repeated = sum(1 for each in certain if each.event_id) - len(firsts)
        return [
            *self._calls([each for each in firsts if each.entity]),
            *self._imports([each for each in firsts if each.entity]),
            *checks.effects_once(Counter(each.effect for each in firsts if each.entity)),
            *checks.order_per_key(certain),
        ]

    def _sure(self, operations: Iterable[Operation]) -> list[Operation]:
        """Acknowledged, and not taken back by a fault's design."""
        sure = []
        for operation in operations:
            if not operation.acknowledged:
                self.figures.unknown[operation.kind] += 1
            elif self.in_doubt(operation):
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
        arrived = _mails_by_recipient(self._stack.layout.mails)
        self.figures.mails = arrived.total()
        states: dict[str, tuple[int, str]] = {}
        for each in seen:
            if each.topic == "notification.state" and each.event_id not in self.forgotten:
                states[each.fields["recipient"]] = max(
                    states.get(each.fields["recipient"], (0, "")), (each.version, each.fields["state"])
                )
        mails = self._ledger.of("mail")
        # A business that a restore forgot has nobody to write to.
        homeless = {operation.key for operation in self._ledger.of("tenant") if self.in_doubt(operation)}
        lost = {o.key for o in mails if o.key.partition("@")[2].removesuffix(".example") in homeless}
        wanted, ends = {}, {}
        for operation in self._sure(o for o in mails if o.key not in lost):
            _, state = states.get(operation.key, (0, ""))
            self.figures.mails_unknown += state == "unknown"
            wanted[operation.key] = {"sent with a mail", "unknown", "unknown with a mail"}
            if state in ("sent", "failed", "unknown", "suppressed"):
                ends[operation.key] = state + (" with a mail" if arrived[operation.key] else "")
        self.figures.doubted += len(lost)
        # What had not left when the window began may have left within it, and again after it.
        again = lost.union((o.key for o in mails if self.in_doubt(o)), *(d.standing.unsent for d in self.doubts))
        once = {f"mail to {to}": count for to, count in arrived.items() if to not in again}
        asked = {operation.key for operation in mails}
        return [*checks.all_done(wanted, ends), *checks.effects_once(once), *checks.conserved(asked, set(arrived), {})]

    async def poison(self) -> list[Violation]:
        """I6: every record that nobody can read is a dead letter of each of its consumers, byte for byte."""
        wanted: dict[str, str] = {}
        places: dict[str, str] = {}
        sent = [operation for operation in self._ledger.of("poison") if operation.acknowledged]
        for operation in sent:
            value = operation.value
            topic, partition, offset = str(value["topic"]), int(value["partition"]), int(value["offset"])
            epoch = sum(loss.at < operation.settled_at for loss in self._losses)
            for group in self._groups.readers(topic):
                if self._poison_is_gone(group, epoch, topic, partition, offset):
                    continue
                # In another Kafka another record may lie at the same place: each is named by its own key as well.
                name = f"{group} {topic}[{partition}]@{offset} {operation.key}"
                wanted[name], places[name] = str(value["digest"]), f"{group} {topic}[{partition}]@{offset}"
        self.figures.poison = len(sent)
        kept: dict[str, set[str]] = defaultdict(set)
        connection = await self._stack.admin()
        try:
            for service in SERVICES:
                rows = await connection.fetch(
                    "SELECT consumer, topic, partition, \"offset\", encode(sha256(value), 'hex') AS digest "
                    f"FROM {service.package}.dead_letter WHERE value IS NOT NULL"
                )
                for row in rows:
                    kept[f"{row['consumer']} {row['topic']}[{row['partition']}]@{row['offset']}"].add(row["digest"])
        finally:
            await connection.close()
        found = {name: _this_or_any(wanted[name], kept[place]) for name, place in places.items() if kept[place]}
        return checks.same_bytes(wanted, found)

    def _poison_is_gone(self, group: str, epoch: int, topic: str, partition: int, offset: int) -> bool:
        """Nobody had read it when its Kafka lost it, or its letter was written in a window that was taken back."""
        if any(doubt.took_back(group, epoch, topic, partition, offset) for doubt in self.doubts):
            return True
        return any(
            loss.standing.epoch == epoch and loss.standing.is_behind(group, topic, partition, offset)
            for loss in self._losses
        )

    async def offsets(self, seen: Sequence[Seen], epoch: int) -> list[Violation]:
        """I7, for everything that was committed past since it was last looked at."""
        doubts = [doubt for doubt in self.doubts if not doubt.open]
        if len(doubts) < len(self.doubts):
            return []
        committed = await asyncio.to_thread(self._groups.everywhere)
        passed = await asyncio.to_thread(self._index.passed, seen, epoch, committed, self._groups.readers)
        judged = [
            (g, s) for g, s in passed
            if not any(d.took_back(g, s.epoch, s.topic, s.partition, s.offset) for d in doubts)
        ]  # fmt: skip
        outcomes = await self._outcomes(judged)
        if len(self.doubts) > len(doubts) or self._tail.epoch != epoch:
            # A restore came between the question and the answer: all of this is asked again.
            return []
        self._index.verified(passed)
        self.figures.passed += len(passed)
        self.figures.passed_in_doubt += len(passed) - len(judged)
        without = {(group, place_of(each)) for group, each in judged} - outcomes
        self._without |= without
        return checks.offsets_behind_outcomes(sorted(self._without), ())

    async def _outcomes(self, passed: Sequence[tuple[str, Seen]]) -> set[tuple[str, str]]:
        """Which of these have an inbox row or a dead letter."""
        outcomes: set[tuple[str, str]] = set()
        by_group: dict[str, list[Seen]] = defaultdict(list)
        for group, each in passed:
            by_group[group].append(each)
        connection = await self._stack.admin()
        try:
            for group, mine in by_group.items():
                schema, handled = owner_of(group).package, set()
                for start in range(0, len(mine), AT_ONCE):
                    some = mine[start : start + AT_ONCE]
                    known = await connection.fetch(
                        OUTCOMES.format(schema=schema), group, [m.tenant for m in some], [m.event_id for m in some]
                    )
                    handled |= {row["event_id"] for row in known}
                letters = await connection.fetch(LETTERS.format(schema=schema), group)
                parked = {(row["topic"], row["partition"], row["offset"], row["event_id"]) for row in letters}
                outcomes |= {
                    (group, place_of(m))
                    for m in mine
                    if m.event_id in handled or (m.topic, m.partition, m.offset, m.event_id) in parked
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

    async def settled(self, since: float, within: float, inputs_ended: asyncio.Event) -> tuple[float, list[Violation]]:
        """I5 and I9: wait until outboxes are empty, nobody is behind and nothing waits; how long after ``since``
        (monotonic) that was, and what is left. What comes in while senders finish has a moment of its own.

        What is handled makes more to do: at rest is what is found at rest several times, with no record more.
        """
        ended, calm, records = math.inf, 0, -1
        while True:
            if inputs_ended.is_set():
                ended = min(ended, time.monotonic())
            waiting, pending, lag = await self._waiting(), await self._pending(), await self._lag()
            now, limit = time.monotonic(), max(since + within, ended + MOMENT)
            if waiting is None or pending is None or lag is None:
                if now > limit + within:
                    raise Unanswered("a server did not answer how far everybody is")
                calm = 0
            else:
                quiet = not any((*waiting.values(), *pending.values(), *lag.values()))
                calm = calm + 1 if quiet and records == len(self._tail.seen) and ended < math.inf else 0
                if calm >= CALM:
                    return now - since, []
                if now > limit and not quiet:
                    behind = checks.live({**waiting, **lag}, (), within=within)
                    return now - since, [*checks.drained(pending, within=within), *behind]
            records = len(self._tail.seen)
            await asyncio.sleep(0.5)

    async def _waiting(self) -> dict[str, int] | None:
        """What was taken and is not worked off, where no offset and no outbox tells of it; nothing if Postgres does
        not answer. The same of the next two."""
        with contextlib.suppress(*SERVER_AWAY, asyncpg.PostgresError):
            connection = await self._stack.admin()
            try:
                mails, webhooks = len(await connection.fetch(UNSENT)), int(await connection.fetchval(UNPROCESSED))
            finally:
                await connection.close()
            return {
                "mails not sent": mails,
                "webhooks not processed": webhooks,
                "journals not drained": self._journals(),
            }
        return None

    async def _pending(self) -> dict[str, int] | None:
        with contextlib.suppress(*SERVER_AWAY, asyncpg.PostgresError):
            return await pending_of(self._stack)
        return None

    async def _lag(self) -> dict[str, int] | None:
        with contextlib.suppress(KafkaException, TimeoutError):
            return await asyncio.to_thread(self._groups.lag)
        return None

    def _journals(self) -> int:
        return sum(path.stat().st_size > 0 for path in (self._stack.layout.run_dir / "router" / "journal").glob("*"))

    async def caught_up(self) -> bool:
        """Whether nobody has more to do than what came within the last moments."""
        waiting, pending, lag = await self._waiting(), await self._pending(), await self._lag()
        if waiting is None or pending is None or lag is None:
            return False
        few = waiting["mails not sent"] <= FEW and not waiting["journals not drained"]
        return few and all(count <= MANY for count in (*pending.values(), *lag.values()))


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


def place_of(each: Seen) -> str:
    """Where it lies, and what: another Kafka may have another record at the same place."""
    return f"{each.topic}[{each.partition}]@{each.offset} {each.event_id}"


def _this_or_any(wanted: str, found: set[str]) -> str:
    return wanted if wanted in found else min(found)


def _mails_by_recipient(folder: Path) -> Counter[str]:
    """What arrived, from the mail server's own files: asking it for a list of thousands takes minutes."""
    parser = BytesHeaderParser(policy=email.policy.default)
    arrived: Counter[str] = Counter()
    for path in folder.glob("*.eml"):
        with path.open("rb") as file:
            arrived[str(parser.parse(file)["to"])] += 1
    return arrived


class Index:
    """The records of one Kafka by place, and how far each group's outcomes were verified. It grows by what is new."""

    def __init__(self) -> None:
        self._read = 0
        self._epoch = 0
        self._places: dict[tuple[str, int], list[Seen]] = defaultdict(list)
        self._verified: dict[tuple[str, str, int], int] = {}

    def passed(
        self, seen: Sequence[Seen], epoch: int, committed: Mapping[tuple[str, str, int], int],
        readers: Callable[[str], Iterable[str]],
    ) -> list[tuple[str, Seen]]:  # fmt: skip
        """What each group has committed past, and was not verified yet."""
        if epoch != self._epoch:
            self._epoch = epoch
            self._places.clear()
            self._verified.clear()
        while self._read < len(seen) and seen[self._read].epoch <= epoch:
            each = seen[self._read]
            if each.epoch == epoch:
                self._places[each.topic, each.partition].append(each)
            self._read += 1
        found = []
        for (topic, partition), records in self._places.items():
            for group in readers(topic):
                offset = committed.get((group, topic, partition), 0)
                for number in range(self._verified.get((group, topic, partition), 0), len(records)):
                    if records[number].offset >= offset:
                        break
                    if records[number].event_id:
                        found.append((group, records[number]))
        return found

    def verified(self, passed: Iterable[tuple[str, Seen]]) -> None:
        """These need not be looked at again."""
        newest: dict[tuple[str, str, int], int] = {}
        for group, each in passed:
            newest[group, each.topic, each.partition] = each.offset
        for (group, topic, partition), offset in newest.items():
            records = self._places[topic, partition]
            self._verified[group, topic, partition] = bisect_right(records, offset, key=lambda each: each.offset)


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
