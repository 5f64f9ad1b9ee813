"""``.crypt14``: the protobuf header, and the phone's key file."""

from __future__ import annotations

from vault_importer.backup_key import phone_file_key
from vault_importer.containers.base import IV_BYTES, USUAL_TRAILERS, Header
from vault_importer.containers.prefix import app_version, bytes_of, read_prefix

__all__ = ["Crypt14"]

CIPHER_FIELD = 2
SERVER_SALT_FIELD, GOOGLE_SALT_FIELD, IV_FIELD = 3, 4, 5


class Crypt14:
    name = "crypt14"
    key_hint = "the file `key` of the phone that made it (158 bytes)"
    trailers = USUAL_TRAILERS
    names_its_key = True

    def read_header(self, start: bytes) -> Header | None:
        prefix = read_prefix(start)
        if prefix is None:
            return None
        raw, body_at = prefix
        cipher = bytes_of(raw, CIPHER_FIELD)
        iv = bytes_of(cipher, IV_FIELD)
        if len(iv) != IV_BYTES:
            return None
        return Header(
            iv=iv,
            body_at=body_at,
            app_version=app_version(raw),
            server_salt=bytes_of(cipher, SERVER_SALT_FIELD),
            google_id_salt=bytes_of(cipher, GOOGLE_SALT_FIELD),
        )

    def file_key(self, header: Header, backup_key: bytes) -> bytes:
        return phone_file_key(
            backup_key, container=self.name, server_salt=header.server_salt, google_id_salt=header.google_id_salt
        )
