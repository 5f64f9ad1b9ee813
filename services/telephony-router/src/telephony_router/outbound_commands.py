"""``trunkline router dialling|breaker|outbound|stuck``: calls that we place, and calls that never ended."""

from __future__ import annotations

import getpass
import json
from collections.abc import Awaitable, Callable, Coroutine
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal
from uuid import UUID

import typer

__all__ = ["register"]

TenantOption = Annotated[UUID, typer.Option(help="The tenant's id.")]
AccountOption = Annotated[UUID, typer.Option(help="The vendor account's id, as account list shows it.")]
ReasonOption = Annotated[str, typer.Option(help="Why; it is kept with your name.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Resolution = Literal["submitted", "refused"]

dialling_app = typer.Typer(help="How an account's calls are placed.", no_args_is_help=True)
breaker_app = typer.Typer(help="Vendors that are not asked to dial, since they failed.", no_args_is_help=True)
outbound_app = typer.Typer(help="Calls that we were asked to place.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    app.add_typer(dialling_app, name="dialling")
    app.add_typer(breaker_app, name="breaker")
    app.add_typer(outbound_app, name="outbound")
    app.command("stuck")(stuck)


def _fail(sentence: str) -> None:
    from telephony_router.commands import _fail as fail

    fail(sentence)


def _run(work: Coroutine[Any, Any, Any]) -> Any:
    from telephony_router.commands import _run as run

    return run(work)


async def _with(tenant: UUID | None, work: Callable[[Any], Awaitable[Any]]) -> Any:
    """In one transaction, of a tenant or past all fences."""
    from telephony_router.commands import _settings
    from telephony_router.wiring import make_database

    database = make_database(_settings())
    try:
        async with database.transaction(tenant) if tenant is not None else database.system() as tx:
            return await work(tx)
    finally:
        await database.close()


def _secrets(path: Path) -> dict[str, str]:
    from telephony_router.commands import _token

    pairs = [line.partition("=") for line in _token(path).splitlines() if line.strip()]
    return {name.strip(): value.strip() for name, _, value in pairs}


@dialling_app.command("set")
def dialling_set(
    tenant: TenantOption,
    account: AccountOption,
    secret_file: Annotated[
        Path, typer.Option(help="File of NAME=VALUE lines; - reads stdin. dialling vendors says which.")
    ],
    option: Annotated[list[str] | None, typer.Option(help="NAME=VALUE; repeatable.")] = None,
) -> None:
    """Let an account place calls. What was set before is replaced."""
    from telephony_router import outbound_store as store
    from telephony_router.commands import _settings
    from telephony_router.seal import Seal, hash_of_secret
    from telephony_router.vendor_api import check_access, closed_access
    from telephony_router.vendors.dialling import CANNOT_DIAL, DIALLERS

    settings, secrets = _settings(), _secrets(secret_file)
    options = dict(text.partition("=")[::2] for text in option or [])
    seal = Seal(settings.secret_key.get_secret_value())

    async def put(tx: Any) -> str:
        found = await store.find_account_of(tx, account)
        if found is None:
            return "there is no such account"
        vendor = found["vendor"]
        if vendor not in DIALLERS:
            return f"{vendor} cannot dial: {CANNOT_DIAL[vendor]}"
        try:
            check_access(DIALLERS[vendor], options, secrets, settings.dial_api_bases.split(","))
        except ValueError as error:
            return str(error)
        if "webhooks" in secrets:
            kind, _, secret = secrets["webhooks"].rstrip("/").rpartition("/v1/hooks/")[2].partition("/")
            if kind != vendor or hash_of_secret(secret) != found["secret_sha256"]:
                return f"webhooks is not this account's address: https://…/v1/hooks/{vendor}/SECRET"
        await store.put_dialling(tx, account, closed_access(seal, account, secrets), options)
        return ""

    problem = _run(_with(tenant, put))
    if problem:
        _fail(problem)
    typer.echo(f"account {account} can place calls")


@dialling_app.command("vendors")
def dialling_vendors(as_json: JsonOption = False) -> None:
    """Which vendors can dial, what each needs, and why the others cannot."""
    from telephony_router.vendors.dialling import CANNOT_DIAL, DIALLERS

    if as_json:
        told = {name: {"secrets": dict(each.secrets), "options": dict(each.options)} for name, each in DIALLERS.items()}
        typer.echo(json.dumps({"can": told, "cannot": CANNOT_DIAL}))
        return
    for name, each in DIALLERS.items():
        typer.echo(f"{name}\n    --secret-file with " + ", ".join(each.secrets))
        for option, meaning in each.options.items():
            typer.echo(f"    --option {option}=…  {meaning}")
    for name, why in CANNOT_DIAL.items():
        typer.echo(f"{name} cannot dial: {why}")


@breaker_app.command("list")
def breaker_list(as_json: JsonOption = False) -> None:
    """Every account's breaker, of every tenant."""
    from telephony_router import outbound_store as store

    rows = _run(_with(None, store.list_breakers))
    if as_json:
        typer.echo(json.dumps(rows, default=str))
        return
    for row in rows:
        until = f" until {row['until']:%H:%M:%S}Z" if row["until"] is not None else ""
        counts = f"{row['bad']} of {row['good'] + row['bad']} failed"
        typer.echo(
            f"{row['account_id']}  {row['vendor']:<10} {row['state']:<9}{until}  {counts}, opened {row['trips']}x"
        )


@breaker_app.command("reset")
def breaker_reset(account: AccountOption, reason: ReasonOption) -> None:
    """Close a breaker: the vendor is asked again at once."""
    from telephony_router import outbound_store as store

    if not reason.strip():
        _fail("say why with --reason")

    async def reset(tx: Any) -> bool:
        tenant = await store.reset_breaker(tx, account)
        if tenant is None:
            return False
        await store.audit(tx, tenant, getpass.getuser(), "breaker reset", account, reason.strip())
        return True

    if not _run(_with(None, reset)):
        _fail("this account has no breaker: its vendor was never asked")
    typer.echo("closed")


@outbound_app.command("resolve")
def outbound_resolve(
    tenant: TenantOption,
    call: Annotated[UUID, typer.Option(help="The call's id.")],
    state: Annotated[Resolution, typer.Option(help="submitted: it rang; refused: it did not.")],
    reason: ReasonOption,
) -> None:
    """Say what became of a call of unknown outcome, once you found out. Nothing is dialled."""
    from telephony_router import outbound_store as store

    if not reason.strip():
        _fail("say why with --reason")

    async def resolve(tx: Any) -> bool:
        if not await store.resolve(tx, call, state):
            return False
        await store.audit(tx, tenant, getpass.getuser(), f"resolved as {state}", call, reason.strip())
        return True

    if not _run(_with(tenant, resolve)):
        _fail("there is no such call of unknown outcome")
    typer.echo(state)


def stuck(
    tenant: Annotated[UUID | None, typer.Option(help="Of this tenant only.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many of each tenant.")] = 100,
    as_json: JsonOption = False,
) -> None:
    """Calls without an end although their last news is old, and what their vendors said when they were asked."""
    from telephony_router import outbound_store as store
    from telephony_router.commands import _settings

    after = timedelta(minutes=_settings().stuck_minutes)

    async def all_of_them() -> list[dict[str, Any]]:
        tenants = [tenant] if tenant is not None else await _with(None, store.tenants_of_accounts)
        found = []
        for each in tenants:
            rows = await _with(each, lambda tx: store.list_stuck(tx, after, limit))
            found += [{"tenant": each, **row} for row in rows]
        return found

    rows = _run(all_of_them())
    if as_json:
        typer.echo(json.dumps(rows, default=str))
        return
    for row in rows:
        said = f"asked {row['times']}x: {row['outcome']}" if row["times"] else "not asked yet"
        since = row["since"].isoformat(timespec="seconds")
        typer.echo(f"{row['id']}  {row['vendor']:<10} {row['direction']:<8} {row['state']:<18} since {since}  {said}")
