"""What consumers made of what was published: their projections, their claims, their dead letters, compared with the
topics. Their own tables are the only place where that can be seen."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from tests.faults.harness import checks
from tests.faults.harness.checks import Violation
from tests.faults.harness.groups import owner_of
from tests.faults.harness.judge import AWAY, Judge, first_of_each_event
from tests.faults.harness.outside import Seen
from tests.faults.harness.stores import PROJECTIONS, Letter, Projection

__all__ = ["Sinks"]

LOOKS = 4
WATCHED = tuple(each for each in PROJECTIONS if each.topic in ("call.state", "fact.extracted"))
"""Projections that are looked at during the run as well: what they show never goes back."""
POISON = b'{"poison"'


class Sinks:
    """The part of the judgement that is about consumers; figures are the judge's."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge
        self._looked: dict[str, tuple[float, dict[str, tuple[int, str]]]] = {}

    async def effects(self, seen: Sequence[Seen]) -> list[Violation]:
        """I1 at the consumers: what they show is what was published last, or a dead letter holds what they lack.

        ``seen`` may grow: clocks and rules may tell of something while it is compared, which is then compared again.
        """
        for _ in range(LOOKS - 1):
            if not (violations := await self._effects(list(seen))):
                return violations
            await asyncio.sleep(2)
        return await self._effects(list(seen))

    async def _effects(self, seen: Sequence[Seen]) -> list[Violation]:
        firsts = first_of_each_event(seen)
        letters = await self._judge.stores.letters()
        violations: list[Violation] = []
        self._judge.figures.shown.clear()
        for projection in PROJECTIONS:
            uncertain = self._uncertain(seen, projection.service, projection.topic)
            published = _published(projection, firsts, uncertain)
            shown = await self._judge.stores.shown(projection)
            parked = {each.event_id for each in letters if each.consumer.startswith(projection.service)}
            self._judge.figures.shown[projection.service] += len(published)
            violations += checks.effects_shown(published, shown, parked, name=projection.name)
        return violations

    async def facts(self, seen: Sequence[Seen]) -> list[Violation]:
        """I1 and I6 of what imports state: every tax number of a backup is read where it is said, and published."""
        firsts = [each for each in first_of_each_event(seen) if each.entity]
        messages = [each for each in firsts if each.topic == "message.imported"]
        accounts = {each.fields["message_id"]: each.fields["account_id"] for each in messages}
        uncertain = self._uncertain(seen, "brain-distiller", "message.imported")
        doubted = {each.fields["account_id"] for each in messages if each.entity in uncertain}
        published = {(s.tenant, s.fields.get("value")) for s in firsts if s.topic == "fact.extracted"}
        stated = {
            o.value["account"]: o for o in self._judge.ledger.of("import")
            if o.acknowledged and not self._judge.in_doubt(o) and o.value["account"] not in doubted
        }  # fmt: skip
        waiting = Counter(_account_of(letter) for letter in await self._judge.stores.letters() if _states_gstin(letter))
        read = Counter(accounts.get(message) for message, _ in await self._judge.stores.read_gstins())
        wanted, ends, counted = {}, {}, {}
        for account, operation in stated.items():
            gstins = list(operation.value["gstins"])
            counted[f"tax numbers of {operation.key}"] = (len(gstins), read[account] + waiting[account])
            for gstin in () if waiting[account] else gstins:
                for value in (gstin, gstin[2:12]):
                    name = f"{operation.key} states {value}"
                    wanted[name] = {"told"}
                    if (operation.value["tenant"], value) in published:
                        ends[name] = "told"
        self._judge.figures.facts = len(wanted)
        return [*checks.all_done(wanted, ends), *checks.conserved((), (), counted)]

    async def sink(self, seen: Sequence[Seen]) -> list[Violation]:
        """I3 at the consumers: each took the events of a key in their order, and none past one that is parked."""
        taken = await self._judge.stores.taken()
        parked = {(each.consumer, each.event_id) for each in await self._judge.stores.letters()}
        gone = {
            (group, each.event_id)
            for each in (seen if self._judge.doubts else ())
            for group in self._judge.groups.readers(each.topic)
            if each.event_id in self._judge.forgotten or self._took_back(group, each)
        }
        lanes: dict[str, list[tuple[str, float | None]]] = defaultdict(list)
        for each in first_of_each_event(seen):
            for group in self._judge.groups.readers(each.topic):
                pair = (group, each.event_id)
                if pair not in gone and (pair in taken or pair in parked):
                    lanes[f"{group} {each.topic} {each.key}"].append((each.effect or each.event_id, taken.get(pair)))
        self._judge.figures.taken_in_order = sum(map(len, lanes.values()))
        return checks.order_at_the_sink(lanes)

    async def look(self) -> list[Violation]:
        """I3 in the middle of a run: what consumers show never goes back."""
        violations: list[Violation] = []
        with contextlib.suppress(*AWAY):
            for projection in WATCHED:
                began, shown = time.time(), await self._judge.stores.shown(projection)
                since, before = self._looked.get(projection.name, (began, {}))
                if not any(doubt.touches(since, time.time()) for doubt in self._judge.doubts):
                    violations += checks.never_back(before, shown)
                self._looked[projection.name] = (began, shown)
        return violations

    async def work_letters_off(self, within: float) -> list[Violation]:
        """I1: dead letters are tried again after the heal; all but those that nobody can read come to their effect."""
        deadline, left = time.monotonic() + within, ["the dead letters, which nobody could ask for"]
        while True:
            with contextlib.suppress(*AWAY):
                waiting = [each for each in await self._judge.stores.letters() if not each.value.startswith(POISON)]
                left = [f"{each.consumer} {each.place}" for each in waiting]
                if not left:
                    return []
                self._judge.figures.worked_off = max(self._judge.figures.worked_off, len(left))
                await self._judge.stores.retry_letters(sorted({each.consumer for each in waiting}))
            if time.monotonic() > deadline:
                return checks.found("I1 no loss", "a dead letter was tried again and came to no effect", left)
            await asyncio.sleep(2)

    def _uncertain(self, seen: Iterable[Seen], service: str, topic: str) -> set[str]:
        """Entities of which a restore took an event back, or what a service had made of it."""
        groups = [group for group in self._judge.groups.readers(topic) if owner_of(group).name == service]
        return {
            each.entity
            for each in (seen if self._judge.doubts else ())
            if each.topic == topic
            and (each.event_id in self._judge.forgotten or any(self._took_back(group, each) for group in groups))
        }

    def _took_back(self, group: str, each: Seen) -> bool:
        return any(d.took_back(group, each.epoch, each.topic, each.partition, each.offset) for d in self._judge.doubts)


def _published(
    projection: Projection, firsts: Iterable[Seen], uncertain: set[str]
) -> dict[str, list[tuple[int, str, str]]]:
    """Each entity's versions on the projection's topic, with the state that it then has, and the event's id."""
    published: dict[str, list[tuple[int, str, str]]] = defaultdict(list)
    for each in firsts:
        if each.topic == projection.topic and each.entity and each.entity not in uncertain:
            identity = each.entity.split()[1].rpartition("/")[2]
            number = 2 if each.topic == "vault.state" and each.fields["state"] != "started" else each.version
            said = str(each.fields.get(projection.says, "")) if projection.says else ""
            published[identity].append((number, said, each.event_id))
    return published


def _states_gstin(letter: Letter) -> bool:
    return owner_of(letter.consumer).name == "brain-distiller" and b"GSTIN is" in letter.value


def _account_of(letter: Letter) -> str:
    with contextlib.suppress(ValueError, KeyError, TypeError):
        return str(json.loads(letter.value)["account_id"])
    return ""
