"""``trunkline vault erasure``: forgetting a person, step by step."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Coroutine
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar
from uuid import UUID

import typer

from runtime.commands import complete_on, fail, settings_of
from vault_importer.erasure.case import APPROVALS, Case, ErasureRefused, Ground, Mode, Scope

if TYPE_CHECKING:
    from kit.postgres import Database
    from vault_importer.erasure.case import SuppressionKey
    from vault_importer.erasure.recall import Recalled
    from vault_importer.erasure.store import Receipt
    from vault_importer.settings import Settings

__all__ = ["ByOption", "JsonOption", "TenantOption", "app", "result_of"]

T = TypeVar("T")

app = typer.Typer(
    name="erasure",
    no_args_is_help=True,
    help="Forget a person: ask, two people approve, plan, apply; then every service answers, and there is a"
    " certificate. Nothing is erased before `apply`. docs/howto/erase-a-person.md tells the whole story.",
)
TenantOption = Annotated[UUID, typer.Option(help="Whose archive.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
ByOption = Annotated[str, typer.Option(help="Who you are; it is kept in the audit log.")]
RequestArgument = Annotated[UUID, typer.Argument(help="The request, as `list` shows it.")]


def result_of(work: Callable[[Settings, Database], Coroutine[Any, Any, T]]) -> T:
    """What the work returns; a sentence when it is refused."""
    from vault_importer.accounts import SealingError
    from vault_importer.settings import Settings
    from vault_importer.wiring import make_database

    settings = settings_of(Settings)
    try:
        return complete_on(make_database, settings, lambda database: work(settings, database))
    except (ErasureRefused, SealingError) as refused:
        fail(str(refused))


def _key(settings: Settings) -> SuppressionKey:
    from vault_importer.wiring import suppression_key

    key = suppression_key(settings)
    if key is None:
        raise ErasureRefused("Set TRUNKLINE_VAULT_IMPORTER_KEY_ENCRYPTION_KEY.")
    return key


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise ErasureRefused("The certificate cannot be read.") from None


@app.command()
def ask(  # long: every option is a way to name somebody
    tenant: TenantOption,
    by: ByOption,
    number: Annotated[list[str] | None, typer.Option(help="A number of theirs; may be given again.")] = None,
    contact: Annotated[list[UUID] | None, typer.Option(help="Their id in the archive.")] = None,
    email: Annotated[list[str] | None, typer.Option(help="An e-mail address of theirs.")] = None,
    customer: Annotated[
        list[str] | None, typer.Option(help="The customer that is this person, by reference or id.")
    ] = None,
    lead: Annotated[list[str] | None, typer.Option(help="The lead that is this person, by reference or id.")] = None,
    scope: Annotated[
        Scope, typer.Option(help="person: everything. messages: what was written; calls and customer stay.")
    ] = "person",
    ground: Annotated[Ground, typer.Option(help="Why the law wants it.")] = "request",
    why: Annotated[str, typer.Option(help="A note, for instance where the letter is kept.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Enter a request to forget somebody. Nothing is hidden or erased yet."""
    from vault_importer.erasure import decide

    async def work(_: Settings, database: Database) -> Case:
        who = decide.who_of(number, contact, email, customer, lead)
        asked = decide.Asked(who=who, scope=scope, ground=ground, by=by, why=why)
        return await decide.ask(database, tenant, asked)

    _show(result_of(work), as_json)


@app.command()
def approve(request: RequestArgument, tenant: TenantOption, by: ByOption, as_json: JsonOption = False) -> None:
    """Approve a request. Two different people have to."""
    from vault_importer.erasure import decide

    async def work(_: Settings, database: Database) -> Case:
        return await decide.approve(database, tenant, request, by=by)

    _show(result_of(work), as_json)


@app.command()
def plan(request: RequestArgument, tenant: TenantOption, as_json: JsonOption = False) -> None:
    """Count what would be erased, where, and when. Erases nothing; refused while a legal hold is on it."""
    from vault_importer.erasure import decide

    async def work(_: Settings, database: Database) -> Case:
        return await decide.make_plan(database, tenant, request)

    _show(result_of(work), as_json)


@app.command()
def apply(
    request: RequestArgument,
    tenant: TenantOption,
    by: ByOption,
    plan: Annotated[str, typer.Option(help="The plan that you have read, by its name.")],
    as_json: JsonOption = False,
) -> None:
    """Carry a plan out: hide the person, keep them out of later backups, and erase, at once or on the plan's day."""
    from vault_importer.erasure import decide
    from vault_importer.erasure.run import carry_out
    from vault_importer.progress_bar import progress_bar
    from vault_importer.wiring import erasing_of, suppression_key

    async def work(settings: Settings, database: Database) -> Case:
        from dataclasses import replace

        case = await decide.begin(database, tenant, request, plan=plan, by=by, key=suppression_key(settings))
        erasing = erasing_of(settings, database)
        if case.state == "locked" or erasing is None:
            return case
        if as_json or not sys.stderr.isatty():
            return await carry_out(erasing, tenant, request)
        with progress_bar() as progress:
            return await carry_out(replace(erasing, progress=progress), tenant, request)

    _show(result_of(work), as_json)


@app.command()
def cancel(
    request: RequestArgument,
    tenant: TenantOption,
    by: ByOption,
    why: Annotated[str, typer.Option(help="Why it is given up.")],
    as_json: JsonOption = False,
) -> None:
    """Give a request up before anything is erased; what was hidden is shown again."""
    from vault_importer.erasure import decide

    async def work(_: Settings, database: Database) -> Case:
        return await decide.cancel(database, tenant, request, by=by, why=why)

    _show(result_of(work), as_json)


@app.command("list")
def list_(tenant: TenantOption, limit: int = 50, as_json: JsonOption = False) -> None:
    """Requests, the newest first, and how far each is."""
    from vault_importer.erasure import store

    async def work(_: Settings, database: Database) -> list[Case]:
        async with database.transaction(tenant) as tx:
            return await store.cases(tx, limit)

    cases = result_of(work)
    if as_json:
        typer.echo(json.dumps([_plain(case) for case in cases]))
    elif not cases:
        typer.echo("Nobody has asked to be forgotten.")
    for case in () if as_json else cases:
        typer.echo(f"{case.id}  {case.state:<9}  {case.asked_at:%Y-%m-%d}  {case.ground}  by {case.asked_by}")


@app.command()
def show(request: RequestArgument, tenant: TenantOption, as_json: JsonOption = False) -> None:
    """One request: who approved, what the plan says, who has not answered yet."""
    from vault_importer.erasure import store
    from vault_importer.erasure.receipts import missing

    async def work(_: Settings, database: Database) -> tuple[Case | None, list[Receipt]]:
        async with database.transaction(tenant) as tx:
            return await store.case_of(tx, request), await store.receipts(tx, request)

    case, receipts = result_of(work)
    if case is None:
        fail("There is no such request; `trunkline vault erasure list` shows what there is.")
    _show(case, as_json, missing(case, receipts) if case.state == "told" else None)


@app.command()
def reach(
    tenant: TenantOption,
    number: Annotated[list[str] | None, typer.Option(help="A number of theirs; may be given again.")] = None,
    contact: Annotated[list[UUID] | None, typer.Option(help="Their id in the archive.")] = None,
    as_json: JsonOption = False,
) -> None:
    """What the archive holds of a person, where, and since when: for their own question, or after a breach."""
    from vault_importer.erasure import decide
    from vault_importer.erasure.reach import Reach, reach_of

    async def work(_: Settings, database: Database) -> Reach:
        return await reach_of(database, tenant, decide.who_of(number, contact))

    found = result_of(work)
    if as_json:
        typer.echo(json.dumps(asdict(found), default=str))
        return
    known, chats = len(found.addresses), len(found.chats)
    typer.echo(f"addresses: {known}, messages: {found.messages:,}, conversations: {chats}")
    for chat in found.chats:
        typer.echo(f"  {chat['id']}  {chat['kind']:<9} {chat['messages']:>7,}  {chat['first_at']:%Y-%m-%d} on")
    for store, rows in found.beside.items():
        typer.echo(f"  {store}: {rows:,}")


@app.command()
def certificate(
    request: RequestArgument,
    tenant: TenantOption,
    out: Annotated[Path | None, typer.Option(help="Into this file instead of stdout.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Print what came of an erasure, signed when the archive has a key. It names nobody."""
    from vault_importer.erasure import store

    async def work(_: Settings, database: Database) -> Case | None:
        async with database.transaction(tenant) as tx:
            return await store.case_of(tx, request)

    case = result_of(work)
    if case is None or case.certificate is None:
        fail("There is no certificate yet; `trunkline vault erasure show` says what is missing.")
    if out is not None:
        out.write_text(case.certificate, encoding="utf-8")
    elif as_json:
        typer.echo(json.dumps({"certificate": case.certificate}))
    else:
        typer.echo(case.certificate, nl=False)


@app.command()
def recall(
    certificates: Annotated[list[Path], typer.Argument(help="Certificates that were kept outside of the database.")],
    tenant: TenantOption,
    by: ByOption,
    key: Annotated[
        list[str] | None, typer.Option(help="A public key that the archive had then; more than once.")
    ] = None,
    unsigned: Annotated[
        bool, typer.Option(help="Take those without a signature, of an archive without a key.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """After a restore: keep out again whom these certificates are about, and ask for who is there again.

    All are read, and their signatures verified, before anything is done. Nothing is erased: the requests that are
    entered are approved, planned and applied like any other.
    """
    from vault_importer.erasure.recall import recall as recall_one
    from vault_importer.erasure.receipts import read_certificate
    from vault_importer.signed_note import NoteError
    from vault_importer.wiring import log_keys

    async def work(settings: Settings, database: Database) -> list[Recalled]:
        try:
            keys = log_keys(settings, tenant, key or [])
        except NoteError as error:
            raise ErasureRefused(str(error)) from None
        read = []
        for path in certificates:
            try:
                read.append(read_certificate(_read(path), tenant, keys=keys, unsigned=unsigned))
            except ErasureRefused as refused:
                raise ErasureRefused(f"{path.name}: {refused} Nothing was done.") from None
        suppression_key = _key(settings)
        return [await recall_one(database, tenant, each, key=suppression_key, by=by) for each in read]

    done = result_of(work)
    if as_json:
        typer.echo(json.dumps([_recalled(each) for each in done]))
    for each in () if as_json else done:
        of = each.certificate
        here = "done here as well" if each.known else "not known to this database as done"
        typer.echo(f"certificate of {of.completed_at:%Y-%m-%d}, request {of.request}: {here}")
        typer.echo(f"  addresses and cards kept out again: {each.kept_out_again} of {len(of.tags)}")
        if each.case is None:
            typer.echo("  nobody of them is there")
        else:
            how = "asked for" if each.entered else f"{each.case.state} already"
            typer.echo(f"  there again; {how}: trunkline vault erasure show {each.case.id}")


def _recalled(each: Recalled) -> dict[str, Any]:
    return {
        "request": str(each.certificate.request),
        "completed_at": each.certificate.completed_at.isoformat(),
        "known": each.known,
        "addresses": len(each.certificate.tags),
        "kept_out_again": each.kept_out_again,
        "entered": each.entered,
        "there_again": _plain(each.case) if each.case is not None else None,
    }


@app.command()
def policy(
    mode: Annotated[
        Mode, typer.Argument(help="at_once, or after_one_year: hidden at once, erased when all of it is a year old.")
    ],
    tenant: TenantOption,
    by: ByOption,
) -> None:
    """Say when plans that are made from now on are carried out."""
    from vault_importer.erasure import decide

    async def work(_: Settings, database: Database) -> None:
        await decide.set_policy(database, tenant, mode, by=by)

    result_of(work)
    typer.echo(f"Plans from now on: {mode}.")


@app.command("let-in")
def let_in(
    tenant: TenantOption, by: ByOption, number: Annotated[list[str], typer.Option(help="Their number.")]
) -> None:
    """Let somebody in again who was erased and has come back: what is newer than the erasure."""
    from vault_importer.erasure import decide

    async def work(settings: Settings, database: Database) -> int:
        return await decide.lift(database, tenant, decide.who_of(number), by=by, key=_key(settings))

    typer.echo(f"Let in again (addresses: {result_of(work)}); what is older than the erasure stays out.")


# What is shown --------------------------------------------------------------------------------------------------


def _plain(case: Case) -> dict[str, Any]:
    """A request as JSON has it: who it is about only by how many addresses."""
    values = {name: value for name, value in asdict(case).items() if name not in ("who", "certificate")}
    plain: dict[str, Any] = json.loads(json.dumps({**values, "addresses": len(case.who.addresses)}, default=str))
    return plain


def _show(case: Case, as_json: bool, waiting: dict[str, int] | None = None) -> None:
    if as_json:
        typer.echo(json.dumps(_plain(case) if waiting is None else {**_plain(case), "not_answered": waiting}))
        return
    typer.echo(f"request {case.id}: {case.state}")
    typer.echo(f"asked {case.asked_at:%Y-%m-%d} by {case.asked_by} ({case.ground}), scope {case.scope}")
    typer.echo(f"approved by {', '.join(each.approver for each in case.approvals) or 'nobody yet'}")
    if case.plan and case.state in ("planned", "locked"):
        _show_plan(case)
    for store, rows in case.counts.items():
        typer.echo(f"  erased, {store}: {rows:,}")
    for service, parts in (waiting or {}).items():
        typer.echo(f"  {service} has not answered yet ({parts} parts)")
    typer.echo(_NEXT[case.state].format(id=case.id, plan=case.plan_hash, left=APPROVALS - len(case.approvers)))


def _show_plan(case: Case) -> None:
    plan = case.plan or {}
    day = case.due_at.date().isoformat() if case.due_at else plan["due_on"]
    typer.echo(f"plan {case.plan_hash}, to be carried out on {day} ({plan['mode']})")
    if because := plan.get("due_because"):
        typer.echo(f"  then because {because}")
    for name, rows in (*plan["messages"].items(), *plan["beside"].items()):
        typer.echo(f"  would erase, {name}: {rows:,}")
    if missing := plan.get("not in the directory"):
        typer.echo(f"  not in the directory, customers and leads that are named: {missing}")
    for name, rows in plan["kept"].items():
        typer.echo(f"  would keep, {name}: {rows:,}")
    typer.echo(f"  would tell {', '.join(plan['told'])}")


_NEXT = {
    "asked": "Next: {left} more to approve it: trunkline vault erasure approve {id} --by …",
    "approved": "Next: trunkline vault erasure plan {id}",
    "planned": "Next: trunkline vault erasure apply {id} --plan {plan} --by …",
    "locked": "Hidden and kept out; erased on its day by the service.",
    "erasing": "Being carried out; what was interrupted goes on in the service.",
    "told": "Gone from the archive. The other services answer next; `show` says who has not.",
    "done": "Everybody has forgotten: trunkline vault erasure certificate {id}",
    "cancelled": "Given up; nothing was erased.",
}
