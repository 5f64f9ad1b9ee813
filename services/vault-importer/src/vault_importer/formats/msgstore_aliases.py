"""Which hidden identity (``…@lid``) of an Android store is which number: by WhatsApp's own list, and by what follows
from chats, notices, receipts and contact cards.

One number at most for a hidden identity: a wrong pair puts one person's words in another's mouth, and none at all only
leaves a number unknown. So a source that names several numbers for one settles nothing about it, and what merely
follows from messages never speaks against what is known already.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from vault_importer.contact_cards import unfolded
from vault_importer.formats.base import Alias
from vault_importer.formats.sqlite_source import SqliteSource, clean
from vault_importer.identity import LID, NUMBERED, canonical

__all__ = ["read_aliases"]

Pairs = Iterable[tuple[str, str]]

#: Sources that give a number one hidden identity: a second one may as well be the account's own.
ONE_EACH = frozenset({"receipt", "vcard"})
#: What WhatsApp says outright counts more than what earlier backups said.
OUTRIGHT = frozenset({"jid_map", "chat"})
#: Services of WhatsApp's own write from addresses like ``0@s.whatsapp.net``.
NUMBER = re.compile(r"[1-9][0-9]{4,14}@s\.whatsapp\.net")
_WAID = re.compile(r"^(?:[a-z0-9-]+\.)?tel;[^:\r\n]*?\bwaid=([0-9]+)[;:]", re.IGNORECASE | re.MULTILINE)


def read_aliases(store: SqliteSource, known: Mapping[str, str]) -> list[Alias]:
    """The most trusted first, each hidden identity once. ``known`` are the pairs of earlier backups."""
    found = _Found(store, known)
    sources: tuple[tuple[str, Callable[[_Found], Pairs]], ...] = (
        ("jid_map", lambda found: _of_rows(found.store, "jid_map", "lid_row_id", "jid_row_id")),
        ("chat", lambda found: _of_rows(found.store, "chat", "account_jid_row_id", "jid_row_id")),
        ("number_change", _changes),
        ("receipt", _receipts),
        ("vcard", _cards),
    )
    for source, read in sources:
        found.add(source, read(found))
    return list(found.aliases.values())


@dataclass
class _Found:
    store: SqliteSource
    known: Mapping[str, str]
    aliases: dict[str, Alias] = field(default_factory=dict)
    """By the hidden identity."""
    disputed: set[str] = field(default_factory=set)

    def add(self, source: str, pairs: Pairs) -> None:
        """Take what a source says about those of whom no better one said anything."""
        jids: dict[str, set[str]] = {}
        lids: dict[str, set[str]] = {}
        for lid, jid in pairs:
            if lid not in self.aliases and lid not in self.disputed:
                jids.setdefault(lid, set()).add(jid)
                lids.setdefault(jid, set()).add(lid)
        taken = self._taken()
        for lid, several in jids.items():
            jid = min(several)
            if len(several) > 1:
                self.disputed.add(lid)
            elif source in OUTRIGHT or (
                NUMBER.fullmatch(jid)
                and self.known.get(lid, jid) == jid
                and (source not in ONE_EACH or (len(lids[jid]) == 1 and taken.get(jid, lid) == lid))
            ):
                self.aliases[lid] = Alias(lid=lid, jid=jid, source=source)

    def _taken(self) -> dict[str, str]:
        """By the number, a hidden identity that has it."""
        return {jid: lid for lid, jid in self.known.items()} | {each.jid: lid for lid, each in self.aliases.items()}

    def number_of(self, lid: str) -> str | None:
        alias = self.aliases.get(lid)
        return alias.jid if alias else self.known.get(lid)

    def unknown(self) -> dict[int, str]:
        """Hidden identities without a number, by their row. Receipts and cards are many, and mostly of others."""
        rows = self.store.select("SELECT _id, user FROM jid WHERE server = ?", LID)
        lids = {row: _hidden(user) for row, user in rows if isinstance(row, int)}
        return {row: lid for row, lid in lids.items() if lid and not self.number_of(lid) and lid not in self.disputed}


def _of_rows(store: SqliteSource, table: str, one: str, other: str) -> Iterator[tuple[str, str]]:
    """Pairs of a table that names both, either way round."""
    if not store.has(table, one, other):
        return
    rows = store.select(
        f"SELECT l.user, p.user FROM {table} t JOIN jid l ON l._id IN (t.{one}, t.{other}) AND l.server = ?"  # noqa: S608
        f" JOIN jid p ON p._id IN (t.{one}, t.{other}) AND p.server = ?",
        LID,
        NUMBERED,
    )
    for lid, number in rows:
        if _hidden(lid) and clean(number):
            yield _hidden(lid), canonical(clean(number), NUMBERED, {})


def _changes(found: _Found) -> Iterator[tuple[str, str]]:
    """Notices that one address took the place of another: it is the same person's."""
    store = found.store
    yield from _of_rows(store, "message_system_number_change", "old_jid_row_id", "new_jid_row_id")
    if store.has("message_system_lid_change", "old_lid_row_id", "new_lid_row_id"):
        rows = store.select(
            "SELECT o.user, n.user FROM message_system_lid_change t JOIN jid o ON o._id = t.old_lid_row_id"
            " JOIN jid n ON n._id = t.new_lid_row_id WHERE o.server = ? AND n.server = ?",
            LID,
            LID,
        )
        for row in rows:
            old, new = (_hidden(each) for each in row)
            for lid, other in ((old, new), (new, old)):
                jid = found.number_of(other)
                if lid and jid:
                    yield lid, jid


def _receipts(found: _Found) -> Iterator[tuple[str, str]]:
    """Whoever received what was sent to one person is that person."""
    store = found.store
    if not store.has("receipt_user", "message_row_id", "receipt_user_jid_row_id"):
        return
    unknown = found.unknown()
    if not unknown:
        return
    direct = {
        row: canonical(clean(user), NUMBERED, {})
        for row, user in store.select(
            "SELECT c._id, j.user FROM chat c JOIN jid j ON j._id = c.jid_row_id WHERE j.server = ?", NUMBERED
        )
        if isinstance(row, int)
    }
    # There can be millions of receipts: most are of people who are known, and end at the first condition.
    rows = store.select(
        "SELECT DISTINCT r.receipt_user_jid_row_id, m.chat_row_id FROM receipt_user r CROSS JOIN message m"
        " ON m._id = r.message_row_id WHERE r.receipt_user_jid_row_id IN (SELECT value FROM json_each(?))"
        " AND m.from_me = 1 AND m.chat_row_id IN (SELECT value FROM json_each(?))",
        json.dumps(list(unknown)),
        json.dumps(list(direct)),
    )
    for jid_row, chat_row in rows:
        if jid_row in unknown and chat_row in direct:
            yield unknown[jid_row], direct[chat_row]


def _cards(found: _Found) -> Iterator[tuple[str, str]]:
    """Contact cards of one person with one number."""
    store = found.store
    if not store.has("message_vcard_jid", "vcard_row_id", "vcard_jid_row_id") or not store.has(
        "message_vcard", "_id", "vcard"
    ):
        return
    unknown = found.unknown()
    if not unknown:
        return
    rows = store.select(
        "SELECT o.jid_row, v.vcard FROM (SELECT vcard_row_id, min(vcard_jid_row_id) AS jid_row FROM message_vcard_jid"
        " GROUP BY vcard_row_id HAVING count(DISTINCT vcard_jid_row_id) = 1) o CROSS JOIN message_vcard v"
        " ON v._id = o.vcard_row_id WHERE o.jid_row IN (SELECT value FROM json_each(?))",
        json.dumps(list(unknown)),
    )
    for jid_row, card in rows:
        numbers = set(_WAID.findall(unfolded(clean(card))))
        if jid_row in unknown and len(numbers) == 1:
            yield unknown[jid_row], f"{numbers.pop()}@{NUMBERED}"


def _hidden(user: object) -> str:
    """Empty where nobody is named."""
    return canonical(clean(user), LID, {}) if clean(user) else ""
