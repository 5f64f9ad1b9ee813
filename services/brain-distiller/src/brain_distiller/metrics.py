"""What this service counts."""

from __future__ import annotations

from typing import get_args

from brain_distiller.distillers import DISTILLERS
from brain_distiller.facts import State
from kit.metrics import counter, histogram

__all__ = ["DISTIL_SECONDS", "FACTS"]

FACTS = counter("trunkline_facts", "1", "Facts by the state that they entered", ["key", "state"])
DISTIL_SECONDS = histogram(
    "trunkline_distil_seconds",
    "seconds",
    "Time to make facts of one batch of a tenant's messages, stored but not committed",
    (),
    (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)

# A series that begins at one hides its first increase from every rate.
for _distiller in DISTILLERS:
    for _state in get_args(State):
        FACTS.labels(_distiller.key, _state)
