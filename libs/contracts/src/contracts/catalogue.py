"""The contracts as people read them: fields in words, and the page ``docs/events.md``. Pure text in, text out."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from contracts.archive import Archive, Example
from contracts.envelope import HEADERS
from contracts.event import Event, Part
from contracts.registry import Registry
from contracts.schemas import Schema, reader_schema
from contracts.topics import DAY_MS, MIB, Topic

__all__ = ["Field", "fields_of", "page", "parts_of", "retention"]

_HEAD = """# Events

This page is made by `trunkline contracts generate` from the event classes, the topics table and the examples in
`libs/contracts`; do not edit it. The same for tools, as AsyncAPI 3: [asyncapi.yaml](asyncapi.yaml). How to
[consume events from outside](howto/consume-events.md), with [examples](../examples/consumer/README.md) in two
languages; how to [change an event](howto/change-an-event.md).

## The record

Every record is a CloudEvent 1.0 in Kafka's binary mode: attributes are headers, the value is the JSON described here,
UTF-8, without a registry's prefix. The key is `<tenant>:<what the table below says>`; events of one key keep their
order. A type is the topic's name and the major version. Delivery is at least once: remember `ce_id`.
Consumers ignore fields and types they do not know and park a major version they do not know.
A record without a value on a compacted topic deletes its key.
"""

_REPLAY = """\
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
    return "\n".join([_HEAD, *_headers(), *_topics(registry, topics), *sections])


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


def _headers() -> Iterator[str]:
    yield "| header | always | meaning |"
    yield "|---|---|---|"
    for header in HEADERS:
        yield f"| `{header.name}` | {'yes' if header.always else ''} | {header.meaning} |"
    yield ""


def _topics(registry: Registry, topics: Mapping[str, Topic]) -> Iterator[str]:
    newest = {event.topic(): registry.newest(event.topic()).type for event in registry}
    yield "## Topics\n"
    yield _REPLAY
    yield "| topic | key | partitions | remembers | producer | consumers | replay | carries |"
    yield "|---|---|---|---|---|---|---|---|"
    for t in topics.values():
        name = f"[`{t.name}`](#{_anchor(newest[t.name])})" if t.name in newest else f"`{t.name}`"
        yield (
            f"| {name} | {t.key} | {t.partitions} | {retention(t)} | {', '.join(t.producers)} "
            f"| {', '.join(t.consumers)} | `{t.replay}` | {t.carries} |"
        )
    yield ""


def _event(event: type[Event], topics: Mapping[str, Topic], archive: Archive) -> Iterator[str]:
    topic = topics[event.topic()]
    yield f"## {event.type}\n"
    yield _meaning(event) + "\n"
    yield f"- version {event.major()}.{event.minor}, schema `{event.dataschema()}`{_versions(event, archive)}"
    yield f"- key: {topic.key}; produced by {', '.join(topic.producers)}; consumed by {', '.join(topic.consumers)}"
    yield f"- {topic.partitions} partitions; remembers {retention(topic)}"
    yield f"- replay class: `{topic.replay}`\n"
    yield from _table(event)
    for part in parts_of(event):
        yield f"*{part.__name__}*: {_meaning(part)}\n"
        yield from _table(part)
    yield from _examples(archive.examples_of(event))


def _versions(event: type[Event], archive: Archive) -> str:
    """Links to the released schemas, newest first."""
    folder = f"../libs/contracts/schemas/{event.topic()}"
    links = [
        f"{each.version} ([reader]({folder}/{each.version}.reader.json), [writer]({folder}/{each.version}.writer.json))"
        for each in reversed(archive.versions(event))
    ]
    return f"; released {', '.join(links)}" if links else ""


def _anchor(heading: str) -> str:
    return "".join(character for character in heading if character.isalnum() or character in "-_").lower()


def _meaning(model: type[BaseModel]) -> str:
    return " ".join((model.__doc__ or "").split()).replace("``", "`")


def _table(model: type[BaseModel]) -> Iterator[str]:
    yield "| field | type | default | meaning |"
    yield "|---|---|---|---|"
    for field in fields_of(model):
        default = f"`{field.default}`" if field.default else ""
        yield f"| `{field.name}` | {field.type} | {default} | {field.meaning} |"
    yield ""


def _examples(examples: list[Example]) -> Iterator[str]:
    """The record that says most in full, the others by name."""
    shown = [each for each in examples if each.value is not None]
    if not shown:
        return
    most = max(shown, key=lambda example: len(json.dumps(example.value)))
    yield f"Example, {_title(most)}:\n"
    yield "```json"
    record = {"key": most.key, "headers": most.headers, "value": most.value}
    yield json.dumps(record, indent=2, ensure_ascii=False)
    yield "```\n"
    if others := [f"[{_title(each)}]({_place(each)})" for each in examples if each is not most]:
        yield f"More: {', '.join(others)}.\n"


def _title(example: Example) -> str:
    return example.name.replace("-", " ")


def _place(example: Example) -> str:
    return f"../libs/contracts/examples/{example.topic}/v{example.major}/{example.name}.json"
