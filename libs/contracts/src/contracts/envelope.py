"""CloudEvents 1.0 in Kafka's binary content mode: attributes travel as ``ce_`` headers, the value is the data.

Source: CloudEvents Kafka protocol binding, version 1.0. Headers are UTF-8; a record without a value is a
deletion of its key (a tombstone) and still carries its envelope.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import NamedTuple
from uuid import UUID

from contracts.event import in_utc, rfc3339

__all__ = ["HEADERS", "Envelope", "Header", "MalformedEnvelope", "partition_key"]

SPEC_VERSION = "1.0"
CONTENT_TYPE = "application/json"
REQUIRED = ("ce_specversion", "ce_id", "ce_type", "ce_source", "ce_time", "ce_tenant")
# The headers that are read: the version, then in the order of the envelope's parts.
_READ = (*REQUIRED, "ce_subject", "ce_partitionkey", "ce_correlationid", "ce_causationid", "ce_dataschema",
         "ce_replayid", "traceparent")  # fmt: skip


class MalformedEnvelope(ValueError):
    """The headers are not those of an event of ours. The message names the header, never its value."""


def partition_key(tenant: UUID, entity_id: str) -> str:
    """The record key of everything that happens to one entity of one tenant."""
    return f"{tenant}:{entity_id}"


@dataclass(frozen=True, slots=True)
class Header:
    """What one header of our records carries, as people and generated documents are told."""

    name: str
    meaning: str
    always: bool = True
    """Whether every record of ours has it."""
    format: str = ""
    """As JSON Schema names it."""


HEADERS = (
    Header("ce_specversion", "Version of CloudEvents, `1.0`."),
    Header(
        "ce_id",
        "UUID of the event; the same on every redelivery and when past records are read again. What an owner tells "
        "again from its store has a new one, and a `ce_replayid`.",
        format="uuid",
    ),
    Header("ce_type", "Topic name and major version, for instance `call.inbound.v1`."),
    Header("ce_source", "The producing service, for instance `/telephony-router`.", format="uri-reference"),
    Header("ce_time", "When it happened, UTC.", format="date-time"),
    Header("ce_subject", "The entity the event is about, without the tenant."),
    Header("ce_partitionkey", "The record's key: `<tenant>:<entity>`."),
    Header("ce_tenant", "The business the event belongs to.", format="uuid"),
    Header("ce_correlationid", "The id of the event or request that began the whole story.", always=False),
    Header("ce_causationid", "The id of the event that directly caused this one.", always=False),
    Header("ce_dataschema", "The schema that wrote the value, minor version included.", always=False, format="uri"),
    Header("ce_replayid", "Only on records that a replay emits; send nothing to the outside world.", always=False),
    Header("traceparent", "W3C trace context of the transaction that appended the event.", always=False),
    Header("content-type", "Media type of the value, `application/json`."),
)


class Envelope(NamedTuple):
    """Who said what about whom, when, and because of what. Give its parts by name."""

    id: str
    """A UUID, version 7 unless it is derived from its cause; the same on every redelivery."""
    type: str
    """Topic name and major version, for instance ``call.inbound.v1``."""
    source: str
    """The producing service, for instance ``/telephony-router``."""
    time: datetime
    tenant: UUID
    subject: str
    """The entity the event is about, without the tenant."""
    partitionkey: str
    correlationid: str = ""
    """The id of the event or request that began the whole story."""
    causationid: str = ""
    """The id of the event that directly caused this one."""
    dataschema: str = ""
    """``Event.dataschema()`` of the class that wrote the value."""
    replayid: str = ""
    """Set only on records that a replay emits; effects on the outside world stop at it."""
    traceparent: str = ""
    """W3C trace context of the transaction that appended the event."""

    def to_headers(self) -> list[tuple[str, bytes]]:
        """The record's headers. Optional attributes are left out when empty."""
        pairs = [
            ("ce_specversion", SPEC_VERSION),
            ("ce_id", self.id),
            ("ce_type", self.type),
            ("ce_source", self.source),
            ("ce_time", rfc3339(self.time)),
            ("ce_subject", self.subject),
            ("ce_partitionkey", self.partitionkey),
            ("ce_tenant", str(self.tenant)),
            ("ce_correlationid", self.correlationid),
            ("ce_causationid", self.causationid),
            ("ce_dataschema", self.dataschema),
            ("ce_replayid", self.replayid),
            ("traceparent", self.traceparent),
            ("content-type", CONTENT_TYPE),
        ]
        return [(name, value.encode()) for name, value in pairs if value]

    @classmethod
    def from_headers(cls, headers: Iterable[tuple[str, bytes]]) -> Envelope:
        """Read the headers of a record. Raises :class:`MalformedEnvelope` naming what is missing or wrong.

        Headers that are not ours are ignored; an empty one counts as missing.
        """
        got = dict(headers)
        try:
            texts = [value.decode() if (value := got.get(name)) else "" for name in _READ]
        except UnicodeDecodeError:
            raise MalformedEnvelope(f"the header {_undecodable(got)} is not UTF-8") from None
        if not all(texts[: len(REQUIRED)]):
            missing = [name for name, text in zip(REQUIRED, texts, strict=False) if not text]
            raise MalformedEnvelope(f"headers missing: {', '.join(missing)}")
        version, id_, type_, source, time, tenant, *rest = texts
        if version != SPEC_VERSION:
            raise MalformedEnvelope(f"ce_specversion is not {SPEC_VERSION}")
        return cls(id_, type_, source, _time(time), _tenant(tenant), *rest)


def _undecodable(headers: Mapping[str, bytes | None]) -> str:
    """The name of the first header of ours whose value is not UTF-8."""
    for name in _READ:
        try:
            (headers.get(name) or b"").decode()
        except UnicodeDecodeError:
            return name
    raise ValueError("all of our headers are UTF-8")


@lru_cache(maxsize=4096)
def _tenant(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise MalformedEnvelope("ce_tenant is not a uuid") from None


def _time(text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise MalformedEnvelope("ce_time is not an RFC 3339 time") from None
    try:
        return in_utc(time)
    except ValueError:
        raise MalformedEnvelope("ce_time has no zone, or is before or after all years") from None
