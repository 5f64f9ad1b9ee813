"""HTTP in: what was sent to whom, and what became of it. Admin token, tenant by ``X-Tenant``."""

import hmac
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, FastAPI, Header, HTTPException, Query

from kit.postgres import Database
from notifier import store
from runtime.tracing import QUIET

__all__ = ["make_api"]


def make_api(database: Database, admin_token: str) -> FastAPI:
    """The admin API. Without an admin token every request is refused."""
    app = FastAPI(title="Trunkline notifier", version="1", openapi_url="/v1/openapi.json", telemetry=QUIET)

    async def tenant(
        authorization: Annotated[str, Header()] = "", x_tenant: Annotated[UUID | None, Header()] = None
    ) -> UUID:
        if not admin_token or not hmac.compare_digest(authorization.encode(), f"Bearer {admin_token}".encode()):
            raise HTTPException(401, "Send the admin token as a bearer token.")
        if x_tenant is None:
            raise HTTPException(400, "Name the tenant in the X-Tenant header.")
        return x_tenant

    Tenant = Annotated[UUID, Depends(tenant)]  # noqa: N806 - a type

    @app.get("/v1/sends")
    async def list_sends(tenant_id: Tenant, limit: Annotated[int, Query(ge=1, le=500)] = 100) -> dict[str, Any]:
        """The newest sends with what became of each; not what they say."""
        async with database.transaction(tenant_id) as tx:
            return {"sends": await store.sends(tx, limit)}

    @app.get("/v1/sends/{send_id}")
    async def show_send(tenant_id: Tenant, send_id: UUID) -> dict[str, Any]:
        """One send with its text and every attempt at it."""
        async with database.transaction(tenant_id) as tx:
            send = await store.find_send(tx, send_id)
            if send is None:
                raise HTTPException(404, "This tenant has no send of this id.")
            attempts = await store.attempts(tx, send_id)
        return {
            "send_id": send.id,
            "kind": send.kind,
            "local_day": send.local_day,
            "channel": send.channel,
            "recipient": send.recipient,
            "state": send.state.value,
            "reason": send.reason,
            "subject_line": send.subject_line,
            "text": send.text_body,
            "attempts": attempts,
        }

    return app
