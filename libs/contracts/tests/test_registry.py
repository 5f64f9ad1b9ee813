from __future__ import annotations

import json
from typing import Any, ClassVar

import pytest

from contracts.event import Event, Part, UtcDatetime
from contracts.registry import EVENTS, REGISTRY, ContractViolation, Registry, UnknownMajor


class BellV1(Event):
    type: ClassVar[str] = "toy.bell.v1"
    bell: str
    loud: bool = False

    def entity_id(self) -> str:
        return self.bell


class BellV2(Event):
    type: ClassVar[str] = "toy.bell.v2"
    upcast_from = BellV1
    bell: str
    volume: int

    @classmethod
    def upcast(cls, old: dict[str, Any]) -> dict[str, Any]:
        return {"bell": old["bell"], "volume": 10 if old["loud"] else 1}

    def entity_id(self) -> str:
        return self.bell


class BellV3(Event):
    type: ClassVar[str] = "toy.bell.v3"
    upcast_from = BellV2
    bell: str
    decibel: float
    at: UtcDatetime | None = None

    @classmethod
    def upcast(cls, old: dict[str, Any]) -> dict[str, Any]:
        return {"bell": old["bell"], "decibel": old["volume"] * 9.5}

    def entity_id(self) -> str:
        return self.bell


class Ring(Part):
    number: str


class RingsV1(Event):
    type: ClassVar[str] = "toy.rings.v1"
    rings: tuple[Ring, ...]
    notes: dict[str, int] = {}  # noqa: RUF012


BELLS = Registry([BellV1, BellV2, BellV3])


def encoded(value: object) -> bytes:
    return json.dumps(value).encode()


def test_consumers_only_ever_see_the_newest_class() -> None:
    from_v1 = BELLS.decode("toy.bell.v1", encoded({"bell": "door", "loud": True}))
    from_v2 = BELLS.decode("toy.bell.v2", encoded({"bell": "door", "volume": 10}))
    from_v3 = BELLS.decode("toy.bell.v3", encoded({"bell": "door", "decibel": 95.0}))

    assert from_v1 == from_v2 == from_v3 == BellV3(bell="door", decibel=95.0)


def test_defaults_of_the_old_class_reach_the_upcast() -> None:
    assert BELLS.decode("toy.bell.v1", encoded({"bell": "door"})) == BellV3(bell="door", decibel=9.5)


def test_an_upcast_never_sees_data_that_its_old_class_refuses() -> None:
    with pytest.raises(ContractViolation, match=r"toy\.bell\.v1: bell: missing"):
        BELLS.decode("toy.bell.v1", encoded({"loud": True}))


def test_a_major_that_no_upcast_leads_from_is_refused_at_start() -> None:
    class Orphan(Event):
        type: ClassVar[str] = "toy.bell.v4"

    with pytest.raises(ValueError, match=r"no upcasts lead from toy\.bell\.v1"):
        Registry([BellV1, Orphan])


def test_a_type_is_registered_once() -> None:
    with pytest.raises(ValueError, match="twice"):
        Registry([BellV1, BellV1])


def test_a_type_needs_its_major_version() -> None:
    class Nameless(Event):
        type: ClassVar[str] = "toy.bell"

    with pytest.raises(ValueError, match="major version"):
        Registry([Nameless])


@pytest.mark.parametrize(
    "type_", ["weather.rain.v1", "toy.bell", "toy.bell.vx", "", ".v1", "toy.bell.v\N{SUPERSCRIPT TWO}"]
)
def test_an_unknown_type_is_ignored(type_: str) -> None:
    assert BELLS.decode(type_, b"anything") is None


def test_an_unknown_major_of_a_known_event_is_refused() -> None:
    with pytest.raises(UnknownMajor, match=r"toy\.bell\.v9"):
        BELLS.decode("toy.bell.v9", b"{}")


def test_fields_that_a_newer_producer_added_are_ignored() -> None:
    value = {"bell": "door", "decibel": 1.0, "colour": "brass"}

    assert BELLS.decode("toy.bell.v3", encoded(value)) == BellV3(bell="door", decibel=1.0)


@pytest.mark.parametrize("value", [b"", b"{", b"\xff", b"ring ring"])
def test_what_is_not_json_is_a_violation(value: bytes) -> None:
    with pytest.raises(ContractViolation, match=r"toy\.bell\.v3: the value is not JSON$"):
        BELLS.decode("toy.bell.v3", value)


@pytest.mark.parametrize("value", [[], "text", None, 5])
def test_what_is_not_an_object_is_a_violation(value: object) -> None:
    with pytest.raises(ContractViolation, match=r"toy\.bell\.v3: value: model_type$"):
        BELLS.decode("toy.bell.v3", encoded(value))


def test_a_time_without_a_zone_is_a_violation() -> None:
    with pytest.raises(ContractViolation, match="at: value_error"):
        BELLS.decode("toy.bell.v3", encoded({"bell": "b", "decibel": 1, "at": "2026-06-15T04:30:00"}))


def test_times_are_read_as_utc_and_must_exist_there() -> None:
    event = BELLS.decode("toy.bell.v3", encoded({"bell": "b", "decibel": 1, "at": "2026-06-15T10:00:00+05:30"}))

    assert isinstance(event, BellV3)
    assert event.at is not None
    assert event.at.isoformat() == "2026-06-15T04:30:00+00:00"
    with pytest.raises(ContractViolation, match="at: value_error"):
        BELLS.decode("toy.bell.v3", encoded({"bell": "b", "decibel": 1, "at": "0001-01-01T00:00:00+05:30"}))


def test_a_violation_names_fields_and_never_repeats_what_was_sent() -> None:
    registry = Registry([RingsV1])
    value = {"rings": [{"number": ["+919847000101"]}], "notes": {"Meera Traders": "many"}}

    with pytest.raises(ContractViolation) as caught:
        registry.decode("toy.rings.v1", encoded(value))

    assert str(caught.value) == "toy.rings.v1: notes.*: int_parsing; rings.0.number: string_type"
    assert caught.value.__cause__ is None


def test_a_violation_stays_short_however_much_is_wrong() -> None:
    registry = Registry([RingsV1])

    with pytest.raises(ContractViolation, match=r"and 995 more$"):
        registry.decode("toy.rings.v1", encoded({"rings": [{"number": 1}] * 1000}))


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.type)
def test_events_are_frozen_and_name_their_entity(event: type[Event]) -> None:
    assert event.model_config["frozen"]
    assert event.entity_id is not Event.entity_id
    assert REGISTRY.get(event.type) is event


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.type)
def test_every_field_says_what_it_means(event: type[Event]) -> None:
    parts = [part for part in Part.__subclasses__() if part.__module__ == event.__module__]

    assert event.__doc__
    for model in (event, *parts):
        assert not [name for name, field in model.model_fields.items() if not field.description]
