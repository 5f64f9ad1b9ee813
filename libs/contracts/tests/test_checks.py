from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest
from pydantic import create_model

from contracts import archive
from contracts.archive import Archive, ArchiveError, Example
from contracts.checks import Finding, check, incompatible, rewritten_history, unreleased
from contracts.envelope import Envelope
from contracts.event import Event, Part
from contracts.registry import REGISTRY, Registry
from contracts.topics import TOPICS, Topic

COMMITTED = archive.read(archive.root())
TOY = Topic(
    name="toy.call", key="call", partitions=3, producers=("router",), consumers=("desk", "pulse"), carries="a toy"
)


class Agent(Part):
    name: str


class CallV1(Event):
    type: ClassVar[str] = "toy.call.v1"
    call: str
    state: Literal["ringing", "over"]
    agent: Agent | None = None
    seconds: int = 0

    def entity_id(self) -> str:
        return self.call


def changed(minor: int = 1, **fields: Any) -> type[Event]:
    """CallV1 with other fields; ``None`` takes a field away."""
    kept = {name: (info.annotation, info) for name, info in CallV1.model_fields.items()}
    wanted = {name: each for name, each in (kept | fields).items() if each is not None}

    class Base(Event):
        type: ClassVar[str] = "toy.call.v1"

        def entity_id(self) -> str:
            return str(self.call)  # type: ignore[attr-defined]

    Base.minor = minor
    return create_model("CallV1", __base__=Base, **wanted)


@pytest.fixture
def released(tmp_path: Path) -> Path:
    """A checkout in which ``toy.call.v1`` is released, with an example."""
    archive_topics = pytest.MonkeyPatch()
    archive_topics.setitem(TOPICS, "toy.call", TOY)
    archive.release(tmp_path, [CallV1])
    archive_topics.undo()
    an_example(tmp_path, CallV1(call="c1", state="ringing"))
    return tmp_path


def an_example(folder: Path, event: Event, name: str = "ringing") -> None:
    tenant = next(each for each in COMMITTED.examples if each.topic == "call.state").headers["ce_tenant"]
    headers = {
        "ce_specversion": "1.0",
        "ce_id": "01976f2e-5c00-7000-8000-000000000501",
        "ce_type": event.type,
        "ce_source": "/router",
        "ce_time": "2026-06-15T04:30:00Z",
        "ce_tenant": tenant,
        "ce_subject": event.entity_id(),
        "ce_partitionkey": f"{tenant}:{event.entity_id()}",
        "ce_dataschema": event.dataschema(),
    }
    path = folder / "examples" / event.topic() / f"v{event.major()}" / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    record = {"headers": headers, "key": headers["ce_partitionkey"], "value": event.model_dump(mode="json")}
    path.write_text(json.dumps(record), encoding="utf-8")


def findings(folder: Path, *events: type[Event], topic: Topic = TOY) -> list[Finding]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(TOPICS, "toy.call", topic)
        return check(Registry(events), {"toy.call": topic}, archive.read(folder))


def rules(found: list[Finding]) -> list[tuple[str, str]]:
    return [(each.rule, each.field) for each in found]


def test_what_is_committed_may_be_released() -> None:
    assert [str(finding) for finding in check(REGISTRY, TOPICS, COMMITTED)] == []


def test_an_unchanged_event_has_no_findings(released: Path) -> None:
    assert findings(released, CallV1) == []


def test_a_new_field_with_a_default_is_compatible_and_needs_only_a_release(released: Path) -> None:
    event = changed(note=(str, ""))

    assert rules(findings(released, event)) == [("event_without_schema", "")]


def test_a_changed_event_must_raise_its_minor(released: Path) -> None:
    found = findings(released, changed(minor=0, note=(str, "")))

    assert rules(found)[0] == ("event_changed", "")
    assert "set minor to 1" in found[0].message


def test_minors_follow_each_other(released: Path) -> None:
    assert ("minor_out_of_order", "") in rules(findings(released, changed(minor=2, note=(str, ""))))


BREAKING = {
    "backward: a new field without a default": ({"note": (str, ...)}, ("backward.required_added", "/note")),
    "backward: a value taken away": ({"state": (Literal["ringing"], ...)}, ("backward.value_added", "/state")),
    "forward: a value added": ({"state": (Literal["ringing", "over", "held"], ...)}, ("forward.value_added", "/state")),
    "forward: a nullable field": ({"seconds": (int | None, None)}, ("forward.type_changed", "/seconds")),
    "backward: no longer nullable": ({"agent": (Agent, ...)}, ("backward.type_changed", "/agent")),
    "forward: an optional field removed": ({"seconds": None}, ("field_removed", "/seconds")),
    "forward: a required field removed": ({"call": None, "id": (str, ...)}, ("forward.required_added", "/call")),
    "backward: another type": ({"seconds": (str, "")}, ("backward.type_changed", "/seconds")),
}


@pytest.mark.parametrize("case", BREAKING.values(), ids=BREAKING.keys())
def test_a_breaking_change_names_rule_field_versions_and_consumers(
    released: Path, case: tuple[dict[str, Any], tuple[str, str]]
) -> None:
    fields, expected = case
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(TOPICS, "toy.call", TOY)
        found = incompatible(changed(**fields), {"toy.call": TOY}, archive.read(released))

    (finding,) = [each for each in found if (each.rule, each.field) == expected]
    assert (finding.old, finding.new) == ("v1.0", "v1.1")
    assert finding.breaks == ("desk", "pulse")
    assert str(finding).startswith(f"{expected[0]}: toy.call.v1 {expected[1]} (v1.0 -> v1.1): ")
    assert str(finding).endswith("; breaks desk, pulse")


def test_every_older_minor_is_compared_not_only_the_last(released: Path) -> None:
    second = changed(minor=1, note=(str, ""))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(TOPICS, "toy.call", TOY)
        archive.release(released, [second])
    an_example(released, second(call="c1", state="over", note="x"), "over-with-note")  # type: ignore[call-arg]
    assert findings(released, second) == []

    # Compatible with 1.1, where every writer wrote the note, and not with 1.0.
    found = findings(released, changed(minor=2, note=(str, ...)))

    assert [(each.rule, each.old) for each in found if each.breaks] == [("backward.required_added", "v1.0")]


def test_a_changed_key_is_found(released: Path) -> None:
    found = findings(released, CallV1, topic=replace(TOY, key="caller"))

    assert ("key_changed", "") in rules(found)
    assert next(each for each in found if each.rule == "key_changed").breaks == ("desk", "pulse")


def test_an_edited_schema_is_found(released: Path) -> None:
    path = released / "schemas/toy.call/v1.0.reader.json"
    path.write_text(path.read_text(encoding="utf-8").replace('"seconds"', '"minutes"'), encoding="utf-8")

    found = findings(released, CallV1)

    assert ("schema_edited", "toy.call/v1.0.reader.json") in [(each.rule, each.event) for each in found]


def test_a_schema_that_is_gone_is_found(released: Path) -> None:
    (released / "schemas/toy.call/v1.0.reader.json").unlink()

    assert "schema_missing" in [each.rule for each in findings(released, CallV1)]


def test_a_schema_that_is_not_locked_is_found(released: Path) -> None:
    (released / "schemas" / archive.LOCK).write_text("", encoding="utf-8")

    assert [each.rule for each in findings(released, CallV1)] == ["schema_not_locked", "schema_not_locked"]


def test_a_lock_edited_together_with_its_schema_is_found_by_the_earlier_lock(released: Path) -> None:
    before = archive.read(released).lock
    (released / "schemas" / archive.LOCK).write_text("00  toy.call/v1.0.reader.json\n", encoding="utf-8")

    found = rewritten_history(before, archive.read(released))

    assert [each.rule for each in found] == ["history_rewritten"] * 2
    assert rewritten_history(before, replace(COMMITTED, lock=before)) == []


def test_a_released_schema_is_never_overwritten(released: Path) -> None:
    with pytest.raises(ArchiveError, match="never edited"):
        archive.release(released, [CallV1])


def test_an_event_without_schema_and_a_schema_without_event_are_found(released: Path) -> None:
    class OtherV1(Event):
        type: ClassVar[str] = "toy.call.v2"
        upcast_from = CallV1

    assert ("event_without_schema", "") in rules(findings(released, CallV1, OtherV1))
    assert ("schema_without_event", "") in rules(findings(released))
    # Its upcast is not written either; the example of the older version shows it.
    assert "example_wrong" in [each.rule for each in findings(released, CallV1, OtherV1)]
    assert unreleased(Registry([CallV1, OtherV1]), archive.read(released)) == [OtherV1]


def test_tables_that_do_not_match_are_found() -> None:
    nothing = Archive(released=(), examples=(), lock={}, digests={})

    assert [each.rule for each in check(Registry([]), {"toy.call": TOY}, nothing)] == ["topic_without_event"]
    assert check(Registry([CallV1]), {}, nothing)[0].rule == "event_without_topic"


def test_a_version_without_example_is_found(released: Path) -> None:
    (released / "examples/toy.call/v1/ringing.json").unlink()

    found = findings(released, CallV1)

    assert rules(found) == [("example_missing", "")]
    assert found[0].message == "no example of v1.0; add one to examples/toy.call/v1/"


def test_a_compacted_topic_needs_an_example_of_a_deletion(released: Path) -> None:
    found = findings(released, CallV1, topic=replace(TOY, cleanup="compact"))

    assert [each.message for each in found] == [
        "its topic is compacted, so it needs an example of a deletion (value null)"
    ]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"key": "another"}, "the key, ce_partitionkey, and ce_tenant with ce_subject are not the same"),
        ({"value": {"call": "c1"}}, "toy.call.v1: state: missing"),
        ({"value": {"call": "c2", "state": "over"}}, "ce_subject is not the entity that the value is about"),
        ({"value": {"call": "c1", "state": "over"}}, "the class writes it differently"),
        ({"headers": {}}, "headers missing"),
    ],
)
def test_a_wrong_example_is_named(released: Path, change: dict[str, Any], expected: str) -> None:
    path = released / "examples/toy.call/v1/ringing.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | change), encoding="utf-8")

    found = [each for each in findings(released, CallV1) if each.rule == "example_wrong"]

    assert found
    assert found[0].event == "toy.call/v1/ringing"
    assert any(expected in each.message for each in found)


def test_a_file_that_is_not_a_record_is_named(released: Path) -> None:
    (released / "examples/toy.call/v1/odd.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ArchiveError, match=r"odd\.json"):
        archive.read(released)

    (released / "examples/toy.call/v1/odd.json").write_text("{", encoding="utf-8")
    with pytest.raises(ArchiveError, match="JSON"):
        archive.read(released)


@pytest.mark.parametrize("example", COMMITTED.examples, ids=lambda each: f"{each.topic}/{each.name}")
def test_every_example_decodes_to_the_newest_class_and_back(example: Example) -> None:
    envelope = Envelope.from_headers(example.record_headers())
    newest = REGISTRY.newest(example.topic)
    value = example.record_value()
    if value is None:
        assert TOPICS[example.topic].cleanup == "compact"
        return

    event = REGISTRY.decode(envelope.type, value)

    assert type(event) is newest
    assert newest.model_validate_json(event.model_dump_json()) == event
    assert Envelope.from_headers(envelope.to_headers()) == envelope


@pytest.mark.parametrize("example", COMMITTED.examples, ids=lambda each: f"{each.topic}/{each.name}")
def test_every_example_validates_against_the_schema_it_names(example: Example) -> None:
    import jsonschema

    (named,) = [each for each in COMMITTED.released if (each.topic, each.version) == (example.topic, example.version)]
    if example.value is not None:
        jsonschema.Draft202012Validator(named.writer).validate(example.value)
        jsonschema.Draft202012Validator(named.reader).validate(example.value)


def test_released_schemas_are_valid_schemas() -> None:
    import jsonschema

    for released in COMMITTED.released:
        jsonschema.Draft202012Validator.check_schema(released.writer)
        jsonschema.Draft202012Validator.check_schema(released.reader)
