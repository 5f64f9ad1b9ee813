"""From a type string to the newest class of its event; upcasts old majors on the way in."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from pydantic import ValidationError

from contracts import anomalies, calls, directory, facts, notifications, vault
from contracts.event import Event
from contracts.topics import TOPICS

__all__ = ["EVENTS", "REGISTRY", "ContractViolation", "Registry", "UnknownMajor"]


class ContractViolation(ValueError):
    """The value is not what its type promises. The message names fields, never values: they may be personal."""


class UnknownMajor(ValueError):
    """A major version of a known event that this release cannot read."""


EVENTS: tuple[type[Event], ...] = (
    calls.CallInboundV1,
    calls.CallStateV1,
    vault.MessageImportedV1,
    vault.VaultStateV1,
    facts.FactExtractedV1,
    anomalies.AnomalyFiredV1,
    notifications.NotificationStateV1,
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
            if event.type in self._by_type:
                raise ValueError(f"{event.type} is registered twice")
            self._by_type[event.type] = event
            newest = self._newest.get(event.topic())
            if newest is None or event.major() > newest.major():
                self._newest[event.topic()] = event

    def newest(self, topic: str) -> type[Event]:
        return self._newest[topic]

    def get(self, type_: str) -> type[Event] | None:
        return self._by_type.get(type_)

    def decode(self, type_: str, value: bytes) -> Event | None:
        cls = self._by_type.get(type_)
        if cls is None:
            topic, _, major = type_.rpartition(".v")
            if topic in self._newest and major.isdigit():
                raise UnknownMajor(f"{type_} is a major version this release does not know")
            return None
        newest = self._newest[cls.topic()]
        try:
            if cls is newest:
                return newest.model_validate_json(value)
            return newest.model_validate(self._upcast(cls, newest, json.loads(value)))
        except ValidationError as error:
            fields = sorted({".".join(str(p) for p in e["loc"]) + ": " + e["type"] for e in error.errors()})
            raise ContractViolation(f"{type_}: {'; '.join(fields)}") from None
        except (json.JSONDecodeError, UnicodeDecodeError):
            raise ContractViolation(f"{type_}: the value is not JSON") from None

    def _upcast(self, cls: type[Event], newest: type[Event], data: dict[str, Any]) -> dict[str, Any]:
        path: list[type[Event]] = []
        step: type[Event] | None = newest
        while step is not None and step is not cls:
            path.append(step)
            step = step.upcast_from
        for target in reversed(path):
            data = target.upcast(data)
        return data


REGISTRY = Registry(EVENTS)

_undeclared = {event.topic() for event in EVENTS} - TOPICS.keys()
if _undeclared:
    raise RuntimeError(f"events without a topic: {', '.join(sorted(_undeclared))}")
