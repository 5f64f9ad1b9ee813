"""May a reader that knows one schema read everything that a writer of another can write?

``differences`` decides it for the part of JSON Schema that pydantic emits: types, ``anyOf``, ``enum`` and
``const``, bounds, ``pattern`` and ``format``, arrays, objects, ``$ref``. A keyword it does not understand is
itself a difference: what cannot be judged is not waved through.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from contracts.schemas import Schema

__all__ = ["Difference", "differences"]

_ANNOTATIONS = {"$schema", "$id", "$defs", "title", "description", "default", "examples", "deprecated", "x-key"}
_STRUCTURE = {"type", "enum", "const", "properties", "required", "additionalProperties", "items", "prefixItems"}
_LOWER_BOUNDS = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
_UPPER_BOUNDS = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
_EXACT = ("format", "pattern", "multipleOf", "uniqueItems")
_KNOWN = _ANNOTATIONS | _STRUCTURE | {*_LOWER_BOUNDS, *_UPPER_BOUNDS, *_EXACT}
_SCALARS: dict[type, tuple[str, ...]] = {
    str: ("string",),
    bool: ("boolean",),
    int: ("integer", "number"),
    float: ("number",),
    type(None): ("null",),
}


# Pairs of object schemas that are being compared already, further out.
_Seen = frozenset[tuple[int, int]]


@dataclass(frozen=True, kw_only=True, slots=True, order=True)
class Difference:
    """One place where the writer can write what the reader refuses."""

    field: str
    """JSON pointer into the data; ``*`` stands for every element."""
    rule: str
    message: str


@dataclass(frozen=True, slots=True)
class _Side:
    """A schema, and the document that its references point into."""

    schema: Schema
    document: Schema

    def within(self, schema: Any) -> _Side:
        return _Side(_as_object(schema), self.document)

    def resolved(self) -> _Side:
        """Follow references. One that stands beside other keywords is left, to be reported as not understood."""
        schema = self.schema
        while "$ref" in schema and schema.keys() - _ANNOTATIONS == {"$ref"}:
            schema = self.document["$defs"][schema["$ref"].removeprefix("#/$defs/")]
        return _Side(schema, self.document)

    def alternatives(self) -> list[_Side]:
        """The schemas of which a value must match one; a single one is its own alternative."""
        side = self.resolved()
        keywords = side.schema.keys() - _ANNOTATIONS
        if keywords == {"anyOf"}:
            options = side.schema["anyOf"]
        elif keywords == {"oneOf", "discriminator"}:  # The discriminator makes them exclude each other.
            options = side.schema["oneOf"]
        else:
            return [side]
        return [each for option in options for each in side.within(option).alternatives()]


def differences(writer: Schema, reader: Schema) -> list[Difference]:
    """Every reason why ``reader`` refuses something that ``writer`` allows; empty when it accepts all of it."""
    found = _compare(_Side(writer, writer), _Side(reader, reader), "", frozenset())
    return sorted(set(found))


def _as_object(schema: Any) -> Schema:
    if schema is True:
        return {}
    if schema is False:
        return {"enum": []}
    result: Schema = schema
    return result


def _compare(writer: _Side, reader: _Side, at: str, seen: _Seen) -> Iterator[Difference]:
    readers = reader.alternatives()
    for each in writer.alternatives():
        if any(not option.schema.keys() - _ANNOTATIONS for option in readers):
            continue  # One of them takes anything.
        if _values(each) is not None:
            yield from _refused_values(each, readers, at)
            continue
        tries = [list(_one(each, option, at, seen)) for option in readers]
        if all(tries):
            # The nearest alternative explains best.
            yield from min(tries, key=lambda found: (any(d.rule == "type_changed" for d in found), len(found)))


def _values(side: _Side) -> list[Any] | None:
    if "const" in side.schema:
        return [side.schema["const"]]
    return side.schema.get("enum")


def _refused_values(writer: _Side, readers: list[_Side], at: str) -> Iterator[Difference]:
    refused = [value for value in _values(writer) or [] if not any(_takes(option, value) for option in readers)]
    if refused:
        listed = ", ".join(map(repr, refused))
        yield Difference(field=at or "/", rule="value_added", message=f"the reader does not know {listed}")


def _takes(reader: _Side, value: Any) -> bool:
    """Whether a reader's schema accepts one constant."""
    schema = reader.schema
    allowed = _values(reader)
    if allowed is not None and not any(type(value) is type(each) and value == each for each in allowed):
        return False
    if "type" in schema and schema["type"] not in _SCALARS.get(type(value), ()):
        return False
    if type(value) not in _SCALARS or _unknown(schema) or "format" in schema or "multipleOf" in schema:
        return allowed is not None
    if isinstance(value, str):
        matches = re.search(schema.get("pattern", ""), value) is not None
        return matches and _within(len(value), schema, "minLength", "maxLength")
    if isinstance(value, int | float) and not isinstance(value, bool):
        return (
            _within(value, schema, "minimum", "maximum")
            and ("exclusiveMinimum" not in schema or value > schema["exclusiveMinimum"])
            and ("exclusiveMaximum" not in schema or value < schema["exclusiveMaximum"])
        )
    return True


def _within(amount: float, schema: Schema, least: str, most: str) -> bool:
    return bool(schema.get(least, amount) <= amount <= schema.get(most, amount))


def _one(writer: _Side, reader: _Side, at: str, seen: _Seen) -> Iterator[Difference]:
    """Compare two schemas that are no unions, the writer's not being a list of constants."""
    w, r = writer.schema, reader.schema
    for keyword in sorted(_unknown(w) | _unknown(r)):
        yield Difference(field=at or "/", rule="not_understood", message=f"this check does not understand {keyword!r}")
    if _values(reader) is not None:
        yield Difference(field=at or "/", rule="values_narrowed", message="the reader takes only listed values")
        return
    wanted, written = r.get("type"), w.get("type")
    if wanted is not None and wanted != written and (written, wanted) != ("integer", "number"):
        message = f"written as {written or 'anything'}, read as {wanted}"
        yield Difference(field=at or "/", rule="type_changed", message=message)
        return
    yield from _bounds(w, r, at)
    if "items" in r or "prefixItems" in r:
        yield from _arrays(writer, reader, at, seen)
    pair = (id(w), id(r))
    # In a recursive model, what holds for one level holds for the next.
    if written in (None, "object") and pair not in seen:
        seen |= {pair}
        yield from _objects(writer, reader, at, seen)


def _unknown(schema: Schema) -> set[str]:
    return set(schema) - _KNOWN


def _bounds(w: Schema, r: Schema, at: str) -> Iterator[Difference]:
    for keyword in _EXACT:
        if keyword in r and w.get(keyword) != r[keyword]:
            message = f"{keyword} {w.get(keyword, 'none')!r} is read as {r[keyword]!r}"
            yield Difference(field=at or "/", rule=f"{keyword}_changed", message=message)
    for keyword in _LOWER_BOUNDS + _UPPER_BOUNDS:
        if keyword not in r:
            continue
        bound = w.get(keyword)
        if bound is None or (bound < r[keyword] if keyword in _LOWER_BOUNDS else bound > r[keyword]):
            message = f"{keyword} {'none' if bound is None else bound} is read with {r[keyword]}"
            yield Difference(field=at or "/", rule="bound_tightened", message=message)


def _arrays(writer: _Side, reader: _Side, at: str, seen: _Seen) -> Iterator[Difference]:
    w, r = writer.schema, reader.schema
    places = max(len(w.get("prefixItems", ())), len(r.get("prefixItems", ())))
    for place in range(places):
        if "maxItems" in w and place >= w["maxItems"]:
            break
        yield from _compare(_element(writer, place), _element(reader, place), f"{at}/{place}", seen)
    if "maxItems" not in w or w["maxItems"] > places:
        yield from _compare(_element(writer, places), _element(reader, places), f"{at}/*", seen)


def _element(side: _Side, place: int) -> _Side:
    prefix = side.schema.get("prefixItems", ())
    return side.within(prefix[place] if place < len(prefix) else side.schema.get("items", True))


def _objects(writer: _Side, reader: _Side, at: str, seen: _Seen) -> Iterator[Difference]:
    w, r = writer.schema, reader.schema
    written, read = w.get("properties", {}), r.get("properties", {})
    for name in sorted(set(r.get("required", ())) - set(w.get("required", ()))):
        message = "the reader needs it, and it is not always written"
        yield Difference(field=f"{at}/{name}", rule="required_added", message=message)
    others = w.get("additionalProperties", True)
    for name in sorted({*written, *read}):
        if name in written or others is not False:
            there = written.get(name, others)
            here = read.get(name, r.get("additionalProperties", True))
            yield from _member(writer.within(there), reader.within(here), f"{at}/{name}", seen)
    if others is not False and r.get("additionalProperties", True) is not True:
        here = reader.within(r["additionalProperties"])
        yield from _member(writer.within(others), here, f"{at}/*", seen)


def _member(writer: _Side, reader: _Side, at: str, seen: _Seen) -> Iterator[Difference]:
    if reader.schema == {"enum": []}:
        yield Difference(field=at, rule="field_refused", message="the reader refuses fields that it does not know")
        return
    yield from _compare(writer, reader, at, seen)
