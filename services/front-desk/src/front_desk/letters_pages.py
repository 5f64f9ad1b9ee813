"""The console's pages of dead letters: read-only until whoever is signed in has given the password once more."""

from __future__ import annotations

import base64
import difflib
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from front_desk.access_store import Session
from front_desk.credentials import same_secret, sha256
from front_desk.letters import PAGE, CannotDo, Letters, NoSuchLetter, Silent
from front_desk.pages import PAGES, addressed
from front_desk.present import clock
from front_desk.sign_in import UNLOCKED, Refused, SignIn

__all__ = ["LettersPages"]

LIST = "/t/letters"
RATE = 10.0
DONE = {
    "retry": "{count} will be tried again, each key in its order.",
    "drop": "{count} given up. A dropped letter can be taken back for thirty days.",
    "restore": "Taken back. What follows of its key waits behind it from now on.",
    "edit": "The new value will be tried in place of the original, which is kept. Ask for a retry when it is right.",
    "plan": "Planned. Nothing has changed yet: read it below, then apply it.",
    "apply": "Begun. It goes on while nobody looks.",
    "cancel": "Cancelled. What was done stays done.",
    "unlock": "Unlocked for {count} minutes.",
    "lock": "Locked.",
}
MESSAGES = ("did", "count", "problem", "seal")
Show = Callable[..., Awaitable[Response]]


class LettersPages:
    """Handlers of requests. ``show`` renders a template for a session, ``fields`` reads a form of our own pages."""

    def __init__(
        self,
        letters: Letters,
        sign_in: SignIn,
        *,
        show: Show,
        fields: Callable[[Request, Session], Awaitable[dict[str, str]]],
        token_of: Callable[[Request], str],
    ) -> None:
        self._letters = letters
        self._sign_in = sign_in
        self._show = show
        self._fields = fields
        self._token_of = token_of

    async def list(self, request: Request, session: Session) -> Response:
        """Groups of one cause; with ``service``, ``consumer`` and ``group`` the letters of one."""
        _only_for_roles(session)
        asked = request.query_params
        if "group" not in asked:
            groups = await self._letters.groups(session.tenant)
            jobs = await self._letters.jobs(session.tenant)
            return await self._page("letters.html", request, session, groups=groups, jobs=jobs.items)
        service, consumer, group = asked.get("service", ""), asked.get("consumer", ""), asked["group"]
        after = asked.get("after", "0")
        if not after.isdecimal() or len(after) > 18:
            raise HTTPException(404)
        try:
            found = await self._letters.page(service, session.tenant, consumer=consumer, fingerprint=group, after=after)
        except Silent:
            raise HTTPException(503) from None
        except NoSuchLetter:
            raise HTTPException(404) from None
        older = None
        if len(found) > PAGE:
            place = {"service": service, "consumer": consumer, "group": group, "after": found[PAGE - 1]["seq"]}
            older = f"{LIST}?{urlencode(place)}"
        values = {"service": service, "consumer": consumer, "group": group, "letters": found[:PAGE], "further": older}
        return await self._page("letters_group.html", request, session, **values)

    async def one(self, request: Request, session: Session) -> Response:
        """One letter. What it says is shown, and the look is audited, when it is asked for and the page unlocked."""
        _only_for_roles(session)
        service, id_ = request.path_params["service"], str(addressed(request.path_params["id"]))
        reveal = request.query_params.get("reveal") == "yes" and session.unlocked(datetime.now(UTC))
        try:
            letter = await self._letters.one(service, session.tenant, id_, reveal_to=session.email if reveal else None)
        except Silent:
            raise HTTPException(503) from None
        except NoSuchLetter:
            raise HTTPException(404) from None
        letter["service"] = service
        difference = list(
            difflib.unified_diff(
                letter["value"].splitlines(), letter["edited"].splitlines(), "original", "edited", lineterm=""
            )
        )
        values = {
            "letter": letter,
            "revealed": reveal,
            "difference": difference,
            "editable": _is_text(letter["raw_edited"] or letter["raw"]),
        }
        return await self._page("letter.html", request, session, **values)

    async def unlock(self, request: Request, session: Session) -> Response:
        """The password opens it for a while; ``lock`` closes it before."""
        _only_for_roles(session)
        fields = await self._fields(request, session)
        back = _back(fields)
        if fields.get("do") == "lock":
            await self._sign_in.lock(self._token_of(request))
            return _to(back, did="lock")
        try:
            await self._sign_in.unlock(
                token=self._token_of(request), email=session.email, password=fields.get("password", "")[:1000],
                address=request.client.host if request.client else "", now=datetime.now(UTC),
            )  # fmt: skip
        except Refused as refused:
            return _refused(back, session, refused.sentence)
        return _to(back, did="unlock", count=round(UNLOCKED.total_seconds() / 60))

    async def act(self, request: Request, session: Session) -> Response:
        """Do what a form of these pages asks for."""
        _only_for_roles(session)
        fields = await self._fields(request, session)
        back, did = _back(fields), fields.get("do", "")
        if not session.unlocked(datetime.now(UTC)):
            return _refused(back, session, "Unlock first: give your password once more.")
        if did not in DONE:
            raise HTTPException(400)
        try:
            count = await self._do(did, fields, session)
        except CannotDo as refused:
            return _refused(back, session, f"Not done: {refused}.")
        except NoSuchLetter:
            return _refused(LIST, session, "There is no such letter any more; it may have been worked off.")
        except Silent as silent:
            return _refused(back, session, f"{silent} does not answer just now. Look again before you try again.")
        # A letter that was worked off has no page any more.
        return _to(back if did in ("edit", "restore") else LIST, did=did, count=count)

    async def _do(self, did: str, fields: dict[str, str], session: Session) -> int:
        service, who, why = fields.get("service", ""), session.email, fields.get("why", "")[:500]
        chosen: dict[str, Any] = {
            "tenant": str(session.tenant), "consumer": fields.get("consumer") or None,
            "fingerprint": fields.get("group") or None,
            "key_of": str(addressed(fields["key_of"])) if fields.get("key_of") else None,
            "ids": [str(addressed(fields["id"]))] if fields.get("id") else None, "why": why,
        }  # fmt: skip
        if did in ("apply", "cancel"):
            path = f"/jobs/{addressed(fields.get('job', ''))}/{did}"
            applied = {"plan_hash": fields.get("plan_hash", "")} if did == "apply" else None
            job = await self._letters.do(service, "POST", path, who=who, body=applied, tenant=session.tenant)
            return int(job["letters"])
        if did == "plan" and chosen["fingerprint"]:
            planned: dict[str, Any] = {**chosen, "action": fields.get("action", ""), "rate": RATE}
            return int((await self._letters.do(service, "POST", "/jobs", who=who, body=planned))["letters"])
        if did in ("edit", "restore"):
            path = f"/letters/{addressed(fields.get('id', ''))}"
            if did == "restore":
                await self._letters.do(service, "POST", f"{path}/restore", who=who, tenant=session.tenant)
                return 1
            value = fields.get("value", "").replace("\r\n", "\n") if fields.get("to") != "original" else None
            body = {"value": value, "why": why}
            await self._letters.do(service, "PUT", f"{path}/value", who=who, body=body, tenant=session.tenant)
            return 1
        if did not in ("retry", "drop") or not any(chosen[each] for each in ("fingerprint", "key_of", "ids")):
            # Without any of them it would be about all that the tenant has.
            raise HTTPException(400)
        answer = await self._letters.do(service, "POST", f"/{did}", who=who, body=chosen)
        count = int(answer["asked" if did == "retry" else "dropped"])
        if not count and answer["left"]:
            raise CannotDo("it is just being tried; look again in a moment")
        return count

    async def _page(self, template: str, request: Request, session: Session, **values: Any) -> Response:
        zone, now = ZoneInfo(session.timezone), datetime.now(UTC)
        today = now.astimezone(zone).date()
        asked = request.query_params
        count = asked.get("count", "")
        problem = asked.get("problem", "")
        if not same_secret(asked.get("seal", ""), _seal(session, problem)):
            problem = ""
        said = DONE.get(asked.get("did", ""), "").format(count=count if count.isdecimal() else "Some")
        unlocked = session.unlocked(now)
        return await self._show(
            template, session, PAGES["letters"], unlocked=unlocked, said=said,
            until=clock(session.unlocked_until, zone, today) if session.unlocked_until else "", problem=problem,
            here=str(request.url.path) + (f"?{_without_message(asked)}" if _without_message(asked) else ""),
            clock=lambda text: clock(datetime.fromisoformat(text), zone, today), **values,
        )  # fmt: skip


def _only_for_roles(session: Session) -> None:
    if session.role not in PAGES["letters"].roles:
        raise HTTPException(403)


def _is_text(raw: str | None) -> bool:
    """Whether a person can edit it in a form without changing what is no text."""
    try:
        return raw is not None and bool(base64.b64decode(raw).decode())
    except UnicodeDecodeError:
        return False


def _without_message(asked: Any) -> str:
    return urlencode([(name, value) for name, value in asked.items() if name not in MESSAGES])


def _back(fields: dict[str, str]) -> str:
    """Where the form was: only ever one of these pages."""
    back = fields.get("back", LIST)
    return back if back == LIST or back.startswith((f"{LIST}?", f"{LIST}/")) else LIST


def _seal(session: Session, text: str) -> str:
    """Ties a sentence to a session, so that no link from elsewhere puts words into our mouth."""
    return sha256(f"said:{session.csrf}:{text}").hex()


def _refused(where: str, session: Session, sentence: str) -> Response:
    return _to(where, problem=sentence, seal=_seal(session, sentence))


def _to(where: str, **message: object) -> Response:
    return RedirectResponse(f"{where}{'&' if '?' in where else '?'}{urlencode(message)}", 303)
