"""Change how calls are routed: checked as a whole, kept as a version, refused to whoever edited an older one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, NoReturn
from uuid import UUID

from front_desk import store
from front_desk.differences import Difference, differences
from front_desk.fields import Invalid, Problem, text
from front_desk.keep_directory import Kept, NoSuchEntity, UnknownStaff, keep_many
from front_desk.kinds import KINDS, ROUTING_ID, Stored
from front_desk.lines import problems_of_routing, still_named
from front_desk.routing import Emergency, Routing, stored_routing
from front_desk.store import Version
from kit.postgres import Database, Transaction

__all__ = [
    "Checked",
    "NotThisVersion",
    "RoutingInUse",
    "check_routing",
    "end_emergency",
    "keep_routing",
    "leave_emergency",
    "read_version",
    "restore",
    "start_emergency",
]

WHY_MAX = 500
KIND = KINDS["routing"]
Change = Callable[[Routing | None], Routing]


class RoutingInUse(Exception):
    """DIDs name what the routing would not have any more; the message says which."""


class NotThisVersion(Exception):
    """Somebody else changed the routing meanwhile."""

    def __init__(self, edited: int, now: int) -> None:
        there = f"The routing is at version {now} now" if now else "There is no routing yet"
        super().__init__(
            f"{there}, you edited version {edited}. Nothing was changed: read it again, compare, and repeat your edit."
        )
        self.now = now


@dataclass(frozen=True, kw_only=True, slots=True)
class Checked:
    """What keeping a routing would do."""

    problems: tuple[Problem, ...]
    changes: tuple[Difference, ...]
    version: int
    """The one it was compared with; 0 when there is none."""


async def keep_routing(
    database: Database, tenant: UUID, change: Routing | Change, *, who: str, why: str = "", edited: int | None = None
) -> Kept:
    """Put a routing, or what ``change`` makes of the present one. ``edited`` is the version it was made from.

    Raises ``Invalid``, :class:`NotThisVersion`, :class:`RoutingInUse` and ``UnknownStaff``.
    """
    note = _note(why)
    async with database.transaction(tenant, emits=[ROUTING_ID]) as tx:
        return await _keep(tx, change, who=who, why=note, edited=edited)


def _note(why: str) -> str:
    try:
        return text(why, longest=WHY_MAX)
    except ValueError as error:
        raise Invalid([Problem(field="why", sentence=str(error))]) from None


async def _keep(tx: Transaction, change: Routing | Change, *, who: str, why: str, edited: int | None) -> Kept:
    before = await _present(tx)
    if edited is not None and edited != (before.version if before else 0):
        raise NotThisVersion(edited, before.version if before else 0)
    body: Mapping[str, Any] = before.body if before else {}
    routing = change if isinstance(change, Routing) else change(stored_routing(body) if before else None)
    [kept] = await keep_many(tx, KIND, [routing])
    if kept.outcome != "unchanged":
        lines = {line.did: line for line in await store.living_dids(tx)}
        if named := still_named(routing, lines.values()):
            raise RoutingInUse(" ".join(named))
        changed = {name for name, value in kept.stored.body.items() if name not in body or body[name] != value}
        if problems := problems_of_routing(routing, lines, changed):
            raise Invalid(problems)
        await store.keep_routing_version(tx, who, why)
    return kept


async def _present(tx: Transaction) -> Stored | None:
    found = await store.find(tx, KIND, [ROUTING_ID])
    return found[0] if found else None


class _OnlyTried(Exception):
    """Undoes a transaction whose outcome was all that mattered."""

    def __init__(self, kept: Kept) -> None:
        self.kept = kept


def _undo(kept: Kept) -> NoReturn:
    raise _OnlyTried(kept)


async def check_routing(database: Database, tenant: UUID, change: Routing | Change) -> Checked:
    """What putting this would change, or every reason why it cannot be put; nothing is kept."""
    async with database.transaction(tenant) as tx:
        before = await _present(tx)
    body: Mapping[str, Any] = before.body if before else {}
    problems: Sequence[Problem] = ()
    changes: Sequence[Difference] = ()
    try:
        async with database.transaction(tenant, emits=[ROUTING_ID]) as tx:
            _undo(await _keep(tx, change, who="", why="", edited=None))
    except _OnlyTried as tried:
        changes = differences(body, tried.kept.stored.body)
    except Invalid as invalid:
        problems = invalid.problems
    except UnknownStaff as unknown:
        problems = [Problem(field="groups", sentence=f"name {', '.join(unknown.refs)}: {unknown}")]
    except RoutingInUse as used:
        problems = [Problem(field="groups", sentence=str(used))]
    return Checked(problems=tuple(problems), changes=tuple(changes), version=before.version if before else 0)


def leave_emergency(routing: Routing, present: Routing | None) -> Routing:
    """A routing with the emergency that holds now: nobody ends one by putting what they edited before it."""
    standing = present.emergency if present else None
    return routing.with_emergency(standing if standing is not None and standing.holds(datetime.now(UTC)) else None)


async def start_emergency(database: Database, tenant: UUID, emergency: Emergency, *, who: str) -> Kept:
    """The red button: all calls go there from now on. What else the routing says stays, whoever is editing it."""

    if not emergency.reason:
        raise Invalid([Problem(field="reason", sentence="is missing; everybody who looks will ask why")])

    def change(present: Routing | None) -> Routing:
        return (present or Routing.of()).with_emergency(emergency)

    try:
        return await keep_routing(database, tenant, change, who=who, why=f"emergency on: {emergency.reason}")
    except Invalid as invalid:
        raise Invalid(
            [replace(each, field=each.field.removeprefix("emergency.")) for each in invalid.problems]
        ) from None


async def end_emergency(database: Database, tenant: UUID, *, who: str, why: str = "") -> Kept:
    """Calls go as the routing says again. Raises :class:`NoSuchEntity` when there is no routing."""

    def change(present: Routing | None) -> Routing:
        if present is None:
            raise NoSuchEntity
        return present.with_emergency(None)

    return await keep_routing(database, tenant, change, who=who, why=f"emergency off{': ' if why else ''}{why}")


async def read_version(database: Database, tenant: UUID, number: int) -> Version:
    """One version, whole. Raises :class:`NoSuchEntity`."""
    async with database.transaction(tenant) as tx:
        found = await store.routing_version(tx, number)
    if found is None:
        raise NoSuchEntity
    return found


async def restore(
    database: Database, tenant: UUID, number: int, *, who: str, why: str = "", edited: int | None = None
) -> Kept:
    """Make an old version the newest. An emergency stays as it is: it has a switch of its own.

    Raises :class:`NoSuchEntity`, and what :func:`keep_routing` raises.
    """
    old = stored_routing((await read_version(database, tenant, number)).body or {})

    def change(present: Routing | None) -> Routing:
        return leave_emergency(old, present)

    note = f"version {number} again{': ' if why else ''}{why}"
    return await keep_routing(database, tenant, change, who=who, why=note, edited=edited)
