"""Properties: what the compatibility check promises, held against generated values and an independent validator."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts import archive
from contracts.archive import Released
from contracts.compatibility import differences
from contracts.event import Event
from contracts.registry import REGISTRY

FIRST = datetime(1970, 1, 1)  # noqa: DTZ001
INDIA = timezone(timedelta(hours=5, minutes=30))
RELEASED = archive.read(archive.root()).released


def values_of(schema: Any, document: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Values that a schema of the subset allows; objects get unknown members only where that is allowed."""
    if schema is True or not (schema.keys() - {"title", "x-key", "$id", "$schema", "$defs"}):
        return st.sampled_from(["", "a", 0, 1.5, True, None, [], {}])
    if "$ref" in schema:
        return values_of(document["$defs"][schema["$ref"].rpartition("/")[2]], document)
    if "anyOf" in schema:
        return st.one_of([values_of(option, document) for option in schema["anyOf"]])
    if "const" in schema or "enum" in schema:
        return st.sampled_from(schema.get("enum") or [schema["const"]])
    match schema["type"]:
        case "string" if schema.get("format") == "date-time":
            return st.datetimes(min_value=FIRST, timezones=st.just(INDIA)).map(lambda time: time.isoformat())
        case "string" if "pattern" in schema:
            return st.from_regex(schema["pattern"])
        case "string":
            return st.text(min_size=schema.get("minLength", 0), max_size=schema.get("maxLength", 8))
        case "integer":
            return st.integers(schema.get("minimum", -5), schema.get("exclusiveMaximum", 6) - 1)
        case "number":
            return st.floats(schema.get("minimum", -1e6), schema.get("maximum", 1e6))
        case "boolean":
            return st.booleans()
        case "null":
            return st.none()
        case "array" if "prefixItems" in schema:
            return st.tuples(*(values_of(each, document) for each in schema["prefixItems"])).map(list)
        case "array":
            return st.lists(values_of(schema["items"], document), max_size=schema.get("maxItems", 2))
        case other:
            assert other == "object"
            return _objects(schema, document)


def _objects(schema: dict[str, Any], document: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    members = {name: values_of(each, document) for name, each in schema.get("properties", {}).items()}
    others = schema.get("additionalProperties", True)
    required = {name: each for name, each in members.items() if name in schema.get("required", ())}
    optional = {name: each for name, each in members.items() if name not in required}
    known = st.fixed_dictionaries(required, optional=optional)
    if others is False:
        return known
    unknown = st.dictionaries(st.sampled_from("xyzw"), values_of(others, document), max_size=2)
    return st.builds(lambda more, named: {k: v for k, v in more.items() if k not in members} | named, unknown, known)


def accepts(schema: dict[str, Any], value: object) -> bool:
    return bool(jsonschema.Draft202012Validator(schema).is_valid(value))


def name_of(released: Released) -> str:
    return f"{released.topic}.{released.version}"


def newest_of_major(released: Released) -> type[Event]:
    event = REGISTRY.get(f"{released.topic}.v{released.major}")
    assert event is not None
    return event


@pytest.mark.parametrize("released", RELEASED, ids=name_of)
@settings(max_examples=settings.default.max_examples // 4, deadline=None)
@given(data=st.data())
def test_whatever_an_old_writer_wrote_is_read_today(released: Released, data: st.DataObject) -> None:
    value = data.draw(values_of(released.writer, released.writer))

    assert accepts(released.writer, value)
    REGISTRY.decode(f"{released.topic}.v{released.major}", json.dumps(value).encode())


@pytest.mark.parametrize("released", RELEASED, ids=name_of)
@settings(max_examples=settings.default.max_examples // 4, deadline=None)
@given(data=st.data())
def test_whatever_is_written_today_is_read_by_an_older_release(released: Released, data: st.DataObject) -> None:
    event = newest_of_major(released)
    schema = event.model_json_schema(mode="validation")
    written = event.model_validate(data.draw(values_of(schema, schema))).model_dump_json()

    jsonschema.Draft202012Validator(released.reader).validate(json.loads(written))


scalars = st.sampled_from(
    [
        {"type": "string"},
        {"type": "string", "maxLength": 2},
        {"type": "string", "minLength": 1},
        {"type": "string", "pattern": "^a"},
        {"type": "string", "enum": ["a", "ab"]},
        {"type": "integer"},
        {"type": "integer", "minimum": 0},
        {"type": "integer", "exclusiveMaximum": 3},
        {"type": "number"},
        {"type": "number", "minimum": -1, "maximum": 1},
        {"type": "boolean"},
        {"type": "null"},
        {"const": 1},
        {"const": "a", "type": "string"},
        {"enum": [0, "a", None]},
        {},
    ]
)


def _containers(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    def an_object(members: dict[str, Any], required: set[str], closed: object) -> dict[str, Any]:
        schema = {"type": "object", "properties": members, "required": sorted(required & members.keys())}
        return schema if closed is True else schema | {"additionalProperties": closed}

    return st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(lambda options: {"anyOf": options}),
        inner.map(lambda each: {"type": "array", "items": each}),
        st.builds(lambda a, b: {"type": "array", "prefixItems": [a, b], "minItems": 2, "maxItems": 2}, inner, inner),
        st.builds(lambda each, most: {"type": "array", "items": each, "maxItems": most}, inner, st.integers(0, 2)),
        inner.map(lambda each: {"type": "object", "additionalProperties": each}),
        st.builds(
            an_object,
            st.dictionaries(st.sampled_from("xyz"), inner, max_size=3),
            st.sets(st.sampled_from("xyz")),
            st.one_of(st.booleans(), inner),
        ),
    )


schemas = st.recursive(scalars, _containers, max_leaves=5)


@settings(max_examples=3 * settings.default.max_examples, deadline=None)
@given(data=st.data(), writer=schemas, reader=schemas)
def test_no_value_of_a_writer_is_refused_by_a_reader_found_compatible(
    data: st.DataObject, writer: dict[str, Any], reader: dict[str, Any]
) -> None:
    value = data.draw(values_of(writer, writer))

    assert accepts(writer, value)
    if not differences(writer, reader):
        assert accepts(reader, value)


@settings(max_examples=3 * settings.default.max_examples, deadline=None)
@given(data=st.data(), narrow=schemas, others=st.lists(schemas, max_size=2))
def test_a_reader_that_only_adds_alternatives_is_compatible(
    data: st.DataObject, narrow: dict[str, Any], others: list[dict[str, Any]]
) -> None:
    wide = {"anyOf": [*others, narrow]}

    assert differences(narrow, wide) == []
    assert accepts(wide, data.draw(values_of(narrow, narrow)))


@settings(max_examples=2 * settings.default.max_examples, deadline=None)
@given(schema=schemas)
def test_every_schema_reads_what_it_writes(schema: dict[str, Any]) -> None:
    assert differences(schema, schema) == []
