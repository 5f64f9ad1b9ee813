"""``.crypt12``: a header of fixed length, the phone's key file, and often ``--`` and two digits behind the MD5."""

from __future__ import annotations

from vault_importer.backup_key import phone_file_key
from vault_importer.containers.base import IV_BYTES, USUAL_TRAILERS, Header, truncated_header
from vault_importer.survey import MD5_BYTES, SUFFIX_BYTES

__all__ = ["Crypt12"]

CIPHER_VERSION = b"\x00\x01"
KEY_VERSIONS = (1, 2, 3)
SERVER_SALT_AT, GOOGLE_SALT_AT, IV_AT = 3, 35, 51
HEADER_BYTES = IV_AT + IV_BYTES


class Crypt12:
    name = "crypt12"
    key_hint = "the file `key` of the phone that made it (158 bytes)"
    trailers = USUAL_TRAILERS | {MD5_BYTES + SUFFIX_BYTES}
    names_its_key = True

    def read_header(self, start: bytes) -> Header | None:
        # A file that was cut to its first byte begins no other container, so what is there is compared.
        if not start or start[:2] != CIPHER_VERSION[: len(start)] or (len(start) > 2 and start[2] not in KEY_VERSIONS):
            return None
        if len(start) < HEADER_BYTES:
            raise truncated_header("inside")
        return Header(
            iv=start[IV_AT:HEADER_BYTES],
            body_at=HEADER_BYTES,
            server_salt=start[SERVER_SALT_AT:GOOGLE_SALT_AT],
            google_id_salt=start[GOOGLE_SALT_AT:IV_AT],
        )

    def file_key(self, header: Header, backup_key: bytes) -> bytes:
        return phone_file_key(
            backup_key, container=self.name, server_salt=header.server_salt, google_id_salt=header.google_id_salt
        )
