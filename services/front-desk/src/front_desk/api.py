"""The directory's REST interface, under a tenant's API key."""

# Without deferred annotations: FastAPI reads those of functions made in functions.
from collections.abc import Sequence
from datetime import UTC, datetime
from enum import Enum
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Response

from front_desk import store
from front_desk.answers import CONFLICT, NOT_FOUND, After, Limit, answer_of, kept_answer
from front_desk.bodies import CustomerBody, DidBody, EntityAnswer, EntityPage, LeadBody, LeaveBody, StaffBody
from front_desk.directory import Did
from front_desk.guards import tenant_guard
from front_desk.keep_directory import NoSuchEntity, add_leave, end_leave, keep, remove
from front_desk.kinds import KINDS, Entity, Kind, Stored
from front_desk.problems import RESPONSES
from kit.postgres import Database

__all__ = ["directory_api"]


def directory_api(database: Database) -> APIRouter:
    """The routes of one tenant's directory."""
    api = APIRouter(prefix="/v1", responses=RESPONSES)
    for name, body in (("staff", StaffBody), ("customer", CustomerBody), ("lead", LeadBody), ("did", DidBody)):
        _writing_routes(api, database, KINDS[name], body)
        _reading_routes(api, database, KINDS[name])
    _leave_routes(api, database)
    _tenant_route(api, database)
    return api


def _tags(kind: Kind) -> list[str | Enum]:
    return [kind.plural]


def _entity(body: Any, ref: str) -> Entity:
    entity: Entity = body.entity(ref)
    return entity


def _did(kind: Kind, ref: str) -> str:
    """The reference in its stored spelling: a DID may be asked for in any."""
    return Did.of(did=ref).did if kind.name == "did" else ref


def _writing_routes(api: APIRouter, database: Database, kind: Kind, body_type: type[Any]) -> None:
    Tenant = Annotated[UUID, Depends(tenant_guard(database))]  # noqa: N806 - a type
    what, tags = kind.name, _tags(kind)

    @api.put(
        f"/{kind.plural}/{{ref}}",
        name=f"put_{what}",
        summary=f"Create or replace a {what}",
        description="Idempotent: the same content again changes nothing and publishes nothing.",
        tags=tags,
        responses={201: {"model": EntityAnswer, "description": "Created."}, **CONFLICT},
        response_model=EntityAnswer,
        response_model_exclude_unset=True,
    )
    async def put(tenant: Tenant, ref: str, body: body_type, response: Response) -> EntityAnswer:  # type: ignore[valid-type]
        return kept_answer(kind, await keep(database, tenant, kind, _entity(body, ref)), response)

    @api.delete(
        f"/{kind.plural}/{{ref}}",
        name=f"delete_{what}",
        summary=f"Delete a {what}",
        tags=tags,
        status_code=204,
        responses={**NOT_FOUND, **CONFLICT},
    )
    async def delete(tenant: Tenant, ref: str) -> None:
        await remove(database, tenant, kind, _did(kind, ref))


def _reading_routes(api: APIRouter, database: Database, kind: Kind) -> None:
    Tenant = Annotated[UUID, Depends(tenant_guard(database))]  # noqa: N806 - a type
    what, tags = kind.name, _tags(kind)

    @api.get(
        f"/{kind.plural}",
        name=f"list_{what}",
        summary=f"List {kind.plural}",
        tags=tags,
        response_model=EntityPage,
        response_model_exclude_unset=True,
    )
    async def list_all(tenant: Tenant, limit: Limit = 100, after: After = "") -> EntityPage:
        async with database.transaction(tenant) as tx:
            found: Sequence[Stored] = await store.page(tx, kind, after, limit + 1)
        more = len(found) > limit
        items = [answer_of(kind, each) for each in found[:limit]]
        return EntityPage(items=items, next=found[limit - 1].ref if more else None)

    @api.get(
        f"/{kind.plural}/{{ref}}",
        name=f"get_{what}",
        summary=f"Read a {what}",
        tags=tags,
        response_model=EntityAnswer,
        response_model_exclude_unset=True,
        responses=NOT_FOUND,
    )
    async def get(tenant: Tenant, ref: str, response: Response) -> EntityAnswer:
        async with database.transaction(tenant) as tx:
            found = [each for each in await store.find(tx, kind, [_did(kind, ref)]) if not each.deleted]
        if not found:
            raise NoSuchEntity
        response.headers["ETag"] = f'"{found[0].version}"'
        return answer_of(kind, found[0])


def _leave_routes(api: APIRouter, database: Database) -> None:
    Tenant = Annotated[UUID, Depends(tenant_guard(database))]  # noqa: N806 - a type
    kind, tags = KINDS["staff"], _tags(KINDS["staff"])

    @api.post(
        "/staff/{ref}/leave",
        summary="Send somebody on leave",
        tags=tags,
        response_model=EntityAnswer,
        response_model_exclude_unset=True,
        responses=NOT_FOUND,
    )
    async def post_leave(tenant: Tenant, ref: str, body: LeaveBody) -> EntityAnswer:
        return answer_of(kind, await add_leave(database, tenant, ref, body.entity()))

    @api.delete(
        "/staff/{ref}/leave",
        summary="Back at work: leave that is going on ends now, planned leave is cancelled",
        tags=tags,
        response_model=EntityAnswer,
        response_model_exclude_unset=True,
        responses=NOT_FOUND,
    )
    async def delete_leave(tenant: Tenant, ref: str) -> EntityAnswer:
        return answer_of(kind, await end_leave(database, tenant, ref, now=datetime.now(UTC)))


def _tenant_route(api: APIRouter, database: Database) -> None:
    Tenant = Annotated[UUID, Depends(tenant_guard(database))]  # noqa: N806 - a type

    @api.get(
        "/tenant",
        summary="The tenant this key belongs to",
        tags=["tenants"],
        response_model=EntityAnswer,
        response_model_exclude_unset=True,
    )
    async def get_tenant(tenant: Tenant) -> EntityAnswer:
        async with database.transaction(tenant) as tx:
            [found] = await store.find(tx, KINDS["tenant"], [str(tenant)])
        return answer_of(KINDS["tenant"], found)
