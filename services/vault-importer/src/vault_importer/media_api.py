"""HTTP in: the kept file of a message, as a stream that browsers do nothing with but show or save."""

import asyncio
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, HTTPException
from fastapi.responses import FileResponse

from kit.postgres import Database
from vault_importer import reading_store
from vault_importer.media_files import path_of
from vault_importer.media_types import file_name, served_as

__all__ = ["media_routes"]

#: What a stranger sent must not act where it is shown, nor stay where others read.
SAFE = {
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "private, no-store",
}


def media_routes(database: Database, tenant: Callable[..., Any], media_store: Path | None) -> APIRouter:
    routes = APIRouter()

    @routes.head("/v1/media/{message_id}", include_in_schema=False)
    @routes.get("/v1/media/{message_id}", response_class=FileResponse)
    async def media(tenant_id: Annotated[UUID, Depends(tenant)], message_id: UUID) -> FileResponse:
        """The file that is kept of a message, or a range of its bytes. Pictures, sound and films go out as such,
        everything else to be saved. 404 when none is kept, 410 when it is not in the folder any more."""
        async with database.transaction(tenant_id) as tx:
            kept = await reading_store.kept_file(tx, message_id)
        if kept is None:
            raise HTTPException(404, "No file of this message is kept.")
        if media_store is None:
            raise HTTPException(503, "This service was not told in which folder media files are kept.")
        path = path_of(media_store, tenant_id, kept["sha256"])
        found = await asyncio.to_thread(_found, path)
        if found is None:
            raise HTTPException(410, "The file is not in the folder for media any more.")
        served = served_as(kept["mime_type"])
        return FileResponse(
            path,
            media_type=served.type,
            headers=SAFE,
            stat_result=found,
            filename=file_name(kept["name"], str(message_id)),
            content_disposition_type="inline" if served.shown else "attachment",
        )

    return routes


def _found(path: Path) -> os.stat_result | None:
    """A file itself: the store holds no links, and nothing is read through one."""
    try:
        found = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found if stat.S_ISREG(found.st_mode) else None
