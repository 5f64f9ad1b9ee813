"""The decision by itself: what links, what is only proposed, and that a person's word stands."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from vault_importer.links.decide import Candidate, Party, PersonSaid, decide
from vault_importer.links.names import name_key
from vault_importer.links.roles import Facts, role_of

ONE, TWO = Party(kind="customer", id="k1"), Party(kind="customer", id="k2")
LEAD = Party(kind="lead", id="l1")
EVERYBODY = frozenset({ONE, TWO, LEAD})


def by(party: Party, *identities: str) -> Candidate:
    return Candidate(party=party, values={each: ["x"] for each in identities})


def stands(candidates: list[Candidate], *said: PersonSaid, existing: frozenset[Party] = EVERYBODY) -> Any:
    outcome = decide(candidates, said, existing)
    return outcome.state, outcome.party


def test_an_exact_number_beats_a_gstin_beats_an_email_beats_a_name() -> None:
    order = ["number", "gstin", "email", "name"]
    for better, worse in itertools.pairwise(order):
        assert stands([by(ONE, worse), by(TWO, better)]) == ("linked", TWO)
    # Several weaker ones are no match for a stronger one.
    assert stands([by(ONE, "gstin", "email", "name"), by(TWO, "number")]) == ("linked", TWO)
    assert stands([by(ONE, "number", "email"), by(TWO, "number")]) == ("linked", ONE)


def test_a_name_alone_is_proposed_and_never_decides() -> None:
    assert stands([by(ONE, "name")]) == ("proposed", None)
    assert stands([by(ONE, "number", "name"), by(TWO, "number")]) == ("ambiguous", None)


def test_equals_are_for_a_person_but_a_customer_goes_before_the_lead_it_was() -> None:
    assert stands([by(ONE, "email"), by(TWO, "email")]) == ("ambiguous", None)
    assert stands([by(ONE, "number"), by(LEAD, "number")]) == ("linked", ONE)
    assert stands([by(ONE, "number"), by(TWO, "number"), by(LEAD, "number")]) == ("ambiguous", None)
    assert stands([]) == ("none", None)


def test_what_a_person_said_stands_whatever_speaks_against_it() -> None:
    accept, refuse = PersonSaid(action="accept", parties=(TWO,)), PersonSaid(action="refuse", parties=(ONE,))
    assert stands([by(ONE, "number")], accept) == ("linked", TWO)
    assert stands([by(ONE, "number")], refuse) == ("none", None)
    assert stands([by(ONE, "number"), by(TWO, "email")], refuse) == ("linked", TWO)
    assert stands([by(ONE, "number")], refuse, PersonSaid(action="again")) == ("linked", ONE)
    assert stands([by(TWO, "number")], accept, PersonSaid(action="refuse", parties=(TWO,))) == ("none", None)
    # One that is no more cannot be linked: then what the identities say counts.
    assert stands([by(ONE, "number")], accept, existing=frozenset({ONE})) == ("linked", ONE)


def test_confidence_grows_with_what_agrees() -> None:
    assert by(ONE, "name").confidence < by(ONE, "email").confidence < by(ONE, "number").confidence
    assert by(ONE, "email").confidence < by(ONE, "email", "gstin").confidence < 1


@pytest.mark.parametrize(
    ("one", "other"),
    [("Kottakkal Traders", "KOTTAKKAL  traders."), ("A.B. Stores", "a b stores"), ("കട മലബാർ", "കട  മലബാർ!")],
)
def test_names_are_compared_by_their_letters(one: str, other: str) -> None:
    assert name_key(one) == name_key(other) is not None


def test_what_is_no_name_is_none() -> None:
    assert [name_key(each) for each in ("", "A", "🙂🙂🙂", "98470")] == [None] * 4


@pytest.mark.parametrize(
    ("facts", "role"),
    [
        (Facts(direct=True, people=1, customers=1), "client"),
        (Facts(direct=True, people=1, leads=1), "lead"),
        (Facts(direct=True, people=1, ours=1, customers=1), "internal"),
        (Facts(direct=True, people=1), "unknown"),
        (Facts(direct=True, people=1, customers=1, said="personal", said_by="owner"), "personal"),
        (Facts(direct=False, people=3, ours=3), "internal"),
        (Facts(direct=False, people=3, ours=2), "unknown"),
        (Facts(direct=False, people=3, ours=2, customers=1), "client"),
        (Facts(direct=False, people=3, ours=1, leads=1, vendors=1), "lead"),
        (Facts(direct=False, people=3, vendors=1), "vendor"),
        (Facts(direct=False, people=3, ours=1, personal=2), "personal"),
        (Facts(direct=False, people=3, ours=1, personal=1), "unknown"),
        (Facts(direct=False, people=0), "unknown"),
    ],
)
def test_the_first_rule_that_holds_gives_the_role(facts: Facts, role: str) -> None:
    told = role_of(facts)
    assert told.role == role
    assert told.reason
    assert told.by_person is (facts.said is not None)
