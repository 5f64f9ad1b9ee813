from __future__ import annotations

import re
import sqlite3
from collections import defaultdict
from pathlib import Path

import pytest

from identifiers.gstin import find_gstins, is_gstin
from identifiers.pan import find_pans
from identifiers.phone import to_e164
from vault_importer.backup_key import parse_backup_key
from vault_importer.decrypt import Limits
from vault_importer.formats import recognise
from vault_importer.formats.base import SourceMessage
from vault_importer.open_backup import open_backup
from vault_importer.samples import SampleOptions, write_msgstore, write_sample
from vault_importer.survey import survey_file

OPTIONS = SampleOptions(messages=3000, seed=7, conflict_number="+919847000042")
CONFLICT_CHAT = "919847000042@s.whatsapp.net"


def _messages(path: Path) -> list[SourceMessage]:
    backup = recognise(path).open(path, address_book=None, known_aliases={})
    found = [m for m in backup.messages() if isinstance(m, SourceMessage)]
    backup.close()
    return found


def test_the_same_options_give_the_same_file(tmp_path: Path) -> None:
    first = write_sample(tmp_path / "a", OPTIONS)
    second = write_sample(tmp_path / "b", OPTIONS)
    other = write_sample(tmp_path / "c", SampleOptions(messages=3000, seed=8))
    assert first.backup.read_bytes() == second.backup.read_bytes()
    assert first.key.read_text() == second.key.read_text() != other.key.read_text()
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == ["backup.key", "msgstore.db.crypt15"]
    assert first.key.stat().st_mode & 0o777 == 0o600


def test_a_sample_holds_what_was_asked_for_in_three_languages_and_their_scripts(tmp_path: Path) -> None:
    write_msgstore(tmp_path / "msgstore.db", OPTIONS)
    messages = _messages(tmp_path / "msgstore.db")
    texts = "\n".join(m.text for m in messages)
    assert len(messages) == OPTIONS.messages
    assert re.search("[\u0d00-\u0d7f]", texts), "no Malayalam script"
    assert re.search("[\u0900-\u097f]", texts), "no Devanagari"
    assert "₹" in texts
    assert max(m.sent_at_ms for m in messages) == OPTIONS.end.timestamp() * 1000
    assert {"direct", "group"} <= {"group" if m.chat_jid.endswith("@g.us") else "direct" for m in messages}


def test_only_the_chat_that_was_asked_for_contradicts_itself(tmp_path: Path) -> None:
    gstins = write_msgstore(tmp_path / "msgstore.db", OPTIONS)
    stated = defaultdict(set)
    pans = defaultdict(set)
    for message in _messages(tmp_path / "msgstore.db"):
        subject = message.sender_jid or message.chat_jid
        stated[subject].update(found.value for found in find_gstins(message.text))
        pans[subject].update(found.value for found in find_pans(message.text))
    assert stated[CONFLICT_CHAT] == set(gstins)
    assert len(gstins) == 2
    assert all(is_gstin(value) for values in stated.values() for value in values)
    assert sum(len(values) == 1 for values in stated.values()) > 5
    assert [subject for subject, values in stated.items() if len(values) > 1] == [CONFLICT_CHAT]
    assert not [subject for subject, values in pans.items() if len(values) > 1]


def test_every_number_in_a_sample_is_a_number(tmp_path: Path) -> None:
    write_msgstore(tmp_path / "msgstore.db", OPTIONS)
    connection = sqlite3.connect(tmp_path / "msgstore.db")
    numbers = [row[0] for row in connection.execute("SELECT user FROM jid WHERE server = 's.whatsapp.net'")]
    connection.close()
    assert numbers
    assert all(to_e164(f"+{number}") == f"+{number}" for number in numbers)


@pytest.mark.parametrize("container", ["crypt12", "crypt14", "crypt15"])
def test_a_sample_of_any_container_opens_with_the_key_file_beside_it(tmp_path: Path, container: str) -> None:
    options = SampleOptions(messages=50)
    made = write_sample(tmp_path / "a", options, container=container)
    again = write_sample(tmp_path / "b", options, container=container)
    assert made.backup.read_bytes() == again.backup.read_bytes()
    assert made.backup.name == f"msgstore.db.{container}"
    opened = open_backup(
        made.backup, survey=survey_file(made.backup), backup_key=parse_backup_key(made.key.read_bytes()),
        address_book=None, known_aliases={}, temporary=tmp_path, limits=Limits(),
    )  # fmt: skip
    assert sum(isinstance(each, SourceMessage) for each in opened.backup.messages()) == 50
    opened.backup.close()


def test_a_sample_holds_what_stands_beside_messages_too(tmp_path: Path) -> None:
    write_msgstore(tmp_path / "msgstore.db", OPTIONS)
    backup = recognise(tmp_path / "msgstore.db").open(tmp_path / "msgstore.db", address_book=None, known_aliases={})
    rows = {side.into: sum(1 for _ in side.rows(0)) for side in backup.sides()}  # type: ignore[attr-defined]
    backup.close()
    assert {"media", "quote", "mention", "reaction", "poll_option", "poll_vote", "receipt", "call", "member"} <= set(
        rows
    )
    assert rows["media"] > 50, rows
    assert rows["receipt"] > 100, rows
