"""HTTP in: what an operator, the console and the command line may see. Admin token, tenant by ``X-Tenant``."""

import hmac
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, FastAPI, Header, HTTPException, Query

from kit.postgres import Database
from runtime.tracing import QUIET
from vault_importer import reading_store, store
from vault_importer.erasure.api import erasure_routes
from vault_importer.links.api import links_routes
from vault_importer.media_api import media_routes
from vault_importer.reading_api import reading_routes
from vault_importer.search_api import search_routes

__all__ = ["make_api"]

FIRST_PAGE = (datetime.max.replace(tzinfo=UTC), UUID(int=2**128 - 1))


def make_api(database: Database, admin_token: str, *, media_store: Path | None = None) -> FastAPI:
    """The admin API. Without an admin token every request is refused; without a folder for media no file is given."""
    app = FastAPI(title="Trunkline vault", version="1", openapi_url="/v1/openapi.json", telemetry=QUIET)

    async def tenant(
        authorization: Annotated[str, Header()] = "", x_tenant: Annotated[UUID | None, Header()] = None
    ) -> UUID:
        if not admin_token or not hmac.compare_digest(authorization.encode(), f"Bearer {admin_token}".encode()):
            raise HTTPException(401, "Send the admin token as a bearer token.")
        if x_tenant is None:
            raise HTTPException(400, "Name the tenant in the X-Tenant header.")
        return x_tenant

    Tenant = Annotated[UUID, Depends(tenant)]  # noqa: N806 - a type
    Limit = Annotated[int, Query(ge=1, le=500)]  # noqa: N806 - a type

    @app.get("/v1/imports")
    async def imports(tenant_id: Tenant, limit: Limit = 50) -> dict[str, Any]:
        """The newest imports with what each took, changed and skipped."""
        async with database.transaction(tenant_id) as tx:
            return {"imports": [asdict(run) for run in await store.list_imports(tx, limit)]}

    @app.get("/v1/accounts")
    async def accounts(tenant_id: Tenant) -> dict[str, Any]:
        """The numbers whose backups are here, by name."""
        async with database.transaction(tenant_id) as tx:
            return {"accounts": await reading_store.accounts(tx)}

    @app.get("/v1/chats")
    async def chats(tenant_id: Tenant, limit: Limit = 200) -> dict[str, Any]:
        async with database.transaction(tenant_id) as tx:
            return {"chats": await store.list_chats(tx, limit)}

    @app.get("/v1/messages")
    async def messages(tenant_id: Tenant, chat: UUID, before: str | None = None, limit: Limit = 50) -> dict[str, Any]:
        """One chat, the newest first, with media, quotes, reactions and earlier wordings. ``next`` of a page is
        ``before`` of the following one."""
        async with database.transaction(tenant_id) as tx:
            rows = await store.page_of_messages(tx, chat, before=_cursor(before), limit=limit)
            await reading_store.beside(tx, rows)
        last = rows[-1] if len(rows) == limit else None
        return {"messages": rows, "next": f"{last['sent_at'].isoformat()}_{last['id']}" if last else None}

    app.include_router(search_routes(database, tenant))
    app.include_router(reading_routes(database, tenant))
    app.include_router(media_routes(database, tenant, media_store))
    app.include_router(links_routes(database, tenant))
    app.include_router(erasure_routes(database, tenant))
    return app


def _cursor(text: str | None) -> tuple[datetime, UUID]:
    if text is None:
        return FIRST_PAGE
    time, _, id_ = text.replace(" ", "+").partition("_")
    try:
        at = datetime.fromisoformat(time)
        return (at if at.tzinfo else at.replace(tzinfo=UTC)), UUID(id_)
    except ValueError:
        raise HTTPException(400, "before must be the next of an earlier page.") from None
