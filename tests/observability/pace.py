"""How often a run is looked at, and how small its windows are: that depends on how busy the machine is."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from trunkline.observability.rules import Scale

__all__ = ["PATIENCE", "PATIENT", "QUICK", "Pace", "pace_for"]

PATIENCE = 180.0
"""Seconds for what takes a moment on a quiet machine: a limit costs nothing as long as all is well."""
LOOKS = 5
SLOW = 0.25


@dataclass(frozen=True, slots=True)
class Pace:
    interval: int
    """Seconds between two looks, which is also for how long one may take."""
    scale: Scale

    @property
    def window(self) -> str:
        """What Grafana would put in for ``$__rate_interval``."""
        return f"{self.scale.floor:g}s"


QUICK = Pace(1, Scale(by=60, floor=15, least=8, hold=3))
"""An hour is a minute. Nothing looks back less than three of the exporters' rounds, and no one look wakes anybody."""
PATIENT = Pace(5, Scale(by=60, floor=45, least=25, hold=15))
"""The same where an answer may take seconds: nine looks to a window, and three that agree before anybody is woken."""


def pace_for(seconds: Sequence[float]) -> Pace:
    """The pace for a machine where looks took so long, before there was anything to do."""
    return QUICK if statistics.median(seconds) <= SLOW else PATIENT
