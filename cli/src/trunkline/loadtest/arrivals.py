"""When calls begin: times from the start, in seconds, the same for the same seed."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

__all__ = ["ARRIVALS", "arrivals"]


def _steady(rate: float, _: random.Random, __: int) -> Iterator[float]:
    at = 0.0
    while True:
        yield at
        at += 1 / rate


def _poisson(rate: float, chance: random.Random, _: int) -> Iterator[float]:
    """Callers who know nothing of each other: gaps are exponential."""
    at = chance.expovariate(rate)
    while True:
        yield at
        at += chance.expovariate(rate)


def _burst(rate: float, chance: random.Random, size: int) -> Iterator[float]:
    """Callers who all read the same advertisement: ``size`` at one moment, the moments as far apart as callers were."""
    for at in _poisson(rate / size, chance, size):
        for _ in range(size):
            yield at


ARRIVALS: dict[str, Callable[[float, random.Random, int], Iterator[float]]] = {
    "poisson": _poisson,
    "burst": _burst,
    "steady": _steady,
}


def arrivals(kind: str, *, rate: float, seconds: float, seed: int, burst: int = 20) -> list[float]:
    """All of the calls that begin within ``seconds``, ``rate`` of them a second on average."""
    found: list[float] = []
    for at in ARRIVALS[kind](rate, random.Random(seed), burst):  # noqa: S311 - traffic, no secret
        if at >= seconds:
            return found
        found.append(at)
    raise AssertionError("calls never end")
