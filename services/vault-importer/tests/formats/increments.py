"""Builds increments, as WhatsApp writes them: every field by its number."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

from vault_importer.protobuf import encode_field, encode_varint

ROOT_KEY = bytes(range(32))
DESK, GROUP, HIDDEN = "919847000010@s.whatsapp.net", "120363000000000001@g.us", "77000001@lid"
AT = 1_767_600_000


def key_of(chat: str, key_id: str, *, from_me: bool = False, sender: str = "") -> bytes:
    parts = encode_field(1, chat.encode()) + encode_field(2, int(from_me)) + encode_field(3, key_id.encode())
    return parts + (encode_field(4, sender.encode()) if sender else b"")


def info_of(key: bytes, message: bytes, at: int = AT, **more: int) -> bytes:
    stub = encode_field(24, more["stub"]) if "stub" in more else b""
    return encode_field(1, key) + encode_field(2, message) + encode_field(3, at) + stub


def words(text: str) -> bytes:
    return encode_field(1, text.encode())


def conversation_of(chat: str, *infos: bytes, name: str = "", lid: str = "", number: str = "") -> bytes:
    raw = encode_field(1, chat.encode()) + b"".join(encode_field(2, encode_field(1, info)) for info in infos)
    for field, value in ((13, name), (39, number), (42, lid)):
        raw += encode_field(field, value.encode()) if value else b""
    return raw


def sync_of(*conversations: bytes, names: dict[str, str] | None = None, same: tuple[str, str] | None = None) -> bytes:
    raw = encode_field(1, 3) + b"".join(encode_field(2, each) for each in conversations)
    for jid, name in (names or {}).items():
        raw += encode_field(7, encode_field(1, jid.encode()) + encode_field(2, name.encode()))
    if same:
        raw += encode_field(15, encode_field(1, same[0].encode()) + encode_field(2, same[1].encode()))
    return encode_varint(len(raw)) + raw


def write_increment(path: Path, messages: bytes, **tables: list[dict[str, Any]]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("header.json", json.dumps({"header": {"app_version": "2.26.1.1"}}))
        out.writestr("messages.bin", messages)
        for table, rows in tables.items():
            out.writestr(f"{table}_modified_1.json", json.dumps({table: rows}))
    return path
