"""Dead letters over HTTP, for the command line and the console: under ``/v1/dead-letters`` of every service.

Every request carries the admin token; what changes something names who asks in ``X-Operator``. Values are masked unless
``reveal`` is asked for, which is audited. Whoever asks for one tenant says so in ``tenant`` everywhere: the letters of
others are then as good as none.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Annotated, Any, Literal
from urllib.parse import unquote
from uuid import UUID

from fastapi import Depends, FastAPI, Header, HTTPException, Query
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.requests import Request

from kit.postgres import Database
from recovery.dead_letters import actions, book
from recovery.dead_letters.actions import Asker, CannotDo
from recovery.dead_letters.book import Letter, Selection

__all__ = ["PREFIX", "beside", "dead_letters_app"]

PREFIX = "/v1/dead-letters"
AsgiApp = Callable[[Any, Any, Any], Awaitable[None]]


class Chosen(BaseModel):
    """Which letters, and why. At least one of consumer, group, key, tenant and ids."""

    consumer: str | None = None
    fingerprint: str | None = None
    lane: str | None = None
    tenant: UUID | None = None
    ids: list[UUID] | None = Field(None, max_length=1000)
    why: str = Field("", max_length=500)

    def selection(self) -> Selection:
        values = self.model_dump(exclude={"why"})
        if all(value is None for value in values.values()):
            raise HTTPException(422, "say which letters: by ids, group, key, tenant or consumer")
        return Selection(**values)


class Edited(BaseModel):
    value: str = Field(max_length=2_000_000)
    why: str = Field(min_length=1, max_length=500)


class Planned(Chosen):
    action: Literal["retry", "drop"]
    rate: float = Field(10.0, gt=0, le=10_000)


class Applied(BaseModel):
    plan_hash: str


def beside(app: AsgiApp, database: Database, *, admin_token: str) -> AsgiApp:
    """A service's app with its dead letters beside it."""
    letters = dead_letters_app(database, admin_token=admin_token)

    async def front(scope: Any, receive: Any, send: Any) -> None:
        ours = scope["type"] == "http" and scope["path"].startswith(PREFIX)
        await (letters if ours else app)(scope, receive, send)

    return front


def dead_letters_app(database: Database, *, admin_token: str) -> FastAPI:
    def admin(authorization: Annotated[str, Header()] = "") -> None:
        scheme, _, token = authorization.partition(" ")
        # An empty token in the settings closes the API; it must not open it.
        right = bool(admin_token) and secrets.compare_digest(token.encode(), admin_token.encode())
        if scheme.lower() != "bearer" or not right:
            raise HTTPException(401, "an admin token is needed", {"WWW-Authenticate": "Bearer"})

    app = FastAPI(title=f"Dead letters of {database.service}", version="1", docs_url=None, redoc_url=None,
                  openapi_url=None, dependencies=[Depends(admin)])  # fmt: skip

    @app.exception_handler(CannotDo)
    async def refused(_: Request, error: CannotDo) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, 409)

    _looks(app, database)
    _deeds(app, database)
    _bulk(app, database)
    return app


def _asker(x_operator: Annotated[str, Header(max_length=300)] = "") -> str:
    who = unquote(x_operator).strip()
    if not who:
        raise HTTPException(422, "say who asks in X-Operator")
    return who


Who = Annotated[str, Depends(_asker)]


def _looks(app: FastAPI, database: Database) -> None:
    @app.get(PREFIX + "/groups")
    async def groups(consumer: str | None = None, tenant: UUID | None = None) -> dict[str, Any]:
        """What failed for the same reason at the same place, the latest first."""
        found = await book.groups(database, consumer, tenant)
        return {"service": database.service, "groups": [asdict(each) for each in found]}

    @app.get(PREFIX + "/letters")
    async def letters(
        consumer: str | None = None,
        fingerprint: str | None = None,
        lane: str | None = None,
        tenant: UUID | None = None,
        state: str | None = None,
        after: Annotated[int, Query(ge=0)] = 0,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    ) -> dict[str, Any]:
        """A page in the order in which letters were parked; ``after`` is the last ``seq`` of the page before."""
        chosen = Selection(consumer=consumer, fingerprint=fingerprint, lane=lane, tenant=tenant, state=state)
        found = await book.letters(database, chosen, after=after, limit=limit)
        return {"service": database.service, "letters": [_shown(each) for each in found]}

    @app.get(PREFIX + "/letters/{id_}")
    async def letter(
        id_: UUID, reveal: bool = False, tenant: UUID | None = None, x_operator: Annotated[str, Header()] = ""
    ) -> dict[str, Any]:
        """One letter with its history. ``reveal`` shows what it says, and is audited."""
        found = await _letter_of(database, id_, tenant)
        if reveal:
            async with database.system() as tx:
                await actions.audit(tx, [id_], "reveal", Asker(who=_asker(x_operator)))
        one, history = found
        values = {"value": one.value, "edited": one.edited}
        shown = {name: (book.readable if reveal else book.masked)(value) for name, value in values.items()}
        raw = base64.b64encode(one.value).decode() if reveal and one.value is not None else None
        headers = [[name, (value or b"").decode("utf-8", "backslashreplace")] for name, value in one.headers]
        return {**_shown(one), **shown, "raw": raw, "headers": headers, "history": history}


async def _letter_of(database: Database, id_: UUID, tenant: UUID | None) -> tuple[Letter, list[dict[str, Any]]]:
    found = await book.find(database, id_)
    if found is None or tenant not in (None, found[0].tenant_id):
        raise HTTPException(404, "there is no such letter; it may have been worked off")
    return found


def _shown(letter: Letter) -> dict[str, Any]:
    """Without what the record says."""
    hidden = ("key", "value", "edited", "headers")
    told = {name: getattr(letter, name) for name in Letter.__dataclass_fields__ if name not in hidden}
    return {**told, "is_edited": letter.edited is not None, "bytes": len(letter.value or b"")}


def _deeds(app: FastAPI, database: Database) -> None:
    @app.post(PREFIX + "/retry")
    async def retry(body: Chosen, who: Who) -> dict[str, int]:
        """Have letters tried again by the running service, each key in its order."""
        return {"asked": await actions.retry(database, body.selection(), Asker(who=who, why=body.why))}

    @app.post(PREFIX + "/drop")
    async def drop(body: Chosen, who: Who) -> dict[str, int]:
        """Give letters up. What waits behind them goes on."""
        return {"dropped": await actions.drop(database, body.selection(), Asker(who=who, why=body.why))}

    @app.post(PREFIX + "/letters/{id_}/restore")
    async def restore(id_: UUID, who: Who, tenant: UUID | None = None) -> dict[str, str]:
        """Take a dropped letter back."""
        await _letter_of(database, id_, tenant)
        await actions.restore(database, id_, Asker(who=who))
        return {"state": "waiting"}

    @app.put(PREFIX + "/letters/{id_}/value")
    async def edit(id_: UUID, body: Edited, who: Who, tenant: UUID | None = None) -> dict[str, str]:
        """Have another value tried; the original is kept."""
        await _letter_of(database, id_, tenant)
        difference = await actions.edit(database, id_, body.value.encode(), Asker(who=who, why=body.why))
        return {"difference": difference}


def _bulk(app: FastAPI, database: Database) -> None:
    @app.post(PREFIX + "/jobs")
    async def plan(body: Planned, who: Who) -> dict[str, Any]:
        """Plan a bulk action: freezes which letters. Changes nothing."""
        chosen = Selection(**body.model_dump(exclude={"why", "action", "rate"}))
        asker = Asker(who=who, why=body.why)
        return asdict(await actions.plan_job(database, chosen, body.action, body.rate, asker))

    @app.post(PREFIX + "/jobs/{id_}/apply")
    async def apply(id_: UUID, body: Applied, who: Who) -> dict[str, Any]:
        return asdict(await actions.apply_job(database, id_, body.plan_hash, Asker(who=who)))

    @app.post(PREFIX + "/jobs/{id_}/cancel")
    async def cancel(id_: UUID, who: Who) -> dict[str, Any]:
        return asdict(await actions.cancel_job(database, id_))

    @app.get(PREFIX + "/jobs")
    async def jobs() -> dict[str, Any]:
        return {"service": database.service, "jobs": [asdict(each) for each in await actions.jobs(database)]}
