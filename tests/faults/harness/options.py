"""Everything about a run that is decided before it, expanded from a seed: the same seed gives the same schedule."""

from __future__ import annotations

import json
import random
from collections.abc import Collection
from dataclasses import asdict, dataclass
from typing import Any

from tests.faults.harness.saboteur.crash_points import POINTS

__all__ = ["KINDS", "Kind", "Options", "Planned", "expand"]

WARM_UP = 6.0
SERVICES = ("front-desk", "telephony-router", "vault-importer", "brain-distiller", "anomaly-engine", "notifier")
CONSUMERS = ("front-desk", "brain-distiller", "anomaly-engine", "notifier")
SERVERS = ("kafka", "postgres", "redis", "smtp-sink")
PROXIED = ("kafka", "postgres", "redis", "smtp")


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """A sort of fault: what it can hit, for how long, how often, and whether others may go on beside it."""

    name: str
    targets: tuple[str, ...]
    seconds: tuple[float, float] = (0.0, 0.0)
    weight: float = 1.0
    alone: bool = False
    """Nothing else is begun while it lasts, and a while after."""
    at_least: float = 0.0
    """Only in runs of at least so many seconds."""


KINDS = {
    kind.name: kind
    for kind in (
        Kind(name="kill_service", targets=SERVICES, weight=6),
        Kind(name="kill_server", targets=SERVERS, weight=2),
        Kind(name="restart_server", targets=("kafka", "postgres", "redis"), seconds=(1, 3), weight=1),
        Kind(
            name="crash",
            targets=tuple(
                f"{process}.{point.name}"
                for point in POINTS.values()
                for process in point.processes
                if process != "migrating"
            ),
            seconds=(8, 8),
            weight=8,
        ),
        Kind(name="crash_in_migration", targets=("notifier", "telephony-router"), weight=0.5),
        Kind(name="pause", targets=CONSUMERS, seconds=(12, 14), weight=1.5),
        Kind(name="storm", targets=CONSUMERS, seconds=(10, 14), weight=0.7),
        Kind(name="latency", targets=PROXIED, seconds=(5, 12), weight=1),
        Kind(name="slow", targets=PROXIED, seconds=(5, 12), weight=1),
        Kind(name="sliced", targets=PROXIED, seconds=(5, 10), weight=0.5),
        Kind(name="reset", targets=PROXIED, seconds=(1, 4), weight=2),
        Kind(name="black_hole", targets=PROXIED, seconds=(4, 10), weight=1.5),
        Kind(name="one_way", targets=PROXIED, seconds=(4, 10), weight=1.5),
        Kind(name="read_transaction", targets=("postgres",), seconds=(8, 15), weight=0.7),
        Kind(name="write_transaction", targets=("postgres",), seconds=(6, 12), weight=1),
        Kind(name="dump", targets=("postgres",), weight=0.5),
        Kind(name="clock", targets=SERVICES, seconds=(8, 14), weight=1),
        Kind(name="bad_deploy", targets=("front-desk", "brain-distiller"), seconds=(35, 35), weight=0.4, at_least=150),
        Kind(name="disk_full", targets=("kafka", "postgres"), seconds=(6, 10), weight=0.6, alone=True, at_least=150),
        Kind(name="restore_postgres", targets=("postgres",), seconds=(6, 12), weight=0.25, alone=True, at_least=200),
        Kind(name="lose_kafka", targets=("kafka",), weight=0.25, alone=True, at_least=200),
    )
}
ALONE_AFTER = 25.0
"""How long nothing is begun after a fault that stands alone: it is judged by itself."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Planned:
    """One fault of the schedule."""

    at: float
    kind: str
    target: str
    seconds: float
    figure: float
    """From 0 to 1; what it decides is the fault's own affair (how many passes, how slow)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    seed: int
    seconds: float
    tenants: int
    calls_per_second: float
    duplicate_ratio: float
    reorder_ratio: float
    poison_ratio: float
    import_every: float
    import_messages: int
    mail_every: float
    faults: tuple[Planned, ...]

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1)


def expand(seed: int, seconds: float, *, only: Collection[str] = (), tenants: int = 3) -> Options:
    """The options of a run. ``only`` keeps to some kinds of faults."""
    dice = random.Random(seed)
    load: dict[str, Any] = {
        "calls_per_second": round(dice.uniform(4, 8), 1),
        "duplicate_ratio": round(dice.uniform(0.1, 0.4), 2),
        "reorder_ratio": round(dice.uniform(0.2, 0.5), 2),
        "poison_ratio": 0.01,
        "import_every": round(dice.uniform(10, 16), 1),
        "import_messages": dice.randrange(150, 400),
        "mail_every": round(dice.uniform(2, 4), 1),
    }
    chosen = [k for k in KINDS.values() if (not only or k.name in only) and seconds >= (0 if only else k.at_least)]
    return Options(seed=seed, seconds=seconds, tenants=tenants, **load, faults=tuple(_schedule(dice, seconds, chosen)))


def _schedule(dice: random.Random, seconds: float, kinds: list[Kind]) -> list[Planned]:
    """Faults every two to six seconds, overlapping as it happens; each kind comes before any comes a third time."""
    planned: list[Planned] = []
    at, counts = WARM_UP, dict.fromkeys((kind.name for kind in kinds), 0)
    while True:
        fresh = [kind for kind in kinds if counts[kind.name] < 2] or kinds
        kind = dice.choices(fresh, [each.weight for each in fresh])[0]
        length = round(dice.uniform(*kind.seconds), 1)
        if kind.alone and planned:
            at = max(at, max(each.at + each.seconds for each in planned) + 3)
        if at + length > seconds:
            break
        counts[kind.name] += 1
        planned.append(
            Planned(at=round(at, 1), kind=kind.name, target=dice.choice(kind.targets), seconds=length,
                    figure=round(dice.random(), 3))
        )  # fmt: skip
        at += length + ALONE_AFTER if kind.alone else dice.uniform(2, 6)
    return planned
