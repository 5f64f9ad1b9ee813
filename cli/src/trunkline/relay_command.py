"""``trunkline relay``: how far each outbox is published, and publishing again after Kafka lost it."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Annotated, Any

import asyncpg
import typer
from rich.console import Console
from rich.table import Table

from configuration import ConfigurationError
from kit.postgres import Database
from recovery.replay.plan import Refused
from recovery.rewind import rewind
from trunkline.replay.ask import bound, replayable, services

__all__ = ["app"]

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)
app = typer.Typer(
    no_args_is_help=True, rich_markup_mode="rich",
    help="The relays, which publish each service's outbox to Kafka. Exit codes: 0 done, 1 Postgres cannot be asked, "
    "2 misused.",
)  # fmt: skip

Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
STATUS = """
SELECT b.unpublished, round(b.oldest_seconds)::integer AS oldest_seconds, b.holder AS held_back_by_pid, p.halted,
       p.kafka_cluster, p.updated_at
FROM outbox_backlog($1) b LEFT JOIN relay_position p ON p.relay = $1
"""


@app.command()
def status(as_json: Json = False) -> None:
    """Each service's relay: what waits, since when, what holds it back, why it is halted."""
    found = _of_all(sorted(services()), _status)
    if as_json:
        _print(found)
        return
    table = Table(box=None)
    for column in ("service", "waiting", "oldest", "held back by", "halted"):
        table.add_column(column)
    for name, row in found.items():
        pid = str(row["held_back_by_pid"] or "")
        table.add_row(name, str(row["unpublished"]), f"{row['oldest_seconds']} s", pid, row["halted"] or "")
    out.print(table)


@app.command(name="rewind")
def rewind_(
    since: Annotated[
        str,
        typer.Option(
            help="2026-11-20T09:00+05:30; 3h (ago); beginning, for all that the outbox holds (nine days); now, to "
            "publish nothing again and only go on, for a Kafka that has it all."
        ),
    ],
    service: Annotated[list[str] | None, typer.Argument(help="These services; all of them by default.")] = None,
    as_json: Json = False,
) -> None:
    """Publish again, with the same ids, what was published since a time; and accept the Kafka that is there now.

    For when Kafka lost its data, was restored from an older copy, or was replaced: the relays notice, publish nothing
    and wait for this. Consumers drop what they have handled. A relay need not be stopped; it goes on within seconds.
    """
    try:
        time = None if since == "beginning" else bound(since)
    except Refused as refused:
        raise _failed(str(refused), 2) from None
    if time is not None and not isinstance(time, datetime):
        raise _failed(f"--since takes a time, beginning or now, not {since}", 2)
    known = sorted(services())
    if unknown := sorted(set(service or ()) - set(known)):
        raise _failed(f"there is no service {', '.join(unknown)}; there are: {', '.join(known)}", 2)

    async def back(database: Database) -> int:
        return await rewind(database, since=time)

    told = _of_all(service or known, back)
    if as_json:
        _print(told)
        return
    for name, count in told.items():
        out.print(f"{name}: {count:,} events are published again")


async def _status(database: Database) -> dict[str, Any]:
    async with database.system() as tx:
        return dict(await tx.fetchrow(STATUS, database.service) or {})


def _of_all(names: list[str], ask: Callable[[Database], Awaitable[Any]]) -> dict[str, Any]:
    async def each() -> dict[str, Any]:
        found = {}
        for name in names:
            database = replayable(name).database()
            try:
                found[name] = await ask(database)
            finally:
                await database.close()
        return found

    try:
        return asyncio.run(each())
    except (ConfigurationError, Refused) as error:
        raise _failed(str(error), 2) from None
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise _failed(
            f"Postgres cannot be asked ({type(error).__name__}); `trunkline status` tells whether it is up, "
            "`trunkline migrate` whether it is up to date.", 1
        ) from None  # fmt: skip


def _print(found: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(found, default=str) + "\n")


def _failed(sentence: str, code: int) -> typer.Exit:
    err.print(sentence)
    return typer.Exit(code)
