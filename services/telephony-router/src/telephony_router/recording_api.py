"""Recordings over HTTP: what there is of a call, and its sound, whole or in parts. Whoever listens is written down."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal
from urllib.parse import unquote
from uuid import UUID

from fastapi import FastAPI, Header, HTTPException
from fastapi.responses import Response, StreamingResponse
from starlette.requests import Request

from kit.postgres import Database
from kit.telemetry import get_logger
from telephony_router import recording_store, store
from telephony_router.blob_store import Corrupt, StoreAway, Verified
from telephony_router.metrics import METRICS
from telephony_router.signals import clean

__all__ = ["add_recordings", "byte_range"]

log = get_logger(__name__)
RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
OPERATOR_CHARACTERS = 100
Voice = Literal["all", "agent", "customer"]
Tenant = Annotated[UUID, Header(alias="X-Tenant")]


def byte_range(header: str, size: int) -> tuple[int, int] | None:
    """First and last byte that are asked for; None for all of it. Raises ``ValueError`` when there are none such.

    Of several ranges, and of other units, nothing is made: all of it is a right answer to them.
    """
    found = RANGE.fullmatch(header.strip())
    if found is None or found.group(1, 2) == ("", ""):
        return None
    first, last = found[1], found[2]
    if first == "":
        start, end = max(size - int(last), 0), size - 1
    else:
        start, end = int(first), min(int(last), size - 1) if last else size - 1
        if last and int(last) < start:
            return None
    if start >= size or end < start:
        raise ValueError("the range begins behind the end")
    return start, end


def add_recordings(app: FastAPI, database: Database, blobs: Verified) -> None:
    @app.get("/v1/calls/{call_id}/recordings")
    async def get_recordings(call_id: UUID, tenant: Tenant) -> list[dict[str, Any]]:
        async with database.transaction(tenant) as tx:
            if await store.call_story(tx, call_id) is None:
                raise HTTPException(404, "there is no such call")
            return await recording_store.of_call(tx, call_id)

    @app.head("/v1/calls/{call_id}/recordings/{recording_id}/audio", include_in_schema=False)
    @app.get("/v1/calls/{call_id}/recordings/{recording_id}/audio")
    async def get_audio(
        request: Request,
        call_id: UUID,
        recording_id: UUID,
        tenant: Tenant,
        voice: Voice = "all",
        x_operator: Annotated[str, Header()] = "",
    ) -> Response:
        operator = clean(unquote(x_operator), OPERATOR_CHARACTERS)
        if not operator:
            raise HTTPException(422, "say who asks in X-Operator")
        async with database.transaction(tenant) as tx:
            file = await recording_store.find_file(tx, call_id, recording_id)
            gone = await recording_store.expired_at(tx, call_id, recording_id) if file is None else None
        if gone is not None:
            raise HTTPException(410, f"recordings are kept for a time; this one was let go on {gone:%Y-%m-%d}")
        sha256 = file[{"all": "sha256"}.get(voice, f"{voice}_sha256")] if file is not None else None
        if file is None or sha256 is None:
            raise HTTPException(404, "there is no such recording, or its speakers are not told apart")
        kind = file["content_type"] if voice == "all" else "audio/wav"
        size = await _size(blobs, tenant, sha256)
        try:
            chosen = _chosen(request, sha256, size)
        except ValueError:
            return Response(status_code=416, headers={"content-range": f"bytes */{size}"})
        headers, status = _headers(sha256, size, chosen)
        if request.method == "HEAD":
            return Response(status_code=status, headers=headers, media_type=kind)
        # Before the first byte leaves: what was heard and not written down would be the one that matters.
        async with database.transaction(tenant) as tx:
            detail = voice if chosen is None else f"{voice} bytes {chosen[0]}-{chosen[1]}"
            await recording_store.audit(
                tx, operator, "listen", call_id=call_id, recording_id=recording_id, detail=detail
            )
        start, end = chosen or (0, size - 1)
        sound = await _begun(blobs.read(tenant, sha256, start, end - start + 1), recording_id)
        return StreamingResponse(sound, status_code=status, headers=headers, media_type=kind)


async def _size(blobs: Verified, tenant: UUID, sha256: str) -> int:
    try:
        found = await blobs.store.stat(tenant, sha256)
    except StoreAway:
        raise HTTPException(503, "the store of recordings cannot be used now") from None
    if found is None:
        METRICS.recordings_damaged.inc()
        raise HTTPException(500, "the recording is not in the store any more")
    return found.size_bytes


def _chosen(request: Request, sha256: str, size: int) -> tuple[int, int] | None:
    asked_of = request.headers.get("if-range", "")
    if asked_of and asked_of != f'"{sha256}"':
        return None
    return byte_range(request.headers.get("range", ""), size)


def _headers(sha256: str, size: int, chosen: tuple[int, int] | None) -> tuple[dict[str, str], int]:
    length = size if chosen is None else chosen[1] - chosen[0] + 1
    headers = {
        "accept-ranges": "bytes",
        "cache-control": "private, no-store",
        "content-length": str(length),
        "etag": f'"{sha256}"',
        "x-content-type-options": "nosniff",
    }
    if chosen is None:
        return headers, 200
    return {**headers, "content-range": f"bytes {chosen[0]}-{chosen[1]}/{size}"}, 206


async def _begun(sound: AsyncIterator[bytes], recording_id: UUID) -> AsyncIterator[bytes]:
    """The sound with its first part read: what is wrong by then is an answer, and not a broken-off one."""
    try:
        first = await anext(sound, b"")
    except StoreAway:
        raise HTTPException(503, "the store of recordings cannot be used now") from None
    except Corrupt:
        METRICS.recordings_damaged.inc()
        log.error("recording_damaged", recording_id=str(recording_id))  # noqa: TRY400
        raise HTTPException(500, "the recording is damaged in the store") from None

    async def rest() -> AsyncIterator[bytes]:
        yield first
        try:
            async for chunk in sound:
                yield chunk
        except Corrupt:
            METRICS.recordings_damaged.inc()
            log.error("recording_damaged", recording_id=str(recording_id))  # noqa: TRY400
            raise

    return rest()
