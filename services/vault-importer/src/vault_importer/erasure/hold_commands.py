"""``trunkline vault hold``: what must not be forgotten."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from vault_importer.erasure.commands import ByOption, JsonOption, TenantOption, result_of

if TYPE_CHECKING:
    from kit.postgres import Database
    from vault_importer.settings import Settings

__all__ = ["app"]

app = typer.Typer(
    name="hold",
    no_args_is_help=True,
    help="What must stay for a claim or a court: erasures of it are refused until the hold is released.",
)


@app.command("place")
def hold_place(
    tenant: TenantOption,
    by: ByOption,
    reason: Annotated[str, typer.Option(help="What it has to stay for.")],
    number: Annotated[str | None, typer.Option(help="Of this person.")] = None,
    chat: Annotated[UUID | None, typer.Option(help="Of this conversation.")] = None,
) -> None:
    """Place a hold on a person, on a conversation or, with neither, on everything."""
    from vault_importer.erasure import decide
    from vault_importer.erasure.case import Hold

    async def work(_: Settings, database: Database) -> Hold:
        return await decide.hold(database, tenant, number=number, chat_id=chat, reason=reason, by=by)

    typer.echo(str(result_of(work).id))


@app.command("release")
def hold_release(
    hold: Annotated[UUID, typer.Argument(help="The hold, as `list` shows it.")],
    tenant: TenantOption,
    by: ByOption,
    why: Annotated[str, typer.Option(help="Why it need not stay any more.")],
) -> None:
    """Release a hold; erasures that it stopped go on."""
    from vault_importer.erasure import decide

    async def work(_: Settings, database: Database) -> None:
        await decide.release(database, tenant, hold, by=by, why=why)

    result_of(work)
    typer.echo("Released.")


@app.command("list")
def hold_list(tenant: TenantOption, as_json: JsonOption = False) -> None:
    """Holds, those too that were released."""
    from vault_importer.erasure import hold_store
    from vault_importer.erasure.case import Hold

    async def work(_: Settings, database: Database) -> list[Hold]:
        async with database.transaction(tenant) as tx:
            return await hold_store.holds(tx)

    holds = result_of(work)
    if as_json:
        typer.echo(json.dumps([asdict(hold) for hold in holds], default=str))
        return
    if not holds:
        typer.echo("Nothing is held.")
    for hold in holds:
        number = hold.number or "a number" if hold.number is not None else ""
        on = number or (f"chat {hold.chat_id}" if hold.chat_id else "everything")
        until = f"released {hold.released_at:%Y-%m-%d} by {hold.released_by}" if hold.released_at else "holds"
        why = hold.reason or "of an erased person"
        typer.echo(f"{hold.id}  {on}  since {hold.placed_at:%Y-%m-%d} by {hold.placed_by}: {why}  ({until})")
