"""HTTP in: who contacts are, what people decide of them, and the roles of chats."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, HTTPException, Query
from pydantic import BaseModel, Field

from kit.postgres import Database
from vault_importer.links import store
from vault_importer.links.decide import Action, Party, State
from vault_importer.links.judge import CannotDecide, Judgement, NoSuchOne, judge_chat, judge_contact

__all__ = ["links_routes"]

OPEN: tuple[State, ...] = ("ambiguous", "proposed")


class ContactDecision(BaseModel):
    action: Action
    parties: list[str] = Field(default=[], max_length=50)
    """As ``customer:ID`` or ``lead:ID``."""
    by: str = Field(max_length=200)
    why: str = Field(default="", max_length=500)


class RoleDecision(BaseModel):
    role: Literal["client", "lead", "vendor", "internal", "personal", "unknown"] | None
    """Nothing leaves it to the rules again."""
    by: str = Field(max_length=200)
    why: str = Field(default="", max_length=500)


def links_routes(database: Database, tenant: Callable[..., Any]) -> APIRouter:
    routes = APIRouter()
    _reading(routes, database, tenant)
    _deciding(routes, database, tenant)
    return routes


def _reading(routes: APIRouter, database: Database, tenant: Callable[..., Any]) -> None:
    Tenant = Annotated[UUID, Depends(tenant)]  # noqa: N806 - a type

    @routes.get("/v1/links")
    async def links(
        tenant_id: Tenant,
        state: Annotated[list[State], Query(max_length=4)] = list(OPEN),  # noqa: B006 - FastAPI copies it
        after: UUID = store.BEGINNING,
        limit: Annotated[int, Query(ge=1, le=200)] = 50,
    ) -> dict[str, Any]:
        """Contacts that stand so, with every candidate and what speaks for it. ``next`` is the following page's
        ``after``."""
        async with database.transaction(tenant_id) as tx:
            found = await store.list_links(tx, state, after=after, limit=limit + 1)
        return {"links": found[:limit], "next": found[limit - 1]["contact_id"] if len(found) > limit else None}

    @routes.get("/v1/contacts/{contact_id}/link")
    async def link(tenant_id: Tenant, contact_id: UUID) -> dict[str, Any]:
        """How one contact stands, and everything that was decided of it, the newest first."""
        async with database.transaction(tenant_id) as tx:
            contact = await store.contact(tx, contact_id)
            if contact is None:
                raise HTTPException(404, "There is no such contact.")
            found = await store.list_links(
                tx, ("linked", "ambiguous", "proposed", "none"), limit=1, contact_id=contact_id
            )
            history = await store.history_of(tx, contact_id)
        return {"contact": contact, "link": found[0] if found else None, "history": history}


def _deciding(routes: APIRouter, database: Database, tenant: Callable[..., Any]) -> None:
    Tenant = Annotated[UUID, Depends(tenant)]  # noqa: N806 - a type

    @routes.post("/v1/contacts/{contact_id}/decisions")
    async def decide(tenant_id: Tenant, contact_id: UUID, said: ContactDecision) -> dict[str, Any]:
        """Accept one customer or lead, refuse some or all, or leave it to the machine again; how the contact stands."""
        try:
            parties = [Party.parse(each) for each in said.parties]
            return await judge_contact(database, tenant_id, contact_id, said.action, parties, _judgement(said))
        except NoSuchOne as missing:
            raise HTTPException(404, str(missing)) from None
        except (CannotDecide, ValueError) as refused:
            raise HTTPException(400, str(refused)) from None

    @routes.post("/v1/chats/{chat_id}/role")
    async def role(tenant_id: Tenant, chat_id: UUID, said: RoleDecision) -> dict[str, Any]:
        """Give a chat a role that stands, or take it back; what part it plays."""
        try:
            return await judge_chat(database, tenant_id, chat_id, said.role, _judgement(said))
        except NoSuchOne as missing:
            raise HTTPException(404, str(missing)) from None
        except CannotDecide as refused:
            raise HTTPException(400, str(refused)) from None


def _judgement(said: ContactDecision | RoleDecision) -> Judgement:
    return Judgement(by=said.by, why=said.why, at=datetime.now(UTC))
