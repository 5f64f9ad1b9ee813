"""The contracts as people read them: fields in words, and the page ``docs/events.md``. Pure text in, text out."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from contracts.archive import Archive, Example
from contracts.event import Event, Part
from contracts.registry import Registry
from contracts.schemas import Schema, reader_schema
from contracts.topics import DAY_MS, MIB, Topic

__all__ = ["Field", "fields_of", "page", "parts_of", "retention"]

_HEAD = """# Events

This page is made by `trunkline contracts generate` from the event classes, the topics table and the examples in
`libs/contracts`; do not edit it. How to change an event: [howto/change-an-event.md](howto/change-an-event.md).

Every record is a CloudEvent 1.0 in Kafka's binary mode: attributes are headers (`ce_…`), the value is the JSON
described here, the key is `<tenant>:<what the table says>`. A type is the topic's name and the major version.
Consumers ignore fields and types they do not know and park a major version they do not know.
A record without a value on a compacted topic deletes its key.

*Replay class*: what the strictest of a topic's consumers makes of a replayed record. `safe`: handled like any other;
`suppress_effects`: it changes state and tells nobody; `forbidden`: refused, since the consumer acts on the outside
world.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Field:
    name: str
    type: str
    default: str
    """As JSON; empty when every writer must state it."""
    meaning: str


def fields_of(model: type[BaseModel]) -> list[Field]:
    """The fields of an event or of a part of one, with the meaning their docstrings give."""
    schema = model.model_json_schema(mode="validation")
    return [
        Field(
            name=name,
            type=_type(schema["properties"][name]),
            default=_default(info),
            meaning=(info.description or "").replace("``", "`").replace("\n", " "),
        )
        for name, info in model.model_fields.items()
    ]


def parts_of(event: type[Event]) -> list[type[Part]]:
    """The named values that an event holds, by name."""
    wanted = reader_schema(event).get("$defs", {})
    return sorted((part for part in Part.__subclasses__() if part.__name__ in wanted), key=lambda part: part.__name__)


def retention(topic: Topic) -> str:
    """How long the topic remembers, in words."""
    if topic.cleanup == "compact":
        return "compacted: the last record of each key"
    return f"{topic.retention_ms // DAY_MS} days, at most {topic.retention_bytes // MIB} MiB"


def page(registry: Registry, topics: Mapping[str, Topic], archive: Archive) -> str:
    """The whole of ``docs/events.md``."""
    sections = [line for event in registry for line in _event(event, topics, archive)]
    return "\n".join([_HEAD, *_topics(topics), *sections])


def _default(info: FieldInfo) -> str:
    if info.is_required():
        return ""
    return json.dumps(info.get_default(call_default_factory=True), ensure_ascii=False)


def _type(schema: Schema) -> str:
    if "anyOf" in schema:
        return " or ".join(_type(option) for option in schema["anyOf"])
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "const" in schema or "enum" in schema:
        return " or ".join(f"`{value}`" for value in [*schema.get("enum", ()), *filter(None, [schema.get("const")])])
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    if schema.get("type") == "object":
        return f"object of {_type(schema.get('additionalProperties', {}))}"
    return "time" if schema.get("format") == "date-time" else str(schema.get("type", "anything"))


def _topics(topics: Mapping[str, Topic]) -> Iterator[str]:
    yield "## Topics\n"
    yield "| topic | key | partitions | remembers | producer | consumers | replay | carries |"
    yield "|---|---|---|---|---|---|---|---|"
    for t in topics.values():
        yield (
            f"| `{t.name}` | {t.key} | {t.partitions} | {retention(t)} | {', '.join(t.producers)} "
            f"| {', '.join(t.consumers)} | `{t.replay}` | {t.carries} |"
        )
    yield ""


def _event(event: type[Event], topics: Mapping[str, Topic], archive: Archive) -> Iterator[str]:
    topic = topics[event.topic()]
    yield f"## {event.type}\n"
    yield _meaning(event) + "\n"
    yield f"- version {event.major()}.{event.minor}, schema `{event.dataschema()}`"
    yield f"- key: {topic.key}; produced by {', '.join(topic.producers)}; consumed by {', '.join(topic.consumers)}"
    yield f"- replay class: `{topic.replay}`\n"
    yield from _table(event)
    for part in parts_of(event):
        yield f"*{part.__name__}*: {_meaning(part)}\n"
        yield from _table(part)
    shown = [each for each in archive.examples_of(event) if each.value is not None]
    if shown:  # The one that says most.
        yield from _example(max(shown, key=lambda example: len(json.dumps(example.value))))


def _meaning(model: type[BaseModel]) -> str:
    return " ".join((model.__doc__ or "").split()).replace("``", "`")


def _table(model: type[BaseModel]) -> Iterator[str]:
    yield "| field | type | default | meaning |"
    yield "|---|---|---|---|"
    for field in fields_of(model):
        default = f"`{field.default}`" if field.default else ""
        yield f"| `{field.name}` | {field.type} | {default} | {field.meaning} |"
    yield ""


def _example(example: Example) -> Iterator[str]:
    value: dict[str, Any] | None = example.value
    yield f"Example, {example.name.replace('-', ' ')}:\n"
    yield "```json"
    yield json.dumps(value, indent=2, ensure_ascii=False)
    yield "```\n"
