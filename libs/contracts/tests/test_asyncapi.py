from __future__ import annotations

import json
from typing import Any

import pytest
from jsonschema import Draft7Validator, Draft202012Validator

from contracts import archive, asyncapi
from contracts.envelope import HEADERS, REQUIRED, Envelope
from contracts.registry import EVENTS, REGISTRY, Registry
from contracts.schemas import draft_07
from contracts.topics import TOPICS

COMMITTED = archive.read(archive.root())


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return asyncapi.document(REGISTRY, TOPICS, COMMITTED)


def references(node: Any) -> list[str]:
    if isinstance(node, dict):
        own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
        return own + [each for value in node.values() for each in references(value)]
    return [each for value in node for each in references(value)] if isinstance(node, list) else []


def at(document: dict[str, Any], pointer: str) -> Any:
    node: Any = document
    for step in pointer.removeprefix("#/").split("/"):
        node = node[step]
    return node


def test_every_topic_is_a_channel_with_its_settings_in_kafka(document: dict[str, Any]) -> None:
    assert list(document["channels"]) == list(TOPICS)
    for topic in TOPICS.values():
        binding = document["channels"][topic.name]["bindings"]["kafka"]
        assert (binding["topic"], binding["partitions"]) == (topic.name, topic.partitions)
        assert binding["topicConfiguration"]["cleanup.policy"] == [topic.cleanup]
        assert {str(value) for name, value in binding["topicConfiguration"].items() if name != "cleanup.policy"} == {
            value for name, value in topic.config().items() if name != "cleanup.policy"
        }


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    found = references(document)
    assert len(found) > len(EVENTS)
    for each in found:
        assert at(document, each) is not None


def test_every_released_version_is_a_message_of_its_channel(document: dict[str, Any]) -> None:
    for released in COMMITTED.released:
        name = f"{released.topic}.{released.version}"
        assert name in document["channels"][released.topic]["messages"]
        assert document["components"]["messages"][name]["name"] == f"{released.topic}.v{released.major}"


def test_a_compacted_channel_has_a_message_of_deletion(document: dict[str, Any]) -> None:
    deletions = {name for name, channel in document["channels"].items() if f"{name}.deleted" in channel["messages"]}
    assert deletions == {topic.name for topic in TOPICS.values() if topic.cleanup == "compact"}
    assert document["components"]["messages"]["directory.lead.deleted"]["examples"][0]["payload"] is None


def test_each_service_sends_and_receives_what_the_topics_table_says(document: dict[str, Any]) -> None:
    told = {
        (name.split(".")[0], operation["action"], operation["channel"]["$ref"].removeprefix("#/channels/"))
        for name, operation in document["operations"].items()
    }
    assert told == {
        *((service, "send", topic.name) for topic in TOPICS.values() for service in topic.producers),
        *((service, "receive", topic.name) for topic in TOPICS.values() for service in topic.consumers),
    }


@pytest.mark.parametrize("group", ["front-desk", "front-desk-archive", "front-desk.directory"])
def test_a_receiver_names_its_consumer_groups(document: dict[str, Any], group: str) -> None:
    schema = document["operations"]["front-desk.receive.call.state"]["bindings"]["kafka"]["groupId"]
    assert Draft7Validator(schema).is_valid(group)
    assert not Draft7Validator(schema).is_valid("notifier")


@pytest.mark.parametrize("example", COMMITTED.examples, ids=lambda each: f"{each.topic}-{each.name}")
def test_committed_records_fit_the_documents_schemas(document: dict[str, Any], example: archive.Example) -> None:
    name = "deleted" if example.value is None else example.version
    message = document["components"]["messages"][f"{example.topic}.{name}"]
    for schema, value in (
        (message["payload"], example.value),
        (message["headers"], example.headers),
        (message["bindings"]["kafka"]["key"], example.key),
    ):
        # References point into the document, so that is what is validated with.
        validator = Draft7Validator({**schema, "components": document["components"]})
        assert [error.message for error in validator.iter_errors(value)] == []


def test_payloads_refuse_what_readers_refuse(document: dict[str, Any]) -> None:
    name = "call.state.v1.0"
    example = next(each for each in COMMITTED.examples if each.topic == "call.state")
    schema = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
    value = dict(example.value or {})
    assert Draft7Validator(schema).is_valid(value)
    del value["call_id"]
    assert not Draft7Validator(schema).is_valid(value)


def test_fields_and_parts_are_told_in_words(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    assert (
        schemas["call.inbound.v1.1"]["properties"]["asked_at"]["description"] == "When the vendor asked whom to ring."
    )
    assert schemas["call.inbound.v1.1.Destination"]["description"] == "One number that the PBX was told to ring."
    assert "``" not in json.dumps(document)


def test_the_same_contracts_give_the_same_bytes() -> None:
    again = asyncapi.document(Registry(EVENTS), dict(TOPICS), archive.read(archive.root()))
    assert json.dumps(again) == json.dumps(asyncapi.document(REGISTRY, TOPICS, COMMITTED))


def test_the_table_of_headers_is_what_an_envelope_writes() -> None:
    example = COMMITTED.examples[0]
    full = Envelope.from_headers(
        [*example.record_headers(), *((name, b"x") for name in ("ce_causationid", "ce_replayid", "traceparent"))]
    )
    assert [header.name for header in HEADERS] == [name for name, _ in full.to_headers()]
    assert set(REQUIRED) <= {header.name for header in HEADERS if header.always}


@pytest.mark.parametrize("released", COMMITTED.released, ids=lambda each: f"{each.topic}-{each.version}")
def test_the_older_dialect_says_the_same(released: archive.Released) -> None:
    older = draft_07(released.reader)
    Draft7Validator.check_schema(older)
    shown = [e for e in COMMITTED.examples if (e.topic, e.major) == (released.topic, released.major) and e.value]
    for value in (each.value or {} for each in shown):
        assert Draft7Validator(older).is_valid(value)
        for field in value:
            # Each field left out, and each given what it is not.
            for spoilt in ({k: v for k, v in value.items() if k != field}, {**value, field: {"nan": 1}}):
                newer = Draft202012Validator(released.reader).is_valid(spoilt)
                assert Draft7Validator(older).is_valid(spoilt) == newer
    assert "$defs" not in json.dumps(older)
