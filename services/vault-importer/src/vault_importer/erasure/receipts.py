"""What the other services answer, and the certificate once all have: counts, hashes and days, and nobody's name."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast
from uuid import UUID

from contracts.erasure import ErasureReceiptV1
from contracts.topics import TOPICS
from kit.postgres import Database, Transaction
from recovery.erasure import REMEMBERED
from vault_importer.audit_store import append_audit
from vault_importer.checkpoint_store import newest_checkpoint
from vault_importer.checkpoints import tenant_signer
from vault_importer.erasure import store, suppression_store
from vault_importer.erasure.case import Case, ErasureRefused, Ground, Scope
from vault_importer.erasure.store import Receipt
from vault_importer.signed_note import NoteError, Signer, Verifier, is_signed, parse_note, sign_text

__all__ = ["ANSWERING", "Certificate", "certificate_of", "missing", "on_receipt", "read_certificate", "settle"]

#: Who has to answer each part.
ANSWERING = tuple(sorted(TOPICS["subject.erased"].consumers))
TITLE = "Certificate of erasure"
KEPT_OUT = "kept out of later backups, HMAC-SHA256 under the archive's own key"


@dataclass(frozen=True, kw_only=True, slots=True)
class Certificate:
    """What a certificate says of an erasure that a restored database may have forgotten."""

    request: UUID
    scope: Scope
    ground: Ground
    completed_at: datetime
    tags: frozenset[bytes]
    """Whom it is about, for whoever has the key."""


async def on_receipt(event: ErasureReceiptV1, tx: Transaction) -> None:
    """Keep what a service says that it did."""
    receipt = Receipt(
        part=event.part,
        service=event.service,
        erased={each.store: each.rows for each in event.erased},
        kept=[each.model_dump(mode="json") for each in event.kept],
        forgotten_at=event.forgotten_at,
        at=event.at,
    )
    await store.add_receipt(tx, UUID(event.erasure_id), receipt)


def missing(case: Case, receipts: Sequence[Receipt]) -> dict[str, int]:
    """Parts that have not been answered, by service."""
    answered = Counter(receipt.service for receipt in receipts)
    return {service: left for service in ANSWERING if (left := case.parts - answered[service]) > 0}


async def settle(database: Database, tenant: UUID, id_: UUID, *, signer: Signer | None) -> bool:
    """End a request that everybody has answered: its certificate is kept, and who it was about is forgotten."""
    now = datetime.now(UTC)
    async with database.transaction(tenant) as tx:
        case = await store.case_of(tx, id_, for_change=True)
        if case is None or case.state != "told":
            return False
        receipts = await store.receipts(tx, id_)
        if missing(case, receipts):
            return False
        text = await certificate_of(tx, case, receipts, at=now)
        note = sign_text(tenant_signer(signer, tenant), text) if signer is not None else text
        for other in await store.end_case(tx, case, note, at=now):
            by = {"erasure": str(other), "by": f"erasure {id_}"}
            await append_audit(tx, "erasure.cancelled", at=now, details=by)
        digest = hashlib.sha256(note.encode()).hexdigest()
        await append_audit(tx, "erasure.certified", at=now, details={"erasure": str(id_), "certificate_sha256": digest})
    return True


async def certificate_of(tx: Transaction, case: Case, receipts: Sequence[Receipt], *, at: datetime) -> str:
    """What was done, as a text for whoever asked for it: no name, no number."""
    checkpoint = await newest_checkpoint(tx)
    by_service: Mapping[str, list[Receipt]] = defaultdict(list)
    for receipt in receipts:
        by_service[receipt.service].append(receipt)
    forgotten = max([at + REMEMBERED, *(receipt.forgotten_at for receipt in receipts)])
    lines = [
        TITLE,
        "",
        f"request: {case.id}",
        f"of: {tx.tenant}",
        f"ground: {case.ground}",
        f"scope: {case.scope}",
        f"asked: {_day(case.asked_at)}",
        *(f"approved: {_day(each.at)} by {each.approver}" for each in case.approvals),
        f"policy: {case.mode}",
        f"plan: {case.plan_hash}",
        f"effective: {_day(case.effective_at)}",
        f"completed: {_day(at)}",
        f"the last copies that leave by themselves are gone: {forgotten.date().isoformat()}",
        "",
        "vault-importer",
        *_rows(case.counts),
        *(f"  kept, {name}: {rows}, when it was planned" for name, rows in (case.plan or {}).get("kept", {}).items()),
    ]
    for service in sorted(by_service):
        mine = by_service[service]
        erased = sum((Counter(receipt.erased) for receipt in mine), Counter[str]())
        lines += ["", service, *(_rows(erased) or ["  held nothing"]), *_kept(mine)]
    tags = await suppression_store.tags_of(tx, case.id)
    lines += ["", KEPT_OUT, *(f"  {tag.hex()}" for tag in tags)]
    if checkpoint is not None:
        lines += ["", "the archive's newest checkpoint before this certificate", *_indented(checkpoint.note)]
    return "\n".join(lines) + "\n"


def read_certificate(text: str, tenant: UUID, *, keys: Sequence[Verifier], unsigned: bool = False) -> Certificate:
    """What :func:`certificate_of` wrote and a key of the archive signed. Raises :class:`ErasureRefused`.

    ``unsigned`` takes those too that bear no signature: of an archive that had no key.
    """
    try:
        note = parse_note(text)
    except NoteError:
        note = None
    if not text.startswith(f"{TITLE}\n\n"):
        raise ErasureRefused("That is no certificate of an erasure.")
    if note is None and not unsigned:
        raise ErasureRefused("The certificate bears no signature; --unsigned takes it, if the archive had no key then.")
    if note is not None and not any(is_signed(note, key) for key in keys):
        raise ErasureRefused("No known key of this archive has signed the certificate as it is; give the key: --key.")
    text = note.text if note is not None else text
    said = dict(line.partition(": ")[::2] for line in text.split("\n\n")[1].split("\n"))
    tags = text.partition(f"\n{KEPT_OUT}\n")[2].partition("\n\n")[0].split()
    try:
        read = Certificate(
            request=UUID(said["request"]),
            scope=cast("Scope", said["scope"]),
            ground=cast("Ground", said["ground"]),
            completed_at=datetime.fromisoformat(said["completed"]),
            tags=frozenset(map(bytes.fromhex, tags)),
        )
        theirs = UUID(said["of"]) == tenant
    except (KeyError, ValueError):
        raise ErasureRefused("The certificate cannot be read.") from None
    if not theirs:
        raise ErasureRefused("The certificate is of another tenant.")
    return read


def _rows(counts: Mapping[str, int]) -> list[str]:
    return [f"  {name}: {rows}" for name, rows in sorted(counts.items()) if rows]


def _kept(receipts: Sequence[Receipt]) -> list[str]:
    kept: dict[str, Any] = {}
    for receipt in receipts:
        for each in receipt.kept:
            known = kept.setdefault(json.dumps([each["store"], each["reason"]]), {**each, "rows": 0})
            known["rows"] += each["rows"]
    return [
        f"  kept, {each['store']}: {each['rows']}. {each['reason']}"
        + (f" Until {each['until'][:10]}." if each.get("until") else "")
        for each in kept.values()
    ]


def _indented(note: str) -> list[str]:
    return [f"  {line}" for line in note.rstrip("\n").split("\n") if line]


def _day(at: datetime | None) -> str:
    return at.astimezone(UTC).isoformat(timespec="seconds") if at is not None else ""
