"""``trunkline router``: vendor accounts, the routing view, what-if. Data on stdout, everything else on stderr."""

from __future__ import annotations

import asyncio
import json
import secrets
import sys
from collections.abc import Awaitable, Callable, Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn
from uuid import UUID

import typer

from telephony_router.outbound_commands import register

if TYPE_CHECKING:
    from kit.postgres import Database, Transaction
    from telephony_router.settings import Settings
    from telephony_router.vendors.base import Vendor

# What does the work is imported in the commands: asking for help must not wait for it.

app = typer.Typer(name="router", help="Calls: vendor accounts, the routing view, what-if.", no_args_is_help=True)
account_app = typer.Typer(help="Vendor accounts and their webhook addresses.", no_args_is_help=True)
app.add_typer(account_app, name="account")
parked_app = typer.Typer(help="Webhooks that were acknowledged and could have no effect.", no_args_is_help=True)
app.add_typer(parked_app, name="parked")
register(app)

TenantOption = Annotated[UUID, typer.Option(help="The tenant's id.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
TokenFileOption = Annotated[
    list[Path] | None,
    typer.Option(help="File with the vendor's auth token; - reads stdin. Twice while one replaces the other."),
]


def _fail(sentence: str) -> NoReturn:
    typer.echo(sentence, err=True)
    raise typer.Exit(1)


def _settings() -> Settings:
    from configuration import ConfigurationError
    from runtime.logs import configure_logging
    from telephony_router.settings import Settings

    try:
        settings = Settings.load()
    except ConfigurationError as error:
        _fail(str(error))
    configure_logging(settings.service, "WARNING")
    return settings


def _run(work: Coroutine[Any, Any, Any]) -> Any:
    from redis.exceptions import RedisError

    from telephony_router.record import DATABASE_FAILURES

    try:
        return asyncio.run(work)
    except (*DATABASE_FAILURES, RedisError) as error:
        _fail(f"Postgres or Redis cannot be used ({type(error).__name__}); is the stack up? Try: trunkline status")


async def _in_transaction(settings: Settings, tenant: UUID, work: Callable[[Transaction], Awaitable[Any]]) -> Any:
    async def in_transaction(database: Database) -> Any:
        async with database.transaction(tenant) as tx:
            return await work(tx)

    return await _with_database(settings, in_transaction)


async def _with_database(settings: Settings, work: Callable[[Database], Awaitable[Any]]) -> Any:
    from telephony_router.wiring import make_database

    database = make_database(settings)
    try:
        return await work(database)
    finally:
        await database.close()


def _token(path: Path) -> str:
    try:
        text = sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8")
    except OSError as error:
        _fail(f"{path} cannot be read: {error.strerror}")
    if not text.strip():
        _fail(f"{path} holds no auth token")
    return text.strip()


def _sources(texts: list[str] | None) -> list[str]:
    from telephony_router.peers import networks

    try:
        return [str(each) for each in networks(texts or [])]
    except ValueError as error:
        _fail(f"--allow-source takes an address or a CIDR block: {error}")


def _options(vendor: Vendor, texts: list[str] | None) -> dict[str, str]:
    from telephony_router.vendors.base import check_options

    options = dict(text.partition("=")[::2] for text in texts or [])
    try:
        check_options(vendor, options)
    except ValueError as error:
        _fail(str(error))
    return options


@account_app.command("add")
def account_add(
    tenant: TenantOption,
    vendor: Annotated[str, typer.Option(help="Its name; trunkline router vendors lists them.")],
    label: Annotated[str, typer.Option(help="A name for people.")],
    auth_token_file: TokenFileOption = None,
    allow_source: Annotated[
        list[str] | None, typer.Option(help="Address or CIDR block that webhooks may come from; repeatable.")
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option(help="NAME=VALUE, one of the vendor's options; repeatable.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Register a vendor account and print the address of its webhooks, which is shown only now."""
    from kit.ids import uuid7
    from telephony_router import store
    from telephony_router.seal import Seal
    from telephony_router.vendors import VENDORS

    if vendor not in VENDORS:
        _fail(f"{vendor} is not a vendor we speak with; there are: {', '.join(VENDORS)}")
    tokens = [_token(path) for path in auth_token_file or []]
    if VENDORS[vendor].needs_token and not tokens:
        _fail(f"{vendor} signs its webhooks: give {VENDORS[vendor].proof} with --auth-token-file")
    sources, options = _sources(allow_source), _options(VENDORS[vendor], option)
    settings = _settings()
    account_id, secret = uuid7(), secrets.token_urlsafe(32)
    seal = Seal(settings.secret_key.get_secret_value())

    async def add(tx: Transaction) -> None:
        await store.add_account(
            tx,
            account_id=account_id,
            vendor=vendor,
            label=label,
            secret=secret,
            sealed_tokens=[seal.close(account_id, token) for token in tokens],
            allow_sources=sources,
            options=options,
        )

    _run(_in_transaction(settings, tenant, add))
    path = f"/v1/hooks/{vendor}/{secret}"
    if as_json:
        typer.echo(json.dumps({"account_id": str(account_id), "hook_base_path": path}))
    else:
        typer.echo(f"account  {account_id}\nwebhooks {path}/{{{','.join(VENDORS[vendor].hooks)}}}")


@app.command("vendors")
def vendors_command(as_json: JsonOption = False) -> None:
    """The PBX vendors we speak with: their hooks, the proof they give, the options of an account."""
    from telephony_router.vendors import VENDORS

    if as_json:
        told = {
            name: {"hooks": dict(each.hooks), "proof": each.proof, "options": dict(each.options)}
            for name, each in VENDORS.items()
        }
        typer.echo(json.dumps(told))
        return
    for name, each in VENDORS.items():
        typer.echo(f"{name}: {', '.join(each.hooks)}\n    auth token: {each.proof}")
        for option, meaning in each.options.items():
            typer.echo(f"    --option {option}=…  {meaning}")


@account_app.command("list")
def account_list(tenant: TenantOption, as_json: JsonOption = False) -> None:
    """The tenant's vendor accounts."""
    from telephony_router import store

    accounts = _run(_in_transaction(_settings(), tenant, store.list_accounts))
    if as_json:
        typer.echo(json.dumps(accounts, default=str))
        return
    for each in accounts:
        state = "disabled" if each["disabled_at"] else "live"
        sources = ",".join(each["allow_sources"]) or "anywhere"
        tokens = f"{each['tokens']} token(s)"
        typer.echo(f"{each['id']}  {each['vendor']:<10} {state:<8} {tokens}  from {sources}  {each['label']}")


SeqsArgument = Annotated[list[int] | None, typer.Argument(help="Numbers, as the list shows them.")]
AllOption = Annotated[bool, typer.Option("--all", help="All that are parked.")]


@parked_app.command("list")
def parked_list(
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 100, as_json: JsonOption = False
) -> None:
    """What is parked, of every tenant, and why."""
    from telephony_router import store

    rows = _run(_of_all_tenants(lambda tx: store.parked_intake(tx, limit)))
    if as_json:
        typer.echo(json.dumps(rows, default=str))
        return
    for row in rows:
        at = row["received_at"].isoformat(timespec="seconds")
        typer.echo(f"{row['seq']}  {at}  {row['vendor']:<8} {row['kind']:<6} call {row['call_id']}  {row['parked']}")


@parked_app.command("retry")
def parked_retry(seqs: SeqsArgument = None, every: AllOption = False) -> None:
    """Process them once more, now that the cause is mended."""
    from telephony_router import store

    chosen = _chosen(seqs, every)
    typer.echo(f"{_run(_of_all_tenants(lambda tx: store.unpark_intake(tx, chosen)))} will be processed again")


@parked_app.command("drop")
def parked_drop(seqs: SeqsArgument = None, every: AllOption = False) -> None:
    """They need nobody: they leave the list, and are kept for as long as processed ones."""
    from telephony_router import store

    chosen = _chosen(seqs, every)
    typer.echo(f"{_run(_of_all_tenants(lambda tx: store.drop_parked_intake(tx, chosen)))} dropped")


def _chosen(seqs: list[int] | None, every: bool) -> list[int]:
    if bool(seqs) == every:
        _fail("name the webhooks by their numbers, or say --all")
    return seqs or []


async def _of_all_tenants(work: Callable[[Any], Awaitable[Any]]) -> Any:
    """Past the tenants' fence, as the plumbing goes."""
    from telephony_router.wiring import make_database

    database = make_database(_settings())
    try:
        async with database.system() as tx:
            return await work(tx)
    finally:
        await database.close()


@app.command("drift")
def drift_command(tenant: TenantOption, as_json: JsonOption = False) -> None:
    """Fields that the tenant's vendors send and we do not know, with the shape of the first value."""
    from telephony_router import store

    found = _run(_in_transaction(_settings(), tenant, store.list_drift))
    if as_json:
        typer.echo(json.dumps(found, default=str))
        return
    for each in found:
        what = "is new" if each["change"] == "unknown" else "has another kind of value"
        typer.echo(
            f"{each['vendor']}/{each['hook']}: {each['field']} {what}, {each['seen']} time(s)"
            f" since {each['first_seen']:%Y-%m-%d %H:%M}; first: {each['sample']}"
        )


@app.command("rebuild-view")
def rebuild_view_command(as_json: JsonOption = False) -> None:
    """Write the whole routing view in Redis anew from Postgres."""
    from telephony_router.sweep_view import rebuild_view
    from telephony_router.wiring import make_database, make_view

    settings = _settings()

    async def rebuild() -> int:
        database, view = make_database(settings), make_view(settings)
        try:
            return await rebuild_view(database, view)
        finally:
            await view.close()
            await database.close()

    count = _run(rebuild())
    typer.echo(json.dumps({"entries": count}) if as_json else f"{count} entries written")


@app.command("simulate")
def simulate_command(
    tenant: TenantOption,
    did: Annotated[str, typer.Option(help="The number that is dialled.")],
    caller: Annotated[str, typer.Option("--from", help="The number that calls, as the PBX would send it.")],
    at: Annotated[datetime | None, typer.Option(help="When; now by default, UTC.")] = None,
    digits: Annotated[str, typer.Option(help="What the caller pressed before.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Whom a call would ring, and why. Has no effect."""
    from telephony_router.simulate import simulate

    moment = (at or datetime.now(UTC)).replace(tzinfo=UTC)

    async def ask(database: Database) -> dict[str, Any]:
        return await simulate(database, tenant, did=did, caller=caller, at=moment, digits=digits)

    result = _run(_with_database(_settings(), ask))
    typer.echo(json.dumps(result) if as_json else "\n  - ".join([result["why"], *result["in_full"]]))
