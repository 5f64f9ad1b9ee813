"""The operator's REST interface: tenants, their API keys, their users."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from fastapi import APIRouter, Depends, Response

from front_desk import access_store, store
from front_desk.answers import CONFLICT, NOT_FOUND, After, Limit, answer_of
from front_desk.bodies import ApiKeyBody, ApiKeyInfo, ApiKeyMade, EntityAnswer, TenantBody, UserBody, UserMade
from front_desk.guards import admin_guard
from front_desk.keep_directory import NoSuchEntity
from front_desk.kinds import KINDS
from front_desk.open_tenant import (
    EmailTaken,
    SlugChanged,
    add_api_key,
    add_user,
    disable_user,
    open_tenant,
    replace_tenant,
)
from front_desk.problems import RESPONSES, ApiProblem
from kit.postgres import Database

__all__ = ["admin_api"]


def admin_api(database: Database, admin_token: str) -> APIRouter:
    """The routes under the admin token."""
    api = APIRouter(
        prefix="/v1/tenants", tags=["tenants"], responses=RESPONSES, dependencies=[Depends(admin_guard(admin_token))]
    )
    _tenant_routes(api, database)
    _key_routes(api, database)
    _user_routes(api, database)
    return api


def _tenant_routes(api: APIRouter, database: Database) -> None:
    @api.post("", summary="Open a tenant; the same slug again answers the same tenant", status_code=201)
    async def post_tenant(body: TenantBody, response: Response) -> dict[str, Any]:
        tenant_id, outcome = await open_tenant(database, body.entity())
        response.status_code = 201 if outcome == "created" else 200
        return {"tenant_id": str(tenant_id), "slug": body.slug, "outcome": outcome}

    @api.get("", summary="List tenants")
    async def list_tenants(limit: Limit = 100, after: After = "") -> dict[str, Any]:
        found = await store.list_tenants(database, after, limit + 1)
        items = [{"tenant_id": str(id_), "version": version, **fields} for id_, version, fields in found[:limit]]
        return {"items": items, "next": items[-1]["slug"] if len(found) > limit else None}

    @api.put(
        "/{tenant_id}",
        summary="Replace a tenant's fields; its slug stays",
        responses={**NOT_FOUND, **CONFLICT},
        response_model_exclude_unset=True,
    )
    async def put_tenant(tenant_id: UUID, body: TenantBody) -> EntityAnswer:
        try:
            kept = await replace_tenant(database, tenant_id, body.entity())
        except SlugChanged:
            raise ApiProblem(409, "slug-changed", "A tenant keeps its slug. Send the one it has.") from None
        return answer_of(KINDS["tenant"], kept.stored, kept.outcome)


def _key_routes(api: APIRouter, database: Database) -> None:
    @api.post("/{tenant_id}/api-keys", summary="Make an API key", status_code=201, responses=NOT_FOUND)
    async def post_key(tenant_id: UUID, body: ApiKeyBody) -> ApiKeyMade:
        key = await add_api_key(database, tenant_id, body.label)
        return ApiKeyMade(api_key=key.text, key_id=key.key_id, label=body.label)

    @api.get("/{tenant_id}/api-keys", summary="List API keys, without their secrets")
    async def list_keys(tenant_id: UUID) -> list[ApiKeyInfo]:
        return [ApiKeyInfo(**row) for row in await access_store.list_api_keys(database, tenant_id)]

    @api.delete("/{tenant_id}/api-keys/{key_id}", summary="Revoke an API key", status_code=204, responses=NOT_FOUND)
    async def delete_key(tenant_id: UUID, key_id: str) -> None:
        if not await access_store.revoke_api_key(database, tenant_id, key_id):
            raise NoSuchEntity


def _user_routes(api: APIRouter, database: Database) -> None:
    @api.post(
        "/{tenant_id}/users",
        summary="Make a user of the console, or give one a new password and role",
        status_code=201,
        responses={**NOT_FOUND, **CONFLICT},
    )
    async def post_user(tenant_id: UUID, body: UserBody, response: Response) -> UserMade:
        try:
            user_id, new = await add_user(database, tenant_id, body.email, body.password, body.role, body.name)
        except EmailTaken:
            raise ApiProblem(409, "email-taken", "Somebody else signs in with this address. Use another.") from None
        response.status_code = 201 if new else 200
        return UserMade(user_id=user_id, email=body.email.strip().lower(), role=body.role)

    @api.delete(
        "/{tenant_id}/users/{email}",
        summary="Let a user in no more; what they have claimed is given back",
        status_code=204,
        responses=NOT_FOUND,
    )
    async def delete_user(tenant_id: UUID, email: str) -> None:
        await disable_user(database, tenant_id, email)
