"""The base class of every event, and what a version of an event declares about itself."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BaseModel, ConfigDict, PlainSerializer

__all__ = ["Event", "EventId", "UtcDatetime"]

type_version_separator = ".v"


def _require_zone(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise ValueError("a time needs a zone; naive times mean different instants to different readers")
    return value


def _rfc3339(value: datetime) -> str:
    from datetime import UTC

    return value.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


UtcDatetime = Annotated[datetime, AfterValidator(_require_zone), PlainSerializer(_rfc3339, return_type=str)]
EventId = str


class Event(BaseModel):
    """One version of one event's data: the JSON value of a Kafka record.

    A subclass states its ``type`` (topic name and major version, e.g. ``call.inbound.v1``) and says by
    ``entity_id`` which entity it is about. The record key is ``<tenant>:<entity_id>``, so every event of
    one entity keeps its order.

    Reading is tolerant (unknown fields are ignored: producers may be newer than we are); writing is
    closed (our own code cannot invent a field).

    A breaking change is a new class with a new major. It sets ``upcast_from`` to the class it replaces
    and implements ``upcast``; consumers only ever see the newest class.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    type: ClassVar[str]
    upcast_from: ClassVar[type[Event] | None] = None

    def entity_id(self) -> str:
        """The entity this event is about; with the tenant it makes the partition key."""
        raise NotImplementedError

    @classmethod
    def topic(cls) -> str:
        return cls.type.rsplit(type_version_separator, 1)[0]

    @classmethod
    def major(cls) -> int:
        return int(cls.type.rsplit(type_version_separator, 1)[1])

    @classmethod
    def upcast(cls, old: dict[str, Any]) -> dict[str, Any]:
        """Turn the data of ``upcast_from`` into this version's data. Pure: no I/O, no clock."""
        raise NotImplementedError
