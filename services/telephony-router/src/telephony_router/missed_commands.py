"""``trunkline missed``: what waits to be called back, and taking it from whoever has it."""

from __future__ import annotations

import json
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from telephony_router.commands import JsonOption, TenantOption, _fail, _in_transaction, _run, _settings, _with_database

if TYPE_CHECKING:
    from kit.postgres import Database
    from telephony_router.claims import Item

app = typer.Typer(name="missed", help="Missed calls: who waits, who sees to it.", no_args_is_help=True)


class State(StrEnum):
    open = "open"
    claimed = "claimed"
    resolved = "resolved"


@app.command("list")
def missed_list(
    tenant: TenantOption,
    state: Annotated[State | None, typer.Option(help="Only those.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 100,
    as_json: JsonOption = False,
) -> None:
    """A tenant's missed calls, the oldest first."""
    from telephony_router import claims_store
    from telephony_router.claims import ago
    from telephony_router.missed_api import as_json as told

    items: list[Item] = _run(_in_transaction(_settings(), tenant, lambda tx: claims_store.page(tx, state, None, limit)))
    if as_json:
        typer.echo(json.dumps([told(item) for item in items]))
        return
    for item in items:
        who = f" by {item.user_name or item.user_id}" if item.user_id else ""
        outcome = f", {item.outcome}" if item.outcome else ""
        until = f" until {_clock(item.until)}" if item.until else ""
        typer.echo(
            f"{item.id}  missed {item.calls} time(s), last {_clock(item.last_at)}  {item.state}{who}{outcome} "
            f"for {ago(item.seconds)}{until}"
        )


def _clock(at: datetime) -> str:
    return at.isoformat(timespec="seconds")


@app.command("release")
def missed_release(
    call: Annotated[UUID, typer.Argument(help="The id that the list shows, or one of its calls.")],
    tenant: TenantOption,
    why: Annotated[str, typer.Option(help="Stands in its history.")],
    as_json: JsonOption = False,
) -> None:
    """Take a missed call from whoever has it, so that anybody may claim it."""
    from telephony_router.claim_missed import NoSuchItem, release
    from telephony_router.claims import Taken
    from telephony_router.missed_api import as_json as told

    async def free(database: Database) -> Item:
        return await release(database, tenant, call, user=None, reason=why)

    try:
        item = _run(_with_database(_settings(), free))
    except NoSuchItem:
        _fail("there is no such missed call of this tenant")
    except Taken as taken:
        _fail(str(taken))
    typer.echo(json.dumps(told(item)) if as_json else f"{item.id} is open")
