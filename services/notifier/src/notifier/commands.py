"""``trunkline notify``: the pulse, the sends, and their resolution. Data on stdout, everything else on stderr."""

from __future__ import annotations

import asyncio
import getpass
import json
import time
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from runtime.commands import complete_on, fail, settings_of

if TYPE_CHECKING:
    from kit.postgres import Database
    from notifier.enqueue import Preview
    from notifier.sends import Send
    from notifier.settings import Settings

__all__ = ["app"]

app = typer.Typer(name="notify", help="The daily pulse and what became of each message.", no_args_is_help=True)

JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
POLL_SECONDS = 0.2


@app.command()
def pulse(
    tenant: Annotated[UUID, typer.Option(help="Whose pulse.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be sent now; send nothing.")] = False,
    wait: Annotated[float, typer.Option(help="Seconds to wait for the outcome.")] = 60.0,
    as_json: JsonOption = False,
) -> None:
    """Send today's pulse now, or show the one that was sent. Exit code 1 unless it is sent.

    Safe beside the running service and as often as wanted: a tenant has one pulse a day.
    """
    from notifier.enqueue import CannotSend

    settings = _settings()
    try:
        if dry_run:
            _show_preview(_run(settings, lambda database: _preview(database, tenant)), as_json)
            return
        if not settings.sending_enabled:
            fail("Sending is held back; set TRUNKLINE_NOTIFIER_SENDING_ENABLED=true to let mails out.")
        send: Send = _run(settings, lambda database: _send_pulse(settings, database, tenant, wait))
    except CannotSend as error:
        fail(str(error))
    described = _describe(send)
    reason = f" ({send.reason})" if send.reason else ""
    typer.echo(json.dumps(described) if as_json else f"{described['state']}: {send.subject_line}{reason}")
    if described["state"] not in ("sent", "suppressed"):
        raise typer.Exit(1)


async def _preview(database: Database, tenant: UUID) -> Preview:
    from notifier.enqueue import preview_pulse

    return await preview_pulse(database, tenant, now=datetime.now(UTC))


async def _send_pulse(settings: Settings, database: Database, tenant: UUID, wait: float) -> Send:
    """Enter it and send it here; when the service was faster, wait for what it makes of it."""
    from notifier import store
    from notifier.enqueue import enqueue_pulse
    from notifier.wiring import make_deliverer

    send = await enqueue_pulse(database, tenant, now=datetime.now(UTC))
    deliverer = make_deliverer(settings, database)
    deadline = time.monotonic() + wait
    while not send.state.settled and time.monotonic() < deadline:
        attempted = await deliverer.deliver(tenant, send.id, at_once=True)
        if attempted is not None:
            return attempted
        async with database.transaction(tenant) as tx:
            send = await store.find_send(tx, send.id) or send
        if not send.state.settled:
            await asyncio.sleep(POLL_SECONDS)
    return send


@app.command()
def sends(
    tenant: Annotated[UUID | None, typer.Option(help="Of one tenant, with subjects; of all without.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=500)] = 20,
    as_json: JsonOption = False,
) -> None:
    """List the newest sends with what became of them."""

    async def work(database: Database) -> list[dict[str, Any]]:
        from notifier import store

        if tenant is None:
            return await store.sends_of_all(database, limit)
        async with database.transaction(tenant) as tx:
            return await store.sends(tx, limit)

    rows: list[dict[str, Any]] = _run(_settings(), work)
    if as_json:
        typer.echo(json.dumps(rows, default=str))
        return
    for row in rows:
        said = row["reason"] or row.get("subject_line", "")
        typer.echo(f"{row['send_id']}  {row['local_day']}  {row['kind']}  {row['state']}  {said}".rstrip())


@app.command()
def resolve(
    send_id: Annotated[UUID, typer.Argument(help="As `trunkline notify sends` shows it.")],
    reason: Annotated[str, typer.Option(help="What the decision rests on; kept on record.")],
    sent: Annotated[bool, typer.Option("--sent", help="It was sent after all.")] = False,
    resend: Annotated[bool, typer.Option("--resend", help="It was not; send it again.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Decide about a send whose outcome nobody knows. The decision, its reason and who made it are kept."""
    from notifier.resolve import CannotResolve
    from notifier.resolve import resolve as decide

    if sent == resend:
        fail("Say either --sent or --resend.")

    async def work(database: Database) -> Send:
        return await decide(
            database,
            send_id,
            decision="sent" if sent else "resend",
            reason=reason,
            by=getpass.getuser(),
            now=datetime.now(UTC),
        )

    try:
        resolved: Send = _run(_settings(), work)
    except CannotResolve as error:
        fail(str(error))
    typer.echo(json.dumps(_describe(resolved)) if as_json else f"{resolved.id} is {resolved.state.value} now")


def _describe(send: Send) -> dict[str, Any]:
    return {
        "notification_id": str(send.id),
        "state": send.state.value,
        "subject_line": send.subject_line,
        "local_day": send.local_day.isoformat(),
        "attempts": send.attempts,
        "reason": send.reason,
    }


def _show_preview(preview: Preview, as_json: bool) -> None:
    if as_json:
        said = {
            "local_day": preview.day.isoformat(),
            "red": preview.pulse.red,
            "subject_line": preview.pulse.subject_line,
            "text": preview.pulse.text,
        }
        typer.echo(json.dumps(said, ensure_ascii=False))
    else:
        typer.echo(f"{preview.pulse.subject_line}\n\n{preview.pulse.text}", nl=False)


def _settings() -> Settings:
    from notifier.settings import Settings

    return settings_of(Settings)


def _run(settings: Settings, work: Callable[[Database], Coroutine[Any, Any, Any]]) -> Any:
    from notifier.wiring import make_database

    return complete_on(make_database, settings, work)
