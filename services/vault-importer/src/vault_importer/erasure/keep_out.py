"""Who was erased and must not come back out of a backup: recognised by tags, kept out of every table. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from recovery.marks import national_of
from vault_importer.accounts import SealingError
from vault_importer.erasure.case import SuppressionKey
from vault_importer.erasure.suppression_store import Suppression
from vault_importer.formats.base import Alias, SideRow, SourceMessage

__all__ = ["BETWEEN", "NOBODY", "REASON", "Erased", "KeptOut", "copy_tag", "digits_of", "milliseconds"]

#: Why rows of a backup are left out, as the manifest counts them.
REASON = "erased"
#: What is a copy of a person in other people's messages: cards, and notices that name who came, left or called.
COPY_KINDS = frozenset({"contact", "contacts", "system", "call", "missed_call"})
#: What stands between digits that are written in groups, as in the archive's ``naming_pattern``.
BETWEEN = r"[ ().\u00A0\u2009\u2011\u202F-]*"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FOREVER = 2**62


@dataclass(frozen=True, kw_only=True)
class KeptOut:
    """The suppression list as it was when an import began."""

    tenant: UUID
    known: Suppression
    key: SuppressionKey | None

    @classmethod
    def of(cls, known: Suppression, key: SuppressionKey | None, tenant: UUID) -> KeptOut:
        """Raises :class:`SealingError` where somebody was erased and nothing tells who."""
        if known.until and key is None:
            raise SealingError(
                "People were erased from this archive, and a backup would bring them back: set"
                " TRUNKLINE_VAULT_IMPORTER_KEY_ENCRYPTION_KEY as it was then."
            )
        return cls(tenant=tenant, known=known, key=key)

    def among(self, addresses: Iterable[str], aliases: Iterable[Alias]) -> Erased:
        """Which of a backup's addresses are theirs, by themselves or as another identity of one that is."""
        if not self.known.until or self.key is None:
            return NOBODY
        pairs = [(alias.lid, alias.jid) for alias in aliases]
        until: dict[str, int] = {}
        for address in {*addresses, *(each for pair in pairs for each in pair)}:
            limit = self.known.until.get(self.key.tag(self.tenant, address))
            if limit is not None:
                until[address] = milliseconds(limit)
        for one, other in (*pairs, *((other, one) for one, other in pairs)):
            if one in until:
                until.setdefault(other, until[one])
        return Erased.of(until, self)

    def knows(self, message: SourceMessage) -> bool:
        """Whether the message was erased as a card that names somebody who was."""
        if self.key is None:
            return False
        limit = self.known.until.get(self.key.tag(self.tenant, copy_tag(message.key_id, message.sent_at_ms)))
        return limit is not None and message.sent_at_ms <= milliseconds(limit)


@dataclass(frozen=True, kw_only=True)
class Erased:
    """Erased people among those of one backup: what they wrote stays out up to a time, in milliseconds since 1970."""

    until: Mapping[str, int]
    away: frozenset[str]
    """Those of whom nothing comes in, however new."""
    naming: re.Pattern[str] | None
    kept_out: KeptOut | None = None

    @classmethod
    def of(cls, until: Mapping[str, int], kept_out: KeptOut | None = None) -> Erased:
        away = frozenset(address for address, limit in until.items() if limit == FOREVER)
        digits = [BETWEEN.join(each) for each in digits_of(away)]
        naming = re.compile(rf"(?<![0-9])(?:{'|'.join(digits)})(?![0-9])") if digits else None
        return cls(until=until, away=away, naming=naming, kept_out=kept_out)

    def __bool__(self) -> bool:
        return bool(self.until) or self.kept_out is not None

    def wrote(self, message: SourceMessage) -> bool:
        """Whether a message is theirs, of a conversation with them, or names them as a card or a notice does."""
        limit = self.until.get(message.sender_jid) or self.until.get(message.chat_jid)
        if limit is not None and message.sent_at_ms <= limit:
            return True
        if message.kind not in COPY_KINDS:
            return False
        if self.kept_out is not None and self.kept_out.knows(message):
            return True
        if self.naming is None:
            return False
        details = json.dumps(message.details, ensure_ascii=False) if message.details else ""
        return self.naming.search(message.text) is not None or self.naming.search(details) is not None

    def without(self, row: SideRow) -> SideRow | None:
        """A row beside the messages without them: none at all, or a quote that quotes nobody."""
        if "quoted_key_id" in row.values:
            if row.person_jid in self.away or row.chat_jid in self.away:
                return row._replace(person_jid="", chat_jid="", values={**row.values, "text": "", "quoted_key_id": ""})
            return row
        named = (row.person_jid, row.chat_jid, row.values.get("call_jid"), row.values.get("address"))
        if any(each in self.away for each in named if each):
            return None
        columns: Any = row.values.get("columns")
        if not columns or self.naming is None:
            return row
        text = json.dumps(columns, ensure_ascii=False)
        if self.naming.search(text) is None:
            return row
        # Beside a message it is a card that names them. Of a group or the account only the digits are theirs.
        masked = {**row.values, "columns": json.loads(self.naming.sub("0", text))}
        return None if row.message_row else row._replace(values=masked)


def copy_tag(key_id: str, sent_at_ms: int) -> str:
    """By what a card is known that was erased: who it names may stand in another table, which comes later."""
    return f"message {key_id} {sent_at_ms}"


def digits_of(addresses: Iterable[str]) -> list[str]:
    """The digits by which a backup's texts name whoever has these addresses. What is in the archive is looked for by
    ``naming_pattern`` there, which finds the same."""
    whole = (address.partition("@")[0] for address in addresses)
    return sorted({form for digits in whole if digits.isascii() and digits.isdecimal() for form in national_of(digits)})


NOBODY = Erased(until={}, away=frozenset(), naming=None)


def milliseconds(at: datetime) -> int:
    # Postgres' infinity comes as the last day there is.
    return FOREVER if at.year >= 9999 else (at - _EPOCH) // timedelta(milliseconds=1)
