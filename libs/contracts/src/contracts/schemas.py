"""The two JSON Schemas of an event class, in the form that is committed and frozen.

*Writer*: what our code can write. Closed, every field required, because a model always writes all of them.
*Reader*: what our code accepts. Open, fields with a default may be missing.

Titles, descriptions and defaults are left out: rewording a docstring is not a new version.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from contracts.event import Event
from contracts.topics import TOPICS

__all__ = ["DIALECT", "KEY", "Schema", "Side", "draft_07", "fields", "reader_schema", "schema_of", "writer_schema"]

Schema = dict[str, Any]
Side = Literal["writer", "reader"]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
DRAFT_07 = "http://json-schema.org/draft-07/schema#"
KEY = "x-key"
"""What the record key names after the tenant: frozen with the schema, as a changed key changes the order."""

_LEFT_OUT = ("title", "description", "default", "examples")
# Below these keywords stand names that people chose, not keywords.
_NAMES = ("properties", "$defs")


def schema_of(event: type[Event], side: Side) -> Schema:
    return writer_schema(event) if side == "writer" else reader_schema(event)


def writer_schema(event: type[Event]) -> Schema:
    """Closed, every field required."""
    return _framed(event, "writer", _closed(_bare(event.model_json_schema(mode="serialization"))))


def reader_schema(event: type[Event]) -> Schema:
    """Open, only fields without a default required."""
    return _framed(event, "reader", _bare(event.model_json_schema(mode="validation")))


def fields(schema: Schema) -> frozenset[str]:
    """JSON pointers of every declared field at any depth; ``*`` stands for every element."""
    return frozenset(_fields(schema, schema, "", ()))


def draft_07(schema: Schema) -> Schema:
    """The same constraints in the older dialect, which every schema registry understands."""
    moved = _renamed(schema, "#/$defs/", "#/definitions/")
    definitions = moved.pop("$defs", None)
    moved["$schema"] = DRAFT_07
    return moved if definitions is None else {**moved, "definitions": definitions}


def _renamed(schema: Any, old: str, new: str) -> Any:
    if isinstance(schema, list):
        return [_renamed(each, old, new) for each in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        keyword: new + value.removeprefix(old) if keyword == "$ref" else _renamed(value, old, new)
        for keyword, value in schema.items()
    }


def _fields(schema: Any, document: Schema, at: str, within: tuple[str, ...]) -> Iterator[str]:
    if not isinstance(schema, dict):
        return
    reference = schema.get("$ref")
    if reference is not None and reference not in within:
        target = document["$defs"][reference.removeprefix("#/$defs/")]
        yield from _fields(target, document, at, (*within, reference))
    for name, each in schema.get("properties", {}).items():
        yield f"{at}/{name}"
        yield from _fields(each, document, f"{at}/{name}", within)
    for option in [*schema.get("anyOf", ()), *schema.get("oneOf", ())]:
        yield from _fields(option, document, at, within)
    for elements in [schema.get("items"), schema.get("additionalProperties"), *schema.get("prefixItems", ())]:
        yield from _fields(elements, document, f"{at}/*", within)


def _framed(event: type[Event], side: Side, schema: Schema) -> Schema:
    topic = TOPICS.get(event.topic())
    return {"$schema": DIALECT, "$id": f"{event.dataschema()}:{side}", KEY: topic.key if topic else "", **schema}


def _bare(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_bare(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        keyword: {name: _bare(each) for name, each in value.items()} if keyword in _NAMES else _bare(value)
        for keyword, value in schema.items()
        if keyword not in _LEFT_OUT
    }


def _closed(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {
        keyword: {name: _closed(each) for name, each in value.items()} if keyword in _NAMES else _closed(value)
        for keyword, value in schema.items()
    }
    if "properties" in closed:
        closed["required"] = list(closed["properties"])
        closed["additionalProperties"] = False
    return closed
