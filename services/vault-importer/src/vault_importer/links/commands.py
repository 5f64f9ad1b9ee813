"""``trunkline vault links``: who the archive's people are, and what people decide of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar
from uuid import UUID

import typer

from runtime.commands import complete_on, fail, settings_of

if TYPE_CHECKING:
    from kit.postgres import Database

__all__ = ["app"]


class StateName(StrEnum):
    """How a contact can stand; an enumeration, since that is what an option that is given again can be."""

    linked = "linked"
    ambiguous = "ambiguous"
    proposed = "proposed"
    none = "none"


T = TypeVar("T")

app = typer.Typer(
    name="links",
    no_args_is_help=True,
    help="Which contact is which customer or lead. The service links them by itself after imports and changes of the"
    " directory; `list` shows what it leaves to you, `decide` settles it for good. docs/howto/link-contacts.md tells"
    " the whole story.",
)

TenantOption = Annotated[UUID, typer.Option(help="Whose archive.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
ByOption = Annotated[str, typer.Option(help="Who you are; it is kept with the decision and in the audit log.")]
WhyOption = Annotated[str, typer.Option(help="A note that is kept with the decision.")]
ContactArgument = Annotated[UUID, typer.Argument(help="The contact, as `list` shows it.")]
RoleName = Literal["client", "lead", "vendor", "internal", "personal", "unknown", "rules"]
PAGE = 200


def _work(work: Callable[[Database], Coroutine[Any, Any, T]]) -> T:
    """What the work returns; a sentence when it is refused."""
    from vault_importer.links.judge import CannotDecide, NoSuchOne
    from vault_importer.settings import Settings
    from vault_importer.wiring import make_database

    settings = settings_of(Settings)
    try:
        return complete_on(make_database, settings, work)
    except (CannotDecide, NoSuchOne, ValueError) as refused:
        fail(str(refused))


@app.command("identities")
def list_identities(
    tenant: TenantOption,
    of: Annotated[str, typer.Option(help="Only those of one number (+91…) or hidden identity (…@lid).")] = "",
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many at most.")] = PAGE,
    as_json: JsonOption = False,
) -> None:
    """List which hidden identity (LID) has which number, what says so, how far that is trusted (0 to 100) and since
    when it is known. Of several numbers the first one listed counts."""
    from vault_importer import store

    address = f"{of.removeprefix('+')}@s.whatsapp.net" if of and "@" not in of else of or None

    async def work(database: Database) -> list[dict[str, Any]]:
        async with database.transaction(tenant) as tx:
            return await store.identities(tx, address, limit)

    pairs = _work(work)
    if as_json:
        typer.echo(json.dumps(pairs, default=str))
        return
    for pair in pairs:
        since = pair["first_seen_at"].date()
        typer.echo(f"{pair['lid']}  {pair['jid']}  {pair['source']}  {pair['confidence']}  since {since}")
    if not pairs:
        typer.echo("No hidden identity has a number yet: backups and increments bring them.", err=True)


@app.command("list")
def list_links(
    tenant: TenantOption,
    state: Annotated[
        list[StateName] | None,
        typer.Option(help="Contacts that stand so; may be given again. Without it what waits for a person."),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=PAGE, help="How many at most.")] = 50,
    as_json: JsonOption = False,
) -> None:
    """List contacts with their candidates and what speaks for each: by default `ambiguous` ones (several fit equally
    well) and `proposed` ones (only a name fits)."""
    from vault_importer.links import store

    async def work(database: Database) -> list[dict[str, Any]]:
        async with database.transaction(tenant) as tx:
            return await store.list_links(tx, state or ["ambiguous", "proposed"], limit=limit)

    links = _work(work)
    if as_json:
        typer.echo(json.dumps(links, default=str))
        return
    for link in links:
        typer.echo(f"{link['contact_id']}  {link['state']}  {link['number'] or '-'}  {link['name'] or '-'}")
        for each in link["evidence"]:
            by = "; ".join(f"{identity} {', '.join(values)}" for identity, values in each["by"].items())
            refused = "  (refused)" if each["refused"] else ""
            typer.echo(f"    {each['kind']}:{each['id']}  {each['name']}  by {by}{refused}")


@app.command()
def show(contact: ContactArgument, tenant: TenantOption) -> None:
    """Show how one contact stands, and everything that was ever decided of it, as JSON."""
    from vault_importer.links import store

    async def work(database: Database) -> dict[str, Any]:
        async with database.transaction(tenant) as tx:
            found = await store.list_links(tx, ["linked", "ambiguous", "proposed", "none"], limit=1, contact_id=contact)
            return {"link": found[0] if found else None, "history": await store.history_of(tx, contact)}

    typer.echo(json.dumps(_work(work), default=str))


@app.command()
def decide(  # long: every option is a part of the decision
    contact: ContactArgument,
    tenant: TenantOption,
    by: ByOption,
    accept: Annotated[str | None, typer.Option(help="It is this one: customer:ID or lead:ID.")] = None,
    refuse: Annotated[list[str] | None, typer.Option(help="It is not this one; may be given again.")] = None,
    none: Annotated[bool, typer.Option("--none", help="None of these: all candidates, and whoever is linked.")] = False,
    again: Annotated[bool, typer.Option("--again", help="Take back what people decided; the rules decide.")] = False,
    why: WhyOption = "",
    as_json: JsonOption = False,
) -> None:
    """Decide who a contact is. It stands through later imports and changes of the directory until you decide anew."""
    from datetime import UTC, datetime

    from vault_importer.links.decide import Action, Party
    from vault_importer.links.judge import Judgement, judge_contact

    if sum((accept is not None, bool(refuse), none, again)) != 1:
        fail("Give one of --accept, --refuse, --none, --again.")
    action: Action = "accept" if accept is not None else "again" if again else "refuse"
    named = [accept] if accept is not None else refuse or []

    async def work(database: Database) -> dict[str, Any]:
        parties = [Party.parse(each) for each in named]
        judgement = Judgement(by=by, why=why, at=datetime.now(UTC))
        return await judge_contact(database, tenant, contact, action, parties, judgement)

    link = _work(work)
    who = f" to {link['kind']}:{link['party_id']}" if link.get("party_id") else ""
    typer.echo(json.dumps(link, default=str) if as_json else f"{link['state']}{who}")


@app.command()
def role(
    chat: Annotated[UUID, typer.Argument(help="The chat.")],
    role: Annotated[RoleName, typer.Argument(help="What part it plays; `rules` leaves it to the rules again.")],
    tenant: TenantOption,
    by: ByOption,
    why: WhyOption = "",
) -> None:
    """Give a conversation its role. It stands until you give it another or `rules`."""
    from datetime import UTC, datetime

    from vault_importer.links.judge import Judgement, judge_chat

    async def work(database: Database) -> dict[str, Any]:
        judgement = Judgement(by=by, why=why, at=datetime.now(UTC))
        return await judge_chat(database, tenant, chat, None if role == "rules" else role, judgement)

    told = _work(work)
    typer.echo(f"{told['role']}: {told['role_reason']}")


@app.command()
def run(tenant: TenantOption) -> None:
    """Bring links and roles up to the archive and the directory now, without the service."""
    from vault_importer.links.follow import link_tenant

    async def work(database: Database) -> None:
        await link_tenant(database, tenant)

    _work(work)
