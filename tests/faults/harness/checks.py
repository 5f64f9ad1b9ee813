"""The invariants, as functions over what the ledger holds and what the outside world saw. Pure: no servers.

Each returns violations that name the invariant, so that a test can say by which check a bug was caught. What a fault
took back by design (a database restored to an earlier point) is a window of *doubt*: it is counted, not judged.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

__all__ = [
    "Event",
    "Violation",
    "alive",
    "all_done",
    "ascending",
    "audit_chain",
    "changes_audited",
    "conserved",
    "drained",
    "effects_once",
    "effects_shown",
    "found",
    "isolated",
    "live",
    "never_back",
    "nothing_overtakes",
    "offsets_behind_outcomes",
    "order_at_the_sink",
    "order_per_key",
    "ready",
    "same_bytes",
    "stopped",
]

EXAMPLES = 3
SLACK = 2.0
"""Seconds by which two claims may seem to lie the other way round: their transactions began before they claimed."""


@dataclass(frozen=True, slots=True)
class Violation:
    """An invariant that did not hold, how often, and examples to look for in the ledger."""

    check: str
    sentence: str
    count: int
    examples: tuple[str, ...] = ()

    def __str__(self) -> str:
        shown = f": {', '.join(self.examples)}" if self.examples else ""
        return f"{self.check}: {self.sentence} ({self.count}){shown}"


class Event(Protocol):
    """One record of a topic, as far as the checks look at it."""

    topic: str
    partition: int
    offset: int
    key: str
    event_id: str
    entity: str
    effect: str
    version: int
    epoch: int


def found(check: str, sentence: str, wrong: Iterable[str]) -> list[Violation]:
    """One violation for everything that is wrong in the same way, or none."""
    every = sorted(wrong)
    return [Violation(check, sentence, len(every), tuple(every[:EXAMPLES]))] if every else []


def all_done(acknowledged: Mapping[str, Collection[str]], ends: Mapping[str, str]) -> list[Violation]:
    """I1: what was acknowledged reached its end, and an end that is right for it.

    ``acknowledged`` names each input with the ends that are right; ``ends`` is what the outside world saw.
    """
    lost = [key for key in acknowledged if key not in ends]
    wrong = [f"{key} is {ends[key]}" for key, right in acknowledged.items() if key in ends and ends[key] not in right]
    return [
        *found("I1 no loss", "acknowledged, and never seen again", lost),
        *found("I1 no loss", "acknowledged, and came to a wrong end", wrong),
    ]


def effects_once(effects: Mapping[str, int]) -> list[Violation]:
    """I2: nothing took effect twice. ``effects`` counts what was seen of each, repetitions of one event left out."""
    return found("I2 once", "took effect more than once", [f"{key} x{n}" for key, n in effects.items() if n > 1])


def order_per_key(events: Iterable[Event]) -> list[Violation]:
    """I3: a key lives in one partition, and versions of an entity never go back there.

    A record may be repeated (same event id, by a relay that died): only its first appearance counts.
    """
    places: dict[tuple[int, str, str], set[int]] = defaultdict(set)
    newest: dict[tuple[int, str, str], int] = {}
    first: set[tuple[int, str]] = set()
    back: list[str] = []
    for event in sorted(events, key=lambda e: (e.epoch, e.topic, e.partition, e.offset)):
        if not event.event_id or not event.entity:
            continue
        places[event.epoch, event.topic, event.key].add(event.partition)
        if (event.epoch, event.event_id) in first:
            continue
        first.add((event.epoch, event.event_id))
        slot = (event.epoch, event.topic, event.entity)
        if event.version <= newest.get(slot, 0):
            back.append(f"{event.entity}: v{event.version} after v{newest[slot]}")
        newest[slot] = max(newest.get(slot, 0), event.version)
    strewn = [f"{topic} {key} in {sorted(found)}" for (_, topic, key), found in places.items() if len(found) > 1]
    return [
        *found("I3 order", "versions went back", back),
        *found("I3 order", "a key lies in several partitions", strewn),
    ]


def nothing_overtakes(parked: Mapping[str, int], effects: Sequence[tuple[str, int]]) -> list[Violation]:
    """I3: while a version of an entity is parked, no later one takes effect. ``parked`` names what waits."""
    over = [f"{entity} v{number}" for entity, number in effects if number > parked.get(entity, number)]
    return found("I3 order", "took effect although an earlier one is parked", over)


def ascending(lanes: Mapping[str, Sequence[tuple[str, Any]]], sentence: str) -> list[Violation]:
    """I3: along each lane what its members are ordered by never gets smaller. Members are named with that."""
    back = [
        f"{lane}: {after[0]} after {before[0]}"
        for lane, members in lanes.items()
        for before, after in itertools.pairwise(members)
        if after[1] < before[1]
    ]
    return found("I3 order", sentence, back)


def order_at_the_sink(lanes: Mapping[str, Sequence[tuple[str, float | None]]]) -> list[Violation]:
    """I3: a consumer takes a key's events in their order, and none before an earlier one that is parked.

    Each lane names a key's events in the order of the topic with when they took effect; nothing for those that are
    parked.
    """
    overtook, swapped = [], []
    for lane, events in lanes.items():
        waiting, latest = "", ("", float("-inf"))
        for name, at in events:
            if at is None:
                waiting = waiting or name
                continue
            if waiting:
                overtook.append(f"{lane}: {name} before {waiting}")
            if at < latest[1] - SLACK:
                swapped.append(f"{lane}: {latest[0]} {latest[1] - at:.1f} s after {name}")
            latest = max(latest, (name, at), key=lambda each: each[1])
    return [
        *found("I3 order", "took effect although an earlier one is parked", overtook),
        *found("I3 order", "took effect before an earlier one of its key", swapped),
    ]


def never_back(before: Mapping[str, tuple[int, str]], after: Mapping[str, tuple[int, str]]) -> list[Violation]:
    """I3: what a consumer shows of an entity never goes back, nor does it go. Both name versions and states."""
    back = [f"{entity}: v{after.get(entity, (0, ''))[0]} after v{version}" for entity, (version, _) in before.items()
            if after.get(entity, (0, ""))[0] < version]  # fmt: skip
    return found("I3 order", "a consumer went back to an older version", back)


def effects_shown(
    published: Mapping[str, Sequence[tuple[int, str, str]]],
    shown: Mapping[str, tuple[int, str]],
    parked: Collection[str],
    *,
    name: str = "",
) -> list[Violation]:
    """I1 at a consumer: it shows the last published state of every entity, or the dead letters hold what it lacks.

    ``published`` names each entity's versions with their states and event ids; ``parked`` are event ids.
    """
    lacking, other, ahead = [], [], []
    for entity, versions in published.items():
        newest, state, _ = max(versions, key=lambda each: each[0])
        version, showing = shown.get(entity, (0, ""))
        if any(number > version and event_id not in parked for number, _, event_id in versions):
            lacking.append(f"{name} {entity}: v{version} of v{newest}")
        elif version > newest:
            ahead.append(f"{name} {entity}: v{version} of v{newest}")
        elif version == newest and showing != state:
            other.append(f"{name} {entity}: {showing} instead of {state}")
    return [
        *found("I1 no loss", "was published, and its consumer does not show it", lacking),
        *found("I1 no loss", "its consumer shows something else than was published", other),
        *found("I6 conservation", "its consumer shows what was never published", ahead),
    ]


def changes_audited(told: Mapping[str, int], audited: Mapping[str, int]) -> list[Violation]:
    """I4: one audit record per change of state. Both count them by what they are about."""
    unequal = [f"{name}: {audited.get(name, 0)} of {count}" for name, count in told.items()
               if audited.get(name, 0) != count]  # fmt: skip
    return [
        *found("I4 audit chain", "a change of state has not one audit record", unequal),
        *found("I4 audit chain", "an audit record tells of a change that never was", set(audited) - set(told)),
    ]


def audit_chain(records: Sequence[Mapping[str, Any]], *, noted: Mapping[int, str] | None = None) -> list[Violation]:
    """I4: one tenant's audit log, recomputed from its rows: no gap, no fork, nothing changed, nothing cut off.

    ``noted`` are heads (sequence and hash in hex) that were written down earlier.
    """
    wrong: list[str] = []
    previous, hashes = bytes(32), {}
    for expected, record in enumerate(sorted(records, key=lambda r: r["sequence"]), start=1):
        computed = _record_hash(record)
        if record["sequence"] != expected:
            wrong.append(f"record {expected} is missing or forked")
            break
        if record["previous_hash"] != previous or record["hash"] != computed:
            wrong.append(f"record {expected} does not follow from the one before")
            break
        previous = record["hash"]
        hashes[expected] = record["hash"].hex()
    wrong += [f"the head noted at {n} is gone" for n, head in (noted or {}).items() if hashes.get(n) != head]
    return found("I4 audit chain", "the chain does not verify", wrong)


def _record_hash(record: Mapping[str, Any]) -> bytes:
    """The published canonical form, written down once more: a check that shares the code shares its mistakes."""
    at: datetime = record["at"]
    details = record["details"]
    form = {
        "account": str(record["account_id"] or ""),
        "action": record["action"],
        "at": at.astimezone(UTC).isoformat(timespec="microseconds"),
        "details": json.loads(details) if isinstance(details, str) else dict(details),
        "file_sha256": record["file_sha256"],
        "import": str(record["import_id"] or ""),
        "previous": record["previous_hash"].hex(),
        "sequence": record["sequence"],
        "tenant": str(record["tenant_id"]),
        "version": 1,
    }
    return hashlib.sha256(json.dumps(form, sort_keys=True, separators=(",", ":")).encode()).digest()


def drained(pending: Mapping[str, int], *, within: float) -> list[Violation]:
    """I5: some time after everything was mended, no outbox holds anything unpublished."""
    left = [f"{service} {count}" for service, count in pending.items() if count]
    return found("I5 drained", f"an outbox still holds events {within:.0f} s after the heal", left)


def conserved(asked: Collection[str], done: Collection[str], counted: Mapping[str, tuple[int, int]]) -> list[Violation]:
    """I6: to the unit. Nothing was done that nobody asked for, and what is counted is what was put in.

    ``counted`` has the wanted and the found number of each thing.
    """
    unequal = [f"{name}: {found} of {wanted}" for name, (wanted, found) in counted.items() if wanted != found]
    return [
        *found("I6 conservation", "was done, and nobody had asked for it", set(done) - set(asked)),
        *found("I6 conservation", "the numbers do not agree", unequal),
    ]


def same_bytes(sent: Mapping[str, str], kept: Mapping[str, str]) -> list[Violation]:
    """I6: a dead letter is the record, byte for byte. Both name digests by place."""
    missing = [place for place in sent if place not in kept]
    other = [place for place, digest in sent.items() if kept.get(place, digest) != digest]
    return [
        *found("I6 conservation", "a record that nobody can handle is not among the dead letters", missing),
        *found("I6 conservation", "a dead letter does not hold what was sent", other),
    ]


def offsets_behind_outcomes(
    passed: Iterable[tuple[str, str]], outcomes: Collection[tuple[str, str]]
) -> list[Violation]:
    """I7: every record behind a committed offset has a stored outcome. Both name (consumer, record)."""
    without = [f"{consumer} {record}" for consumer, record in passed if (consumer, record) not in outcomes]
    return found("I7 offsets", "the committed offset passed a record without an outcome", without)


def isolated(strangers: Iterable[str]) -> list[Violation]:
    """I8: rows of others that a probe saw through a service's own role and pool."""
    return found("I8 isolation", "a tenant saw what is another's", strangers)


def alive(deaths: Iterable[str]) -> list[Violation]:
    """I9: a service dies of nothing but what was done to it."""
    return found("I9 liveness", "a service died by itself", deaths)


def stopped(beyond: Iterable[str]) -> list[Violation]:
    """I9: a consumer that fails on everything stops at its limits instead of draining its topic."""
    return found("I9 liveness", "a consumer parked more than its limits allow, and went on", beyond)


def ready(late: Iterable[str], *, within: float) -> list[Violation]:
    """I9: some time after everything was mended, every service has been ready at once."""
    return found("I9 liveness", f"a service was not ready, never with all others, within {within:.0f} s", late)


def live(lag: Mapping[str, int], idle: Iterable[str], *, within: float) -> list[Violation]:
    """I9: consumers caught up in time, and no transaction was left open."""
    behind = [f"{group} {count}" for group, count in lag.items() if count]
    return [
        *found("I9 liveness", f"a consumer is still behind {within:.0f} s after the heal", behind),
        *found("I9 liveness", "a transaction was idle for more than a minute", set(idle)),
    ]
