"""A backup that was read as a whole, since its source cannot be read in order: small ones only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from vault_importer.formats.base import (
    Alias,
    MessageRows,
    SkippedRow,
    SourceChat,
    SourceContact,
    SourceMessage,
    of_lane,
)

__all__ = ["Gathered"]


class Gathered:
    def __init__(
        self,
        rows: Iterable[SourceMessage | SkippedRow],
        *,
        chats: Sequence[SourceChat],
        contacts: Sequence[SourceContact] = (),
        aliases: Sequence[Alias] = (),
        found: Mapping[str, int] | None = None,
    ) -> None:
        """``found`` is what else was counted on the way."""
        self._by_chat: dict[str, list[SourceMessage | SkippedRow]] = {}
        for row in rows:
            self._by_chat.setdefault(row.chat_jid if isinstance(row, SourceMessage) else "", []).append(row)
        for each in self._by_chat.values():
            each.sort(key=_sent)
        self._chats = chats
        self._found = found or {}
        self._contacts = contacts
        self._aliases = aliases

    def rows(self) -> Mapping[str, int]:
        return {"message": sum(map(len, self._by_chat.values())), **self._found}

    def aliases(self) -> Iterator[Alias]:
        return iter(self._aliases)

    def contacts(self) -> Iterator[SourceContact | SkippedRow]:
        return iter(self._contacts)

    def chats(self) -> Iterator[SourceChat | SkippedRow]:
        return iter(self._chats)

    def messages(self, *, lane: int = 0, lanes: int = 1, skip: int = 0) -> MessageRows:
        sizes = [(chat, len(rows)) for chat, rows in self._by_chat.items()]
        for chat in of_lane(sorted(sizes, key=lambda each: (-each[1], each[0])), lane, lanes):
            rows = self._by_chat[chat]
            yield from rows[skip:]
            skip = max(0, skip - len(rows))

    def close(self) -> None:
        self._by_chat = {}


def _sent(row: SourceMessage | SkippedRow) -> int:
    return row.sent_at_ms if isinstance(row, SourceMessage) else 0
