"""HTTP in: how far erasures are and who has not answered. Nobody's name or number is in it."""

from collections.abc import Callable
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Query

from kit.postgres import Database
from vault_importer.erasure import store
from vault_importer.erasure.case import APPROVALS
from vault_importer.erasure.receipts import missing

__all__ = ["erasure_routes"]


def erasure_routes(database: Database, tenant: Callable[..., Any]) -> APIRouter:
    Tenant = Annotated[UUID, Depends(tenant)]  # noqa: N806 - a type
    routes = APIRouter()

    @routes.get("/v1/erasures")
    async def erasures(tenant_id: Tenant, limit: Annotated[int, Query(ge=1, le=200)] = 50) -> dict[str, Any]:
        """The newest requests: when they were asked, approved and due, what was erased, and which services have not
        answered how many parts."""
        async with database.transaction(tenant_id) as tx:
            found = await store.cases(tx, limit)
            waiting = {
                case.id: missing(case, await store.receipts(tx, case.id)) for case in found if case.state == "told"
            }
        return {
            "approvals_needed": APPROVALS,
            "erasures": [
                {
                    "id": case.id,
                    "state": case.state,
                    "scope": case.scope,
                    "ground": case.ground,
                    "asked_at": case.asked_at,
                    "asked_by": case.asked_by,
                    "approved_by": [each.approver for each in case.approvals],
                    "due_at": case.due_at,
                    "effective_at": case.effective_at,
                    "ended_at": case.ended_at,
                    "messages": case.counts.get("message", 0),
                    "not_answered": waiting.get(case.id, {}),
                }
                for case in found
            ],
        }

    return routes
