"""Facts and their lifecycle: what a subject is known to be, on which evidence, in which state.

A fact is one value of one key of one subject. Each piece of evidence is one span of one source. A fact lives on its
live evidence: it is asserted or, where one value is possible and another one lives too, conflicting. When the last
evidence goes it is superseded (its source now says something else) or retracted (its source says nothing any more).
Every change of state is a new version; a repeated value is only more evidence.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Literal
from uuid import UUID

from brain_distiller.distillers import SINGLE_VALUED
from brain_distiller.distillers.base import Mention, ValueType
from brain_distiller.readings import Reading

__all__ = ["Changes", "Evidence", "Fact", "Identify", "Known", "Reason", "State", "Version", "conclude"]

State = Literal["asserted", "conflicting", "superseded", "retracted"]
Reason = Literal["said", "said_again", "second_value", "one_value_left", "edited", "revoked", "erased"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    """One span of one revision of one source that says a fact's value."""

    fact_id: UUID
    source_type: Literal["message", "transcript"]
    source_id: str
    revision: int
    extractor: str
    start: int
    end: int
    quote: str
    confidence: float
    at: datetime

    @property
    def natural_key(self) -> tuple[UUID, str, str, int, str, int, int]:
        """Reading the same revision again gives the same keys, hence nothing new."""
        return (self.fact_id, self.source_type, self.source_id, self.revision, self.extractor, self.start, self.end)


@dataclass(frozen=True, kw_only=True, slots=True)
class Fact:
    """A fact as its newest version has it. ``raw_value``, ``confidence`` and ``extractor`` are those of
    the evidence that the version tells: the earliest that lives, or the last that was lost."""

    fact_id: UUID
    subject: str
    key: str
    value: str
    value_type: ValueType
    unit: str | None
    raw_value: str
    confidence: float
    extractor: str
    state: State
    version: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Version:
    """A fact entered a state, because of a reading of ``source_id``."""

    fact: Fact
    reason: Reason
    source_id: str
    evidence: Evidence


@dataclass(frozen=True, kw_only=True, slots=True)
class Known:
    """What is stored about the facts that some readings may touch."""

    facts: Mapping[UUID, Fact] = field(default_factory=dict)
    """Every fact that the readings mention or mentioned; of single-valued keys, all facts of their subjects."""
    evidence: Sequence[Evidence] = ()
    """Live evidence of these facts, and all live evidence of the readings' sources."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Changes:
    """What to store and to tell. ``versions`` are in the order in which they came about."""

    versions: tuple[Version, ...] = ()
    added: tuple[Evidence, ...] = ()
    withdrawn: tuple[Evidence, ...] = ()


Identify = Callable[[str, str, str], UUID]
"""Names the fact of a subject, key and value; the same three give the same id."""


def conclude(readings: Iterable[Reading], known: Known, identify: Identify) -> Changes:
    """What the readings change. At most one reading of a source, and none older than what is stored of it."""
    ledger = _Ledger(known, identify)
    for reading in readings:
        ledger.take(reading)
    ledger.settle()
    return Changes(versions=tuple(ledger.versions), added=tuple(ledger.added), withdrawn=tuple(ledger.withdrawn))


class _Ledger:
    """The facts and their live evidence while readings are taken in."""

    def __init__(self, known: Known, identify: Identify) -> None:
        self._identify = identify
        self._facts = dict(known.facts)
        self._live: dict[UUID, list[Evidence]] = defaultdict(list)
        self._of_source: dict[tuple[str, str], list[Evidence]] = defaultdict(list)
        for evidence in known.evidence:
            self._live[evidence.fact_id].append(evidence)
            self._of_source[evidence.source_type, evidence.source_id].append(evidence)
        self._touched: dict[UUID, Reading] = {}
        self._lost: dict[UUID, tuple[Evidence, State]] = {}
        self.versions: list[Version] = []
        self.added: list[Evidence] = []
        self.withdrawn: list[Evidence] = []

    def take(self, reading: Reading) -> None:
        """Replace what is known of the reading's source by what it says now."""
        before = {each.natural_key: each for each in self._of_source[reading.source_type, reading.source_id]}
        now = {each.natural_key: each for each in (self._evidence(reading, m) for m in reading.mentions)}
        facts_before = {each.fact_id for each in before.values()}
        newly_said = {self._facts[e.fact_id].key for e in now.values() if e.fact_id not in facts_before}
        for natural_key, evidence in now.items():
            if natural_key not in before:
                self.added.append(evidence)
                self._live[evidence.fact_id].append(evidence)
                self._touched[evidence.fact_id] = reading
        for natural_key, evidence in before.items():
            if natural_key not in now:
                self.withdrawn.append(evidence)
                self._live[evidence.fact_id].remove(evidence)
                self._touched[evidence.fact_id] = reading
                replaced = self._facts[evidence.fact_id].key in newly_said
                self._lost[evidence.fact_id] = evidence, "superseded" if replaced else "retracted"

    def settle(self) -> None:
        """Bring every touched fact into the state that its evidence calls for."""
        for fact_id, reading in self._touched.items():
            fact = self._facts[fact_id]
            if not self._live[fact_id]:
                self._enter(fact_id, self._lost[fact_id][1], "revoked" if reading.revoked else "edited", reading)
            elif fact.version == 0:
                self._enter(fact_id, "asserted", "said", reading)
            elif fact.state in {"superseded", "retracted"}:
                self._enter(fact_id, "asserted", "said_again", reading)
        for (subject, key), reading in self._questioned().items():
            rivals = [f for f in self._facts.values() if (f.subject, f.key) == (subject, key) and self._live[f.fact_id]]
            for fact in rivals:
                if len(rivals) > 1 and fact.state != "conflicting":
                    self._enter(fact.fact_id, "conflicting", "second_value", reading)
                elif len(rivals) == 1 and fact.state == "conflicting":
                    self._enter(fact.fact_id, "asserted", "one_value_left", reading)

    def _questioned(self) -> dict[tuple[str, str], Reading]:
        """The single-valued keys of subjects that were touched, each with the reading that did it last."""
        touched = ((self._facts[fact_id], reading) for fact_id, reading in self._touched.items())
        return {(fact.subject, fact.key): reading for fact, reading in touched if fact.key in SINGLE_VALUED}

    def _evidence(self, reading: Reading, mention: Mention) -> Evidence:
        fact_id = self._identify(reading.subject, mention.key, mention.value)
        if fact_id not in self._facts:
            self._facts[fact_id] = Fact(
                fact_id=fact_id,
                subject=reading.subject,
                key=mention.key,
                value=mention.value,
                value_type=mention.value_type,
                unit=mention.unit,
                raw_value=mention.raw,
                confidence=mention.confidence,
                extractor=mention.extractor,
                state="asserted",
                version=0,
            )
        return Evidence(
            fact_id=fact_id,
            source_type=reading.source_type,
            source_id=reading.source_id,
            revision=reading.revision,
            extractor=mention.extractor,
            start=mention.start,
            end=mention.end,
            quote=mention.raw,
            confidence=mention.confidence,
            at=reading.at,
        )

    def _enter(self, fact_id: UUID, state: State, reason: Reason, reading: Reading) -> None:
        live = self._live[fact_id]
        evidence = min(live, key=lambda e: (e.at, e.source_id, e.start)) if live else self._lost[fact_id][0]
        fact = replace(
            self._facts[fact_id],
            state=state,
            version=self._facts[fact_id].version + 1,
            raw_value=evidence.quote,
            confidence=evidence.confidence,
            extractor=evidence.extractor,
        )
        self._facts[fact_id] = fact
        self.versions.append(Version(fact=fact, reason=reason, source_id=reading.source_id, evidence=evidence))
