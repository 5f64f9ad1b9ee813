"""From a type string to the newest class of its event; upcasts old majors on the way in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from pydantic import ValidationError

from contracts import anomalies, calls, directory, erasure, facts, notifications, vault
from contracts.event import Event, split_type
from contracts.topics import TOPICS

__all__ = ["EVENTS", "REGISTRY", "ContractViolation", "Registry", "UnknownMajor"]

FIELDS_NAMED = 5
"""How many wrong fields a violation names; a broken list of a thousand rows is one mistake, not a thousand."""


class ContractViolation(ValueError):
    """The value is not what its type promises. The message names fields, never values: they may be personal."""


class UnknownMajor(ValueError):
    """A major version of a known event that this release cannot read."""


EVENTS: tuple[type[Event], ...] = (
    calls.CallInboundV1,
    calls.CallStateV1,
    calls.RecordingStoredV1,
    vault.MessageImportedV1,
    vault.VaultStateV1,
    facts.FactExtractedV1,
    anomalies.AnomalyFiredV1,
    notifications.NotificationStateV1,
    erasure.SubjectErasedV1,
    erasure.ErasureReceiptV1,
    directory.TenantV1,
    directory.StaffV1,
    directory.CustomerV1,
    directory.LeadV1,
    directory.DidV1,
    directory.RoutingV1,
)


class Registry:
    """Knows every version of every event.

    ``decode`` gives an instance of the newest class, ``None`` for a type it never heard of (to be counted
    and ignored), and raises :class:`UnknownMajor` or :class:`ContractViolation` for what must be parked.
    """

    def __init__(self, events: Iterable[type[Event]]) -> None:
        self._by_type: dict[str, type[Event]] = {}
        self._newest: dict[str, type[Event]] = {}
        for event in events:
            if split_type(event.type) is None:
                raise ValueError(f"{event.type} is not a topic name and a major version, such as call.inbound.v1")
            if event.type in self._by_type:
                raise ValueError(f"{event.type} is registered twice")
            self._by_type[event.type] = event
            newest = self._newest.get(event.topic())
            if newest is None or event.major() > newest.major():
                self._newest[event.topic()] = event
        # The upcasts from each old type to the newest, in order; empty for what is newest already.
        self._steps = {type_: self._path(event) for type_, event in self._by_type.items()}

    def __iter__(self) -> Iterator[type[Event]]:
        return iter(self._by_type.values())

    def newest(self, topic: str) -> type[Event]:
        """The class that consumers of a topic see. Raises ``KeyError`` for a topic without events."""
        return self._newest[topic]

    def get(self, type_: str) -> type[Event] | None:
        """The class of exactly this type, old majors included."""
        return self._by_type.get(type_)

    def decode(self, type_: str, value: bytes) -> Event | None:
        cls = self._by_type.get(type_)
        if cls is None:
            parts = split_type(type_)
            if parts is not None and parts[0] in self._newest:
                raise UnknownMajor(f"{type_} is a major version that this release does not know")
            return None
        reader = cls
        try:
            event = cls.model_validate_json(value)
            for reader in self._steps[type_]:
                event = reader.model_validate(reader.upcast(event.model_dump(mode="json")))
        except ValidationError as error:
            raise ContractViolation(f"{type_}: {_what_is_wrong(reader, error)}") from None
        return event

    def _path(self, event: type[Event]) -> tuple[type[Event], ...]:
        path: list[type[Event]] = []
        step: type[Event] | None = self._newest[event.topic()]
        while step is not event:
            if step is None:
                raise ValueError(f"no upcasts lead from {event.type}; set upcast_from on the class that replaces it")
            path.append(step)
            step = step.upcast_from
        return tuple(reversed(path))


def _what_is_wrong(cls: type[Event], error: ValidationError) -> str:
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    if problems[0]["type"] == "json_invalid":
        return "the value is not JSON"
    known = _names(cls.model_json_schema())
    wrong = sorted({f"{_place(each['loc'], known)}: {each['type']}" for each in problems})
    more = f" and {len(wrong) - FIELDS_NAMED} more" if len(wrong) > FIELDS_NAMED else ""
    return "; ".join(wrong[:FIELDS_NAMED]) + more


def _place(location: tuple[int | str, ...], known: frozenset[str]) -> str:
    # A location may pass through a key of a free-form object, and such a key is the sender's text.
    return ".".join(str(part) if isinstance(part, int) or part in known else "*" for part in location) or "value"


def _names(schema: Any) -> frozenset[str]:
    """Every field name that a schema declares, at any depth."""
    if isinstance(schema, list):
        return frozenset().union(*map(_names, schema))
    if not isinstance(schema, dict):
        return frozenset()
    return frozenset(schema.get("properties", ())).union(*map(_names, schema.values()))


REGISTRY = Registry(EVENTS)

_undeclared = {event.topic() for event in EVENTS} - TOPICS.keys()
if _undeclared:
    raise RuntimeError(f"events without a topic: {', '.join(sorted(_undeclared))}")
