from __future__ import annotations

from dataclasses import asdict, replace
from typing import Annotated, Any, ClassVar, Literal

import pytest
from pydantic import Field

from contracts.changes import Change, changes, verdict
from contracts.event import Event, Part
from contracts.registry import EVENTS
from contracts.schemas import reader_schema, writer_schema
from contracts.topics import TOPICS, Topic

SERVICES = (("vault-importer",), ("anomaly-engine", "front-desk"))


class Place(Part):
    """Where."""

    city: str = ""
    street: str = ""


class Parcel(Event):
    """As it is released."""

    type: ClassVar[str] = "vault.state.v1"

    parcel: str
    state: Literal["sent", "lost"]
    weight: Annotated[int, Field(ge=0)]
    note: str = ""


def snapshot(*events: type[Event], **topics: Topic) -> dict[str, Any]:
    tables = topics or {"vault.state": TOPICS["vault.state"]}
    return {
        "headers": {"ce_id": {"always": True, "format": "uuid"}, "ce_replayid": {"always": False, "format": ""}},
        "topics": {topic.name: asdict(topic) for topic in tables.values()},
        "events": {
            event.type: {
                "topic": event.topic(),
                "version": f"{event.major()}.{event.minor}",
                "writer": writer_schema(event),
                "reader": reader_schema(event),
            }
            for event in events
        },
    }


def changed(cls: type[Event]) -> list[Change]:
    return changes(snapshot(Parcel), snapshot(cls))


def only(found: list[Change]) -> Change:
    (change,) = found
    return change


def test_the_same_contracts_have_no_changes() -> None:
    now = snapshot(*EVENTS, **TOPICS)
    assert changes(now, now) == []
    assert verdict([]) == "compatible"


def test_a_new_field_with_a_default_is_for_either_side_first() -> None:
    class Wider(Parcel):
        place: Place = Place()

    change = only(changed(Wider))  # Told once, not again for each field within.

    assert (change.field, change.kind, change.rule, change.verdict) == ("/place", "added", "field_added", "compatible")
    assert (change.deploy_first, change.new_major) == ("either", False)
    assert (change.producers, change.consumers) == SERVICES


def test_a_new_field_without_a_default_needs_a_new_major() -> None:
    class Stricter(Parcel):
        place: Place

    change = only(changed(Stricter))

    assert (change.field, change.kind, change.rule) == ("/place", "added", "backward.required_added")
    assert (change.verdict, change.new_major) == ("breaking", True)


def test_a_removed_field_is_a_break_even_with_a_default() -> None:
    class Shorter(Event):
        type: ClassVar[str] = Parcel.type
        parcel: str
        state: Literal["sent", "lost"]
        weight: Annotated[int, Field(ge=0)]

    change = only(changed(Shorter))

    assert (change.field, change.kind, change.rule, change.verdict) == ("/note", "removed", "field_removed", "breaking")
    assert change.consumers == SERVICES[1]


def test_another_type_breaks_in_both_directions() -> None:
    class Other(Parcel):
        parcel: int  # type: ignore[assignment]

    found = changed(Other)

    assert [each.rule for each in found] == ["backward.type_changed", "forward.type_changed"]
    assert {each.kind for each in found} == {"changed"}


def test_a_value_more_is_widened_and_breaks_older_consumers() -> None:
    class More(Parcel):
        state: Literal["sent", "lost", "found"]  # type: ignore[assignment]

    change = only(changed(More))

    assert (change.field, change.kind, change.rule) == ("/state", "widened", "forward.value_added")
    assert (change.verdict, change.new_major) == ("breaking", True)


def test_a_value_less_is_narrowed_and_breaks_what_is_in_the_topic() -> None:
    class Fewer(Parcel):
        state: Literal["sent"]

    change = only(changed(Fewer))

    assert (change.field, change.kind, change.rule) == ("/state", "narrowed", "backward.value_added")
    assert change.verdict == "breaking"


def test_a_reader_that_takes_more_goes_before_the_writer() -> None:
    after = snapshot(Parcel)
    after["events"][Parcel.type]["reader"]["properties"]["weight"]["minimum"] = -5

    change = only(changes(snapshot(Parcel), after))

    assert (change.field, change.kind, change.verdict) == ("/weight", "widened", "compatible")
    assert change.deploy_first == "consumers"


def test_a_writer_that_promises_more_is_narrowed_and_harmless() -> None:
    after = snapshot(Parcel)
    after["events"][Parcel.type]["writer"]["properties"]["weight"]["minimum"] = 1

    change = only(changes(snapshot(Parcel), after))

    assert (change.field, change.kind, change.verdict) == ("/weight", "narrowed", "compatible")


def test_a_keyword_that_nobody_understands_cannot_be_told() -> None:
    class Encoded(Parcel):
        parcel: Annotated[str, Field(json_schema_extra={"contentEncoding": "hex"})]

    found = changed(Encoded)

    assert {each.verdict for each in found} == {"unknown"}
    assert verdict(found) == "unknown"


def test_a_break_is_worse_than_what_cannot_be_told() -> None:
    class Encoded(Parcel):
        parcel: Annotated[str, Field(json_schema_extra={"contentEncoding": "hex"})]
        weight: str  # type: ignore[assignment]

    assert verdict(changed(Encoded)) == "breaking"


def test_a_new_major_is_for_consumers_first_and_an_old_one_never_leaves() -> None:
    class Next(Parcel):
        type: ClassVar[str] = "vault.state.v2"

    added = only(changes(snapshot(Parcel), snapshot(Parcel, Next)))
    removed = only(changes(snapshot(Parcel, Next), snapshot(Next)))

    assert (added.rule, added.verdict, added.deploy_first) == ("major_added", "compatible", "consumers")
    assert (removed.rule, removed.verdict, removed.subject) == ("event_removed", "breaking", "vault.state.v1")


@pytest.mark.parametrize(
    ("change", "rule", "judged"),
    [
        ({"key": "import"}, "key_changed", "breaking"),
        ({"partitions": 6}, "partitions_changed", "breaking"),
        ({"cleanup": "compact"}, "cleanup_changed", "breaking"),
        ({"replay": "forbidden"}, "replay_changed", "compatible"),
        ({"retention_ms": 1000}, "retention_shortened", "compatible"),
        ({"retention_bytes": 2**40}, "retention_extended", "compatible"),
        ({"consumers": ("anomaly-engine",)}, "consumer_removed", "compatible"),
        ({"producers": ("vault-importer", "front-desk")}, "producer_added", "compatible"),
    ],
)
def test_a_topics_settings_are_judged(change: dict[str, Any], rule: str, judged: str) -> None:
    before = TOPICS["vault.state"]

    found = only(changes(snapshot(Parcel), snapshot(Parcel, topic=replace(before, **change))))

    assert (found.subject, found.rule, found.verdict) == ("vault.state", rule, judged)
    # Who left is concerned as well.
    assert {"vault-importer", "anomaly-engine", "front-desk"} <= {*found.producers, *found.consumers}


def test_topics_come_and_go() -> None:
    one, two = TOPICS["vault.state"], TOPICS["call.state"]

    assert only(changes(snapshot(one=one), snapshot(one=one, two=two))).rule == "topic_added"
    removed = only(changes(snapshot(one=one, two=two), snapshot(one=one)))
    assert (removed.rule, removed.verdict) == ("topic_removed", "breaking")


@pytest.mark.parametrize(
    ("headers", "rule", "judged"),
    [
        ({"ce_id": {"always": True, "format": "uuid"}}, "header_removed", "breaking"),
        ({"ce_id": {"always": False, "format": "uuid"}}, "header_optional", "breaking"),
        ({"ce_id": {"always": True, "format": ""}}, "header_format_changed", "breaking"),
        ({"ce_replayid": {"always": True, "format": ""}}, "header_always", "compatible"),
        ({"ce_severity": {"always": False, "format": ""}}, "header_added", "compatible"),
    ],
)
def test_headers_are_part_of_what_consumers_read(headers: dict[str, Any], rule: str, judged: str) -> None:
    before = snapshot(Parcel)
    kept = {} if rule == "header_removed" else before["headers"]

    found = only(changes(before, {**before, "headers": {**kept, **headers}}))

    assert (found.subject, found.rule, found.verdict) == ("envelope", rule, judged)
    assert (found.producers, found.consumers) == SERVICES
