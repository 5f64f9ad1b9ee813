"""The console's read model in Postgres: the only place that runs its SQL. Writing is set-based and idempotent."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from contracts.anomalies import AnomalyFiredV1
from contracts.calls import CallInboundV1, CallStateV1, RecordingStoredV1
from contracts.facts import FactExtractedV1
from contracts.notifications import NotificationStateV1
from contracts.vault import MessageImportedV1, VaultStateV1
from kit.postgres import Database, Transaction, load_queries

__all__ = [
    "changed",
    "counts",
    "cursor",
    "keep_anomaly",
    "keep_call_states",
    "keep_facts",
    "keep_import",
    "keep_inbound",
    "keep_mail",
    "keep_messages",
    "keep_missed",
    "keep_recordings",
    "moment",
    "recent",
    "ring",
    "sweep",
]

Q = load_queries("front_desk")
PREVIEW = 160
"""Characters of a chat's latest message that are kept; the archive itself is the vault's."""
_NUL = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")
_SWEEPS = (Q.sweep_calls, Q.sweep_missed, Q.sweep_anomalies, Q.sweep_mails, Q.sweep_imports)

Row = dict[str, Any]
Place = tuple[datetime, str]
"""Where a page ended: time and id of its last card."""


def _rows(records: Sequence[Mapping[str, Any]]) -> str:
    # Postgres has no NUL in text; a message can. An escaped backslash before it belongs to the text.
    return _NUL.sub(r"\1", json.dumps(records, ensure_ascii=False))


def _plain(*values: object) -> list[object]:
    return [value.replace("\0", "") if isinstance(value, str) else value for value in values]


async def keep_inbound(tx: Transaction, events: Sequence[CallInboundV1]) -> None:
    await tx.execute(Q.board_inbound, tx.tenant, _rows([event.model_dump(mode="json") for event in events]))


async def keep_call_states(tx: Transaction, events: Sequence[CallStateV1]) -> None:
    await tx.execute(Q.board_call_state, tx.tenant, _rows([event.model_dump(mode="json") for event in events]))


async def keep_recordings(tx: Transaction, events: Sequence[RecordingStoredV1]) -> None:
    await tx.execute(Q.board_recordings, tx.tenant, _rows([event.model_dump(mode="json") for event in events]))


async def keep_missed(tx: Transaction, events: Sequence[CallStateV1]) -> None:
    """Of these events, those that tell of a missed call's claim."""
    records = [
        {**event.model_dump(mode="json", exclude={"claim"}), **event.claim.model_dump(mode="json")}
        for event in events
        if event.claim is not None
    ]
    if records:
        await tx.execute(Q.board_missed, tx.tenant, _rows(records))


async def keep_facts(tx: Transaction, events: Sequence[FactExtractedV1]) -> None:
    records = []
    for event in events:
        evidence = event.evidence
        records.append(
            event.model_dump(mode="json", exclude={"evidence"})
            | {
                "at": evidence.at.isoformat(),
                "source_type": evidence.source_type,
                "source_id": evidence.source_id,
                "span_start": evidence.start,
                "span_end": evidence.end,
                "quote": evidence.quote,
            }
        )
    await tx.execute(Q.board_facts, tx.tenant, _rows(records))


async def keep_anomaly(tx: Transaction, event: AnomalyFiredV1) -> None:
    await tx.execute(
        Q.board_anomaly,
        tx.tenant,
        *_plain(
            event.anomaly_id,
            event.as_of,
            event.rule,
            event.rule_version,
            event.title,
            event.description,
            event.learning,
            event.severity,
            event.local_day,
            _rows(event.evidence),
            event.evidence_total,
        ),
    )


async def keep_mail(tx: Transaction, event: NotificationStateV1) -> None:
    await tx.execute(
        Q.board_mail,
        tx.tenant,
        *_plain(
            event.notification_id,
            event.at,
            event.version,
            event.kind,
            event.channel,
            event.recipient,
            event.state,
            event.reason,
            event.subject_line,
            event.local_day,
        ),
    )


async def keep_import(tx: Transaction, event: VaultStateV1) -> None:
    await tx.execute(
        Q.board_import,
        tx.tenant,
        *_plain(
            event.import_id,
            event.at,
            event.account_id,
            event.account_name,
            event.state,
            event.file_sha256,
            event.messages_new,
            event.messages_changed,
            event.messages_seen,
            event.contacts_seen,
            event.chats_seen,
            event.newest_message_at,
            event.error,
        ),
    )


async def keep_messages(tx: Transaction, events: Sequence[MessageImportedV1]) -> None:
    rows = [
        (
            event.message_id,
            event.revision,
            event.chat_id,
            event.account_id,
            event.chat_kind,
            event.chat_name.replace("\0", ""),
            event.peer_number,
            event.direction,
            event.sender_name.replace("\0", ""),
            ("" if event.revoked else event.text).replace("\0", "")[:PREVIEW],
            event.sent_at,
        )
        for event in events
    ]
    await tx.execute(Q.board_messages, tx.tenant, *[list(column) for column in zip(*rows, strict=True)])


async def ring(tx: Transaction, tenant: UUID | None = None) -> None:
    """Tell the processes that show a tenant's board, by default the transaction's; heard when it commits."""
    await tx.execute(Q.ring_board, tenant or tx.tenant)


async def cursor(tx: Transaction) -> int:
    """Read before the rows that are shown: whatever they miss is found by :func:`changed` from here."""
    found: int = await tx.fetchval(Q.cursor)
    return found


async def moment(tx: Transaction) -> tuple[int, datetime]:
    """The cursor, and the database's time: what claims began and lapse by."""
    row = await tx.fetchrow(Q.board_moment)
    if row is None:
        raise LookupError("the database told no time")
    return row["cursor"], row["now"]


async def recent(tx: Transaction, panel: str, *, facet: str | None, before: Place | None, limit: int) -> list[Row]:
    at, id_ = before or (None, None)
    return [dict(row) for row in await tx.fetch(getattr(Q, f"recent_{panel}"), facet, at, id_, limit)]


async def changed(tx: Transaction, panel: str, *, since: int, limit: int) -> list[Row]:
    return [dict(row) for row in await tx.fetch(getattr(Q, f"changed_{panel}"), since, limit)]


async def counts(tx: Transaction, day_began: datetime) -> dict[str, int]:
    row = await tx.fetchrow(Q.board_counts, day_began)
    return dict(row) if row is not None else {}


async def sweep(database: Database, before: datetime) -> int:
    """Forget what is older than the console shows, in short transactions; return how many rows."""
    total = 0
    for query in _SWEEPS:
        while True:
            async with database.system() as tx:
                removed = int((await tx.execute(query, before)).rpartition(" ")[2])
            total += removed
            if removed < 5000:
                break
    return total
