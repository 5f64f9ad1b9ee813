"""What is committed to is JSON that any language can make again, and an opening opens its own commitment only."""

from __future__ import annotations

import hmac
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault_importer.leaves import (
    SHREDDED,
    Leaves,
    Wording,
    canonical,
    canonical_details,
    commitment,
    committed,
    leaves_of_wordings,
    microseconds,
    record_of,
    single_leaf,
    unpack,
)
from vault_importer.merkle import leaf_hash

WORDING = Wording(
    message_id=UUID(int=1),
    revision=1,
    chat_id=UUID(int=2),
    from_me=False,
    key_id="3EB0C767D0971F8E0C1C",
    sender_id=None,
    sent_at=datetime(2026, 1, 5, 10, 0, 0, 123000, tzinfo=UTC),
    kind="text",
    raw_kind=0,
    text="நன்றி, 200 boxes at ₹ 4,500",
    revoked=False,
    edited_at=None,
    details=None,
)
texts = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"))
times = st.datetimes(datetime(2009, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda each: st.lists(each, max_size=3) | st.dictionaries(texts, each, max_size=3),
    max_leaves=5,
)


@given(
    text=texts, key_id=texts, kind=texts, raw_kind=st.integers(), from_me=st.booleans(), revoked=st.booleans(),
    sender=st.none() | st.uuids(), sent_at=times, edited_at=st.none() | times,
    details=st.none() | st.dictionaries(texts, values, min_size=1, max_size=3),
)  # fmt: skip
def test_a_message_is_committed_to_as_canonical_json(sender: UUID | None, details: Any, **given_: Any) -> None:
    wording = WORDING._replace(sender_id=sender, details=None if details is None else json.dumps(details), **given_)
    edited = given_["edited_at"]
    whole = {
        "chat": str(wording.chat_id),
        "details": None if details is None else json.loads(canonical_details(json.dumps(details))),
        "edited_us": None if edited is None else microseconds(edited),
        "from_me": wording.from_me,
        "key_id": wording.key_id,
        "kind": wording.kind,
        "raw_kind": wording.raw_kind,
        "revoked": wording.revoked,
        "sender": None if sender is None else str(sender),
        "sent_us": microseconds(wording.sent_at),
        "text": wording.text,
    }
    assert committed(wording) == canonical(whole)
    assert committed(wording, {}) == committed(wording)


@given(values)
def test_numbers_have_one_form_however_they_are_written(value: Any) -> None:
    once = canonical_details(json.dumps(value))
    assert canonical_details(once) == once


def test_a_number_is_the_same_before_and_after_postgres() -> None:
    # What jsonb makes of them: no exponents, no sign of zero.
    for written, kept in (("1e22", "1" + "0" * 22), ("-0.0", "0.0"), ("1e-7", "0.0000001"), ("76.0", "76.0")):
        assert canonical_details(written) == canonical_details(kept)


@given(st.binary(min_size=32, max_size=32), st.binary())
def test_a_commitment_is_hmac_sha256(opening: bytes, content: bytes) -> None:
    assert commitment(opening, content) == hmac.digest(opening, content, "sha256")


@given(times, st.integers(-720, 720))
def test_a_time_is_the_same_in_every_zone(at: datetime, minutes: int) -> None:
    assert microseconds(at.astimezone(timezone(timedelta(minutes=minutes)))) == microseconds(at)
    assert datetime.fromtimestamp(0, UTC) + timedelta(microseconds=microseconds(at)) == at


@pytest.mark.parametrize("field", Wording._fields[2:])
def test_a_change_of_any_field_is_another_content(field: str) -> None:
    value = getattr(WORDING, field)
    if isinstance(value, bool):
        other: Any = not value
    elif isinstance(value, int):
        other = value + 1
    elif isinstance(value, datetime) or field == "edited_at":
        other = datetime(2026, 1, 5, tzinfo=UTC)
    elif field == "details":
        other = "{}"
    else:
        other = uuid4() if field.endswith("_id") and field != "key_id" else f"{value} "
    assert committed(WORDING._replace(**{field: other})) != committed(WORDING)


def _hashes(leaves: Leaves) -> list[bytes]:
    packed = unpack(leaves.ids, leaves.revisions, leaves.commitments, leaves.openings)
    return [
        leaf_hash(record_of(leaves.kind, leaf.id, leaf.revision, leaves.import_id, leaf.commitment)) for leaf in packed
    ]


def test_a_pack_holds_what_its_leaves_are_made_of() -> None:
    wordings = [WORDING, WORDING._replace(message_id=UUID(int=9), revision=7, text="")]
    leaves = leaves_of_wordings(wordings, import_id=UUID(int=5))
    assert _hashes(leaves) == leaves.hashes
    for leaf, wording in zip(
        unpack(leaves.ids, leaves.revisions, leaves.commitments, leaves.openings), wordings, strict=True
    ):
        assert (leaf.id, leaf.revision) == (wording.message_id, wording.revision)
        assert commitment(leaf.opening, committed(wording)) == leaf.commitment
    first, second = unpack(leaves.ids, leaves.revisions, leaves.commitments, leaves.openings)
    assert first.opening != second.opening


@pytest.mark.parametrize("kind", ["import", "audit"])
def test_a_single_leaf_is_a_pack_of_one(kind: Any) -> None:
    leaves = single_leaf(kind, UUID(int=3), b"content")
    assert _hashes(leaves) == leaves.hashes


def test_records_are_canonical_json_with_ids_and_the_commitment_only() -> None:
    given_ = bytes(range(32))
    assert json.loads(record_of("message", UUID(int=1), 2, UUID(int=3), given_)) == {
        "commitment": given_.hex(), "import": str(UUID(int=3)), "message": str(UUID(int=1)), "revision": 2,
        "type": "message", "v": 1,
    }  # fmt: skip
    for kind in ("message", "import", "audit"):
        record = record_of(kind, UUID(int=1), 2, UUID(int=3), given_)  # type: ignore[arg-type]
        assert canonical(json.loads(record)) == record
        assert WORDING.text.encode() not in record


def test_the_same_message_twice_is_two_commitments_that_tell_nothing_of_it() -> None:
    once, again = (leaves_of_wordings([WORDING], import_id=UUID(int=5)) for _ in range(2))
    assert once.commitments != again.commitments


def test_an_opening_that_is_gone_reads_as_shredded() -> None:
    leaves = replace(leaves_of_wordings([WORDING], import_id=UUID(int=5)), openings=b"")
    (leaf,) = unpack(leaves.ids, leaves.revisions, leaves.commitments, leaves.openings)
    assert leaf.opening == SHREDDED
