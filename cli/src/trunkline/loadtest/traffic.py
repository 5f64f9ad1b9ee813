"""The calls of a load test, and the webhooks that each of them makes."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from trunkline.loadtest.arrivals import arrivals
from trunkline.loadtest.dialects import DIALECTS, Call
from trunkline.loadtest.shoot import Due

__all__ = ["Plan", "dues"]

# After the ring: when the phone rings at somebody's, when it is picked up, when it is over. Seconds, from and to.
RINGING, PICKED_UP, OVER = (0.2, 0.6), (1.0, 2.0), (0.5, 3.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    run: str
    """Begins every call's id, so that what this run made is told from everything else."""
    vendor: str
    base: str
    """The account's address: ``http://…/v1/hooks/<vendor>/<secret>``."""
    token: str
    did: str
    agents: Sequence[str]
    callers: int
    """How many different people call."""
    rate: float
    seconds: float
    arrivals: str
    burst: int
    answered: float
    """The share of calls that somebody takes."""
    seed: int


def calls(plan: Plan) -> Iterator[tuple[float, Call]]:
    """When each call begins, and the call. Callers are numbers that nobody has."""
    chance = random.Random(plan.seed)  # noqa: S311 - traffic, no secret
    times = arrivals(plan.arrivals, rate=plan.rate, seconds=plan.seconds, seed=plan.seed, burst=plan.burst)
    for number, at in enumerate(times):
        taken = bool(plan.agents) and chance.random() < plan.answered
        yield (
            at,
            Call(
                id=f"{plan.run}-{number}",
                caller=f"+9198470{chance.randrange(plan.callers) % 100_000:05d}",
                did=plan.did,
                agent=chance.choice(plan.agents) if taken else "",
            ),
        )


def dues(plan: Plan) -> Iterator[Due]:
    """Every webhook of the run with its moment: the ring, then what became of the call."""
    chance = random.Random(plan.seed + 1)  # noqa: S311 - traffic, no secret
    dialect = DIALECTS[plan.vendor]
    for at, call in calls(plan):
        yield Due(at=at, call_id=call.id, kind="ring", shot=dialect.ring(call, plan.base, plan.token))
        moment, last = at + chance.uniform(*RINGING), "completed" if call.agent else "missed"
        for sequence, status in enumerate(("ringing", "answered", last) if call.agent else ("ringing", last)):
            shot = dialect.status(call, status, sequence, plan.base, plan.token)
            yield Due(at=moment, call_id=call.id, kind=status, shot=shot)
            moment += chance.uniform(*(PICKED_UP if status == "ringing" else OVER))
