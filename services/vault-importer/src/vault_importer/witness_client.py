"""Has the vault's checkpoints signed by witnesses elsewhere."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from uuid import UUID

import httpx

from kit.postgres import Database
from vault_importer.checkpoint_store import StoredCheckpoint, add_cosignature, cosignatures, handovers
from vault_importer.ledger_store import consistency_proof
from vault_importer.signed_note import NoteError, Verifier, cosigned_at, parse_note, parse_verifier
from vault_importer.witness import SIZE_TYPE, request_body

__all__ = ["WitnessAddress", "WitnessRefused", "have_cosigned", "last_cosigned", "parse_witnesses"]

TIMEOUT = httpx.Timeout(10.0)
ATTEMPTS = 3
_SIZE = re.compile(r"(?:0|[1-9][0-9]{0,18})\s*")


class WitnessRefused(Exception):
    """A witness did not sign. ``str()`` is a sentence."""


@dataclass(frozen=True, slots=True)
class WitnessAddress:
    verifier: Verifier
    url: str


def parse_witnesses(text: str) -> tuple[WitnessAddress, ...]:
    """``PUBLIC-KEY@URL``, several with commas. Raises :class:`NoteError`."""
    found = []
    for each in filter(None, (part.strip() for part in text.split(","))):
        key, mark, url = each.partition("@")
        if not mark or not url.startswith(("http://", "https://")):
            raise NoteError("A witness is given as PUBLIC-KEY@URL.")
        found.append(WitnessAddress(parse_verifier(key), url.rstrip("/")))
    return tuple(found)


async def have_cosigned(
    database: Database, tenant: UUID, made: StoredCheckpoint, witnesses: Sequence[WitnessAddress]
) -> dict[str, str | None]:
    """What came of each witness that has not signed this checkpoint yet: nothing when it has now, else a sentence."""
    async with database.transaction(tenant) as tx:
        signed = await cosignatures(tx, made.sequence)
    outcome: dict[str, str | None] = {}
    async with httpx.AsyncClient(timeout=TIMEOUT) as client:
        for witness in witnesses:
            if witness.verifier.name in signed:
                continue
            try:
                line = await _ask(database, tenant, made, witness, client)
            except httpx.HTTPError as error:
                outcome[witness.verifier.name] = f"It cannot be reached ({type(error).__name__})."
            except WitnessRefused as refused:
                outcome[witness.verifier.name] = str(refused)
            except (ValueError, httpx.InvalidURL) as error:
                # Whatever one of them answers, the others are asked.
                outcome[witness.verifier.name] = f"Its answer or its address cannot be read ({type(error).__name__})."
            else:
                async with database.transaction(tenant) as tx:
                    await add_cosignature(tx, made.sequence, witness.verifier.name, line)
                outcome[witness.verifier.name] = None
    return outcome


async def _ask(
    database: Database, tenant: UUID, made: StoredCheckpoint, witness: WitnessAddress, client: httpx.AsyncClient
) -> str:
    old = 0
    for _ in range(ATTEMPTS):
        async with database.transaction(tenant) as tx:
            proof = await consistency_proof(tx, old, made.size)
        body = request_body(old, proof, made.note)
        answer = await client.post(f"{witness.url}/add-checkpoint", content=body)
        if answer.status_code == HTTPStatus.OK:
            return _line(answer.text, made, witness)
        if answer.status_code == HTTPStatus.FORBIDDEN and (missed := await _missed(database, tenant, made, witness)):
            # It was away when the log went over to another key.
            for each in missed:
                line = await _ask(database, tenant, each, witness, client)
                async with database.transaction(tenant) as tx:
                    await add_cosignature(tx, each.sequence, witness.verifier.name, line)
                old = each.size
            continue
        if answer.status_code != HTTPStatus.CONFLICT or answer.headers.get("content-type") != SIZE_TYPE:
            raise WitnessRefused(f"It refused with {answer.status_code}: {answer.text.strip()[:200]}")
        old = _size(answer.text)
        if old > made.size:
            raise WitnessRefused(f"It has signed {old} leaves, and here are {made.size}: the end was cut off.")
    raise WitnessRefused("It signs other checkpoints of this log at the same time.")


def _size(text: str) -> int:
    if not _SIZE.fullmatch(text):
        raise WitnessRefused("It does not say how many leaves it has signed.")
    return int(text)


async def _missed(
    database: Database, tenant: UUID, made: StoredCheckpoint, witness: WitnessAddress
) -> list[StoredCheckpoint]:
    """Checkpoints by which the log went over to another key, and that a witness has not signed."""
    async with database.transaction(tenant) as tx:
        changes = await handovers(tx, made.sequence - 1)
        return [each for each in changes if witness.verifier.name not in await cosignatures(tx, each.sequence)]


def _line(text: str, made: StoredCheckpoint, witness: WitnessAddress) -> str:
    for line in text.splitlines(keepends=True):
        try:
            if cosigned_at(parse_note(made.note + line), witness.verifier) is not None:
                return line
        except NoteError:
            continue
    raise WitnessRefused("Its answer is not signed with the key that is known of it.")


async def last_cosigned(witness: WitnessAddress, origin: str) -> str | None:
    """The newest checkpoint of a log that a witness has signed, as it tells it; nothing when it knows none."""
    async with httpx.AsyncClient(timeout=TIMEOUT) as client:
        answer = await client.get(f"{witness.url}/checkpoint", params={"origin": origin})
    if answer.status_code == HTTPStatus.NOT_FOUND:
        return None
    try:
        note = parse_note(answer.raise_for_status().text)
    except NoteError:
        note = None
    if note is None or cosigned_at(note, witness.verifier) is None:
        raise WitnessRefused("Its answer is not signed with the key that is known of it.")
    return answer.text
