"""The routing's REST interface: the whole of it, its versions, and the red button."""

# Without deferred annotations: FastAPI reads those of functions made in functions.
import contextlib
from collections.abc import Iterator, Sequence
from enum import Enum
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Path, Query, Response

from front_desk import store
from front_desk.answers import CONFLICT, NOT_FOUND, Limit, answer_of, kept_answer
from front_desk.bodies import EntityAnswer
from front_desk.differences import Difference, differences
from front_desk.guards import Caller, caller_guard
from front_desk.keep_directory import NoSuchEntity
from front_desk.keep_routing import (
    NotThisVersion,
    check_routing,
    end_emergency,
    keep_routing,
    read_version,
    restore,
    start_emergency,
)
from front_desk.kinds import KINDS, ROUTING_ID
from front_desk.problems import RESPONSES, ApiProblem
from front_desk.routing_bodies import (
    CheckAnswer,
    DiffAnswer,
    EmergencyBody,
    RestoreBody,
    RoutingBody,
    VersionAnswer,
    VersionPage,
)
from kit.postgres import Database

__all__ = ["routing_api"]

KIND = KINDS["routing"]
TAGS: list[str | Enum] = ["routing"]
VERSION_MAX = 2**31 - 1
Number = Annotated[int, Path(ge=1, le=VERSION_MAX, description="A version, as listed.")]
IfMatch = Annotated[str | None, Header(description="The ETag of what was edited; 412 when it is another by now.")]
Why = Annotated[str, Query(max_length=500, description="A note for the history.")]
CHANGED: dict[int | str, dict[str, Any]] = {
    **CONFLICT,
    412: RESPONSES[422] | {"description": "Somebody else changed it since the version in `If-Match`."},
}
OPTIONS: dict[str, Any] = {"response_model": EntityAnswer, "response_model_exclude_unset": True, "tags": TAGS}


def routing_api(database: Database) -> APIRouter:
    """The routes of one tenant's routing."""
    api = APIRouter(prefix="/v1/routing", responses=RESPONSES)
    _routing_routes(api, database)
    _version_routes(api, database)
    _emergency_routes(api, database)
    return api


def _edited(if_match: str | None, version: int | None) -> int | None:
    """The version that a change was made from, by header or by body."""
    if if_match is None or if_match.strip() == "*":
        return version
    text = if_match.strip().removeprefix("W/").strip('"')
    if not text.isdecimal() or len(text) > 9:
        raise ApiProblem(412, "version-conflict", 'Send If-Match as a GET answered it in its ETag, like "4".')
    return int(text)


@contextlib.contextmanager
def _precondition(if_match: str | None) -> Iterator[None]:
    """A version that came in a header is a precondition, and fails as one."""
    try:
        yield
    except NotThisVersion as error:
        if if_match is None:
            raise
        raise ApiProblem(412, "version-conflict", str(error)) from None


def _routing_routes(api: APIRouter, database: Database) -> None:
    Me = Annotated[Caller, Depends(caller_guard(database))]  # noqa: N806 - a type

    @api.put(
        "",
        summary="Set how calls are routed",
        description="Replaces the whole. Idempotent: the same content again changes nothing and publishes nothing. "
        "An emergency that it does not speak of goes on. What a GET answered can be sent back, edited.",
        responses={201: {"model": EntityAnswer, "description": "Created."}, **CHANGED},
        **OPTIONS,
    )
    async def put_routing(me: Me, body: RoutingBody, response: Response, if_match: IfMatch = None) -> EntityAnswer:
        edited = _edited(if_match, body.version)
        with _precondition(if_match):
            kept = await keep_routing(database, me.tenant, body.change, who=me.who, why=body.why, edited=edited)
        return kept_answer(KIND, kept, response)

    @api.get("", summary="How calls are routed", responses=NOT_FOUND, **OPTIONS)
    async def get_routing(me: Me, response: Response) -> EntityAnswer:
        async with database.transaction(me.tenant) as tx:
            found = await store.find(tx, KIND, [ROUTING_ID])
        if not found:
            raise NoSuchEntity
        response.headers["ETag"] = f'"{found[0].version}"'
        return answer_of(KIND, found[0])

    @api.post(
        "/check", summary="Say what putting this would change, or why it cannot be put; nothing is written", tags=TAGS
    )
    async def post_check(me: Me, body: RoutingBody) -> CheckAnswer:
        checked = await check_routing(database, me.tenant, body.change)
        return CheckAnswer.model_validate(
            {
                "ok": not checked.problems,
                "version": checked.version,
                "problems": [{"field": each.field, "problem": each.sentence} for each in checked.problems],
                "changes": _said(checked.changes),
            }
        )


def _said(found: Sequence[Difference]) -> list[dict[str, Any]]:
    return [
        {"field": each.field, "before": each.before, "after": each.after, "sentence": each.sentence} for each in found
    ]


def _version_routes(api: APIRouter, database: Database) -> None:
    Me = Annotated[Caller, Depends(caller_guard(database))]  # noqa: N806 - a type
    Before = Annotated[int, Query(ge=1, le=VERSION_MAX, description="The `next` of the page before.")]  # noqa: N806
    against_is = "Compared with this version. By default the one before; 0 is before there was any."

    @api.get("/versions", summary="Who changed the routing, when and why, newest first", tags=TAGS)
    async def list_versions(me: Me, limit: Limit = 100, before: Before = VERSION_MAX) -> VersionPage:
        async with database.transaction(me.tenant) as tx:
            found = await store.routing_versions(tx, before, limit + 1)
        items = [VersionAnswer.model_validate(each, from_attributes=True) for each in found[:limit]]
        return VersionPage(items=items, next=items[-1].version if len(found) > limit else None)

    @api.get("/versions/{version}", summary="One version, whole", tags=TAGS, responses=NOT_FOUND)
    async def get_version(me: Me, version: Number) -> VersionAnswer:
        found = await read_version(database, me.tenant, version)
        return VersionAnswer.model_validate(found, from_attributes=True)

    @api.get("/versions/{version}/diff", summary="What a version changed", tags=TAGS, responses=NOT_FOUND)
    async def get_diff(
        me: Me,
        version: Number,
        against: Annotated[int | None, Query(ge=0, le=VERSION_MAX, description=against_is)] = None,
    ) -> DiffAnswer:
        new = await read_version(database, me.tenant, version)
        other = version - 1 if against is None else against
        old = (await read_version(database, me.tenant, other)).body if other else {}
        changes = _said(differences(old or {}, new.body or {}))
        return DiffAnswer.model_validate({"version": version, "against": other, "changes": changes})

    @api.post(
        "/versions/{version}/restore",
        summary="Make an old version the newest; an emergency stays as it is",
        responses={**NOT_FOUND, **CHANGED},
        **OPTIONS,
    )
    async def post_restore(
        me: Me, version: Number, response: Response, body: RestoreBody | None = None, if_match: IfMatch = None
    ) -> EntityAnswer:
        given = body or RestoreBody()
        edited = _edited(if_match, given.version)
        with _precondition(if_match):
            kept = await restore(database, me.tenant, version, who=me.who, why=given.why, edited=edited)
        return kept_answer(KIND, kept, response)


def _emergency_routes(api: APIRouter, database: Database) -> None:
    Me = Annotated[Caller, Depends(caller_guard(database))]  # noqa: N806 - a type

    @api.post(
        "/emergency",
        summary="The red button: all calls go to one number or group from now on",
        description="Whatever the hour and whoever calls. It needs no version: whoever edits the routing meanwhile "
        "is told so, and what they put leaves it on.",
        **OPTIONS,
    )
    async def post_emergency(me: Me, body: EmergencyBody, response: Response) -> EntityAnswer:
        return kept_answer(KIND, await start_emergency(database, me.tenant, body.value(), who=me.who), response)

    @api.delete("/emergency", summary="Calls go as the routing says again", responses=NOT_FOUND, **OPTIONS)
    async def delete_emergency(me: Me, response: Response, why: Why = "") -> EntityAnswer:
        return kept_answer(KIND, await end_emergency(database, me.tenant, who=me.who, why=why), response)
