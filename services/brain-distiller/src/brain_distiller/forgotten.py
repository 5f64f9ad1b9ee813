"""What becomes of facts that lost evidence because a person was forgotten, and stand on what others said."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from brain_distiller.distillers import SINGLE_VALUED
from brain_distiller.facts import Evidence, Fact, Reason, State, Version

__all__ = ["Standing", "tell_anew"]

LIVING = ("asserted", "conflicting")


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """A fact that still has evidence, the best that it has: live, if any is."""

    fact: Fact
    evidence: Evidence
    live: bool
    told_is_gone: bool
    """Whether the evidence that its newest version told was erased."""


def tell_anew(standing: Sequence[Standing]) -> list[Version]:
    """The versions that say how the facts stand now, each by words that were not erased.

    A fact without live evidence is retracted; one that lost its last rival is no longer in conflict; one whose
    newest version told what is gone tells something else. The others need no version.
    """
    rivals = Counter((each.fact.subject, each.fact.key) for each in standing if each.live)
    versions = []
    for each in standing:
        fact = each.fact
        state, reason = _now(each, rivals[fact.subject, fact.key])
        if state == fact.state and not each.told_is_gone:
            continue
        anew = replace(
            fact,
            state=state,
            version=fact.version + 1,
            raw_value=each.evidence.quote,
            confidence=each.evidence.confidence,
            extractor=each.evidence.extractor,
        )
        versions.append(Version(fact=anew, reason=reason, source_id=each.evidence.source_id, evidence=each.evidence))
    return versions


def _now(each: Standing, rivals: int) -> tuple[State, Reason]:
    fact = each.fact
    if not each.live:
        return ("retracted" if fact.state in LIVING else fact.state), "erased"
    if fact.key in SINGLE_VALUED and fact.state == "conflicting" and rivals == 1:
        return "asserted", "one_value_left"
    return fact.state, "erased"
