"""``trunkline routing``: how a business's calls are routed, as a file to edit, with its history and its red button."""

from __future__ import annotations

import getpass
import json
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, TypeVar
from uuid import UUID

import typer
from pydantic import ValidationError

from front_desk import store
from front_desk.command_line import BAD_INPUT, USAGE, JsonOption, TenantOption, err, fail, out, tenant_of, with_database
from front_desk.differences import Difference, differences
from front_desk.directory import Invalid
from front_desk.hours import Stretch, write_hours
from front_desk.keep_directory import Kept, NoSuchEntity, UnknownStaff
from front_desk.keep_routing import (
    NotThisVersion,
    RoutingInUse,
    check_routing,
    end_emergency,
    keep_routing,
    read_version,
    restore,
    start_emergency,
)
from front_desk.kinds import KINDS, ROUTING_ID
from front_desk.routing_bodies import EmergencyBody, RoutingBody
from kit.postgres import Database

__all__ = ["app"]

T = TypeVar("T")
LATE = 4
app = typer.Typer(
    no_args_is_help=True,
    help="How calls are routed: show, edit, check, compare and restore it, and the red button.\n\n"
    "Edit it as a file: 'trunkline routing show --tenant T > routing.json', change the file, "
    "'trunkline routing check routing.json --tenant T' says what that would change, "
    "'trunkline routing edit-from routing.json --tenant T --why …' makes it so. Nothing is restarted. "
    "Every change is a version: 'versions' lists them, 'diff' compares two, 'restore' makes an old one the newest.",
)
emergency = typer.Typer(no_args_is_help=True, help="The red button: all calls go to one place, whatever else is set.")
app.add_typer(emergency, name="emergency")

FileArgument = Annotated[
    Path, typer.Argument(exists=True, dir_okay=False, readable=True, help="JSON as 'routing show' prints it.")
]
WhyOption = Annotated[str, typer.Option("--why", help="A note for the history.")]


def _who() -> str:
    try:
        return f"command line ({getpass.getuser()})"
    except (KeyError, OSError):
        return "command line"


def _work(tenant: str, work: Callable[[Database, UUID], Awaitable[T]]) -> T:
    async def for_tenant(database: Database) -> T:
        tenant_id = await tenant_of(database, tenant)
        try:
            return await work(database, tenant_id)
        except NotThisVersion as late:
            fail(str(late), LATE)
        except RoutingInUse as used:
            fail(str(used), BAD_INPUT)
        except UnknownStaff as unknown:
            fail(f"No staff with the reference {', '.join(unknown.refs[:5])}. Import or put them first.", BAD_INPUT)
        except Invalid as invalid:
            fail("\n".join(f"{each.field} {each.sentence}" for each in invalid.problems), BAD_INPUT)

    return with_database(for_tenant)


def _read(file: Path) -> RoutingBody:
    try:
        return RoutingBody.model_validate_json(file.read_bytes())
    except ValidationError as error:
        said = [f"{'.'.join(map(str, each['loc'])) or 'the file'}: {each['msg']}" for each in error.errors()]
        fail("\n".join(f"{file}: {each}" for each in said), USAGE)


def _editable(body: dict[str, Any], version: int) -> dict[str, Any]:
    """As a person edits it: hours in a line, people by reference, and the version that the edit begins from."""
    groups = [{name: value for name, value in each.items() if name != "staff_ids"} for each in body["groups"]]
    calendars = [
        {**each, "hours": write_hours(Stretch(**stretch) for stretch in each["hours"])} for each in body["calendars"]
    ]
    return {"version": version, **body, "groups": groups, "calendars": calendars}


@app.command()
def show(
    tenant: TenantOption,
    version: Annotated[int | None, typer.Option("--version", help="An old version. By default the newest.")] = None,
) -> None:
    """Print the routing as JSON, ready to be edited and given to 'edit-from'. With defaults when there is none yet."""

    async def work(database: Database, tenant_id: UUID) -> dict[str, Any]:
        if version is not None:
            old = await _version(database, tenant_id, version)
            # The edit of an old version begins from it, and is refused where there is a newer one.
            return _editable({**RoutingBody().model_dump(exclude={"why", "version"}), **old}, version)
        async with database.transaction(tenant_id) as tx:
            found = await store.find(tx, KINDS["routing"], [ROUTING_ID])
        if not found:
            return RoutingBody(version=0).model_dump(exclude={"why"})
        return _editable(dict(found[0].body), found[0].version)

    out(None, False, json.dumps(_work(tenant, work), ensure_ascii=False, indent=2))


@app.command()
def check(file: FileArgument, tenant: TenantOption, as_json: JsonOption = False) -> None:
    """Say what FILE would change, or everything that is wrong with it; write nothing. Exits with 3 when it is wrong."""
    body = _read(file)
    checked = _work(tenant, lambda database, tenant_id: check_routing(database, tenant_id, body.change))
    problems = [{"field": each.field, "problem": each.sentence} for each in checked.problems]
    for each in problems:
        err.print(f"{each['field']} {each['problem']}", markup=False, soft_wrap=True)
    value = {"ok": not problems, "problems": problems, "version": checked.version, "changes": _said(checked.changes)}
    text = "It cannot be put; mend what is named above." if problems else _told(checked.changes)
    out(value, as_json, text)
    if problems:
        raise typer.Exit(BAD_INPUT)


def _said(changes: Sequence[Difference]) -> list[str]:
    return [each.sentence for each in changes]


def _told(changes: Sequence[Difference]) -> str:
    return "\n".join(_said(changes)) or "No difference."


@app.command("edit-from")
def edit_from(file: FileArgument, tenant: TenantOption, why: WhyOption = "", as_json: JsonOption = False) -> None:
    """Make FILE the routing. Calls follow it at once, nothing is restarted.

    The file's "version" says which version was edited: when somebody changed the routing since, nothing is written
    and the exit code is 4. An emergency that the file does not speak of goes on.
    """
    body = _read(file)
    note = why or body.why

    async def work(database: Database, tenant_id: UUID) -> Kept:
        return await keep_routing(database, tenant_id, body.change, who=_who(), why=note, edited=body.version)

    _report(_work(tenant, work), as_json)


def _report(kept: Kept, as_json: bool) -> None:
    version = kept.stored.version
    text = f"Version {version}." if kept.outcome != "unchanged" else f"Nothing changed; it is version {version}."
    out({"version": version, "outcome": kept.outcome}, as_json, text)


@app.command()
def versions(
    tenant: TenantOption,
    limit: Annotated[int, typer.Option("--limit", min=1, max=500, help="How many at most, the newest first.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """List who changed the routing, when and why."""

    async def work(database: Database, tenant_id: UUID) -> list[dict[str, Any]]:
        async with database.transaction(tenant_id) as tx:
            found = await store.routing_versions(tx, 2**31 - 1, limit)
        return [
            {"version": v.version, "changed_at": v.changed_at.isoformat(), "changed_by": v.changed_by, "why": v.why}
            for v in found
        ]

    rows = _work(tenant, work)
    lines = [
        f"{row['version']:>5}  {row['changed_at'][:16]}  {row['changed_by']}  {row['why']}".rstrip() for row in rows
    ]
    out(rows, as_json, "\n".join(lines) or "No version yet.")


@app.command()
def diff(
    version: Annotated[int, typer.Argument(help="The newer version.")],
    tenant: TenantOption,
    against: Annotated[int | None, typer.Option("--against", help="The older one. By default the one before.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Say what VERSION changed, field by field."""

    async def work(database: Database, tenant_id: UUID) -> list[Difference]:
        new = await _version(database, tenant_id, version)
        other = version - 1 if against is None else against
        return differences(await _version(database, tenant_id, other) if other else {}, new)

    found = _work(tenant, work)
    out(_said(found), as_json, _told(found))


async def _version(database: Database, tenant_id: UUID, number: int) -> dict[str, Any]:
    try:
        return dict((await read_version(database, tenant_id, number)).body or {})
    except NoSuchEntity:
        fail(f"There is no version {number}. 'trunkline routing versions' lists those there are.", USAGE)


@app.command("restore")
def restore_(
    version: Annotated[int, typer.Argument(help="The version to go back to.")],
    tenant: TenantOption,
    why: WhyOption = "",
    as_json: JsonOption = False,
) -> None:
    """Make an old VERSION the newest, as a version of its own. An emergency stays as it is."""

    async def work(database: Database, tenant_id: UUID) -> Kept:
        await _version(database, tenant_id, version)
        return await restore(database, tenant_id, version, who=_who(), why=why)

    _report(_work(tenant, work), as_json)


@emergency.command("on")
def emergency_on(
    tenant: TenantOption,
    reason: Annotated[str, typer.Option("--reason", help="Shown on every page of the console while it holds.")],
    number: Annotated[str | None, typer.Option("--number", help="Where all calls go.")] = None,
    group: Annotated[str | None, typer.Option("--group", help="A group, rung before the number.")] = None,
    until: Annotated[
        str | None, typer.Option("--until", help="Ends by itself then, like 2026-11-30T18:00+05:30.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Send all calls to one number or group from now on, whatever the hour and whoever calls."""
    try:
        ends = datetime.fromisoformat(until) if until else None
    except ValueError:
        fail("--until is written like 2026-11-30T18:00+05:30.", USAGE)
    if ends is not None and ends.tzinfo is None:
        fail("--until needs a zone, like 2026-11-30T18:00+05:30.", USAGE)
    body = EmergencyBody(number=number, group=group, until=ends, reason=reason)

    async def work(database: Database, tenant_id: UUID) -> Kept:
        return await start_emergency(database, tenant_id, body.value(), who=_who())

    _report(_work(tenant, work), as_json)


@emergency.command("off")
def emergency_off(tenant: TenantOption, why: WhyOption = "", as_json: JsonOption = False) -> None:
    """End it: calls go as the routing says again."""

    async def work(database: Database, tenant_id: UUID) -> Kept:
        try:
            return await end_emergency(database, tenant_id, who=_who(), why=why)
        except NoSuchEntity:
            fail("There is no routing, hence no emergency.", USAGE)

    _report(_work(tenant, work), as_json)
