from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid5

from brain_distiller.distillers import distil
from brain_distiller.facts import Changes, Evidence, Fact, Known, conclude
from brain_distiller.readings import Reading

KOCHI, MUMBAI, DELHI = "32AABCU9603R1ZW", "27AAPFU0939F1ZV", "07AABCU9603R1ZP"
SUBJECT = "customer:c-1"
MORNING = datetime(2026, 3, 2, 4, 0, tzinfo=UTC)
NAMES = UUID(int=7)


def identify(subject: str, key: str, value: str) -> UUID:
    return uuid5(NAMES, f"{subject} {key} {value}")


def said(text: str, *, source: str = "m-1", revision: int = 1, minute: int = 0, subject: str = SUBJECT) -> Reading:
    return Reading(
        source_id=source,
        revision=revision,
        subject=subject,
        at=MORNING + timedelta(minutes=minute),
        mentions=distil(text),
    )


def revoked(*, source: str = "m-1", revision: int = 2) -> Reading:
    return Reading(source_id=source, revision=revision, revoked=True, subject=SUBJECT, at=MORNING)


class Memory:
    """Keeps what a store would keep."""

    def __init__(self) -> None:
        self.facts: dict[UUID, Fact] = {}
        self.live: dict[object, Evidence] = {}
        self.told: list[tuple[str, str, int]] = []

    def take(self, *readings: Reading) -> Changes:
        changes = conclude(readings, Known(facts=self.facts, evidence=list(self.live.values())), identify)
        for version in changes.versions:
            self.facts[version.fact.fact_id] = version.fact
            self.told.append((version.fact.value, version.fact.state, version.fact.version))
        for evidence in changes.withdrawn:
            del self.live[evidence.natural_key]
        for evidence in changes.added:
            assert evidence.natural_key not in self.live
            self.live[evidence.natural_key] = evidence
        return changes

    def states(self) -> dict[str, str]:
        return {fact.value: fact.state for fact in self.facts.values()}


def test_a_first_mention_is_asserted_with_its_exact_span() -> None:
    text = "ഞങ്ങളുടെ GSTIN " + KOCHI
    (version,) = Memory().take(said(text)).versions
    assert (version.fact.value, version.fact.state, version.fact.version) == (KOCHI, "asserted", 1)
    assert text[version.evidence.start : version.evidence.end] == version.evidence.quote == KOCHI


def test_reading_the_same_message_again_changes_nothing() -> None:
    memory = Memory()
    memory.take(said(KOCHI))
    assert memory.take(said(KOCHI)) == Changes()


def test_the_same_value_again_is_more_evidence_and_no_new_version() -> None:
    memory = Memory()
    memory.take(said(f"{KOCHI}, ph 9847000001"))
    again = memory.take(said(f"GST {KOCHI} and 098470 00001", source="m-2", minute=5))
    assert again.versions == ()
    assert len(again.added) == 2


def test_a_value_that_one_text_repeats_is_one_fact_with_two_spans() -> None:
    changes = Memory().take(said(f"{KOCHI} {KOCHI}"))
    assert len(changes.versions) == 1
    assert len(changes.added) == 2


def test_a_second_gstin_makes_both_conflicting_each_by_a_new_version() -> None:
    memory = Memory()
    memory.take(said(KOCHI))
    memory.take(said(MUMBAI, source="m-2", minute=1))
    assert memory.told == [
        (KOCHI, "asserted", 1),
        (MUMBAI, "asserted", 1),
        (KOCHI, "conflicting", 2),
        (MUMBAI, "conflicting", 2),
    ]


def test_a_batch_tells_the_same_story_as_its_messages_one_by_one() -> None:
    readings = [said(KOCHI), said(MUMBAI, source="m-2", minute=1), said("ph 9847000001", source="m-3", minute=2)]
    together, apart = Memory(), Memory()
    together.take(*readings)
    for reading in readings:
        apart.take(reading)
    assert together.facts == apart.facts
    assert together.live == apart.live
    assert sorted(together.told) == sorted(apart.told)


def test_a_third_gstin_joins_the_conflict_without_repeating_the_others() -> None:
    memory = Memory()
    memory.take(said(KOCHI), said(MUMBAI, source="m-2"))
    memory.told.clear()
    memory.take(said(DELHI, source="m-3"))
    assert memory.told == [(DELHI, "asserted", 1), (DELHI, "conflicting", 2)]


def test_two_pans_conflict_but_two_phones_addresses_and_amounts_do_not() -> None:
    memory = Memory()
    memory.take(said("ABCPK1234Z 9847000001 a@example.in ₹500"))
    memory.take(said("ABCPK1234Y 9847000002 b@example.in ₹600", source="m-2"))
    states = {fact.value: (fact.key, fact.state) for fact in memory.facts.values()}
    assert {state for key, state in states.values() if key == "pan"} == {"conflicting"}
    assert {state for key, state in states.values() if key != "pan"} == {"asserted"}


def test_different_subjects_never_conflict() -> None:
    memory = Memory()
    memory.take(said(KOCHI), said(MUMBAI, source="m-2", subject="customer:c-2"))
    assert memory.states() == {KOCHI: "asserted", MUMBAI: "asserted"}


def test_an_edit_supersedes_what_it_replaces() -> None:
    memory = Memory()
    memory.take(said(KOCHI))
    changes = memory.take(said(MUMBAI, revision=2))
    assert memory.states() == {KOCHI: "superseded", MUMBAI: "asserted"}
    assert {version.reason for version in changes.versions} == {"edited", "said"}


def test_an_edit_that_says_nothing_any_more_retracts() -> None:
    memory = Memory()
    memory.take(said(KOCHI))
    memory.take(said("sorry, wrong number", revision=2))
    assert memory.states() == {KOCHI: "retracted"}


def test_an_edit_that_keeps_the_value_moves_its_evidence_only() -> None:
    memory = Memory()
    memory.take(said(KOCHI))
    changes = memory.take(said(f"GSTIN: {KOCHI}", revision=2))
    assert changes.versions == ()
    assert [evidence.start for evidence in changes.withdrawn] == [0]
    assert [evidence.start for evidence in changes.added] == [7]


def test_a_value_that_was_there_before_the_edit_replaces_nothing() -> None:
    memory = Memory()
    memory.take(said("9847000001 or 9847000002"))
    memory.take(said("9847000002", revision=2))
    assert memory.states() == {"+919847000001": "retracted", "+919847000002": "asserted"}


def test_a_revocation_retracts_and_settles_the_conflict() -> None:
    memory = Memory()
    memory.take(said(KOCHI), said(MUMBAI, source="m-2", minute=1))
    changes = memory.take(revoked(source="m-2"))
    assert memory.states() == {KOCHI: "asserted", MUMBAI: "retracted"}
    assert [(version.fact.value, version.reason) for version in changes.versions] == [
        (MUMBAI, "revoked"),
        (KOCHI, "one_value_left"),
    ]


def test_a_fact_that_another_message_still_says_survives_a_revocation() -> None:
    memory = Memory()
    memory.take(said(KOCHI), said(KOCHI, source="m-2", minute=1))
    assert memory.take(revoked()).versions == ()
    assert memory.states() == {KOCHI: "asserted"}


def test_a_retracted_fact_comes_back_with_its_version_counted_on() -> None:
    memory = Memory()
    memory.take(said(KOCHI))
    memory.take(revoked())
    memory.take(said(KOCHI, source="m-9"))
    assert memory.told == [(KOCHI, "asserted", 1), (KOCHI, "retracted", 2), (KOCHI, "asserted", 3)]


def test_a_message_that_moves_to_another_subject_takes_its_facts_along() -> None:
    memory = Memory()
    memory.take(said(KOCHI, subject="contact:+919847000001"))
    memory.take(said(KOCHI))
    assert {fact.subject: fact.state for fact in memory.facts.values()} == {
        "contact:+919847000001": "superseded",
        SUBJECT: "asserted",
    }


def test_an_event_quotes_the_earliest_living_evidence() -> None:
    memory = Memory()
    memory.take(said(f"gst {KOCHI}"), said(KOCHI, source="m-2", minute=5))
    changes = memory.take(said(MUMBAI, source="m-3", minute=9))
    conflicting = next(v for v in changes.versions if v.fact.value == KOCHI)
    assert (conflicting.evidence.source_id, conflicting.evidence.start) == ("m-1", 4)
