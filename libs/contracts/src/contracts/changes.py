"""What changed between two states of the contracts, and what that means for whom. Pure.

The judgement is the compatibility check's: old writers against new readers (*backward*: what lies in the topic), and
new writers against old readers (*forward*: consumers that are not deployed yet).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from contracts.compatibility import Difference, differences
from contracts.schemas import KEY, fields

__all__ = ["ENVELOPE", "Change", "Kind", "Verdict", "changes", "verdict"]

Kind = Literal["added", "removed", "widened", "narrowed", "changed"]
Verdict = Literal["compatible", "breaking", "unknown"]
Order = Literal["either", "consumers", "producers", "none"]
Snapshot = Mapping[str, Any]
ENVELOPE = "envelope"
"""The subject of changes that are about the headers of every record."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """One change, and what the owners of the services have to do about it."""

    subject: str
    """A topic, an event's type, or :data:`ENVELOPE`."""
    field: str = ""
    """JSON pointer into the data, where ``*`` stands for every element; or a header's name."""
    kind: Kind
    rule: str
    verdict: Verdict
    message: str
    producers: tuple[str, ...]
    consumers: tuple[str, ...]
    deploy_first: Order
    """Who must be deployed before the other side; ``none`` when no order makes it safe."""
    new_major: bool = False
    """Whether it may only be released as a new major version."""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def changes(old: Snapshot, new: Snapshot) -> list[Change]:
    """Everything that differs, from the envelope inwards. A snapshot holds ``headers`` and ``topics`` by name, and
    ``events`` by type."""
    return [*_headers(old, new), *_topics(old["topics"], new["topics"]), *_events(old, new)]


def verdict(found: Iterable[Change]) -> Verdict:
    """The worst of them; a break is worse than what cannot be told."""
    verdicts = {each.verdict for each in found}
    return "breaking" if "breaking" in verdicts else "unknown" if "unknown" in verdicts else "compatible"


@dataclass(frozen=True, slots=True)
class _About:
    """Makes the changes of one subject; the services are the newer table's, with those that left it."""

    subject: str
    producers: tuple[str, ...]
    consumers: tuple[str, ...]

    @classmethod
    def topic(cls, subject: str, *topics: Mapping[str, Any] | None) -> _About:
        known = [topic for topic in topics if topic is not None]
        return cls(
            subject,
            tuple(dict.fromkeys(name for topic in known for name in topic["producers"])),
            tuple(dict.fromkeys(name for topic in known for name in topic["consumers"])),
        )

    def fine(self, kind: Kind, rule: str, message: str, *, at: str = "", first: Order = "either") -> Change:
        return self._change(kind, rule, message, at, "compatible", first, False)

    def breaks(self, kind: Kind, rule: str, message: str, *, at: str = "", new_major: bool = False) -> Change:
        return self._change(kind, rule, message, at, "breaking", "none", new_major)

    def untold(self, rule: str, message: str, *, at: str) -> Change:
        return self._change("changed", rule, message, at, "unknown", "none", False)

    def _change(
        self, kind: Kind, rule: str, message: str, at: str, verdict: Verdict, first: Order, new_major: bool
    ) -> Change:
        return Change(
            subject=self.subject,
            field=at,
            kind=kind,
            rule=rule,
            verdict=verdict,
            message=message,
            producers=self.producers,
            consumers=self.consumers,
            deploy_first=first,
            new_major=new_major,
        )


def _headers(old: Snapshot, new: Snapshot) -> Iterator[Change]:
    before, after = old["headers"], new["headers"]
    about = _About.topic(ENVELOPE, *new["topics"].values(), *old["topics"].values())
    for name in [*after, *(name for name in before if name not in after)]:
        if name not in after:
            yield about.breaks("removed", "header_removed", "consumers that read it find nothing", at=name)
        elif name not in before:
            yield about.fine("added", "header_added", "consumers ignore headers that they do not know", at=name)
        elif before[name]["always"] and not after[name]["always"]:
            yield about.breaks("narrowed", "header_optional", "not every record has it any more", at=name)
        elif before[name]["format"] != after[name]["format"]:
            message = f"its format was {before[name]['format'] or 'text'} and is {after[name]['format'] or 'text'}"
            yield about.breaks("changed", "header_format_changed", message, at=name)
        elif before[name] != after[name]:
            yield about.fine("widened", "header_always", "every record has it from now on", at=name)


def _topics(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Change]:
    for name in [*new, *(name for name in old if name not in new)]:
        before, after = old.get(name), new.get(name)
        about = _About.topic(name, after, before)
        if before is None:
            message = "a new topic: create it before its services are deployed"
            yield about.fine("added", "topic_added", message)
        elif after is None:
            yield about.breaks("removed", "topic_removed", "its consumers wait for records that no longer come")
        elif before != after:
            yield from _topic(about, before, after)


def _topic(about: _About, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Change]:
    if before["key"] != after["key"]:
        message = f"the key was {before['key']} and is {after['key']}: order per key is lost; make a new topic"
        yield about.breaks("changed", "key_changed", message)
    if before["partitions"] != after["partitions"]:
        was, now = before["partitions"], after["partitions"]
        message = f"{was} partitions became {now}: a key moves to another partition and overtakes its own past"
        yield about.breaks("changed", "partitions_changed", message)
    if before["cleanup"] != after["cleanup"]:
        message = f"cleanup was {before['cleanup']} and is {after['cleanup']}: consumers rebuild from it differently"
        yield about.breaks("changed", "cleanup_changed", message)
    if before["replay"] != after["replay"]:
        message = f"the replay class was {before['replay']} and is {after['replay']}: so its past is replayed"
        yield about.fine("changed", "replay_changed", message)
    yield from _retention(about, before, after)
    for side in ("producers", "consumers"):
        for service in sorted(set(after[side]) - set(before[side])):
            yield about.fine("added", f"{side[:-1]}_added", f"{service} is a new {side[:-1]}")
        for service in sorted(set(before[side]) - set(after[side])):
            yield about.fine("removed", f"{side[:-1]}_removed", f"{service} is no {side[:-1]} any more")


def _retention(about: _About, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Change]:
    for name, unit in (("retention_ms", "ms"), ("retention_bytes", "bytes")):
        was, now = before[name], after[name]
        if now < was:
            message = f"it keeps {now} {unit} instead of {was}: a consumer that stands still for longer misses records"
            yield about.fine("narrowed", "retention_shortened", message)
        elif now > was:
            yield about.fine("widened", "retention_extended", f"it keeps {now} {unit} instead of {was}")


def _events(old: Snapshot, new: Snapshot) -> Iterator[Change]:
    before, after = old["events"], new["events"]
    for type_ in [*after, *(type_ for type_ in before if type_ not in after)]:
        topic = (after.get(type_) or before[type_])["topic"]
        about = _About.topic(type_, new["topics"].get(topic), old["topics"].get(topic))
        if type_ not in after:
            message = "records of it may still be in the topic, and its consumers wait for more"
            yield about.breaks("removed", "event_removed", message, new_major=True)
        elif type_ in before:
            yield from _event(about, before[type_], after[type_])
        elif any(each["topic"] == topic for each in before.values()):
            message = "a new major: consumers that do not know it yet park its records"
            yield about.fine("added", "major_added", message, first="consumers")
        else:
            yield about.fine("added", "event_added", "a new event")


def _event(about: _About, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Change]:
    if old["writer"] == new["writer"] and old["reader"] == new["reader"]:
        return
    if old["writer"].get(KEY) != new["writer"].get(KEY):
        message = f"the key was {old['writer'].get(KEY)!r} and is {new['writer'].get(KEY)!r}: order per key is lost"
        yield about.breaks("changed", "key_changed", message)
    backward = differences(old["writer"], new["reader"])
    forward = differences(new["writer"], old["reader"])
    added = fields(new["writer"]) - fields(old["writer"])
    removed = fields(old["writer"]) - fields(new["writer"])
    yield from _breaks(about, backward, forward)
    told = {each.field for each in (*backward, *forward)}
    for field in _outermost(removed):
        message = "consumers of the older release read its default, or fail"
        yield about.breaks("removed", "field_removed", message, at=field, new_major=True)
    for field in _outermost(added):
        if field not in told:
            message = "older records read as its default; older consumers ignore it"
            yield about.fine("added", "field_added", message, at=field)
    yield from _harmless(about, old, new, told | added | removed)


def _breaks(about: _About, backward: list[Difference], forward: list[Difference]) -> Iterator[Change]:
    both = {each.field for each in backward} & {each.field for each in forward}
    sides = (
        ("backward", "narrowed", "records that are in the topic cannot be read", backward),
        ("forward", "widened", "consumers of the older release cannot read it", forward),
    )
    for side, kind, consequence, found in sides:
        for each in found:
            message = f"{consequence}: {each.message}"
            if each.rule == "not_understood":
                yield about.untold(f"{side}.{each.rule}", message, at=each.field)
                continue
            of_kind: Kind = "changed" if each.field in both else "narrowed" if kind == "narrowed" else "widened"
            if each.rule == "required_added":
                of_kind = "added" if side == "backward" else "widened"
            yield about.breaks(of_kind, f"{side}.{each.rule}", message, at=each.field, new_major=True)


def _harmless(about: _About, old: Mapping[str, Any], new: Mapping[str, Any], told: set[str]) -> Iterator[Change]:
    """What got wider or narrower on one side only, within what the other side takes already."""
    kinds: tuple[tuple[Kind, str, Order, str, list[Difference]], ...] = (
        ("widened", "reader", "consumers", "readers take more; no producer may write it before they all do",
         differences(new["reader"], old["reader"])),
        ("narrowed", "reader", "producers", "readers take less, nothing of what is written",
         differences(old["reader"], new["reader"])),
        ("widened", "writer", "either", "writers write more, nothing that older readers refuse",
         differences(new["writer"], old["writer"])),
        ("narrowed", "writer", "either", "writers write less", differences(old["writer"], new["writer"])),
    )  # fmt: skip
    for kind, side, first, meaning, found in kinds:
        for each in found:
            if each.rule not in ("not_understood", "field_refused") and not _below(each.field, told):
                message = f"{meaning}: {each.message}"
                yield about.fine(kind, f"{side}.{each.rule}", message, at=each.field, first=first)


def _outermost(found: Iterable[str]) -> list[str]:
    """Without the fields that stand within another of them."""
    every = set(found)
    return sorted(field for field in every if not _below(field.rpartition("/")[0], every))


def _below(field: str, others: set[str]) -> bool:
    while field:
        if field in others:
            return True
        field = field.rpartition("/")[0]
    return False
