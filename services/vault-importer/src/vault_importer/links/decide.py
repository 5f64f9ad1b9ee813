"""Which customer or lead a contact is. Pure.

Exact identities decide, in this order: a number, a GSTIN, an e-mail address. A name alone never links; it is proposed
to a person. What a person has said stands above all of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = ["ACTIONS", "Action", "Candidate", "Outcome", "Party", "PersonSaid", "State", "decide"]

Action = Literal["accept", "refuse", "again"]
State = Literal["linked", "ambiguous", "proposed", "none"]
ACTIONS: tuple[Action, ...] = ("accept", "refuse", "again")
EXACT = ("number", "gstin", "email")
#: How sure each makes us by itself; several together make us surer.
SURE: Mapping[str, float] = {"number": 0.98, "gstin": 0.95, "email": 0.9, "name": 0.3}


@dataclass(frozen=True, kw_only=True, slots=True, order=True)
class Party:
    """A customer or a lead."""

    kind: str
    id: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.id}"

    @classmethod
    def parse(cls, text: str) -> Party:
        """Raises ``ValueError``."""
        kind, _, id_ = text.partition(":")
        if kind not in ("customer", "lead") or not id_:
            raise ValueError("Name a customer or a lead as customer:ID or lead:ID.")
        return cls(kind=kind, id=id_)


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """What speaks for one of them: values by kind of identity, and the messages in which somebody wrote them."""

    party: Party
    values: Mapping[str, Sequence[str]]
    messages: Mapping[str, str] = field(default_factory=dict)
    refused: bool = False

    @property
    def confidence(self) -> float:
        doubt = 1.0
        for identity in self.values:
            doubt *= 1 - SURE[identity]
        return round(1 - doubt, 4)

    @property
    def rank(self) -> tuple[bool, ...]:
        return tuple(identity in self.values for identity in EXACT)

    def told(self) -> dict[str, Any]:
        return {
            "kind": self.party.kind,
            "id": self.party.id,
            "by": {identity: sorted(values) for identity, values in self.values.items()},
            "messages": dict(self.messages),
            "confidence": self.confidence,
            "refused": self.refused,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class PersonSaid:
    """One decision of a person: accept one, refuse some, or leave it to the machine again."""

    action: str
    parties: tuple[Party, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    state: State
    party: Party | None
    by_person: bool
    confidence: float
    candidates: tuple[Candidate, ...]
    """All of them, the likeliest first."""


def decide(candidates: Iterable[Candidate], said: Iterable[PersonSaid], existing: frozenset[Party]) -> Outcome:
    """``said`` is what people decided, the oldest first; ``existing`` are those of the named that still exist.

    Whoever a person accepted stays linked for as long as it exists, whatever speaks for others. Whoever was refused is
    never linked or proposed again; somebody new may be.
    """
    accepted, refused = _standing(said)
    found = sorted(
        (
            Candidate(party=each.party, values=each.values, messages=each.messages, refused=each.party in refused)
            for each in candidates
        ),
        # A lead that has become a customer stays a lead in the directory for a while: the customer it is.
        key=lambda each: (each.refused, [not has for has in each.rank], "name" not in each.values, each.party),
    )
    everything = tuple(found)
    if accepted is not None and accepted in existing:
        return Outcome(state="linked", party=accepted, by_person=True, confidence=1.0, candidates=everything)
    left = [each for each in found if not each.refused]
    if not left:
        return Outcome(state="none", party=None, by_person=bool(refused), confidence=0.0, candidates=everything)
    best = left[0]
    if not any(best.rank):
        return Outcome(state="proposed", party=None, by_person=False, confidence=0.0, candidates=everything)
    equals = [each for each in left if each.rank == best.rank]
    if len(equals) > 1:
        customers = [each for each in equals if each.party.kind == "customer"]
        if len(customers) != 1:
            return Outcome(state="ambiguous", party=None, by_person=False, confidence=0.0, candidates=everything)
        best = customers[0]
    return Outcome(state="linked", party=best.party, by_person=False, confidence=best.confidence, candidates=everything)


def _standing(said: Iterable[PersonSaid]) -> tuple[Party | None, set[Party]]:
    accepted: Party | None = None
    refused: set[Party] = set()
    for each in said:
        if each.action == "again":
            accepted, refused = None, set()
        elif each.action == "accept":
            accepted = each.parties[0]
            refused.discard(accepted)
        else:
            refused |= set(each.parties)
            accepted = None if accepted in refused else accepted
    return accepted, refused
