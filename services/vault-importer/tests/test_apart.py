"""Files made to do harm, and a process that dies: the importer says what it was and goes on."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vault_importer.apart import backup
from vault_importer.apart.__main__ import Answers
from vault_importer.apart.backup import Allowance, Reader, open_apart
from vault_importer.apart.wire import LENGTH, decode
from vault_importer.decrypt import Limits
from vault_importer.formats import recognise
from vault_importer.formats.sqlite_source import SqliteSource
from vault_importer.refusals import BackupRefused, ReaderLost
from vault_importer.samples import SampleOptions, write_msgstore

MIB = 1024 * 1024
PAGE = 4096
#: SQLite takes no page with more.
FAN_OUT = (PAGE - 8) // 6


def _open(path: Path, **allowed: int) -> Any:
    with ExitStack() as refused:
        readers = [Reader(Allowance(**allowed)) for _ in range(2)]
        for reader in readers:
            refused.callback(reader.close)
        opened, _ = open_apart(path, address_book=None, known_aliases={}, reader=readers[0], beside=readers[1])
        refused.pop_all()
        return opened


def _endless(stores: Any, table: str = "message", depth: int = 5) -> Path:
    """The fixture with a table of a few pages that has billions of rows: each page points at the next 681 times."""
    path: Path = stores.plain()
    with closing(sqlite3.connect(path)) as connection:
        [[root]] = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,))
    content = bytearray(path.read_bytes())
    last = len(content) // PAGE
    rows = bytes(content[(root - 1) * PAGE : root * PAGE])
    pages = [_pointing_at(last + 1 + level) for level in range(depth)]
    content[(root - 1) * PAGE : root * PAGE] = pages[0]
    content += b"".join(pages[1:]) + rows
    content[28:32] = (len(content) // PAGE).to_bytes(4, "big")
    path.write_bytes(content)
    return path


def _pointing_at(page: int) -> bytes:
    """An inner page of a table all of whose cells are one cell."""
    cell = page.to_bytes(4, "big") + b"\x01"
    at = PAGE - len(cell)
    start = bytes([5]) + bytes(2) + FAN_OUT.to_bytes(2, "big") + at.to_bytes(2, "big") + b"\0" + page.to_bytes(4, "big")
    return (start + at.to_bytes(2, "big") * FAN_OUT).ljust(at, b"\0") + cell


def test_the_process_lets_others_go_first(stores: Any) -> None:
    opened = _open(stores.plain())
    try:
        own, others = (os.getpriority(os.PRIO_PROCESS, pid) for pid in (os.getpid(), opened._reader._process.pid))
        assert others == min(19, own + 10)
    finally:
        opened.close()


def test_a_view_in_the_place_of_a_table_is_not_run_when_parts_are_left_out(stores: Any) -> None:
    path = stores.beside("CREATE VIEW receipt_device_of AS SELECT 1 AS message_row_id, load_extension('x') AS x")
    opened = _open(path)
    try:
        digests = opened.digests(bytes(32))
        left_out = opened.leave_out([*digests, 5_000])
        assert "receipt_device_of" not in left_out.rows
        opened_again = [row for row in opened.messages() if hasattr(row, "text")]
        assert len(opened_again) + left_out.rows.get("message", 0) >= 4
    finally:
        opened.close()


def test_two_processes_find_the_digests_that_one_finds(tmp_path: Path) -> None:
    path = tmp_path / "msgstore.db"
    write_msgstore(path, SampleOptions(messages=3_000))
    salt = bytes(range(32))
    alone = recognise(path).open(path, address_book=None, known_aliases={})
    opened = _open(path)
    try:
        expected = alone.digests(salt)  # type: ignore[attr-defined]
        assert len(expected) >= 5
        assert opened.digests(salt) == expected
        # While the other process is in the middle of a stream.
        rows = opened.messages()
        next(rows)
        assert opened.digests_beside(salt) == expected
        assert len(list(rows)) >= 2_999
    finally:
        alone.close()
        opened.close()


@pytest.mark.parametrize("shares", [1, 2, 3, 7, 50])
def test_shares_give_every_part_once(tmp_path: Path, shares: int) -> None:
    path = tmp_path / "msgstore.db"
    write_msgstore(path, SampleOptions(messages=3_000))
    with closing(sqlite3.connect(path)) as connection, connection:
        # Numbers with a gap, as a phone has them that lost a chat.
        connection.execute("DELETE FROM message WHERE _id BETWEEN 600 AND 1700")
    opened = recognise(path).open(path, address_book=None, known_aliases={})
    try:
        whole = opened.digests(bytes(32))  # type: ignore[attr-defined]
        found = [opened.digests(bytes(32), share, shares) for share in range(shares)]  # type: ignore[attr-defined]
    finally:
        opened.close()
    assert sum(map(len, found)) == len(whole)
    assert {part: digest for each in found for part, digest in each.items()} == whole


def test_a_file_that_is_replaced_while_it_is_opened_is_not_compared(
    stores: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, other = stores.plain(), stores.plain(name="other.db")
    ask = Reader.ask

    def replacing(self: Reader, what: str, **arguments: object) -> Any:
        answer = ask(self, what, **arguments)
        if what == "open" and other.exists():
            other.replace(path)
        return answer

    monkeypatch.setattr(Reader, "ask", replacing)
    opened = _open(path)
    try:
        assert not isinstance(opened, backup.Comparing)
        assert opened.rows()["message"] > 0
    finally:
        opened.close()


def test_whoever_waits_for_digests_is_told_when_they_are_wanted_no_more(stores: Any) -> None:
    opened = _open(stores.plain())
    try:
        opened.end_beside()
        with pytest.raises(ReaderLost):
            opened.digests_beside(bytes(32))
        with pytest.raises(ReaderLost):
            opened.digests(bytes(32))
        assert opened.rows()["message"] > 0
    finally:
        opened.close()


def test_rows_come_over_as_they_are_read_here(stores: Any) -> None:
    path = stores.beside()
    here = recognise(path).open(path, address_book=None, known_aliases={})
    there = _open(path)
    for read in ("rows", "aliases", "contacts", "chats", "messages", "lookups", "unread"):
        expected, found = getattr(here, read)(), getattr(there, read)()
        assert (found if isinstance(found, dict) else list(found)) == (
            expected if isinstance(expected, dict) else list(expected)
        )
    assert [side.name for side in there.sides()] == [side.name for side in here.sides()]
    for mine, other in zip(here.sides(), there.sides(), strict=True):
        assert list(other.rows(0)) == list(mine.rows(0))
        assert list(other.rows(1)) == list(mine.rows(1))
    here.close()
    there.close()


class Streams:
    """A reader of two streams, whose batches are numbers; it notes what is asked of it."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self._next = {0: iter([["a"], ["b"], []]), 1: iter([["x"], []])}

    def do_next(self, stream: int) -> tuple[list[str], list[Any]]:
        self.asked.append(f"next {stream}")
        return next(self._next[stream]), []

    def do_stop(self, stream: int) -> None:
        self.asked.append(f"stop {stream}")


def test_the_next_batch_is_read_before_it_is_asked_for() -> None:
    streams = Streams()
    answers = Answers(streams)

    def exchange(what: str, stream: int) -> Any:
        request = {"do": what, "with": {"stream": stream}}
        answer = decode(answers.to(request)[LENGTH.size :])
        before = len(streams.asked)
        answers.look_ahead(request)
        return answer["ok"], len(streams.asked) - before

    assert exchange("next", 0) == ([["a"], []], 1)
    assert exchange("next", 1) == ([["x"], []], 1)
    assert exchange("next", 0) == ([["b"], []], 1)
    assert exchange("stop", 1) == (None, 0)
    assert exchange("next", 0)[0] == [[], []]
    assert streams.asked[:5] == ["next 0", "next 0", "next 1", "next 1", "next 0"]


def test_what_was_read_before_it_was_asked_for_is_refused_when_it_is_asked_for() -> None:
    class Refusing(Streams):
        def do_next(self, stream: int) -> tuple[list[str], list[Any]]:
            if self.asked:
                raise BackupRefused("harmful", "It is made to do harm.")
            return super().do_next(stream)

    answers, request = Answers(Refusing()), {"do": "next", "with": {"stream": 0}}
    assert "ok" in decode(answers.to(request)[LENGTH.size :])
    answers.look_ahead(request)
    assert decode(answers.to(request)[LENGTH.size :]) == {"refused": ["harmful", "It is made to do harm."]}


def test_the_process_has_nothing_to_steal_and_little_to_spend(stores: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRUNKLINE_VAULT_IMPORTER_KEY_ENCRYPTION_KEY", "secret")
    opened = _open(stores.plain(), memory_bytes=512 * MIB, seconds=77)
    process = Path(f"/proc/{opened._reader._process.pid}")
    assert b"secret" not in (process / "environ").read_bytes()
    limits = {line[:25].strip(): line[25:].split()[0] for line in (process / "limits").read_text().splitlines()}
    assert (limits["Max address space"], limits["Max cpu time"]) == (str(512 * MIB), "77")
    assert (limits["Max core file size"], limits["Max processes"]) == ("0", "0")
    opened.close()
    assert not process.exists()


def _read(path: Path, **allowed: int) -> None:
    with closing(_open(path, **allowed)) as opened:
        for read in (opened.rows, opened.chats, opened.messages):
            list(read())


@pytest.mark.parametrize("table", ["message", "jid"])
def test_a_file_that_takes_for_ever_is_refused(stores: Any, table: str) -> None:
    # Whichever bound is met first on a machine that is more or less busy.
    bounds = "longer than it may|seconds of computing|memory|no answer came in time"
    with pytest.raises(BackupRefused, match=bounds) as caught:
        _read(_endless(stores, table), seconds=1)
    assert caught.value.code == "harmful"


def test_a_file_that_takes_too_much_memory_is_refused(stores: Any) -> None:
    path = stores.plain("UPDATE message SET text_data = hex(zeroblob(30000000)) WHERE _id = 750")
    with closing(_open(path, memory_bytes=192 * MIB)) as opened:
        with pytest.raises(BackupRefused, match="memory") as caught:
            list(opened.messages())
        assert caught.value.code == "harmful"


def test_a_column_that_would_be_computed_is_not_read(stores: Any) -> None:
    path = stores.plain("ALTER TABLE message ADD COLUMN starred_too GENERATED ALWAYS AS (hex(zeroblob(9))) VIRTUAL")
    source = SqliteSource(path)
    assert source.has("message", "text_data")
    assert not source.has("message", "starred_too")
    source.close()


@pytest.mark.parametrize("by", [signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT])
def test_a_file_that_makes_the_process_crash_is_refused(stores: Any, by: signal.Signals) -> None:
    opened = _open(stores.plain())
    os.kill(opened._reader._process.pid, by)
    with pytest.raises(BackupRefused, match=by.name):
        list(opened.messages())
    opened.close()


def test_a_process_that_was_ended_from_outside_is_not_held_against_its_file(stores: Any) -> None:
    opened = _open(stores.plain())
    os.kill(opened._reader._process.pid, signal.SIGKILL)
    with pytest.raises(ReaderLost):
        list(opened.messages())
    opened.close()


ENDLESS = "while True: pass"
HUGE = "import sys; sys.stdout.buffer.write(b'\\xff' * 64); sys.stdout.flush(); import time; time.sleep(60)"
ANOTHER_SHAPE = """
import sys
for answer in (b'{"ok":{"format":"f","sides":false}}', b'{"ok":null}', b'{"ok":[[[1, 2]], []]}'):
    sys.stdin.buffer.read(int.from_bytes(sys.stdin.buffer.read(4), 'big'))
    sys.stdout.buffer.write(len(answer).to_bytes(4, 'big') + answer)
    sys.stdout.buffer.flush()
"""


@pytest.mark.parametrize(
    ("does", "sentence"), [(ENDLESS, "no answer came in time"), (HUGE, "larger"), (ANOTHER_SHAPE, "no backup holds")]
)
def test_a_process_that_was_taken_over_is_ended(
    stores: Any, monkeypatch: pytest.MonkeyPatch, does: str, sentence: str
) -> None:
    monkeypatch.setattr(backup, "COMMAND", (sys.executable, "-c", does))
    monkeypatch.setattr(backup, "PATIENCE", 1)
    with pytest.raises(BackupRefused, match=sentence):
        list(_open(stores.plain(), seconds=1 if does == ENDLESS else 60).messages())


# What the file brings along ----------------------------------------------------------------------------------------


def _source(path: Path, *statements: str) -> SqliteSource:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE plain (a, b)")
    connection.execute("INSERT INTO plain VALUES (1, 'x')")
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()
    return SqliteSource(path)


@pytest.mark.parametrize(
    ("brought", "name"),
    [
        ("CREATE VIEW sight AS SELECT a FROM plain", "sight"),
        ("CREATE VIRTUAL TABLE found USING fts5(a)", "found"),
        ("CREATE VIRTUAL TABLE box USING rtree(id, x, y)", "box"),
    ],
)
def test_views_and_virtual_tables_are_not_tables_and_cannot_be_read(tmp_path: Path, brought: str, name: str) -> None:
    source = _source(tmp_path / "hostile.db", brought)
    assert source.has("plain", "a")
    assert not source.has(name)
    with pytest.raises(BackupRefused, match=r"SQLITE_(AUTH|ERROR)"):
        list(source.select(f"SELECT * FROM {name}"))
    assert list(source.select("SELECT a FROM plain")) == [(1,)]
    source.close()


def test_a_virtual_table_that_calls_itself_a_table_is_none(tmp_path: Path) -> None:
    source = _source(
        tmp_path / "hostile.db",
        "CREATE VIRTUAL TABLE message USING fts5(a)",
        "PRAGMA writable_schema = 1",
        "UPDATE sqlite_master SET sql = 'CREATE/**/VIRTUAL TABLE message USING fts5(a)', rootpage = 2"
        " WHERE name = 'message'",
    )
    assert not source.has("message")
    source.close()


@pytest.mark.parametrize(
    "statement",
    [
        "ATTACH ':memory:' AS other",
        "PRAGMA query_only = 0",
        "DELETE FROM plain",
        "CREATE TEMP TABLE t (a)",
        "SELECT load_extension('x')",
        "SELECT * FROM pragma_database_list",
        "SELECT * FROM dbstat",
    ],
)
def test_a_statement_that_does_anything_but_read_tables_is_not_compiled(tmp_path: Path, statement: str) -> None:
    source = _source(tmp_path / "hostile.db")
    with pytest.raises(BackupRefused, match=r"SQLITE_(AUTH|ERROR)"):
        list(source.select(statement))
    source.close()


def test_a_schema_that_is_no_text_is_refused(stores: Any) -> None:
    # SQLite quotes the word that it does not know, and Python cannot read the quotation.
    path = stores.plain()
    path.write_bytes(path.read_bytes().replace(b"CREATE TABLE", b"CREATE TABL\x80"))
    with pytest.raises(BackupRefused, match="damaged"):
        recognise(path)


@settings(
    max_examples=settings.default.max_examples * 3 // 2,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.data())
def test_a_damaged_store_is_read_or_refused_and_nothing_else(stores: Any, data: st.DataObject) -> None:
    path = stores.plain()
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 8))):
        # Most of the harm can be done where pages begin.
        at = data.draw(st.one_of(st.integers(0, len(content) - 1), st.integers(0, 200)))
        page = data.draw(st.integers(0, len(content) // 4096 - 1))
        content[(page * 4096 + at) % len(content)] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        opened = recognise(path).open(path, address_book=None, known_aliases={})
    except BackupRefused:
        return
    try:
        for read in (opened.rows, opened.aliases, opened.contacts, opened.chats, opened.messages):
            list(read())
    except BackupRefused:
        pass
    finally:
        opened.close()


@pytest.mark.real
async def test_the_importer_goes_on_behind_a_file_that_did_harm(vault: Any, stores: Any) -> None:
    with pytest.raises(BackupRefused, match="harm"):
        await vault.import_(_endless(stores), limits=Limits(reading=Allowance(seconds=3)))
    [failed] = await vault.rows("SELECT state, error FROM import_run")
    assert failed["state"] == "failed"
    assert "made to do harm" in failed["error"]
    assert (await vault.import_(stores.encrypted())).messages_new == 4


def test_the_process_starts_without_what_only_its_parent_needs() -> None:
    asked = "import sys, vault_importer.apart.__main__; print({'pydantic', 'asyncio', 'asyncpg'} & sys.modules.keys())"
    assert subprocess.run([sys.executable, "-I", "-c", asked], capture_output=True, check=True).stdout == b"set()\n"
