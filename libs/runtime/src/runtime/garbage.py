"""How often Python looks for cycles among a service's objects."""

from __future__ import annotations

import gc

__all__ = ["collect_seldom"]


def collect_seldom() -> None:
    """To be called once a process has loaded what it keeps. That is not looked through any more, and what a batch of
    records makes, all of which goes with its last reference, does not set off a search for every 700 objects of it."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
