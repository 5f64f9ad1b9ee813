"""The base class of every event, and what a version of an event declares about itself."""

from __future__ import annotations

import builtins
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BaseModel, ConfigDict, PlainSerializer, WithJsonSchema

__all__ = ["Event", "EventId", "Part", "UtcDatetime", "in_utc", "rfc3339", "split_type"]

TYPE_VERSION_SEPARATOR = ".v"


def split_type(type_: str) -> tuple[str, int] | None:
    """``call.inbound.v1`` is ``("call.inbound", 1)``; anything that is not spelt like that is ``None``."""
    topic, _, major = type_.rpartition(TYPE_VERSION_SEPARATOR)
    return (topic, int(major)) if topic and major.isdecimal() and major.isascii() else None


def rfc3339(value: datetime) -> str:
    """A time as it travels: UTC, microseconds, ``Z``. Raises ``ValueError`` on a time without a zone."""
    return in_utc(value).isoformat(timespec="microseconds").replace("+00:00", "Z")


def in_utc(value: datetime) -> datetime:
    """The same instant in UTC. Raises ``ValueError`` on a time that has no zone, or is before or after all years."""
    if value.tzinfo is UTC:
        return value
    if value.tzinfo is None:
        raise ValueError("a time needs a zone; naive times mean different instants to different readers")
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise ValueError("a time is before the first year or after the last") from None


UtcDatetime = Annotated[
    datetime,
    AfterValidator(in_utc),
    PlainSerializer(rfc3339, return_type=str),
    # Without this the writer's schema would promise any string, which is less than we write.
    WithJsonSchema({"type": "string", "format": "date-time"}, mode="serialization"),
]
EventId = str


class Part(BaseModel):
    """A value inside an event, under the same rules as the event."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)


class Event(BaseModel):
    """One version of one event's data: the JSON value of a Kafka record.

    A subclass states its ``type`` (topic name and major version, e.g. ``call.inbound.v1``) and says by
    ``entity_id`` which entity it is about. The record key is ``<tenant>:<entity_id>``, so every event of
    one entity keeps its order.

    Reading is tolerant (unknown fields are ignored: producers may be newer than we are); writing is
    closed (our own code cannot invent a field).

    An additive change raises ``minor``. A breaking change is a new class with a new major: it sets
    ``upcast_from`` to the class it replaces and implements ``upcast``; consumers only ever see the newest
    class.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)

    type: ClassVar[str]
    minor: ClassVar[int] = 0
    upcast_from: ClassVar[builtins.type[Event] | None] = None

    def entity_id(self) -> str:
        """The entity this event is about; with the tenant it makes the partition key."""
        raise NotImplementedError

    @classmethod
    def topic(cls) -> str:
        return cls.type.rpartition(TYPE_VERSION_SEPARATOR)[0]

    @classmethod
    def major(cls) -> int:
        return int(cls.type.rpartition(TYPE_VERSION_SEPARATOR)[2])

    @classmethod
    def dataschema(cls) -> str:
        """The name of the schema this class writes, minor included: what ``ce_dataschema`` carries."""
        return f"urn:trunkline:{cls.topic()}:{cls.major()}.{cls.minor}"

    @classmethod
    def upcast(cls, old: dict[str, Any]) -> dict[str, Any]:
        """Turn the data of ``upcast_from`` into this version's data. Pure: no I/O, no clock."""
        raise NotImplementedError
