"""The other services that the console asks."""

from __future__ import annotations

from dataclasses import dataclass

from front_desk.archive import Archive
from front_desk.claims import Claims
from front_desk.letters import Letters

__all__ = ["Neighbours"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Neighbours:
    letters: Letters
    claims: Claims
    archive: Archive
