"""The frozen plan of a replay: what is read, by which handlers, with which effect, and what stands in its way."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Literal, Protocol, Self
from uuid import UUID

from contracts.event import Event, rfc3339
from kit.delivery import Subscription
from kit.handling import code_version
from kit.postgres import Database, Transaction

__all__ = [
    "Filters", "Plan", "Reemit", "Refused", "Replayable", "ShadowTable", "Span", "StorePlace",
    "Target", "hash_of", "new_id",
]  # fmt: skip

Target = Literal["live", "shadow", "rewind", "reemit"]
KEEPS = timedelta(hours=24)
# Fields that plans in a book may be older than; they count only where they say something.
YOUNGER = ("effects", "starts_empty", "starts_as_live", "reaches_back")
STRICTNESS = ("safe", "suppress_effects", "forbidden")

StorePlace = tuple[datetime, UUID]
"""A place in a store that is told again: when, and which of the rows of that time."""

Reemit = Callable[[Database, UUID, StorePlace, datetime], AsyncIterator[Sequence[tuple[Event, StorePlace]]]]
"""An owner's store told again: batches of (event, the place of its row) of one tenant, after a place and before a time,
in the order of the places. The time of a place is when the event happened. What is not in the store is not told."""


class Secret(Protocol):
    def get_secret_value(self) -> str:
        """The secret itself."""


class Settings(Protocol):
    """What every service's settings have."""

    service: ClassVar[str]

    @property
    def kafka_bootstrap(self) -> str: ...
    @property
    def postgres_dsn(self) -> str: ...
    @property
    def owner_password(self) -> Secret: ...
    @property
    def app_password(self) -> Secret: ...
    @property
    def system_password(self) -> Secret: ...
    @property
    def ro_password(self) -> Secret: ...


class Refused(Exception):
    """A replay that must not be run like this. The message says what to do instead."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ShadowTable:
    """A table that handlers write, compared by its primary key; ``ignore`` names columns that differ by nature."""

    name: str
    ignore: tuple[str, ...] = ()
    made_from: tuple[str, ...] = ()
    """Of a projection, which can be rebuilt: the topics whose events alone make it, by handlers that emit nothing."""
    gathers: bool = False
    """Whether a row is made of several events, so that a part of them makes another row."""


@dataclass(frozen=True, kw_only=True)
class Replayable:
    """What a service lets be replayed. Every service makes one in its ``wiring.py``."""

    service: str
    kafka_bootstrap: str
    postgres_dsn: str
    passwords: Mapping[str, str]
    """By role: ``owner``, ``app``, ``system``, ``ro``."""
    database: Callable[[], Database]
    consumers: Mapping[str, Sequence[Subscription]]
    """The subscriptions of each of its consumer groups."""
    shadow_tables: Sequence[ShadowTable] = ()
    """Everything the handlers write, in the order in which rows may be inserted."""
    reemitters: Mapping[type[Event], Reemit] = field(default_factory=dict)
    promoted: Callable[[Transaction, UUID], Awaitable[None]] | None = None
    """Called for each tenant in the transaction that promotes a shadow run, for instance to tell who looks on."""

    @classmethod
    def of(cls, settings: Settings, *, database: Callable[[], Database], **values: Any) -> Self:
        """With the addresses and passwords of a service's settings."""
        return cls(
            service=settings.service,
            kafka_bootstrap=settings.kafka_bootstrap,
            postgres_dsn=settings.postgres_dsn,
            passwords={
                "owner": settings.owner_password.get_secret_value(),
                "app": settings.app_password.get_secret_value(),
                "system": settings.system_password.get_secret_value(),
                "ro": settings.ro_password.get_secret_value(),
            },
            database=database,
            **values,
        )

    def subscriptions(self, consumer: str) -> Sequence[Subscription]:
        if consumer not in self.consumers:
            raise Refused(f"{self.service} has no consumer {consumer}; it has: {', '.join(self.consumers)}")
        return self.consumers[consumer]

    def classes(self, consumer: str, topics: Iterable[str]) -> dict[str, str]:
        """The replay class of each topic: of its handlers, for events and for deletions, the strictest."""
        wanted, found = set(topics), dict[str, str]()
        for each in self.subscriptions(consumer):
            if each.topic in wanted:
                found[each.topic] = max(found.get(each.topic, "safe"), each.replay, key=STRICTNESS.index)
        return found


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """Part of one partition: from ``start``, before ``end``. ``oldest`` is what the partition still had."""

    topic: str
    partition: int
    start: int
    end: int
    oldest: int

    @property
    def records(self) -> int:
        return max(0, self.end - self.start)


@dataclass(frozen=True, kw_only=True, slots=True)
class Filters:
    """Which records of the spans are handled; all when empty."""

    tenants: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    event_ids: tuple[str, ...] = ()
    replay: str = ""
    """Only what this replay emitted; without it, what replays emitted is passed over: one hop and no more."""
    sample: float = 1.0
    """The share of keys that is taken, always the same keys."""
    replayed: bool = False
    """Whether what replays emitted is taken like everything else."""

    def chosen(self) -> dict[str, str]:
        """What is asked for, by the option that asks for it."""
        asked = {
            "tenant": ", ".join(self.tenants), "type": ", ".join(self.types), "key": ", ".join(self.keys),
            "event": ", ".join(self.event_ids), "emitted-by": self.replay,
            "sample": f"{self.sample:g}" if self.sample < 1 else "",
        }  # fmt: skip
        return {name: value for name, value in asked.items() if value}


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """A replay as it was planned. Its hash names everything in it, so a plan is applied as it was read."""

    id: str
    service: str
    consumer: str
    target: Target
    source: Literal["topics", "dead_letters", "store"]
    asked_from: str
    asked_to: str
    spans: tuple[Span, ...] = ()
    filters: Filters = field(default_factory=Filters)
    letters: tuple[str, ...] = ()
    """The ids of the dead letters that are the source, in their order."""
    records: int = 0
    """How many will be handled."""
    size: int = 0
    """Bytes of their keys and values."""
    by_type: Mapping[str, int] = field(default_factory=dict)
    tenants: tuple[str, ...] = ()
    keys: int = 0
    unreadable: int = 0
    holes: tuple[str, ...] = ()
    """What was asked for and is not there any more, in sentences."""
    classes: Mapping[str, str] = field(default_factory=dict)
    suppressed: tuple[str, ...] = ()
    """Which effects will not happen, in sentences."""
    effects: tuple[str, ...] = ()
    """Which effects on the outside world were allowed, in sentences."""
    starts_empty: tuple[str, ...] = ()
    """The tables of a shadow run that are rebuilt."""
    starts_as_live: tuple[str, ...] = ()
    """The other tables of a shadow run."""
    reaches_back: bool = False
    """Whether the source holds everything since the first event, so that what it does not bring about is gone."""
    rate: float = 1000.0
    kafka_cluster: str = ""
    code_version: str = ""
    made_at: str = ""

    @property
    def eta_seconds(self) -> float:
        return self.records / self.rate

    def hash(self) -> str:
        values = asdict(self)
        for name in YOUNGER:
            if not values[name]:
                del values[name]
        if not self.filters.replayed:
            del values["filters"]["replayed"]
        return hash_of(values)

    def to_json(self) -> str:
        return json.dumps({**asdict(self), "hash": self.hash()}, indent=2, default=str)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read a plan. Raises :class:`Refused` when it is not one, or was changed since it was made."""
        try:
            values: dict[str, Any] = json.loads(text)
            given = values.pop("hash")
            values["spans"] = tuple(Span(**span) for span in values["spans"])
            filters: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values["filters"].items()}
            values["filters"] = Filters(**filters)
            given_values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
            plan = cls(**given_values)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise Refused("this is not a plan that `trunkline replay plan --out` wrote") from None
        if plan.hash() != given:
            raise Refused("the plan was changed after it was made; make a new one by `trunkline replay plan`")
        return plan

    def check_fresh(self, *, now: datetime, oldest: Mapping[tuple[str, int], int], cluster: str) -> None:
        """Raises :class:`Refused` when what the plan counted on is no longer so."""
        again = "make a new plan by `trunkline replay plan`"
        if now - datetime.fromisoformat(self.made_at) > KEEPS:
            raise Refused(f"the plan is older than {KEEPS.total_seconds() / 3600:.0f} hours; {again}")
        if cluster != self.kafka_cluster:
            raise Refused(f"the plan was made for another Kafka cluster; {again}")
        if (installed := code_version(self.service)) != self.code_version:
            raise Refused(
                f"the plan was made for version {self.code_version} of {self.service}, {installed} runs; {again}"
            )
        for span in self.spans:
            if span.records and oldest.get((span.topic, span.partition), 0) > span.start:
                raise Refused(
                    f"retention has taken records of {span.topic}/{span.partition} since the plan was made; {again}"
                )


def hash_of(value: Any) -> str:
    """The same value gives the same sixteen characters."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=_plain)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _plain(value: Any) -> Any:
    return rfc3339(value) if isinstance(value, datetime) else str(value)


def new_id(service: str) -> str:
    """Names the service, so that later commands need no more than the id."""
    return f"{service}.{datetime.now(UTC):%m%d}-{secrets.token_hex(3)}"
