"""What stands beside a sample's messages: media, answers, reactions, mentions, polls, receipts, calls, groups, labels.

Drawn from a source of its own, so that more of it changes no message.
"""

from __future__ import annotations

import base64
import hashlib
import random
import sqlite3
from collections import defaultdict
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

__all__ = ["BesideMessages", "Said", "media_bytes", "write_media"]

REACTIONS = ("👍", "🙏", "❤", "😂", "")
LABELS = ("New customer", "Payment due", "Dealer")
IMAGE, TEXT, POLL = 1, 0, 66
REACTION, VOTE = 56, 67


class Said(NamedTuple):
    """A message of the sample."""

    row: int
    chat_row: int
    from_me: bool
    key_id: str
    sender_row: int
    sent_at: int
    kind: int
    text: str | None


def media_bytes(row: int) -> bytes:
    """The file of a message with a picture."""
    # Some are sent more than once.
    picture = row // 30
    return hashlib.sha512(f"picture {picture}".encode()).digest() * (8 + picture % 50)


def write_media(store: Path, folder: Path) -> None:
    """The files of a plain store's media, as a phone has them; every tenth was deleted from it."""
    with closing(sqlite3.connect(store)) as connection:
        for at, (row, path) in enumerate(connection.execute("SELECT message_row_id, file_path FROM message_media")):
            if at % 10 != 9:
                target = folder / path
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(media_bytes(row))


class BesideMessages:
    def __init__(self, seed: int) -> None:
        self._random = random.Random(f"beside {seed}")  # noqa: S311 - reproducible on purpose
        self._rows: dict[str, list[tuple[object, ...]]] = defaultdict(list)
        self._last: dict[int, Said] = {}
        self._add_ons = 0
        self._options = 0

    def write(self, connection: sqlite3.Connection) -> None:
        for at, name in enumerate(LABELS, start=1):
            self._rows["labels"].append((at, name, at))
        for table, rows in self._rows.items():
            places = ", ".join("?" * len(rows[0]))
            connection.executemany(f"INSERT INTO {table} VALUES ({places})", rows)  # noqa: S608 - names of our own

    def group(self, jid_row: int, members: Sequence[int]) -> None:
        for at, member in enumerate(members):
            self._rows["group_participant_user"].append((None, jid_row, member, int(at == 0), 0, 0))

    def person(self, jid_row: int) -> None:
        if self._random.random() < 0.1:
            self._rows["labeled_jid"].append((None, self._random.randrange(1, len(LABELS) + 1), jid_row))

    def message(self, said: Said, members: Sequence[int], author_row: int) -> tuple[str | None, int]:
        """Add what belongs to a message; its text and kind, which this may change. ``members`` are those of a group."""
        random_ = self._random
        if said.kind == IMAGE:
            said = self._media(said)
        elif said.kind == TEXT and members and self._is_poll(said):
            said = self._poll(said, members)
        elif said.kind == TEXT and random_.random() < 0.08 and (earlier := self._last.get(said.chat_row)):
            self._rows["message_quoted"].append(
                (said.row, said.chat_row, said.chat_row, earlier.from_me, earlier.sender_row, earlier.key_id,
                 earlier.sent_at, earlier.kind, earlier.text)
            )  # fmt: skip
            if members:
                self._rows["message_mentions"].append((None, said.row, random_.choice(members), None, 0))
        if random_.random() < 0.05:
            self._reaction(said, members)
        if members and said.from_me:
            for member in random_.sample(members, 3):
                read = said.sent_at + 60_000 if random_.random() < 0.7 else 0
                self._rows["receipt_user"].append((None, said.row, member, said.sent_at + 900, read, 0))
        if not members and random_.random() < 0.02:
            seconds = random_.randrange(0, 600)
            self._rows["call_log"].append(
                (None, author_row, said.from_me, f"{random_.getrandbits(64):016X}", -1, said.sent_at + 5_000, 0,
                 seconds, 5 if seconds else 2, 0)
            )  # fmt: skip
        self._last[said.chat_row] = said
        return said.text, said.kind

    def _is_poll(self, said: Said) -> bool:
        # The first chance is taken, so that the smallest sample has one.
        return "GSTIN" not in (said.text or "") and (not self._options or self._random.random() < 0.004)

    def _media(self, said: Said) -> Said:
        data = media_bytes(said.row)
        digest = base64.b64encode(hashlib.sha256(data).digest()).decode()
        name = f"IMG-{said.row:07d}.jpg"
        self._rows["message_media"].append(
            (said.row, said.chat_row, f"Media/WhatsApp Images/{name}", len(data), len(data), "image/jpeg", None,
             said.text, digest, 1200, 900, 0)
        )  # fmt: skip
        return said._replace(text=None)

    def _add_on(self, said: Said, members: Sequence[int], kind: int) -> tuple[int, int]:
        self._add_ons += 1
        at = said.sent_at + 30_000
        ours = self._random.random() < 0.3
        who = -1 if ours or not members else self._random.choice(members)
        key_id = f"AC{self._random.getrandbits(120):030X}"
        self._rows["message_add_on"].append(
            (self._add_ons, said.chat_row, ours, key_id, who, said.row, at, 0, kind)
        )  # fmt: skip
        return self._add_ons, at

    def _reaction(self, said: Said, members: Sequence[int]) -> None:
        add_on, at = self._add_on(said, members, REACTION)
        self._rows["message_add_on_reaction"].append((add_on, self._random.choice(REACTIONS), at))

    def _poll(self, said: Said, members: Sequence[int]) -> Said:
        self._rows["message_poll"].append((said.row, 1))
        first = self._options + 1
        for name in ("Monday", "Tuesday", "Wednesday"):
            self._options += 1
            self._rows["message_poll_option"].append((self._options, said.row, name, 0))
        for _ in range(2):
            add_on, at = self._add_on(said, members, VOTE)
            self._rows["message_add_on_poll_vote"].append((add_on, at))
            self._rows["message_add_on_poll_vote_selected_option"].append(
                (None, add_on, self._random.randrange(first, first + 3))
            )
        return said._replace(kind=POLL, text="Which day suits you?")
