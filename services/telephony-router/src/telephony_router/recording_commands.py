"""``trunkline recordings``: what becomes of calls' recordings, and from where they may come."""

from __future__ import annotations

import getpass
import json
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal
from uuid import UUID

import typer

from telephony_router.commands import (
    JsonOption,
    TenantOption,
    TokenFileOption,
    _fail,
    _in_transaction,
    _run,
    _settings,
    _token,
)  # fmt: skip

if TYPE_CHECKING:
    from kit.postgres import Transaction

app = typer.Typer(name="recordings", help="Recordings of calls: fetched, waiting, failed.", no_args_is_help=True)

HOST = re.compile(r"(\*\.)?[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*")
State = Literal["pending", "fetching", "stored", "absent", "failed", "expired"]


@app.command("list")
def list_command(
    tenant: TenantOption,
    state: Annotated[State | None, typer.Option(help="Only those.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 100,
    as_json: JsonOption = False,
) -> None:
    """A tenant's recordings, those that wait longest first."""
    from telephony_router import recording_store

    rows = _run(_in_transaction(_settings(), tenant, lambda tx: recording_store.list_all(tx, state, limit)))
    if as_json:
        typer.echo(json.dumps(rows, default=str))
        return
    for row in rows:
        why = f"  {row['reason']}" if row["reason"] else ""
        again = f", again {row['next_attempt_at']:%H:%M:%S}" if row["next_attempt_at"] and row["attempts"] else ""
        tries = f"{row['attempts']} attempt(s){again}"
        typer.echo(f"{row['id']}  {row['state']:<8} {row['vendor']:<10} call {row['call_id']}  {tries}{why}")


@app.command("show")
def show_command(
    recording: Annotated[UUID, typer.Argument()], tenant: TenantOption, as_json: JsonOption = False
) -> None:
    """One recording: what the vendor told, what became of it, what is in the store. The look is written down."""
    from telephony_router import recording_store

    async def show(tx: Transaction) -> dict[str, Any] | None:
        found = await recording_store.show(tx, recording)
        if found is not None:
            await recording_store.audit(tx, getpass.getuser(), "show", call_id=found["call_id"], recording_id=recording)
        return found

    found = _run(_in_transaction(_settings(), tenant, show))
    if found is None:
        _fail("the tenant has no such recording")
    if as_json:
        typer.echo(json.dumps(found, default=str))
        return
    for name, value in found.items():
        if value not in (None, ""):
            typer.echo(f"{name:<16} {value}")


@app.command("retry")
def retry_command(
    tenant: TenantOption,
    recordings: Annotated[list[UUID] | None, typer.Argument(help="Ids, as the list shows them.")] = None,
    every: Annotated[bool, typer.Option("--all", help="All that failed.")] = False,
) -> None:
    """Fetch them anew, now that the cause is mended; what waits is fetched at once."""
    from telephony_router import recording_store

    if bool(recordings) == every:
        _fail("name the recordings by their ids, or say --all")

    async def retry(tx: Transaction) -> int:
        chosen = await recording_store.retry(tx, recordings or [])
        for recording_id, call_id in chosen:
            await recording_store.audit(tx, getpass.getuser(), "retry", call_id=call_id, recording_id=recording_id)
        return len(chosen)

    typer.echo(f"{_run(_in_transaction(_settings(), tenant, retry))} will be fetched again")


@app.command("access")
def access_command(
    account: Annotated[UUID, typer.Argument(help="The vendor account's id: trunkline router account list.")],
    tenant: TenantOption,
    host: Annotated[
        list[str] | None,
        typer.Option(help="Host, or *.domain, that recordings come from; repeatable. Replaces those set before."),
    ] = None,
    credential_file: TokenFileOption = None,
    agent_channel: Annotated[
        int | None, typer.Option(min=1, max=2, help="The agent's channel, of every call of this account.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """From where an account's recordings may come, with what credential, and which channel is the agent's.

    The credential is user:password or Bearer TOKEN; for Vonage an application's id, a colon and its private key (PEM),
    which signs a token for each fetch; for MyOperator its API's token. It is kept sealed and shown to the listed
    hosts only.
    """
    from telephony_router import recording_store
    from telephony_router.application_token import NotAKey
    from telephony_router.recording_source import authorization
    from telephony_router.seal import Seal

    for each in host or []:
        if not HOST.fullmatch(each) or each.count(".") < 1 + each.startswith("*."):
            _fail(f"{each} is not the name of a host, nor *. and a domain")
    if len(credential_file or []) > 1:
        _fail("one credential at a time")
    settings = _settings()
    sealed = None
    for path in credential_file or []:
        credential = _token(path)
        try:
            authorization(credential, datetime.now(UTC))
        except NotAKey as error:
            _fail(f"{path}: {error}")
        sealed = Seal(settings.secret_key.get_secret_value()).close(account, credential)

    async def put(tx: Transaction) -> dict[str, Any] | None:
        kept = await recording_store.put_access(tx, account, hosts=host, sealed=sealed, agent_channel=agent_channel)
        if kept is not None:
            await recording_store.audit(tx, getpass.getuser(), "access", detail=f"account {account}")
        return kept

    kept = _run(_in_transaction(settings, tenant, put))
    if kept is None:
        _fail("the tenant has no such account")
    if as_json:
        typer.echo(json.dumps(kept))
        return
    typer.echo(f"hosts      {', '.join(kept['hosts']) or 'those of the vendor'}")
    typer.echo(f"credential {'set' if kept['has_credential'] else 'none'}")
    typer.echo(f"agent on   {kept['agent_channel'] or 'the channel of the leg that did not begin the call'}")
