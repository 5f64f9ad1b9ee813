"""From the ledger and from what the outside world saw to verdicts. Our own tables are read only where an invariant is
about them: outboxes (I5), outcomes behind offsets (I7), dead letters and the audit log."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import math
import time
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any

import asyncpg
import httpx
from confluent_kafka import KafkaException
from tests.faults.harness import checks, waivers
from tests.faults.harness.checks import Violation
from tests.faults.harness.doubt import Standing
from tests.faults.harness.faults import Context
from tests.faults.harness.groups import Groups
from tests.faults.harness.ledger import Ledger, Operation, read_ledger
from tests.faults.harness.load import ENDS
from tests.faults.harness.outside import Seen, Tail
from tests.faults.harness.stores import Stores
from tests.faults.harness.waivers import Window

from kit.ids import name_uuid
from kit.postgres import SERVER_AWAY

__all__ = ["AWAY", "HEAL_SECONDS", "TOO_MUCH", "Figures", "Index", "Judge", "Unanswered", "first_of_each_event"]

HEAL_SECONDS = 60.0
MOMENT = 15.0
"""What the last inputs may take after the limit, when their senders were not done before."""
TOO_MUCH = 0.25
"""The share of inputs, events or outcomes that may be in doubt; beyond it a run says nothing."""
CALM = 4
"""So many looks in a row find nothing to do."""
FEW, MANY = 2, 60
"""Mails and records that come within a moment."""
NOTED_AFTER = 5.0
"""A look may be noted so long after it was taken: it may belong to a window that began meanwhile."""
KINDS = ("ring", "status", "import", "mail")
AUDITED = {"started": "started", "completed": "completed", "unchanged": "unchanged", "failed": "refused"}
"""The states of an import, and what the audit log calls them."""
AWAY = (*SERVER_AWAY, asyncpg.PostgresError, KafkaException, httpx.HTTPError)


@dataclass
class Figures:
    """What a run came to, in numbers."""

    acknowledged: Counter[str] = field(default_factory=Counter)
    unknown: Counter[str] = field(default_factory=Counter)
    """Never acknowledged: whether they were taken, only the outside world tells."""
    taken_after_all: Counter[str] = field(default_factory=Counter)
    poor: list[str] = field(default_factory=list)
    """Inputs of which too few were acknowledged to say anything."""
    unrecorded: int = 0
    """Rings that the router answered in time and said itself that it had no record of them, and never had."""
    told_otherwise: int = 0
    """Rings whose PBX asked again and was told something else, or was told nothing of what stands: the router had
    restarted and Postgres was away."""
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
    shown: Counter[str] = field(default_factory=Counter)
    """Entities whose last published state was compared with what a consumer shows, by consumer."""
    taken_in_order: int = 0
    """Pairs of an event and a consumer whose order was looked at."""
    facts: int = 0
    """Facts that backups state and that must be known."""
    worked_off: int = 0
    """Dead letters that were tried again after the heal and took effect."""
    heads: int = 0
    """Heads of audit logs that were noted during the run."""
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
    def __init__(self, stores: Stores, ledger: Ledger, groups: Groups, context: Context, tail: Tail) -> None:
        self.stores = stores
        self.groups = groups
        self.ledger = ledger
        self.doubts = context.doubts
        self._losses = context.losses
        self._tail = tail
        self.figures = Figures()
        self._index = Index()
        self._without: set[tuple[str, str]] = set()
        self.forgotten: frozenset[str] = frozenset()
        self.heads: dict[str, dict[int, tuple[str, float]]] = defaultdict(dict)

    @cached_property
    def _windows(self) -> list[Window]:
        """The faults of the run, as the ledger has them; asked for when they are over."""
        return waivers.fault_windows(read_ledger(self.ledger.path))

    def in_doubt(self, operation: Operation) -> bool:
        """Whether a restore may have taken back what was acknowledged."""
        settled_at = operation.settled_at if operation.acknowledged else math.inf
        return any(doubt.touches(operation.first_at, settled_at) for doubt in self.doubts)

    async def standing(self) -> Standing:
        """How far everybody is now."""
        epoch = self._tail.epoch
        committed = await asyncio.to_thread(self.groups.everywhere)
        return Standing(epoch, committed, await self.stores.unsent())

    async def ends(self) -> dict[tuple[str, int], int]:
        return {place: end for place, (_, end) in (await asyncio.to_thread(self.groups.bounds)).items()}

    async def tail_is_there(self) -> bool:
        """Whether the tail has seen all that lies in the topics now."""
        return self._tail.has_reached(await asyncio.to_thread(self.groups.bounds))

    async def forget(self, seen: Sequence[Seen]) -> list[Violation]:
        """Find the events of transactions that a restore took back: seen in its window, and in no outbox now."""
        firsts = first_of_each_event(seen)
        suspects = [e.event_id for e in firsts if e.entity and any(d.may_have_forgotten(e.at) for d in self.doubts)]
        self.forgotten = frozenset(suspects) - (await self.stores.kept(suspects) if suspects else set())
        self.figures.forgotten = len(self.forgotten)
        return []

    def outside(self, seen: Sequence[Seen]) -> list[Violation]:
        """I1, I2, I3 and I6, from the topics alone. What a restore made forgotten is as if it had never been."""
        self.figures.records = len(seen)
        certain = [each for each in seen if each.event_id not in self.forgotten]
        firsts = first_of_each_event(certain)
        self.figures.repeated = sum(1 for each in certain if each.event_id) - len(firsts)
        return [
            *self._calls([each for each in firsts if each.entity]),
            *self._imports([each for each in firsts if each.entity]),
            *self._enough(),
            *checks.effects_once(Counter(each.effect for each in firsts if each.entity)),
            *checks.order_per_key(certain),
            *checks.ascending(_chats(firsts), "a chat's messages lie in a wrong order"),
        ]

    def _enough(self) -> list[Violation]:
        """I9: what is asked for is taken, when nothing is broken."""
        asked = [operation for kind in KINDS for operation in self.ledger.of(kind)]
        violations, self.figures.poor = waivers.acknowledged_enough(asked, self._windows)
        return violations

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
        asked, told = self.ledger.of("ring"), self.ledger.of("status")
        sure = self._sure(asked)
        wanted = {operation.key: {"answered as told"} for operation in sure}
        ends = {o.key: _answer(o, rings[o.value["call"]]) for o in sure if o.value["call"] in rings}
        otherwise = [o for o in sure if len(set(o.value["answers"])) > 1 or _broke_off(o, ends)]
        self.figures.told_otherwise = len(otherwise)
        ends |= {o.key: "answered as told" for o in otherwise if _broke_off(o, ends)}
        declared = self.stores.declared()
        waived = [o for o in sure if ends.get(o.key) != "answered as told" and _call_id(o) in declared]
        self.figures.unrecorded = len(waived)
        self.figures.acknowledged["ring"] -= len(waived)
        for operation in waived:
            del wanted[operation.key]
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
        nowhere = [o.key for o in asked if o.acknowledged and not all(o.value["answers"])]
        return [
            *checks.found("I1 no loss", "a ring was answered without anybody to ring", nowhere),
            *checks.all_done(wanted, ends),
            *waivers.few_told_otherwise(
                [(o.key, o.first_at, o.value.get("told_at", o.settled_at)) for o in otherwise], len(sure), self._windows
            ),
            *waivers.few_unrecorded([(o.key, o.settled_at) for o in waived], len(sure), self._windows),
            *checks.conserved({operation.value["call"] for operation in asked}, done, {}),
        ]

    def _imports(self, firsts: Sequence[Seen]) -> list[Violation]:
        messages: dict[str, set[str]] = defaultdict(set)
        for each in firsts:
            if each.topic == "message.imported":
                messages[each.fields["account_id"]].add(each.fields["message_id"])
        asked = self.ledger.of("import")
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
        arrived = self.stores.mails()
        self.figures.mails = arrived.total()
        states: dict[str, tuple[int, str, float]] = {}
        for each in first_of_each_event(seen):
            if each.topic == "notification.state" and each.event_id not in self.forgotten:
                states[each.fields["recipient"]] = max(
                    states.get(each.fields["recipient"], (0, "", 0.0)), (each.version, each.fields["state"], each.at)
                )
        mails = self.ledger.of("mail")
        # A business that a restore forgot has nobody to write to.
        homeless = {operation.key for operation in self.ledger.of("tenant") if self.in_doubt(operation)}
        lost = {o.key for o in mails if o.key.partition("@")[2].removesuffix(".example") in homeless}
        wanted, ends, unknown = {}, {}, {}
        for operation in self._sure(o for o in mails if o.key not in lost):
            _, state, told_at = states.get(operation.key, (0, "", 0.0))
            if state == "unknown":
                unknown[operation.key] = (operation.first_at, told_at)
            wanted[operation.key] = {"sent with a mail", "unknown", "unknown with a mail"}
            if state in ("sent", "failed", "unknown", "suppressed"):
                ends[operation.key] = state + (" with a mail" if arrived[operation.key] else "")
        self.figures.doubted += len(lost)
        # What had not left when the window began may have left within it, and again after it.
        again = lost.union((o.key for o in mails if self.in_doubt(o)), *(d.standing.unsent for d in self.doubts))
        once = {f"mail to {to}": count for to, count in arrived.items() if to not in again}
        self.figures.mails_unknown = len(unknown)
        asked = {operation.key for operation in mails}
        return [
            *checks.all_done(wanted, ends),
            *checks.effects_once(once),
            *waivers.unknown_for_a_reason(unknown, self._windows),
            *checks.conserved(asked, set(arrived), {}),
        ]

    async def poison(self) -> list[Violation]:
        """I6: every record that nobody can read is a dead letter of each of its consumers, byte for byte."""
        wanted: dict[str, str] = {}
        places: dict[str, str] = {}
        sent = [operation for operation in self.ledger.of("poison") if operation.acknowledged]
        for operation in sent:
            value = operation.value
            topic, partition, offset = str(value["topic"]), int(value["partition"]), int(value["offset"])
            epoch = sum(loss.at < operation.settled_at for loss in self._losses)
            for group in self.groups.readers(topic):
                if self._poison_is_gone(group, epoch, topic, partition, offset):
                    continue
                # In another Kafka another record may lie at the same place: each is named by its own key as well.
                name = f"{group} {topic}[{partition}]@{offset} {operation.key}"
                wanted[name], places[name] = str(value["digest"]), f"{group} {topic}[{partition}]@{offset}"
        self.figures.poison = len(sent)
        kept: dict[str, set[str]] = defaultdict(set)
        for letter in await self.stores.letters():
            kept[f"{letter.consumer} {letter.place}"].add(hashlib.sha256(letter.value).hexdigest())
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
        committed = await asyncio.to_thread(self.groups.everywhere)
        passed = await asyncio.to_thread(self._index.passed, seen, epoch, committed, self.groups.readers)
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
        by_group: dict[str, list[Seen]] = defaultdict(list)
        for group, each in passed:
            by_group[group].append(each)
        # Letters first: one that is worked off in between has its inbox row before it goes.
        outcomes = {(letter.consumer, f"{letter.place} {letter.event_id}") for letter in await self.stores.letters()}
        for group, mine in by_group.items():
            handled = await self.stores.claimed(group, [(m.tenant, m.event_id) for m in mine])
            outcomes |= {(group, place_of(m)) for m in mine if m.event_id in handled}
        return outcomes

    async def audit(self, seen: Sequence[Seen]) -> list[Violation]:
        """I4, by the vault's own command and by a recomputation of ours: whole, and as long as it must be."""
        by_tenant: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
        rows = await self.stores.audit_log()
        for row in rows:
            by_tenant[str(row["tenant_id"])].append(row)
        noted = {
            tenant: {n: head for n, (head, at) in heads.items() if not self._taken_back_about(at)}
            for tenant, heads in self.heads.items()
        }
        self.figures.heads = sum(map(len, noted.values()))
        violations: list[Violation] = []
        for tenant in sorted(by_tenant.keys() | noted.keys()):
            records = by_tenant[tenant]
            violations += checks.audit_chain(records, noted=noted.get(tenant))
            verdict = await self.stores.verified(tenant)
            if isinstance(verdict, str):
                violations.append(Violation("I4 audit chain", f"vault verify: {verdict}", 1, (tenant,)))
            else:
                violations += checks.conserved((), (), {f"audit records of {tenant}": (len(records), verdict)})
        return [*violations, *self._changes(rows, seen)]

    async def note(self) -> None:
        """In the middle of a run: the heads of the audit logs, and which rings were declared unrecorded."""
        at = time.time()
        self.stores.declared()
        with contextlib.suppress(*AWAY):
            for tenant, (sequence, head) in (await self.stores.heads()).items():
                self.heads[tenant][sequence] = (head, at)

    def _taken_back_about(self, at: float) -> bool:
        return any(doubt.touches(at - NOTED_AFTER, at + NOTED_AFTER) for doubt in self.doubts)

    def _changes(self, rows: Sequence[Mapping[str, Any]], seen: Sequence[Seen]) -> list[Violation]:
        """One audit record per state of an import, and one at least per archive that was opened."""
        told = Counter(
            f"import {each.entity.split()[1]} {AUDITED[each.fields['state']]}"
            for each in first_of_each_event(seen)
            if each.topic == "vault.state" and each.entity and each.event_id not in self.forgotten
        )
        states = {f"import.{action}" for action in AUDITED.values()}
        audited = Counter(
            f"import {row['import_id']} {row['action'].removeprefix('import.')}"
            for row in rows
            if row["action"] in states
        )
        opened = {str(row["account_id"]) for row in rows if row["action"] == "account.stored"}
        for operation in self.ledger.of("import"):
            opened_since = operation.first_at - 2 * HEAL_SECONDS
            if operation.acknowledged and not any(d.touches(opened_since, operation.settled_at) for d in self.doubts):
                told[f"account {operation.value['account']}"] = 1
                audited[f"account {operation.value['account']}"] = int(operation.value["account"] in opened)
        return checks.changes_audited(told, audited)

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
        with contextlib.suppress(*AWAY):
            return await self.stores.waiting()
        return None

    async def _pending(self) -> dict[str, int] | None:
        with contextlib.suppress(*AWAY):
            return await self.stores.pending()
        return None

    async def _lag(self) -> dict[str, int] | None:
        with contextlib.suppress(KafkaException, TimeoutError):
            return await asyncio.to_thread(self.groups.lag)
        return None

    async def caught_up(self) -> bool:
        """Whether nobody has more to do than what came within the last moments."""
        waiting, pending, lag = await self._waiting(), await self._pending(), await self._lag()
        if waiting is None or pending is None or lag is None:
            return False
        few = waiting["mails not sent"] <= FEW and not waiting["journals not drained"]
        return few and all(count <= MANY for count in (*pending.values(), *lag.values()))


def _answer(operation: Operation, ring: Seen) -> str:
    same = ring.fields.get("answer") in operation.value["answers"]
    return "answered as told" if same else "answered otherwise"


def _broke_off(operation: Operation, ends: Mapping[str, str]) -> bool:
    """Whether an answer may have broken off on its way, and it is that one that the record holds: it was asked more
    often than it was answered."""
    return ends.get(operation.key) == "answered otherwise" and operation.attempts > len(operation.value["answers"])


def _call_id(operation: Operation) -> str:
    value = operation.value
    return str(name_uuid(value["tenant"], "generic", value["account"], value["call"]))


def _right_ends(call: str, status: str, told: set[str]) -> set[str]:
    """The states that a call may end in, once this status of it was acknowledged."""
    told_ends = {state for word, state in ENDS.items() if f"{call}/{word}" in told}
    if status in ENDS:
        return {ENDS[status]}
    return {"answered", *told_ends} if status == "answered" else {"ringing", "answered", *told_ends}


def first_of_each_event(seen: Iterable[Seen]) -> list[Seen]:
    """Without repetitions by relays, in the order in which they came."""
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


def _chats(firsts: Iterable[Seen]) -> dict[str, list[tuple[str, datetime]]]:
    """The messages of each chat as they lie in its partition, with when they were sent. Without later revisions."""
    chats: dict[str, list[tuple[str, datetime]]] = defaultdict(list)
    for each in firsts:
        if each.topic == "message.imported" and each.version == 1:
            chats[each.key].append((each.entity, datetime.fromisoformat(each.fields["sent_at"])))
    return chats


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
