"""What a leaf of the ledger says, and how a record is opened. Pure.

A leaf is the hash of a record: what happened, opaque ids, and a commitment to what was written. The commitment is
HMAC-SHA256 under 32 random bytes of its own, the opening, that are kept apart. Whoever has the opening can check what
was written; once it is gone, the leaf says nothing about anybody, and every proof over it still holds.

Everything canonical is JSON with sorted keys, without spaces, in UTF-8: any language can make it again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from json.encoder import encode_basestring as quoted  # the quick one, where there is one
from typing import Any, Literal, NamedTuple
from uuid import UUID

from vault_importer.merkle import HASH_BYTES

__all__ = [
    "ID_BYTES",
    "OPENING_BYTES",
    "REVISION_BYTES",
    "SHREDDED",
    "Leaf",
    "LeafKind",
    "Leaves",
    "Wording",
    "audit_content",
    "canonical",
    "canonical_details",
    "commitment",
    "committed",
    "leaves_of_wordings",
    "microseconds",
    "packed_leaves",
    "record_of",
    "single_leaf",
    "unpack",
]  # fmt: skip

LeafKind = Literal["message", "import", "audit", "media", "reaction", "vote", "identity"]

ID_BYTES = 16
REVISION_BYTES = 4
OPENING_BYTES = 32
#: What stands in the place of an opening that was destroyed.
SHREDDED = bytes(OPENING_BYTES)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: The two paddings of HMAC over an opening, which fills half a block of SHA-256.
_INNER, _OUTER = (bytes(each ^ pad for each in range(256)) for pad in (0x36, 0x5C))
_INNER_REST, _OUTER_REST = b"\x36" * 32, b"\x5c" * 32


class Wording(NamedTuple):
    """What a message said at one time, as the archive holds it."""

    message_id: UUID
    revision: int
    chat_id: UUID
    from_me: bool
    key_id: str
    sender_id: UUID | None
    sent_at: datetime
    kind: str
    raw_kind: int
    text: str
    revoked: bool
    edited_at: datetime | None
    details: str | None
    """A JSON text."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Leaves:
    """Records that enter the tree together, each part packed into one string of bytes."""

    kind: LeafKind
    import_id: UUID | None
    ids: bytes
    revisions: bytes
    commitments: bytes
    openings: bytes
    hashes: Sequence[bytes]


class Leaf(NamedTuple):
    """One record of such a pack."""

    id: UUID
    revision: int
    commitment: bytes
    opening: bytes


def canonical(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def canonical_details(text: str) -> str:
    """The one form of a JSON text, whichever way a database writes its numbers."""
    return canonical(json.loads(text, parse_float=_number)).decode()


def _number(text: str) -> int | float:
    value = float(text)
    return int(value) if value.is_integer() else value


def committed(wording: Wording, texts: dict[UUID, str] | None = None) -> bytes:
    """What the commitment to a message is made of. Equal to ``canonical`` of the same, and several times as fast;
    ``texts`` keeps what ids look like from one message to the next."""
    _, _, chat_id, from_me, key_id, sender_id, sent_at, kind, raw_kind, text, revoked, edited_at, details = wording
    known = {} if texts is None else texts
    chat = known.get(chat_id) or known.setdefault(chat_id, str(chat_id))
    sender = "null"
    if sender_id is not None:
        sender = known.get(sender_id) or known.setdefault(sender_id, f'"{sender_id}"')
    return (
        f'{{"chat":"{chat}","details":{"null" if details is None else canonical_details(details)},'
        f'"edited_us":{"null" if edited_at is None else microseconds(edited_at)},'
        f'"from_me":{"true" if from_me else "false"},"key_id":{quoted(key_id)},"kind":{quoted(kind)},'
        f'"raw_kind":{raw_kind},"revoked":{"true" if revoked else "false"},"sender":{sender},'
        f'"sent_us":{microseconds(sent_at)},"text":{quoted(text)}}}'
    ).encode()


def microseconds(at: datetime) -> int:
    """Since 1970: exact, and quicker to write than a date."""
    since = at - EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def audit_content(record_hash: bytes) -> bytes:
    """Of an audit record its own hash is committed to: it covers every field."""
    return canonical({"hash": record_hash.hex()})


def commitment(opening: bytes, content: bytes) -> bytes:
    """HMAC-SHA256. Written out, since ``hmac.digest`` takes twice as long as its two hashes."""
    inner = sha256(opening.translate(_INNER) + _INNER_REST + content).digest()
    return sha256(opening.translate(_OUTER) + _OUTER_REST + inner).digest()


def record_of(kind: LeafKind, id_: UUID, revision: int, import_id: UUID | None, commitment_: bytes) -> bytes:
    """What is hashed into a leaf. Equal to ``canonical`` of the same."""
    given = commitment_.hex()
    if kind == "message":
        return (
            f'{{"commitment":"{given}","import":"{import_id}","message":"{id_}","revision":{revision},'
            f'"type":"message","v":1}}'
        ).encode()
    if kind == "import":
        return f'{{"commitment":"{given}","import":"{id_}","type":"import","v":1}}'.encode()
    if kind == "media":
        return f'{{"commitment":"{given}","import":"{import_id}","message":"{id_}","type":"media","v":1}}'.encode()
    if kind in ("reaction", "vote"):
        return (
            f'{{"commitment":"{given}","import":"{import_id}","message":"{id_}","number":{revision},'
            f'"type":"{kind}","v":1}}'
        ).encode()
    if kind == "identity":
        return f'{{"commitment":"{given}","import":"{import_id}","number":{id_.int},"type":"identity","v":1}}'.encode()
    return f'{{"commitment":"{given}","sequence":{id_.int},"type":"audit","v":1}}'.encode()


def leaves_of_wordings(wordings: Sequence[Wording], *, import_id: UUID) -> Leaves:
    """One leaf for each wording, under fresh openings."""
    openings = os.urandom(OPENING_BYTES * len(wordings))
    inner, outer = openings.translate(_INNER), openings.translate(_OUTER)
    commitments: list[bytes] = []
    hashes: list[bytes] = []
    texts: dict[UUID, str] = {}
    imported = f'","import":"{import_id}","message":"'
    at = 0
    # `commitment` and `record_of`, written out: this is done for every message there is.
    for wording in wordings:
        to = at + OPENING_BYTES
        hashed = sha256(inner[at:to] + _INNER_REST + committed(wording, texts)).digest()
        made = sha256(outer[at:to] + _OUTER_REST + hashed).digest()
        at = to
        commitments.append(made)
        record = (
            f'\0{{"commitment":"{made.hex()}{imported}{wording[0]}","revision":{wording[1]},"type":"message","v":1}}'
        )
        hashes.append(sha256(record.encode()).digest())
    return Leaves(
        kind="message",
        import_id=import_id,
        ids=b"".join([wording.message_id.bytes for wording in wordings]),
        revisions=b"".join([wording.revision.to_bytes(REVISION_BYTES, "big") for wording in wordings]),
        commitments=b"".join(commitments),
        openings=openings,
        hashes=hashes,
    )


def single_leaf(kind: LeafKind, id_: UUID, content: bytes, *, import_id: UUID | None = None) -> Leaves:
    """One record on its own: an import's manifest, an audit record."""
    return packed_leaves(kind, [(id_, 0, content)], import_id=import_id)


def packed_leaves(
    kind: LeafKind, records: Sequence[tuple[UUID, int, bytes]], *, import_id: UUID | None = None
) -> Leaves:
    """One leaf for each of these ids, numbers and contents, under fresh openings."""
    openings = os.urandom(OPENING_BYTES * len(records))
    commitments: list[bytes] = []
    hashes: list[bytes] = []
    for at, (id_, number, content) in enumerate(records):
        made = commitment(openings[at * OPENING_BYTES : (at + 1) * OPENING_BYTES], content)
        commitments.append(made)
        hashes.append(sha256(b"\x00" + record_of(kind, id_, number, import_id, made)).digest())
    return Leaves(
        kind=kind,
        import_id=import_id,
        ids=b"".join([id_.bytes for id_, _, _ in records]),
        revisions=b"".join([number.to_bytes(REVISION_BYTES, "big") for _, number, _ in records]),
        commitments=b"".join(commitments),
        openings=openings,
        hashes=hashes,
    )


def unpack(ids: bytes, revisions: bytes, commitments: bytes, openings: bytes) -> Iterable[Leaf]:
    """The records of a pack in their order. Openings that are not there were destroyed."""
    for n in range(len(ids) // ID_BYTES):
        yield Leaf(
            UUID(bytes=ids[n * ID_BYTES : (n + 1) * ID_BYTES]),
            int.from_bytes(revisions[n * REVISION_BYTES : (n + 1) * REVISION_BYTES], "big"),
            commitments[n * HASH_BYTES : (n + 1) * HASH_BYTES],
            openings[n * OPENING_BYTES : (n + 1) * OPENING_BYTES] or SHREDDED,
        )
