"""How far consumer groups are behind, as plain values: nothing here talks to Kafka."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

__all__ = ["Bounds", "Lag", "Partition", "Place", "expected_groups", "lag_of", "seconds_behind"]

Partition = tuple[str, int]
"""A topic and a partition of it."""
Place = tuple[str, int, int]
"""A topic, a partition and an offset."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a partition holds: the first offset that is still there, and the one that the next record will get."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Lag:
    """How far a group is behind in one partition."""

    group: str
    partition: Partition
    records: int
    """Between where the group reads on and the end. What retention took is not counted: nobody can read it."""
    missed: int
    """Taken by retention before the group read it."""
    committed: int | None
    """Nothing when the group never committed here; it then begins at the start."""
    next: Place
    """The record that the group reads next; its age is the lag in seconds."""


def lag_of(group: str, partition: Partition, bounds: Bounds, committed: int | None) -> Lag:
    """A commit beyond the end, as after a broker lost data, is no lag; the two offsets show it."""
    reads_on = bounds.start if committed is None else max(committed, bounds.start)
    return Lag(
        group=group,
        partition=partition,
        records=max(0, bounds.end - reads_on),
        missed=0 if committed is None else max(0, bounds.start - committed),
        committed=committed,
        next=(*partition, reads_on),
    )


def seconds_behind(lag: Lag, written_at: Mapping[Place, float | None], now: float) -> float | None:
    """The age of the record that the group reads next; 0 when there is none, nothing while it could not be read."""
    if not lag.records:
        return 0.0
    if lag.next not in written_at:
        return None
    written = written_at[lag.next]
    return 0.0 if written is None else max(0.0, now - written)


def expected_groups(readers: Mapping[str, Iterable[str]], known: Mapping[str, Iterable[str]]) -> set[tuple[str, str]]:
    """Group and topic of every declared reader (by topic) that Kafka (``known``: topics by group) has never seen.

    A service reads a topic in the group of its own name or in one that begins with it, as ``service.part``.
    """

    def is_read(service: str, topic: str) -> bool:
        groups = (service, f"{service}.", f"{service}-")
        return any(topic in topics and (g == service or g.startswith(groups[1:])) for g, topics in known.items())

    wanted = {(service, topic) for topic, services in readers.items() for service in services}
    return {(service, topic) for service, topic in wanted if not is_read(service, topic)}
