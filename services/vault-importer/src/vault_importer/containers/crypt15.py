"""``.crypt15``: the protobuf header, and the owner's own key: 64 digits or ``encrypted_backup.key``."""

from __future__ import annotations

from vault_importer import protobuf
from vault_importer.backup_key import root_file_key
from vault_importer.containers.base import IV_BYTES, USUAL_TRAILERS, Header
from vault_importer.containers.prefix import app_version, bytes_of, read_prefix

__all__ = ["Crypt15"]

CIPHER_FIELD, IV_FIELD = 3, 1
KEY_TYPE_FIELDS = (6, 1)
KEY_TYPES_WITHOUT_DIGITS = {2: "a password", 4: "a passkey"}


class Crypt15:
    name = "crypt15"
    key_hint = "its 64-digit key or encrypted_backup.key"
    trailers = USUAL_TRAILERS
    names_its_key = False

    def read_header(self, start: bytes) -> Header | None:
        prefix = read_prefix(start)
        if prefix is None:
            return None
        raw, body_at = prefix
        iv = bytes_of(bytes_of(raw, CIPHER_FIELD), IV_FIELD)
        if len(iv) != IV_BYTES:
            return None
        kinds = [kind for number in KEY_TYPE_FIELDS if isinstance(kind := protobuf.first(raw, number), int)]
        return Header(
            iv=iv,
            body_at=body_at,
            app_version=app_version(raw),
            protected_by=KEY_TYPES_WITHOUT_DIGITS.get(kinds[0], "") if kinds else "",
        )

    def file_key(self, header: Header, backup_key: bytes) -> bytes:
        return root_file_key(backup_key)
