"""The whole platform as one AsyncAPI 3.0 document, made from the event classes and the topics table. Pure.

Payloads are what consumers should accept: the reader's schema, open. They are written in the dialect that every
AsyncAPI parser has built in (a superset of JSON Schema draft 7), so shared parts stand under ``components``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from contracts.archive import Archive, Example, Released
from contracts.envelope import HEADERS, SPEC_VERSION
from contracts.event import Event
from contracts.registry import Registry
from contracts.schemas import Schema, reader_schema
from contracts.topics import Topic

__all__ = ["document"]

KAFKA_BINDING = "0.5.0"
HEADERS_SCHEMA = "CloudEventHeaders"
SERVER = "kafka"
DEFAULT_BOOTSTRAP = "localhost:17092"
JSON = "application/json"

_DESCRIPTION = """Everything that Trunkline says about calls, messages, facts, anomalies and its directory.

Every record is a CloudEvent 1.0 in Kafka's binary mode: attributes are `ce_` headers, the value is plain JSON, the
key is `<tenant>:<entity>`. Delivery is at least once and in order per key: remember `ce_id`. Ignore fields and types
that you do not know; a record without a value on a compacted topic deletes its key."""

# What the frame of a committed schema says that the document says elsewhere, or must not say twice.
_FRAME = ("$schema", "$id", "x-key", "title")
_NAMES = ("properties", "$defs")


def document(registry: Registry, topics: Mapping[str, Topic], archive: Archive) -> dict[str, Any]:
    """The document, every mapping in a fixed order."""
    spoken = {event.topic() for event in registry}
    topics = {name: topic for name, topic in topics.items() if name in spoken}
    carried = [(event, released) for event in registry for released in archive.versions(event)]
    services = sorted({service for topic in topics.values() for service in (*topic.producers, *topic.consumers)})
    schemas: dict[str, Schema] = {HEADERS_SCHEMA: _envelope_schema()}
    messages: dict[str, Any] = {}
    for event, released in carried:
        schemas |= _payload_schemas(event, released)
        messages[_message_id(released)] = _message(event, released, topics[event.topic()], archive)
    for topic in topics.values():
        if topic.cleanup == "compact":
            messages[_deletion_id(topic)] = _deletion(topic, archive)
    return {
        "asyncapi": "3.0.0",
        "id": "urn:trunkline:events",
        # Released versions are only ever added, so their number is a version.
        "info": _info(f"1.{len(carried)}.0", services),
        "defaultContentType": JSON,
        "servers": {SERVER: _server()},
        "channels": {topic.name: _channel(topic, archive) for topic in topics.values()},
        "operations": dict(_operations(registry, topics, archive)),
        "components": {"messages": messages, "schemas": schemas},
    }


def _info(version: str, services: list[str]) -> dict[str, Any]:
    return {
        "title": "Trunkline events",
        "version": version,
        "description": _DESCRIPTION,
        "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        "tags": [{"name": service, "description": f"Events that {service} sends or receives."} for service in services],
    }


def _server() -> dict[str, Any]:
    return {
        "host": "{bootstrap}",
        "protocol": "kafka",
        "description": "The brokers. The default is the local stack's: `trunkline up` prints it.",
        "variables": {
            "bootstrap": {
                "default": DEFAULT_BOOTSTRAP,
                "description": "Host and port of any broker of the cluster.",
                "examples": [DEFAULT_BOOTSTRAP, "kafka.example.net:9092"],
            }
        },
    }


def _channel(topic: Topic, archive: Archive) -> dict[str, Any]:
    ids = [_message_id(each) for each in archive.released if each.topic == topic.name]
    if topic.cleanup == "compact":
        ids.append(_deletion_id(topic))
    config = topic.config()
    return {
        "address": topic.name,
        "title": topic.name,
        "description": f"Carries {topic.carries}. The key is `<tenant>:<{topic.key}>`. Replay class: {topic.replay}.",
        "servers": [{"$ref": f"#/servers/{SERVER}"}],
        "messages": {each: {"$ref": f"#/components/messages/{each}"} for each in ids},
        "tags": [{"name": service} for service in sorted({*topic.producers, *topic.consumers})],
        "bindings": {
            "kafka": {
                "topic": topic.name,
                "partitions": topic.partitions,
                "topicConfiguration": {name: _setting(name, value) for name, value in sorted(config.items())},
                "bindingVersion": KAFKA_BINDING,
            }
        },
        "x-key": topic.key,
        "x-replay-class": topic.replay,
    }


def _setting(name: str, value: str) -> Any:
    if name == "cleanup.policy":
        return value.split(",")
    return int(value) if value.isdecimal() else value


def _operations(
    registry: Registry, topics: Mapping[str, Topic], archive: Archive
) -> Iterator[tuple[str, dict[str, Any]]]:
    for topic in topics.values():
        channel = f"#/channels/{topic.name}"
        received = [*(_message_id(each) for each in archive.released if each.topic == topic.name)]
        newest = registry.newest(topic.name)
        sent = [_message_id(each) for each in archive.versions(newest)][-1:]
        if topic.cleanup == "compact":
            received.append(_deletion_id(topic))
            sent.append(_deletion_id(topic))
        for service in topic.producers:
            yield f"{service}.send.{topic.name}", _operation("send", service, topic, channel, sent)
        for service in topic.consumers:
            yield f"{service}.receive.{topic.name}", _operation("receive", service, topic, channel, received)


def _operation(action: str, service: str, topic: Topic, channel: str, messages: list[str]) -> dict[str, Any]:
    verb = "sends" if action == "send" else "receives"
    operation: dict[str, Any] = {
        "action": action,
        "channel": {"$ref": channel},
        "summary": f"{service} {verb} {topic.carries}",
        "tags": [{"name": service}],
        "messages": [{"$ref": f"{channel}/messages/{each}"} for each in messages],
    }
    if action == "receive":
        # A service may read a topic in a group of its own, named after the service.
        group = {
            "type": "string",
            "pattern": f"^{re.escape(service)}([.-].+)?$".replace("\\-", "-"),
            "description": f"Consumer groups of {service}.",
            "examples": [service],
        }
        operation["bindings"] = {"kafka": {"groupId": group, "bindingVersion": KAFKA_BINDING}}
    return operation


def _message_id(released: Released) -> str:
    return f"{released.topic}.{released.version}"


def _deletion_id(topic: Topic) -> str:
    return f"{topic.name}.deleted"


def _message(event: type[Event], released: Released, topic: Topic, archive: Archive) -> dict[str, Any]:
    name = _message_id(released)
    shown = [each for each in archive.examples_of(event) if each.version == released.version]
    message = {
        "name": event.type,
        "title": f"{event.topic()} {released.major}.{released.minor}",
        "summary": _words(event.__doc__),
        "contentType": JSON,
        "headers": _headers(event.type, f"urn:trunkline:{released.topic}:{released.major}.{released.minor}"),
        "payload": {"$ref": f"#/components/schemas/{name}"},
        "tags": [{"name": service} for service in topic.producers],
        "bindings": _key(topic),
    }
    examples = [_example(each) for each in shown if each.value is not None]
    return {**message, "examples": examples} if examples else message


def _deletion(topic: Topic, archive: Archive) -> dict[str, Any]:
    message = {
        "name": _deletion_id(topic),
        "title": f"{topic.name} deleted",
        "summary": "The entity is gone: forget what you hold under this key. The value is null, the headers are there.",
        "headers": {"$ref": f"#/components/schemas/{HEADERS_SCHEMA}"},
        "payload": {"type": "null"},
        "tags": [{"name": service} for service in topic.producers],
        "bindings": _key(topic),
    }
    shown = [each for each in archive.examples if each.topic == topic.name and each.value is None]
    return {**message, "examples": [_example(each) for each in shown]} if shown else message


def _example(example: Example) -> dict[str, Any]:
    return {
        "name": example.name,
        "summary": example.name.replace("-", " "),
        "headers": example.headers,
        "payload": example.value,
    }


def _key(topic: Topic) -> dict[str, Any]:
    key = {
        "type": "string",
        "pattern": "^[0-9a-f-]{36}:.+$",
        "description": f"`<tenant>:<{topic.key}>`. Events of one key keep their order.",
    }
    return {"kafka": {"key": key, "bindingVersion": KAFKA_BINDING}}


def _headers(type_: str, dataschema: str) -> Schema:
    own = {"ce_type": {"const": type_}, "ce_dataschema": {"const": dataschema}}
    shared = {"$ref": f"#/components/schemas/{HEADERS_SCHEMA}"}
    return {"type": "object", "allOf": [shared, {"type": "object", "properties": own}]}


def _envelope_schema() -> Schema:
    properties: dict[str, Schema] = {}
    for header in HEADERS:
        properties[header.name] = {"type": "string", "description": header.meaning}
        if header.format:
            properties[header.name]["format"] = header.format
    properties["ce_specversion"]["const"] = SPEC_VERSION
    properties["content-type"]["const"] = JSON
    return {
        "type": "object",
        "description": "CloudEvents attributes as Kafka headers, UTF-8. Ignore headers that are not listed.",
        "properties": properties,
        "required": [header.name for header in HEADERS if header.always],
    }


def _payload_schemas(event: type[Event], released: Released) -> dict[str, Schema]:
    """The payload's schema and those of its parts, by their names under ``components``."""
    name = _message_id(released)
    schema = released.reader
    if reader_schema(event) == schema:
        # The same constraints, with what the fields mean.
        schema = event.model_json_schema(mode="validation")
    parts = {f"{name}.{part}": _portable(each, name) for part, each in schema.get("$defs", {}).items()}
    whole = {keyword: value for keyword, value in schema.items() if keyword != "$defs"}
    return {name: _portable(whole, name), **parts}


def _portable(schema: Any, within: str) -> Any:
    """Without frame and titles, references pointing below ``components``, descriptions in plain words."""
    if isinstance(schema, list):
        return [_portable(each, within) for each in schema]
    if not isinstance(schema, dict):
        return schema
    result: Schema = {}
    for keyword, value in schema.items():
        if keyword in _FRAME:
            continue
        if keyword == "$ref":
            part = value.removeprefix("#/$defs/")
            result[keyword] = f"#/components/schemas/{within}.{part}"
        elif keyword == "description":
            result[keyword] = _words(value)
        elif keyword in _NAMES:
            result[keyword] = {name: _portable(each, within) for name, each in value.items()}
        else:
            result[keyword] = value if keyword == "default" else _portable(value, within)
    return result


def _words(text: str | None) -> str:
    return " ".join((text or "").split()).replace("``", "`")
