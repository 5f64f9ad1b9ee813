"""What this service can be told."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, SecretStr, field_validator

from configuration import ServiceSettings

__all__ = ["Settings"]


class Settings(ServiceSettings, service="vault-importer"):
    http_port: int = 17082
    key_encryption_key: SecretStr = Field(
        SecretStr(""), description="32 bytes in base64; seals the backup keys of accounts. Losing it loses them."
    )
    temporary_dir: Path | None = Field(
        None, description="Where a decrypted backup lies for the moment between its authentication and its opening."
    )
    max_plain_bytes: int = Field(16 * 1024**3, description="A backup that decompresses to more is refused.")
    max_inflate_ratio: int = Field(250, description="A backup that grows more than so many times is refused.")
    read_memory_bytes: int = Field(
        1024**3, ge=128 * 1024**2, description="What the process that reads a backup may take of memory."
    )
    read_seconds: int = Field(
        900, ge=3, description="Of computing that reading a backup may take; ten times as long may pass by the clock."
    )
    watch_dir: Path | None = Field(
        None, description="Files in <watch_dir>/<account id>/ are imported; no folder, no watching."
    )
    watch_seconds: float = Field(2.0, description="Time between two looks at the folder.")
    watch_settle_seconds: float = Field(10.0, description="How long a file must not have changed before it is taken.")
    keep_backups_days: float = Field(
        30.0,
        ge=0,
        description="How long files stay in done/ and refused/ after their import: they hold everybody, whoever was"
        " erased too. An erasure removes those that are there at once.",
    )
    watch_attempts: int = Field(5, description="How often an import is tried that fails by no fault of its file.")
    media_dir: Path | None = Field(
        None, description="Where media files are kept, under their hashes; needed by imports with a media folder."
    )
    max_media_bytes: int = Field(4 * 1024**3, description="A larger media file is not taken.")
    signing_key: SecretStr = Field(
        SecretStr(""),
        description="Signs checkpoints, from `trunkline vault signing-key`; without it nothing is signed.",
    )
    signing_memory_dir: Path | None = Field(
        None,
        description="Where the signer remembers, beside its key and not in the database, what it signed last for each"
        " tenant: it signs nothing that does not continue that.",
    )
    checkpoint_seconds: float = Field(900.0, description="Time between two checkpoints, beside one after each import.")
    witnesses: str = Field("", description="Who else signs checkpoints: PUBLIC-KEY@URL, several with commas.")

    tsa_url: str | None = Field(None, description="A time-stamping authority (RFC 3161) that stamps checkpoints.")
    tsa_ca_file: Path | None = Field(None, description="PEM of the roots that its certificate leads to.")

    @field_validator("signing_key")
    @classmethod
    def _is_a_key(cls, value: SecretStr) -> SecretStr:
        from vault_importer.signed_note import parse_signer

        if value.get_secret_value():
            parse_signer(value.get_secret_value())
        return value

    @field_validator("witnesses")
    @classmethod
    def _are_witnesses(cls, value: str) -> str:
        if value:
            from vault_importer.witness_client import parse_witnesses

            parse_witnesses(value)
        return value
