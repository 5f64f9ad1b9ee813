"""Is what we are about to release safe for everybody who reads and writes the topics? Pure: files come in as values.

Within one major, each class is compared with *every* released minor: what old writers left in the topic must
be readable by the new class (backward), and what the new class writes must be readable by consumers that
still run an older release (forward).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from contracts.archive import Archive, Example, Released
from contracts.compatibility import differences
from contracts.envelope import Envelope, MalformedEnvelope, partition_key
from contracts.event import Event
from contracts.registry import ContractViolation, Registry, UnknownMajor
from contracts.schemas import KEY, fields, reader_schema, writer_schema
from contracts.topics import Topic

__all__ = ["Finding", "check", "incompatible", "rewritten_history", "unreleased"]

GENERATE = "run `trunkline contracts generate`"


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One reason why the contracts must not be released as they are."""

    rule: str
    event: str
    field: str = ""
    """JSON pointer into the data; ``*`` stands for every element."""
    old: str = ""
    new: str = ""
    message: str
    breaks: tuple[str, ...] = ()
    """The consumers that would fail."""

    def __str__(self) -> str:
        place = f"{self.event} {self.field}".rstrip()
        versions = f" ({self.old} -> {self.new})" if self.old else ""
        consumers = f"; breaks {', '.join(self.breaks)}" if self.breaks else ""
        return f"{self.rule}: {place}{versions}: {self.message}{consumers}"

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def check(registry: Registry, topics: Mapping[str, Topic], archive: Archive) -> list[Finding]:
    """Every finding, in the order in which one would mend them."""
    return [
        *_tables(registry, topics),
        *_lock(archive),
        *_schemas(registry, archive),
        *(finding for event in registry for finding in incompatible(event, topics, archive)),
        *_examples(registry, topics, archive),
    ]


def unreleased(registry: Registry, archive: Archive) -> list[type[Event]]:
    """The classes whose minor has no schemas yet."""
    known = {(each.topic, each.major, each.minor) for each in archive.released}
    return [event for event in registry if (event.topic(), event.major(), event.minor) not in known]


def rewritten_history(before: Mapping[str, str], archive: Archive) -> list[Finding]:
    """Lines of an earlier lock that are gone or changed: somebody edited a schema and its lock together."""
    return [
        Finding(rule="history_rewritten", event=path, message="its line in the lock is gone or changed; restore it")
        for path, digest in before.items()
        if archive.lock.get(path) != digest
    ]


def _tables(registry: Registry, topics: Mapping[str, Topic]) -> Iterator[Finding]:
    for event in registry:
        if event.topic() not in topics:
            yield Finding(rule="event_without_topic", event=event.type, message="declare its topic in topics.py")
    for name in sorted(topics.keys() - {event.topic() for event in registry}):
        yield Finding(rule="topic_without_event", event=name, message="no event class in registry.py has this topic")


def _lock(archive: Archive) -> Iterator[Finding]:
    for path, digest in archive.lock.items():
        if path not in archive.digests:
            yield Finding(rule="schema_missing", event=path, message="it was released and is gone; restore it")
        elif archive.digests[path] != digest:
            message = "a released schema is never edited; restore it, raise the class's minor and " + GENERATE
            yield Finding(rule="schema_edited", event=path, message=message)
    for path in sorted(archive.digests.keys() - archive.lock.keys()):
        yield Finding(rule="schema_not_locked", event=path, message=f"delete it and {GENERATE}")


def _schemas(registry: Registry, archive: Archive) -> Iterator[Finding]:
    for topic, major in sorted({(each.topic, each.major) for each in archive.released}):
        if registry.get(f"{topic}.v{major}") is None:
            message = "records of it may still be in the topic; keep its class in registry.py"
            yield Finding(rule="schema_without_event", event=f"{topic}.v{major}", message=message)
    for event in registry:
        versions = archive.versions(event)
        newest = versions[-1].minor if versions else -1
        if event.minor == newest:
            now = (writer_schema(event), reader_schema(event))
            if now != (versions[-1].writer, versions[-1].reader):
                message = f"its shape is no longer that of v{event.major()}.{newest}; set minor to {newest + 1} and "
                yield Finding(rule="event_changed", event=event.type, message=message + GENERATE)
        elif event.minor == newest + 1:
            yield Finding(rule="event_without_schema", event=event.type, message=GENERATE)
        else:
            message = f"its minor is {event.minor}, the newest released is {newest}; the next one is {newest + 1}"
            yield Finding(rule="minor_out_of_order", event=event.type, message=message)


def incompatible(event: type[Event], topics: Mapping[str, Topic], archive: Archive) -> list[Finding]:
    """What a class breaks, compared with every released minor of its major."""
    topic = topics.get(event.topic())
    consumers = topic.consumers if topic else ()
    found: dict[tuple[str, str, str], Finding] = {}
    for old in archive.versions(event):
        for rule, field, message in _breaks(event, old):
            finding = Finding(
                rule=rule,
                event=event.type,
                field=field,
                old=old.version,
                new=f"v{event.major()}.{event.minor}",
                message=message,
                breaks=consumers,
            )
            # Told once, for the oldest version that it breaks.
            found.setdefault((rule, field, message), finding)
    return list(found.values())


def _breaks(event: type[Event], old: Released) -> Iterator[tuple[str, str, str]]:
    writer, reader = writer_schema(event), reader_schema(event)
    if writer[KEY] != old.writer.get(KEY):
        yield "key_changed", "", f"the key was {old.writer.get(KEY)!r} and is {writer[KEY]!r}: order per key is lost"
    for field in sorted(fields(old.writer) - fields(writer)):
        yield "field_removed", field, "consumers of the older release would read its default, or fail"
    for each in differences(old.writer, reader):
        yield f"backward.{each.rule}", each.field, f"records that are in the topic cannot be read: {each.message}"
    for each in differences(writer, old.reader):
        yield f"forward.{each.rule}", each.field, f"consumers of the older release cannot read it: {each.message}"


def _examples(registry: Registry, topics: Mapping[str, Topic], archive: Archive) -> Iterator[Finding]:
    for event in registry:
        examples = archive.examples_of(event)
        shown = {example.version for example in examples if example.value is not None}
        for released in archive.versions(event):
            if released.version not in shown:
                folder = f"examples/{event.topic()}/v{event.major()}/"
                message = f"no example of {released.version}; add one to {folder}"
                yield Finding(rule="example_missing", event=event.type, message=message)
        topic = topics.get(event.topic())
        if topic and topic.cleanup == "compact" and all(example.value is not None for example in examples):
            message = "its topic is compacted, so it needs an example of a deletion (value null)"
            yield Finding(rule="example_missing", event=event.type, message=message)
    for example in archive.examples:
        place = f"{example.topic}/v{example.major}/{example.name}"
        for message in _wrong_with(example, registry):
            yield Finding(rule="example_wrong", event=place, message=message)


def _wrong_with(example: Example, registry: Registry) -> Iterable[str]:
    type_ = f"{example.topic}.v{example.major}"
    cls = registry.get(type_)
    if cls is None:
        return [f"no event class has the type {type_}"]
    try:
        envelope = Envelope.from_headers(example.record_headers())
    except MalformedEnvelope as error:
        return [str(error)]
    wrong = []
    if envelope.type != type_:
        wrong.append("ce_type is not that of its folder")
    if not example.key == envelope.partitionkey == partition_key(envelope.tenant, envelope.subject):
        wrong.append("the key, ce_partitionkey, and ce_tenant with ce_subject are not the same")
    if example.value is not None:
        wrong += _wrong_value(example, example.value, envelope, cls, registry)
    return wrong


def _wrong_value(
    example: Example, value: dict[str, Any], envelope: Envelope, cls: type[Event], registry: Registry
) -> Iterable[str]:
    try:
        event = registry.decode(envelope.type, example.record_value() or b"")
    except (ContractViolation, UnknownMajor) as error:
        return [str(error)]
    except Exception as error:
        return [f"its upcast fails with {type(error).__name__}"]
    wrong = []
    if event is None or event.entity_id() != envelope.subject:
        wrong.append("ce_subject is not the entity that the value is about")
    if envelope.dataschema == cls.dataschema() and cls.model_validate(value).model_dump(mode="json") != value:
        wrong.append("the class writes it differently: a field is missing, invented or spelt another way")
    return wrong
