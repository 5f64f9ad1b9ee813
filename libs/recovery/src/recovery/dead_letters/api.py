"""Dead letters over HTTP, for the command line and the console: under ``/v1/dead-letters`` of every service.

Every request carries the admin token; what changes something names who asks in ``X-Operator``. Values, keys and headers
that can name somebody are masked unless ``reveal`` is asked for, which is audited. Whoever asks for one tenant says so
in ``tenant`` everywhere: the letters of others are then as good as none.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import asdict, replace
from typing import Annotated, Any, Literal
from urllib.parse import unquote
from uuid import UUID

from fastapi import Depends, FastAPI, Header, HTTPException, Query
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.requests import Request

from kit.postgres import Database
from recovery.dead_letters import actions, book, bulk
from recovery.dead_letters.actions import Asker, CannotDo
from recovery.dead_letters.book import Letter, Selection
from recovery.dead_letters.masks import masked_headers, masked_key, masked_value
from runtime.bodies import BodyLimit

__all__ = ["PREFIX", "beside", "dead_letters_app"]

PREFIX = "/v1/dead-letters"
# A value of two million characters, escaped; and what the small requests of the services' own APIs need at most.
BODY_BYTES = 8_000_000
APP_BODY_BYTES = 65_536
AsgiApp = Callable[[Any, Any, Any], Awaitable[None]]


class Chosen(BaseModel):
    """Which letters, and why. At least one of consumer, group, key, tenant and ids."""

    consumer: str | None = None
    fingerprint: str | None = None
    lane: str | None = None
    key_of: UUID | None = None
    """A letter whose key is meant: keys are not shown, so they can be named by one of their letters."""
    tenant: UUID | None = None
    ids: list[UUID] | None = Field(None, max_length=1000)
    why: str = Field("", max_length=500)


class Edited(BaseModel):
    value: str | None = Field(max_length=2_000_000)
    """Null for the original."""
    why: str = Field(min_length=1, max_length=500)


class Planned(Chosen):
    action: Literal["retry", "drop"]
    rate: float = Field(10.0, gt=0, le=10_000)


class Applied(BaseModel):
    plan_hash: str
    why: str = Field("", max_length=500)


def beside(app: AsgiApp, database: Database, *, admin_token: str, longest: int | None = APP_BODY_BYTES) -> AsgiApp:
    """A service's app with its dead letters beside it; without ``longest`` the app bounds its own bodies."""
    letters = dead_letters_app(database, admin_token=admin_token)
    other = app if longest is None else BodyLimit(app, longest=longest)

    async def front(scope: Any, receive: Any, send: Any) -> None:
        ours = scope["type"] == "http" and scope["path"].startswith(PREFIX)
        await (letters if ours else other)(scope, receive, send)

    return front


def dead_letters_app(database: Database, *, admin_token: str) -> AsgiApp:
    """The API behind its guards: who has no token is turned away before a byte of the body is read."""
    app = BodyLimit(_api(database, admin_token), longest=BODY_BYTES)
    unknown = JSONResponse(
        {"detail": "an admin token is needed"}, 401, {"WWW-Authenticate": "Bearer", "Connection": "close"}
    )

    async def guarded(scope: Any, receive: Any, send: Any) -> None:
        given = dict(scope["headers"]).get(b"authorization", b"")
        await (app if _is_admin(given, admin_token) else unknown)(scope, receive, send)

    return guarded


def _is_admin(authorization: bytes, admin_token: str) -> bool:
    scheme, _, token = authorization.partition(b" ")
    # An empty token in the settings closes the API; it must not open it.
    return bool(admin_token) and scheme.lower() == b"bearer" and secrets.compare_digest(token, admin_token.encode())


def _api(database: Database, secret: str) -> FastAPI:
    app = FastAPI(title=f"Dead letters of {database.service}", version="1", docs_url=None, redoc_url=None,
                  openapi_url=None)  # fmt: skip

    @app.exception_handler(CannotDo)
    async def refused(_: Request, error: CannotDo) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, 409)

    _looks(app, database, secret)
    _deeds(app, database)
    _bulk(app, database)
    return app


def _asker(x_operator: Annotated[str, Header(max_length=300)] = "") -> str:
    who = unquote(x_operator).strip()
    if not who:
        raise HTTPException(422, "say who asks in X-Operator")
    return who


Who = Annotated[str, Depends(_asker)]
Why = Annotated[str, Query(max_length=500)]


def _looks(app: FastAPI, database: Database, secret: str) -> None:
    @app.get(PREFIX + "/groups")
    async def groups(consumer: str | None = None, tenant: UUID | None = None) -> dict[str, Any]:
        """What failed for the same reason at the same place, the latest first."""
        found = await book.groups(database, consumer, tenant)
        return {"service": database.service, "groups": [asdict(each) for each in found]}

    @app.get(PREFIX + "/letters")
    async def letters(  # long: every parameter is one of the request's
        consumer: str | None = None,
        fingerprint: str | None = None,
        lane: str | None = None,
        key_of: UUID | None = None,
        tenant: UUID | None = None,
        state: str | None = None,
        after: Annotated[int, Query(ge=0)] = 0,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    ) -> dict[str, Any]:
        """A page in the order in which letters were parked; ``after`` is the last ``seq`` of the page before."""
        asked = Chosen(
            consumer=consumer, fingerprint=fingerprint, lane=lane, key_of=key_of, tenant=tenant, ids=None, why=""
        )
        chosen = replace(await _selection(database, asked), state=state)
        found = await book.letters(database, chosen, after=after, limit=limit)
        return {"service": database.service, "letters": [_shown(each, masked_key(each.lane, secret)) for each in found]}

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
        shown = {name: (book.readable if reveal else masked_value)(value) for name, value in values.items()}
        raw = {
            name: _base64(value) if reveal else None for name, value in (("raw", one.value), ("raw_edited", one.edited))
        }
        headers = [(name, (value or b"").decode("utf-8", "backslashreplace")) for name, value in one.headers]
        told = _shown(one, one.lane if reveal else masked_key(one.lane, secret))
        return {**told, **shown, **raw, "headers": headers if reveal else masked_headers(headers), "history": history}


def _base64(value: bytes | None) -> str | None:
    return base64.b64encode(value).decode() if value is not None else None


async def _selection(database: Database, asked: Chosen) -> Selection:
    """What was asked for; the key of ``key_of`` in place of its letter."""
    selection = Selection(**asked.model_dump(include=set(Selection.__dataclass_fields__)))
    if asked.key_of is None:
        return selection
    letter, _ = await _letter_of(database, asked.key_of, asked.tenant)
    if letter.lane is None:
        raise CannotDo("this letter has no key, and nothing waits behind it; name it alone")
    if asked.consumer not in (None, letter.consumer):
        raise CannotDo(f"this letter is one of {letter.consumer}, not of {asked.consumer}")
    return replace(selection, lane=letter.lane, consumer=letter.consumer)


async def _some(database: Database, asked: Chosen) -> Selection:
    """The same, and refused when it would be everything there is."""
    if all(value is None for value in asked.model_dump(exclude={"why", "action", "rate"}).values()):
        raise HTTPException(422, "say which letters: by ids, group, key, tenant or consumer")
    return await _selection(database, asked)


async def _letter_of(database: Database, id_: UUID, tenant: UUID | None) -> tuple[Letter, list[dict[str, Any]]]:
    found = await book.find(database, id_)
    if found is None or tenant not in (None, found[0].tenant_id):
        raise HTTPException(404, "there is no such letter; it may have been worked off")
    return found


def _shown(letter: Letter, lane: str | None) -> dict[str, Any]:
    """Without what the record says, and with its key as given."""
    hidden = ("key", "value", "edited", "headers", "lane")
    told = {name: getattr(letter, name) for name in Letter.__dataclass_fields__ if name not in hidden}
    return {**told, "lane": lane, "is_edited": letter.edited is not None, "bytes": len(letter.value or b"")}


def _deeds(app: FastAPI, database: Database) -> None:
    @app.post(PREFIX + "/retry")
    async def retry(body: Chosen, who: Who) -> dict[str, int]:
        """Have letters tried again by the running service, each key in its order. ``left``: just being tried."""
        outcome = await actions.retry(database, await _some(database, body), Asker(who=who, why=body.why))
        return {"asked": outcome.done, "left": outcome.left}

    @app.post(PREFIX + "/drop")
    async def drop(body: Chosen, who: Who) -> dict[str, int]:
        """Give letters up. What waits behind them goes on. ``left``: just being tried."""
        outcome = await actions.drop(database, await _some(database, body), Asker(who=who, why=body.why))
        return {"dropped": outcome.done, "left": outcome.left}

    @app.post(PREFIX + "/letters/{id_}/restore")
    async def restore(id_: UUID, who: Who, tenant: UUID | None = None, why: Why = "") -> dict[str, str]:
        """Take a dropped letter back."""
        await _letter_of(database, id_, tenant)
        await actions.restore(database, id_, Asker(who=who, why=why))
        return {"state": "waiting"}

    @app.put(PREFIX + "/letters/{id_}/value")
    async def edit(id_: UUID, body: Edited, who: Who, tenant: UUID | None = None) -> dict[str, str]:
        """Have another value tried; the original is kept, and tried again when the value is null."""
        await _letter_of(database, id_, tenant)
        value = body.value.encode() if body.value is not None else None
        difference = await actions.edit(database, id_, value, Asker(who=who, why=body.why))
        return {"difference": difference}


def _bulk(app: FastAPI, database: Database) -> None:
    @app.post(PREFIX + "/jobs")
    async def plan(body: Planned, who: Who) -> dict[str, Any]:
        """Plan a bulk action: freezes which letters. Changes none of them."""
        asker = Asker(who=who, why=body.why)
        selection = await _selection(database, body)
        return asdict(await bulk.plan_job(database, selection, body.action, body.rate, asker))

    @app.post(PREFIX + "/jobs/{id_}/apply")
    async def apply(id_: UUID, body: Applied, who: Who, tenant: UUID | None = None) -> dict[str, Any]:
        """Begin it."""
        asker = Asker(who=who, why=body.why)
        return asdict(await bulk.apply_job(database, id_, body.plan_hash, asker, tenant=tenant))

    @app.post(PREFIX + "/jobs/{id_}/cancel")
    async def cancel(id_: UUID, who: Who, tenant: UUID | None = None, why: Why = "") -> dict[str, Any]:
        """End it. What it has done stays done."""
        return asdict(await bulk.cancel_job(database, id_, Asker(who=who, why=why), tenant=tenant))

    @app.get(PREFIX + "/jobs")
    async def jobs(tenant: UUID | None = None) -> dict[str, Any]:
        """The latest bulk actions, each with who did what to it."""
        found = await bulk.jobs(database, tenant)
        told = [{**asdict(each), "history": await bulk.history(database, each.id)} for each in found]
        return {"service": database.service, "jobs": told}
