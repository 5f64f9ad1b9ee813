"""The directory's values: normalised, valid, and every problem said at once."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from front_desk.directory import Absence, Customer, Did, Invalid, Routing, Staff, Tenant
from front_desk.hours import Stretch, parse_hours, write_hours


def _problems(error: pytest.ExceptionInfo[Invalid]) -> dict[str, str]:
    return {problem.field: problem.sentence for problem in error.value.problems}


def test_numbers_in_any_spelling_are_one_number() -> None:
    made = Staff.of(external_ref="desk", name=" Desk ", numbers=["09847000011", "+91 98470-00011", " ", "9847000012"])
    assert (made.name, made.numbers) == ("Desk", ("+919847000011", "+919847000012"))


def test_every_problem_is_said_at_once_without_its_value() -> None:
    with pytest.raises(Invalid) as error:
        Customer.of(external_ref="", name="", numbers=["55"], emails=["a@b"], gstin="32AAACK1234A1ZZ", owner="-")
    assert _problems(error).keys() == {"external_ref", "name", "numbers", "emails", "gstin", "owner"}
    assert "55" not in str(error.value)


@pytest.mark.parametrize("name", ["a\nb", "a\0b", "\u202eevil", "a" * 201, "  "])
def test_a_name_is_one_line_of_plain_text(name: str) -> None:
    with pytest.raises(Invalid):
        Staff.of(external_ref="a", name=name)


@pytest.mark.parametrize("number", ["9.19847E+11", "9.1984700002E11", "9E+9"])
def test_a_number_that_a_spreadsheet_rewrote_is_named_as_such(number: str) -> None:
    with pytest.raises(Invalid) as error:
        Customer.of(external_ref="k", name="K", numbers=[number])
    assert "spreadsheet" in _problems(error)["numbers"]


def test_a_gstin_is_checked_and_written_in_one_way() -> None:
    assert Customer.of(external_ref="k", name="K", gstin="32 aaack1234a 1zj").gstin == "32AAACK1234A1ZJ"
    assert Customer.of(external_ref="k", name="K", gstin="  ").gstin is None
    with pytest.raises(Invalid, match="has 15 characters, this has 14"):
        Customer.of(external_ref="k", name="K", gstin="32AAACK1234A1Z")


def test_a_did_does_not_fall_back_to_itself() -> None:
    with pytest.raises(Invalid, match="circle"):
        Did.of(did="0484 200 0001", fallback_number="+914842000001")


def test_a_tenant_has_a_slug_a_zone_and_a_time() -> None:
    with pytest.raises(Invalid) as error:
        Tenant.of(slug="No Spaces", name="x", timezone="Kochi", owner_email="x", pulse_at="9:00")
    assert _problems(error).keys() == {"slug", "timezone", "owner_email", "pulse_at"}


def test_leave_ends_after_it_begins_and_knows_its_zone() -> None:
    start = datetime(2026, 11, 20, tzinfo=UTC)
    with pytest.raises(Invalid):
        Absence.of(start=start, until=start)
    with pytest.raises(Invalid):
        Absence.of(start=start.replace(tzinfo=None))


def test_routing_stays_within_reason() -> None:
    with pytest.raises(Invalid):
        Routing.of(ring_seconds=4)
    with pytest.raises(Invalid):
        Routing.of(last_agent_days=-1)


def test_hours_are_read_as_people_write_them() -> None:
    hours = parse_hours("mon-fri 9:30-18:00; Saturday 09:30-13:00; sun,sat 14:00-15:00")
    assert len(hours) == 8
    assert Stretch(weekday=6, start="14:00", until="15:00") in hours
    assert parse_hours("") == ()


@pytest.mark.parametrize(
    "text",
    [
        "9-5",
        "Mon 18:00-09:00",
        "Mon 09:00-25:00",
        "Mon 09:00-12:00; Mon 11:00-13:00",
        "Foo 09:00-12:00",
        "Fri-Mon 09:00-10:00",
    ],
)
def test_hours_that_mean_nothing_are_refused_with_a_sentence(text: str) -> None:
    with pytest.raises(ValueError, match=" "):
        parse_hours(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Mon-Fri 09:30-18:00",
        "Mon-Fri 09:30-18:00; Sat 09:30-13:00",
        "Mon 09:00-12:00; Mon 13:00-24:00; Wed 10:00-11:00",
    ],
)
def test_hours_written_are_hours_read(text: str) -> None:
    assert write_hours(parse_hours(text)) == text
