"""Work on millions of rows without Python looking for cycles among them, of which there are none."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["uncollected"]


@contextmanager
def uncollected() -> Iterator[None]:
    """Within the block, objects go when the last reference to them goes, and only then. Looking for cycles takes a
    sixth of an import: it is set off by rows, all of which are let go in another way."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
