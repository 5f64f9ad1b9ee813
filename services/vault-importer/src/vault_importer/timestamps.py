"""Has checkpoints time-stamped by an authority (RFC 3161): a third party's word for when a root was there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

import httpx

from kit.postgres import Database
from vault_importer.checkpoint_store import StoredCheckpoint, add_timestamp, timestamps

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

__all__ = ["Authority", "TimestampRefused", "have_timestamped", "read_roots", "stamped_at", "stamped_text"]

TIMEOUT = httpx.Timeout(20.0)
REQUEST_TYPE = "application/timestamp-query"
MAX_TOKEN = 64 * 1024


class TimestampRefused(Exception):
    """A token is not one, or not of an authority that is trusted. ``str()`` is a sentence."""


@dataclass(frozen=True, slots=True)
class Authority:
    url: str
    roots: tuple[Certificate, ...]
    """Whose certificates its tokens must lead to."""


def read_roots(path: Path) -> tuple[Certificate, ...]:
    """The certificates of a PEM file. Raises :class:`TimestampRefused`."""
    from cryptography.x509 import load_pem_x509_certificates

    try:
        return tuple(load_pem_x509_certificates(path.read_bytes()))
    except (OSError, ValueError):
        raise TimestampRefused(f"{path} holds no certificates in PEM.") from None


def stamped_text(checkpoint: StoredCheckpoint) -> bytes:
    """What is time-stamped of a checkpoint: its three lines."""
    return (checkpoint.note.partition("\n\n")[0] + "\n").encode()


async def have_timestamped(
    database: Database, tenant: UUID, made: StoredCheckpoint, authority: Authority
) -> dict[str, str | None]:
    """What came of an authority that has not stamped this checkpoint yet: nothing when it has now, else a sentence."""
    from rfc3161_client import HashAlgorithm, TimestampRequestBuilder

    async with database.transaction(tenant) as tx:
        if authority.url in await timestamps(tx, made.sequence):
            return {}
    text = stamped_text(made)
    request = TimestampRequestBuilder().data(text).hash_algorithm(HashAlgorithm.SHA256).build()
    try:
        async with httpx.AsyncClient(timeout=TIMEOUT) as client:
            answer = await client.post(
                authority.url, content=request.as_bytes(), headers={"content-type": REQUEST_TYPE}
            )
        token = _token(answer)
        stamped_at(token, text, authority.roots, nonce=request.nonce)
    except httpx.HTTPError as error:
        return {authority.url: f"It cannot be reached ({type(error).__name__})."}
    except TimestampRefused as refused:
        return {authority.url: str(refused)}
    async with database.transaction(tenant) as tx:
        await add_timestamp(tx, made.sequence, authority.url, token)
    return {authority.url: None}


def _token(answer: httpx.Response) -> bytes:
    if not answer.is_success or len(answer.content) > MAX_TOKEN:
        raise TimestampRefused(f"It refused with {answer.status_code}.")
    return answer.content


def stamped_at(token: bytes, text: bytes, roots: Sequence[Certificate], *, nonce: int | None = None) -> datetime:
    """When a text was stamped. Raises :class:`TimestampRefused`."""
    from rfc3161_client import VerificationError, VerifierBuilder, decode_timestamp_response

    builder = VerifierBuilder()
    for root in roots:
        builder = builder.add_root_certificate(root)
    if nonce is not None:
        builder = builder.nonce(nonce)
    try:
        response = decode_timestamp_response(token)
        builder.build().verify_message(response, text)
    except (VerificationError, ValueError):
        raise TimestampRefused("Its token is not of this checkpoint, or of no authority that is trusted.") from None
    return response.tst_info.gen_time
