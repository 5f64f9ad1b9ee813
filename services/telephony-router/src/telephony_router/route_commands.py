"""``trunkline route``: what another routing would have made of past calls. Data on stdout, all else on stderr."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from telephony_router.commands import JsonOption, TenantOption, _fail, _in_transaction, _run, _settings, _with_database

SINCE = "How far back: 30m, 12h, 7d, 2w; or a time, such as 2026-03-01T09:00."
app = typer.Typer(name="route", help="Calls of the past under another routing.", no_args_is_help=True)
SHOWN = 50
UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


@app.command("show")
def show(tenant: TenantOption) -> None:
    """The routing that the router goes by now, as JSON: to be changed and given to `replay`."""
    from telephony_router import store
    from telephony_router.routing_file import file_of

    entries = _run(_in_transaction(_settings(), tenant, lambda tx: store.view_tenants(tx, [tenant])))
    typer.echo(json.dumps(file_of(entries[0]["routing"] if entries else {}), indent=2, ensure_ascii=False))


@app.command("replay")
def replay(  # long: what of which calls
    tenant: TenantOption,
    since: Annotated[str, typer.Option(help=SINCE)] = "7d",
    config: Annotated[
        Path | None, typer.Option(help="JSON with the fields that change; without it the routing as it is now.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=200_000, help="The latest so many calls.")] = 10_000,
    as_json: JsonOption = False,
) -> None:
    """Who would have got which call, had the routing been another. Changes nothing.

    Each call is decided again with what was known then: the caller, what was pressed, who was on a call. People,
    their leave and their numbers are those of now.

    The file holds fields of the routing's event (docs/events.md, directory.routing): only those that change.
    `trunkline route show` prints all of them, with people by their ids.

    With a file each call is compared with the routing as it is now; without one, the routing as it is now is
    compared with what was decided then.

    Examples:

      echo '{"claim_agents": true, "spam_limit": 60}' > change.json

      trunkline route replay --tenant UUID --since 7d --config change.json

      trunkline route replay --tenant UUID --since 24h --json | jq .changed
    """
    from telephony_router.replay_decisions import replay_decisions
    from telephony_router.routing_file import BadRouting

    until = datetime.now(UTC)
    start, change = _start(since, until), _change(config) if config is not None else None
    asked = partial(replay_decisions, tenant=tenant, since=start, until=until, limit=limit, change=change)
    try:
        told = _run(_with_database(_settings(), asked))
    except BadRouting as error:
        _fail("\n".join(f"{config}: {each}" for each in error.problems))
    typer.echo(json.dumps(told) if as_json else "\n".join(_lines(told)))


def _start(text: str, now: datetime) -> datetime:
    span = re.fullmatch(r"(\d{1,5})([mhdw])", text.strip())
    if span is not None:
        return now - timedelta(**{UNITS[span[2]]: int(span[1])})
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        _fail(f"--since takes 30m, 12h, 7d, 2w, or a time like 2026-03-01T09:00; not {text}")
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _change(path: Path) -> object:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        _fail(f"{path} cannot be read: {error.strerror}")
    except ValueError as error:
        _fail(f"{path} is not JSON: {error}")


def _lines(told: dict[str, Any]) -> list[str]:
    summary = told["summary"]
    lines = [
        f"{told['calls']} calls since {told['since'][:16]}, against {told['against']}:"
        f" {summary['unchanged']} unchanged, {summary['moved']} moved, {summary['refused']} refused,"
        f" {summary['admitted']} admitted."
    ]
    if told["more"]:
        lines.append("There were more calls: --limit takes more of them.")
    if told["without_inputs"]:
        lines.append(f"{told['without_inputs']} are of a time before inputs were kept, and are left out.")
    for each in told["rings_first"]:
        if each["from"] != each["to"]:
            lines.append(f"  {each['who']}: rung first for {each['from']} calls, then for {each['to']}")
    for each in told["changed"][:SHOWN]:
        before, after = (", ".join(each[side]["rings"]) or "nobody" for side in ("from", "to"))
        moved = f"{before} ({each['from']['rule']}) → {after} ({each['to']['rule']})"
        lines.append(f"{each['at'][:16]}  {each['call_id']}  {moved}: {each['why']}")
    if len(told["changed"]) > SHOWN:
        lines.append(f"… and {len(told['changed']) - SHOWN} more: --json has all of them.")
    return lines
