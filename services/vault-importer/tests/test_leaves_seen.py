"""A second leaf of the same is seen among many, of each kind for itself."""

from __future__ import annotations

from uuid import UUID

from vault_importer.leaves_seen import LeavesSeen


def _pack(*numbers: int) -> tuple[bytes, bytes]:
    return b"".join(UUID(int=n).bytes for n in numbers), b"".join((0).to_bytes(4, "big") for _ in numbers)


def test_leaves_that_are_there_once_are_not_looked_at_again() -> None:
    seen = LeavesSeen()
    for first in range(0, 20_000, 1000):
        seen.note("message", *_pack(*range(first, first + 1000)))
        seen.note("audit", *_pack(*range(first, first + 1000)))
    assert seen.perhaps_twice() == {}


def test_one_that_comes_again_is_seen_whenever_it_comes() -> None:
    seen = LeavesSeen()
    seen.note("audit", *_pack(7))
    seen.note("message", *_pack(*range(5000), 7))
    assert {kind: len(found) for kind, found in seen.perhaps_twice().items()} == {"message": 1}
    seen.note("audit", *_pack(8, 7))
    assert {kind: len(found) for kind, found in seen.perhaps_twice().items()} == {"message": 1, "audit": 1}
