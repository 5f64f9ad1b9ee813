"""Whom and what a backup names, gathered before anything is written. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, MutableMapping

from identifiers.phone import to_e164
from vault_importer.erasure.keep_out import REASON, Erased
from vault_importer.formats.base import Alias, Backup, NameSource, SkippedRow, SourceChat, SourceContact
from vault_importer.identity import number_digits

__all__ = ["NAME_RANKS", "collect_chats", "collect_contacts", "leave_out", "numbers_of", "without_erased"]

NAME_RANKS: dict[NameSource, int] = {"none": 0, "own_profile": 1, "verified": 2, "address_book": 3}


def collect_contacts(backup: Backup) -> tuple[list[Alias], dict[str, SourceContact], Counter[str]]:
    """Identities that belong together, people by their address with the best name, and what is left out, by reason."""
    skipped: Counter[str] = Counter()
    best: dict[str, SourceContact] = {}
    aliases = list(backup.aliases())
    for each in backup.contacts():
        if isinstance(each, SkippedRow):
            skipped[each.reason] += 1
            continue
        known = best.get(each.jid)
        if known is None or (each.name and NAME_RANKS[each.name_source] >= NAME_RANKS[known.name_source]):
            best[each.jid] = each
    return aliases, best, skipped


def collect_chats(backup: Backup) -> tuple[dict[str, SourceChat], Counter[str]]:
    skipped: Counter[str] = Counter()
    chats: dict[str, SourceChat] = {}
    for each in backup.chats():
        if isinstance(each, SkippedRow):
            skipped[each.reason] += 1
        elif each.jid not in chats or each.name:
            chats[each.jid] = each
    return chats, skipped


def numbers_of(jids: Iterable[str]) -> dict[str, str | None]:
    numbers: dict[str, str | None] = {}
    for jid in jids:
        digits = number_digits(jid)
        numbers[jid] = to_e164(f"+{digits}") if digits else None
    return numbers


def leave_out(
    named: MutableMapping[str, SourceChat] | MutableMapping[str, SourceContact], erased: Erased, skipped: Counter[str]
) -> None:
    """Take those out who must not come back."""
    for address in erased.away & named.keys():
        del named[address]
        skipped[REASON] += 1


def without_erased(aliases: Iterable[Alias], erased: Erased) -> list[Alias]:
    away = erased.away
    return [alias for alias in aliases if alias.lid not in away and alias.jid not in away]
