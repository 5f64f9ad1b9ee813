"""A realistic store of any size, the same for the same options down to the byte.

Numbers, names, tax numbers and prices are invented. One person always states the same GSTIN and PAN, so the only
contradiction in a sample is the one that is asked for.
"""

from __future__ import annotations

import hashlib
import random
import sqlite3
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from itertools import accumulate
from pathlib import Path

from identifiers.gstin import check_digit
from vault_importer.containers.base import IV_BYTES
from vault_importer.samples.beside import BesideMessages, Said, write_media
from vault_importer.samples.encrypt import encrypt
from vault_importer.samples.headers import WRITERS
from vault_importer.samples.phrases import COMPANIES, GROUPS, ITEMS, NAMES, PHRASES, PLACES

__all__ = ["Sample", "SampleOptions", "sample_gstin", "write_msgstore", "write_sample"]

FIRST_NUMBER = 919847001000
STATES = ("32", "27")
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
DEFAULT_END = datetime(2026, 1, 5, 18, 0, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class SampleOptions:
    messages: int = 20_000
    seed: int = 1
    end: datetime = DEFAULT_END
    """When the newest message was sent."""
    days: int = 180
    conflict_number: str | None = None
    """E.164: the other side of a direct chat in which two different valid GSTINs are stated."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    backup: Path
    key: Path
    gstins: tuple[str, ...]
    """The two of the contradiction, when one was asked for."""


@dataclass
class _Person:
    row: int
    number: str
    gstin: str
    lid_row: int | None = None


@dataclass
class _Chat:
    row: int
    members: list[_Person]
    is_group: bool = False
    weight: float = 1.0
    pending: tuple[tuple[bool, str], ...] = ()
    """What is to be said in it, whether by us, and the words."""


def sample_gstin(random_: random.Random) -> str:
    """An invented GSTIN with a right check digit, of a company in Kerala or Maharashtra."""
    letters = "".join(random_.choices(LETTERS, k=3))
    pan = f"{letters}C{random_.choice(LETTERS)}{random_.randrange(1, 9999):04d}{random_.choice(LETTERS)}"
    first_fourteen = f"{random_.choice(STATES)}{pan}1Z"
    return first_fourteen + check_digit(first_fourteen)


def write_sample(folder: Path, options: SampleOptions, *, container: str = "crypt15", media: bool = False) -> Sample:
    """Write a backup of a container and the key that opens it into a folder, with its ``Media`` folder if wanted.

    That is ``msgstore.db.crypt15`` and ``backup.key`` (64 digits), or ``msgstore.db.crypt14`` and the phone's ``key``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    writer = WRITERS[container]
    # Key and iv come from the options, so that the same options give the same file and no other shares its key.
    seed = f"{container} {options!r}".encode()
    backup_key, iv = writer.invent_key(seed), hashlib.sha256(b"iv" + seed).digest()[:IV_BYTES]
    backup, key = folder / f"msgstore.db.{container}", folder / writer.key_file_name
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        plain = Path(temporary) / "msgstore.db"
        gstins = write_msgstore(plain, options)
        if media:
            write_media(plain, folder)
        encrypt(plain, backup, backup_key=backup_key, iv=iv, container=container)
    key.touch(mode=0o600)
    key.write_bytes(writer.key_file(backup_key))
    return Sample(backup=backup, key=key, gstins=gstins)


def write_msgstore(path: Path, options: SampleOptions) -> tuple[str, ...]:
    """Write the plain store; returns the contradicting GSTINs, if any."""
    maker = _Maker(options)
    connection = sqlite3.connect(path)
    try:
        connection.executescript("PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA page_size=4096;")
        connection.executescript(files("vault_importer.samples").joinpath("schema.sql").read_text(encoding="utf-8"))
        maker.fill(connection)
        connection.commit()
    finally:
        connection.close()
    return maker.gstins


class _Maker:
    def __init__(self, options: SampleOptions) -> None:
        self._options = options
        self._random = random.Random(options.seed)  # noqa: S311 - reproducible on purpose
        self._beside = BesideMessages(options.seed)
        self._jid_rows = 0
        self.gstins: tuple[str, ...] = ()

    def fill(self, connection: sqlite3.Connection) -> None:
        people = list(self._people(connection))
        chats = list(self._chats(connection, people))
        # The row that every real store begins with.
        connection.execute("INSERT INTO message (_id, chat_row_id, from_me, key_id) VALUES (1, -1, 0, '-1')")
        connection.executemany(
            "INSERT INTO message (_id, chat_row_id, from_me, key_id, sender_jid_row_id, status, origin, timestamp,"
            " received_timestamp, message_type, text_data, sort_id) VALUES (?, ?, ?, ?, ?, ?, 0, ?, ?, ?, ?, ?)",
            self._messages(connection, chats),
        )
        self._beside.write(connection)

    def _jid(self, connection: sqlite3.Connection, user: str, server: str, kind: int) -> int:
        self._jid_rows += 1
        connection.execute(
            "INSERT INTO jid VALUES (?, ?, ?, 0, 0, ?, ?)", (self._jid_rows, user, server, kind, f"{user}@{server}")
        )
        return self._jid_rows

    def _people(self, connection: sqlite3.Connection) -> Iterator[_Person]:
        for index in range(min(40 + self._options.messages // 200, 8_000)):
            number = str(FIRST_NUMBER + index)
            person = _Person(self._jid(connection, number, "s.whatsapp.net", 0), number, sample_gstin(self._random))
            if index % 3 == 0:
                # Groups show hidden identities; the map says whose they are.
                lid = self._jid(connection, str(70_000_000_000_000 + index), "lid", 18)
                connection.execute("INSERT INTO jid_map VALUES (?, ?, 0)", (lid, person.row))
                name = f"{self._random.choice(NAMES)} {self._random.choice(COMPANIES)}"
                connection.execute("INSERT INTO lid_display_name VALUES (?, ?, NULL)", (lid, name))
                person.lid_row = lid
            yield person

    def _chats(self, connection: sqlite3.Connection, people: list[_Person]) -> Iterator[_Chat]:
        row = 0
        for person in people:
            row += 1
            connection.execute("INSERT INTO chat (_id, jid_row_id) VALUES (?, ?)", (row, person.row))
            self._beside.person(person.row)
            yield _Chat(row, [person], weight=self._random.paretovariate(1.2))
        for index, name in enumerate(GROUPS):
            row += 1
            jid = self._jid(connection, f"120363{index:012d}", "g.us", 1)
            connection.execute("INSERT INTO chat (_id, jid_row_id, subject) VALUES (?, ?, ?)", (row, jid, name))
            members = self._random.sample(people, min(12, len(people)))
            self._beside.group(jid, [member.lid_row or member.row for member in members])
            yield _Chat(row, members, is_group=True, weight=len(people) / 10)
        if self._options.conflict_number:
            row += 1
            number = self._options.conflict_number.lstrip("+")
            jid = self._jid(connection, number, "s.whatsapp.net", 0)
            connection.execute("INSERT INTO chat (_id, jid_row_id) VALUES (?, ?)", (row, jid))
            first, second = sample_gstin(self._random), sample_gstin(self._random)
            self.gstins = (first, second)
            said = (
                (False, f"Our GSTIN is {first}, please bill to that."),
                (False, f"Our GSTIN from this month is {second}."),
            )
            yield _Chat(row, [_Person(jid, number, first)], weight=0, pending=said)

    def _turns(self, chats: list[_Chat]) -> Iterator[tuple[_Chat, bool, str | None]]:
        """Which chat speaks next, whether it is us, and what was asked for to be said (at the very end)."""
        weights = list(accumulate(chat.weight for chat in chats))
        stated = [(chat, from_me, text) for chat in chats for from_me, text in chat.pending]
        for _ in range(self._options.messages - len(stated)):
            chat = self._random.choices(chats, cum_weights=weights)[0]
            yield chat, self._random.random() < 0.45, None
        yield from stated

    def _messages(self, connection: sqlite3.Connection, chats: list[_Chat]) -> Iterator[tuple[object, ...]]:
        random_, options = self._random, self._options
        end_ms = int(options.end.timestamp() * 1000)
        span_ms = options.days * 86_400_000
        for index, (chat, from_me, stated) in enumerate(self._turns(chats)):
            row = index + 2
            author = random_.choice(chat.members)
            sender = 0 if from_me or not chat.is_group else author.lid_row or author.row
            sent_at = end_ms - span_ms + span_ms * (index + 1) // options.messages
            key_id = f"AC{random_.getrandbits(120):030X}"
            text, kind = (stated, 0) if stated else self._content(author, from_me)
            if not stated:
                self._afterlife(connection, row, kind, sent_at)
                members = [member.lid_row or member.row for member in chat.members] if chat.is_group else []
                said = Said(row, chat.row, from_me, key_id, sender, sent_at, kind, text)
                text, kind = self._beside.message(said, members, author.row)
            status = 13 if from_me else 0
            yield row, chat.row, from_me, key_id, sender, status, sent_at, sent_at + 400, kind, text, row

    def _content(self, author: _Person, from_me: bool) -> tuple[str | None, int]:
        random_ = self._random
        draw = random_.random()
        if draw < 0.01:
            return None, 15
        if draw < 0.06:
            return (None, 1) if draw < 0.04 else ("Photo of the bill", 1)
        if draw < 0.07 and not from_me:
            return f"Our GSTIN is {author.gstin}, PAN {author.gstin[2:12]}.", 0
        phrase = random_.choice(PHRASES)
        return (
            phrase.format(
                item=random_.choice(ITEMS),
                place=random_.choice(PLACES),
                count=random_.randrange(2, 200),
                price=_indian(random_.randrange(10, 9_000) * 50),
                lakh=random_.randrange(2, 40),
            ),
            0,
        )

    def _afterlife(self, connection: sqlite3.Connection, row: int, kind: int, sent_at: int) -> None:
        """What happened to a message later: revoked, edited, forwarded."""
        random_ = self._random
        if kind == 15:
            connection.execute(
                "INSERT INTO message_revoked VALUES (?, ?, NULL, ?)",
                (row, f"AC{random_.getrandbits(120):030X}", sent_at + 60_000),
            )
        elif kind == 0 and random_.random() < 0.01:
            connection.execute(
                "INSERT INTO message_edit_info VALUES (?, ?, ?, ?)",
                (row, f"AC{random_.getrandbits(120):030X}", sent_at + 90_000, sent_at + 90_000),
            )
        elif random_.random() < 0.02:
            connection.execute("INSERT INTO message_forwarded VALUES (?, 1, 0)", (row,))


def _indian(amount: int) -> str:
    """Digits grouped as in 1,23,450."""
    head, tail = str(amount)[:-3], str(amount)[-3:]
    groups: list[str] = []
    while head:
        groups.insert(0, head[-2:])
        head = head[:-2]
    return ",".join([*groups, tail])
