from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import pytest

from vault_importer.audit import FIRST_PREVIOUS, AuditRecord, chained, check_link, record_hash

BLANK = AuditRecord(
    tenant_id=UUID(int=1),
    sequence=0,
    at=datetime(2026, 1, 5, tzinfo=UTC),
    action="import.completed",
    account_id=UUID(int=2),
    import_id=UUID(int=3),
    file_sha256="ab" * 32,
    details={"messages": {"new": 4}},
    previous_hash=b"",
    hash=b"",
)


def test_a_record_continues_the_one_before_it() -> None:
    first = chained(BLANK, after=None)
    second = chained(BLANK, after=(first.sequence, first.hash))
    assert (first.sequence, first.previous_hash) == (1, FIRST_PREVIOUS)
    assert check_link(first, after=(0, FIRST_PREVIOUS)) is None
    assert check_link(second, after=(1, first.hash)) is None


@pytest.mark.parametrize(
    "change",
    [
        {"action": "import.refused"},
        {"at": datetime(2026, 1, 6, tzinfo=UTC)},
        {"account_id": None},
        {"import_id": UUID(int=9)},
        {"file_sha256": "cd" * 32},
        {"details": {"messages": {"new": 5}}},
        {"tenant_id": UUID(int=7)},
    ],
)
def test_any_changed_field_is_noticed(change: dict[str, object]) -> None:
    changed = replace(chained(BLANK, after=None), **change)
    broken = check_link(changed, after=(0, FIRST_PREVIOUS))
    assert broken is not None
    assert broken.reason == "was changed after it was written"


def test_a_record_hashed_anew_no_longer_carries_the_next_one() -> None:
    first = chained(BLANK, after=None)
    second = chained(BLANK, after=(1, first.hash))
    forged = replace(first, action="nothing")
    forged = replace(forged, hash=record_hash(forged))
    broken = check_link(second, after=(1, forged.hash))
    assert broken is not None
    assert broken.reason == "does not continue the record before it"


def test_a_missing_record_is_named() -> None:
    third = replace(chained(BLANK, after=None), sequence=3)
    broken = check_link(third, after=(1, FIRST_PREVIOUS))
    assert broken is not None
    assert (broken.sequence, broken.reason) == (2, "missing: the next record is 3")
