from __future__ import annotations

from typing import Any, ClassVar, Literal, Optional

import pytest
from pydantic import Field, create_model

from contracts.compatibility import differences
from contracts.event import Event, UtcDatetime
from contracts.schemas import fields, reader_schema, writer_schema


def toy(**fields: Any) -> type[Event]:
    class Toy(Event):
        type: ClassVar[str] = "toy.thing.v1"

    return create_model("ToyV1", __base__=Toy, **fields)


def rules(written: Any, read: Any) -> list[tuple[str, str]]:
    """What a reader with ``read`` misses in what a writer with ``written`` wrote, as (field, rule)."""
    return places(toy(a=written), toy(a=read))


def places(writer: type[Event], reader: type[Event]) -> list[tuple[str, str]]:
    return [(each.field, each.rule) for each in differences(writer_schema(writer), reader_schema(reader))]


Colour = Literal["red", "green"]
MoreColours = Literal["red", "green", "blue"]


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (str, str),
        (str, str | None),
        (int, float),
        (int, int | str),
        (Colour, str),
        (Colour, MoreColours),
        (Literal["red"], Colour),
        (Literal[1], int),
        (UtcDatetime, str),
        (UtcDatetime | None, UtcDatetime | None),
        ((str, "x"), str),
        (tuple[int, ...], tuple[float, ...]),
        (dict[str, int], dict[str, float | None]),
        (tuple[str, int], tuple[str, ...] | tuple[str, int]),
        ((int, Field(ge=5, le=6)), (int, Field(ge=5, le=9))),
        ((str, Field(max_length=5)), (str, Field(max_length=6))),
        ((str, Field(pattern="^a")), (str, Field(pattern="^a"))),
        (str, Any),
    ],
)
def test_a_reader_may_accept_more(written: Any, read: Any) -> None:
    assert rules(written, read) == []


@pytest.mark.parametrize(
    ("written", "read", "expected"),
    [
        (str, int, ("/a", "type_changed")),
        (float, int, ("/a", "type_changed")),
        (str | None, str, ("/a", "type_changed")),
        (int | str, int, ("/a", "type_changed")),
        (Any, str, ("/a", "type_changed")),
        (MoreColours, Colour, ("/a", "value_added")),
        (str, Colour, ("/a", "values_narrowed")),
        (Literal["1"], int, ("/a", "value_added")),
        (Literal[True], Literal[1], ("/a", "value_added")),
        (str, UtcDatetime, ("/a", "format_changed")),
        (str, (str, Field(pattern="^a")), ("/a", "pattern_changed")),
        ((str, Field(pattern="^b")), (str, Field(pattern="^a")), ("/a", "pattern_changed")),
        (int, (int, Field(ge=0)), ("/a", "bound_tightened")),
        ((int, Field(ge=0)), (int, Field(ge=1)), ("/a", "bound_tightened")),
        ((int, Field(le=9)), (int, Field(le=8)), ("/a", "bound_tightened")),
        ((str, Field(max_length=9)), (str, Field(max_length=8)), ("/a", "bound_tightened")),
        (tuple[str, ...], (tuple[str, ...], Field(min_length=1)), ("/a", "bound_tightened")),
        (tuple[str, ...], tuple[int, ...], ("/a/*", "type_changed")),
        (tuple[str, int], tuple[str, str], ("/a/1", "type_changed")),
        (dict[str, str], dict[str, int], ("/a/*", "type_changed")),
    ],
)
def test_a_reader_that_accepts_less_is_named(written: Any, read: Any, expected: tuple[str, str]) -> None:
    assert expected in rules(written, read)


def test_a_field_that_old_writers_never_wrote_needs_a_default() -> None:
    old, new = toy(a=str), toy(a=str, b=int)
    with_default = toy(a=str, b=(int, 0))

    assert places(old, new) == [("/b", "required_added")]
    assert places(old, with_default) == []


def test_a_field_that_is_no_longer_written_breaks_readers_that_need_it() -> None:
    old, new = toy(a=str, b=int), toy(a=str)

    assert places(new, old) == [("/b", "required_added")]


def test_a_field_that_comes_back_with_another_type_is_found() -> None:
    first, third = toy(a=str, b=(int, 0)), toy(a=str, b=(str, ""))

    assert places(first, third) == [("/b", "type_changed")]


def test_a_closed_reader_refuses_fields_it_does_not_know() -> None:
    old, new = writer_schema(toy(a=str)), writer_schema(toy(a=str, b=int))

    assert [(d.field, d.rule) for d in differences(new, old)] == [("/b", "field_refused")]


def test_recursive_models_are_compared_to_the_end() -> None:
    def tree(leaf: str, optional: bool) -> dict[str, Any]:
        down = {"anyOf": [{"$ref": "#/$defs/Tree"}, {"type": "null"}]} if optional else {"$ref": "#/$defs/Tree"}
        node = {"type": "object", "properties": {"leaf": {"type": leaf}, "down": down}, "required": ["leaf"]}
        return {"$ref": "#/$defs/Tree", "$defs": {"Tree": node}}

    for optional in (False, True):
        assert differences(tree("string", optional), tree("string", optional)) == []
        assert [d.field for d in differences(tree("string", optional), tree("integer", optional))] == ["/leaf"]
    assert fields(tree("string", True)) == {"/leaf", "/down"}


@pytest.mark.parametrize("keyword", ["not", "if", "patternProperties", "allOf", "$dynamicRef"])
def test_a_keyword_that_cannot_be_judged_is_not_waved_through(keyword: str) -> None:
    odd = {"type": "string", keyword: {}}

    assert [d.rule for d in differences(odd, {"type": "string"})] == ["not_understood"]
    assert [d.rule for d in differences({"type": "string"}, odd)] == ["not_understood"]


def test_an_example_of_optional_spelt_the_old_way_is_the_same() -> None:
    assert rules(Optional[str], str | None) == []  # noqa: UP045
