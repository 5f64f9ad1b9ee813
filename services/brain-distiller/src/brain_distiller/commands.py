"""``trunkline brain …``: look at facts, and try the distillers on a text."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import asdict
from datetime import datetime
from typing import Annotated
from uuid import UUID

import asyncpg
import typer

from brain_distiller import store
from brain_distiller.distillers import DISTILLERS, distil
from brain_distiller.facts import Fact
from brain_distiller.readings import INDIA
from brain_distiller.settings import Settings
from brain_distiller.store import KnownEvidence
from brain_distiller.wiring import database_of
from configuration import ConfigurationError

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Facts distilled from messages.")

JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
Listed = list[tuple[Fact, list[KnownEvidence]]]


@app.command()
def facts(
    tenant: Annotated[UUID, typer.Option(help="Whose facts.")],
    subject: Annotated[
        str | None, typer.Option(help="customer:<id>, contact:<number> or chat:<id>; all subjects by default.")
    ] = None,
    key: Annotated[str | None, typer.Option(help=f"One of {', '.join(d.key for d in DISTILLERS)}.")] = None,
    state: Annotated[str | None, typer.Option(help="asserted, conflicting, superseded or retracted.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000)] = 100,
    as_json: JsonOption = False,
) -> None:
    """Show what is known, the latest change first, with the words that say it."""
    try:
        listed = asyncio.run(_facts(Settings.load(), tenant, subject, key, state, limit))
    except ConfigurationError as error:
        raise _failed(str(error), 2) from None
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        sentence = f"The database cannot be asked ({type(error).__name__}); is it up? `trunkline status` tells."
        raise _failed(sentence, 1) from None
    if as_json:
        typer.echo(json.dumps({"facts": [_fact_json(fact, evidence) for fact, evidence in listed]}, ensure_ascii=False))
        return
    for fact, evidence in listed:
        quote = f"“{evidence[0].evidence.quote}” in {evidence[0].evidence.source_id}" if evidence else ""
        typer.echo(f"{fact.subject}\t{fact.key}\t{fact.value}\t{fact.state}\tv{fact.version}\t{quote}")
    typer.echo(f"{len(listed)} facts", err=True)


@app.command()
def extract(
    key: Annotated[str | None, typer.Option(help="Only this key.")] = None, as_json: JsonOption = False
) -> None:
    """Read a text from stdin and show what the distillers find in it, with half-open spans of characters."""
    if key is not None and key not in {distiller.key for distiller in DISTILLERS}:
        raise _failed(f"There is no distiller for {key}; there are {', '.join(d.key for d in DISTILLERS)}.", 2)
    text = sys.stdin.read()
    mentions = [mention for mention in distil(text, datetime.now(INDIA).date()) if key in {None, mention.key}]
    if as_json:
        typer.echo(json.dumps({"mentions": [asdict(mention) for mention in mentions]}, ensure_ascii=False))
        return
    for mention in mentions:
        typer.echo(f"{mention.key}\t{mention.value}\t{mention.start}-{mention.end}\t{mention.raw}")
    typer.echo(f"{len(mentions)} found", err=True)


def _failed(sentence: str, code: int) -> typer.Exit:
    typer.echo(sentence, err=True)
    return typer.Exit(code)


async def _facts(
    settings: Settings, tenant: UUID, subject: str | None, key: str | None, state: str | None, limit: int
) -> Listed:
    database = database_of(settings, app_pool=1)
    try:
        async with database.transaction(tenant) as tx:
            found = await store.list_facts(tx, subject=subject, key=key, state=state, limit=limit)
            evidence = await store.evidence_of(tx, [fact.fact_id for fact in found], each=3)
        return [(fact, evidence[fact.fact_id]) for fact in found]
    finally:
        await database.close()


def _fact_json(fact: Fact, evidence: list[KnownEvidence]) -> dict[str, object]:
    return {
        **asdict(fact),
        "fact_id": str(fact.fact_id),
        "evidence": [
            {
                "source_type": each.evidence.source_type,
                "source_id": each.evidence.source_id,
                "revision": each.evidence.revision,
                "start": each.evidence.start,
                "end": each.evidence.end,
                "quote": each.evidence.quote,
                "said_at": each.evidence.at.isoformat(),
                "withdrawn": each.withdrawn_at is not None,
            }
            for each in evidence
        ],
    }
