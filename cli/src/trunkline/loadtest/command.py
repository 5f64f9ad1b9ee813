"""``trunkline loadtest``: calls at a rate, like a PBX makes them, and how the answers and their effects fared."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import re
import secrets
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer
from rich.console import Console
from rich.table import Table

from trunkline.loadtest.arrivals import ARRIVALS
from trunkline.loadtest.dialects import DIALECTS
from trunkline.stack.layout import Layout
from trunkline.stack.problems import Problem

if TYPE_CHECKING:
    from trunkline.loadtest.report import Figures, Report
    from trunkline.loadtest.traffic import Plan

__all__ = ["app"]

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
HOOKS = re.compile(r"/v1/hooks/([a-z]+)/[^/]+")
SETTLE_SECONDS = 10.0


@app.callback(invoke_without_command=True)
def loadtest(  # long: every parameter is an option of the command
    url: Annotated[
        str | None,
        typer.Option(
            help="Address of an account's webhooks, https://…/v1/hooks/<vendor>/<secret>. Without it: a business made "
            "for load tests on the local stack."
        ),
    ] = None,
    did: Annotated[str | None, typer.Option(help="The number that is called; with --url it has to be said.")] = None,
    vendor: Annotated[str, typer.Option(help=f"How the PBX speaks: {', '.join(DIALECTS)}.")] = "generic",
    token: Annotated[
        str, typer.Option(envvar="TRUNKLINE_LOADTEST_TOKEN", help="What the account signs with (twilio).")
    ] = "",
    rate: Annotated[float, typer.Option(help="Calls a second, on average.", min=0.1, max=5000)] = 20.0,
    seconds: Annotated[float, typer.Option(help="For how long calls begin.", min=1, max=86_400)] = 10.0,
    arrivals: Annotated[str, typer.Option(help=f"How calls come: {', '.join(ARRIVALS)}.")] = "poisson",
    burst: Annotated[int, typer.Option(help="Calls at one moment, with --arrivals burst.", min=2, max=10_000)] = 20,
    answered: Annotated[float, typer.Option(help="The share of calls that somebody takes.", min=0, max=1)] = 0.8,
    callers: Annotated[int, typer.Option(help="How many different people call.", min=1, max=100_000)] = 2000,
    timeout: Annotated[float, typer.Option(help="When a PBX gives up, in seconds.", min=0.1, max=60)] = 5.0,
    connections: Annotated[int, typer.Option(help="Connections that are held open.", min=1, max=1000)] = 64,
    effects: Annotated[
        bool, typer.Option("--effects/--no-effects", help="Listen on Kafka whether every ring led to its event.")
    ] = True,
    kafka: Annotated[
        str | None, typer.Option(envvar="TRUNKLINE_KAFKA_BOOTSTRAP", help="Where events are listened to.")
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed makes the same calls at the same moments.")] = 1,
    mine: Annotated[
        bool, typer.Option("--this-is-mine", help="Send to a machine that is not this one, in numbers.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For programs: JSON on standard output.")] = False,
    run_dir: Annotated[str | None, typer.Option(help="Where the stack keeps its files.")] = None,
    port_base: Annotated[int | None, typer.Option(help="Where the stack's ports begin.")] = None,
) -> None:
    """Ring like a PBX, at a rate, and tell how long answers took, what failed and what was lost.

    Each call rings, then tells what became of it. Webhooks leave when they are due, answered or not (an open loop), and
    latencies count from that moment. Ends with 1 when a webhook failed or a ring led to no event.

    trunkline loadtest --rate 50 --seconds 60

    trunkline loadtest --vendor twilio --arrivals burst --burst 100 --rate 20
    """
    from trunkline.loadtest.effects import Effects
    from trunkline.loadtest.report import report
    from trunkline.loadtest.shoot import shoot
    from trunkline.loadtest.traffic import Plan, dues

    if arrivals not in ARRIVALS or vendor not in DIALECTS:
        raise Problem(f"there is no {arrivals if vendor in DIALECTS else vendor}", "trunkline loadtest --help")
    agents: tuple[str, ...] = ()
    if url is not None:
        base, vendor = _address(url, mine=mine)
        if did is None:
            raise Problem("with --url the number that is called has to be said", "trunkline loadtest --did +91…")
    else:
        base, vendor, token, did, agents, kafka = _local(run_dir, port_base, vendor)
    plan = Plan(
        run=f"load-{secrets.token_hex(4)}", vendor=vendor, base=base, token=token, did=did, agents=agents,
        callers=callers, rate=rate, seconds=seconds, arrivals=arrivals, burst=burst, answered=answered, seed=seed,
    )  # fmt: skip
    told = Console(stderr=True)
    if effects and not kafka:
        raise Problem(
            "there is no Kafka to listen on for effects", "trunkline loadtest --no-effects, or --kafka HOST:PORT"
        )
    listening = Effects(kafka, plan.run) if effects and kafka else None
    try:
        _announce(told, plan)
        fired = asyncio.run(shoot(base, dues(plan), timeout=timeout, connections=connections))
        if listening is not None:
            rung = [each.call_id for each in fired if each.kind == "ring" and each.status == 200]
            listening.wait(rung, SETTLE_SECONDS)
    finally:
        if listening is not None:
            listening.close()
    found = report(fired, seconds, listening.seen if listening is not None else None)
    if as_json:
        sys.stdout.write(json.dumps(found.as_json()) + "\n")
    else:
        _show(Console(), found)
    raise typer.Exit(0 if found.clean else 1)


def _address(url: str, *, mine: bool) -> tuple[str, str]:
    """The account's address without the hook, and its vendor. Another machine is refused unless it is ``mine``."""
    parts = urlsplit(url)
    match = HOOKS.match(parts.path)
    if parts.scheme not in ("http", "https") or not parts.hostname or match is None:
        raise Problem("that is no address of an account's webhooks", "trunkline router account add --help")
    if match[1] not in DIALECTS:
        raise Problem(f"{match[1]} is not spoken here, but {', '.join(DIALECTS)}", "trunkline loadtest --help")
    if not mine and not _is_here(parts.hostname):
        raise Problem(
            f"{parts.hostname} is not this machine; the calls would be real to whoever runs it",
            "add --this-is-mine if it is yours",
        )
    return f"{parts.scheme}://{parts.netloc}{match[0]}", match[1]


def _is_here(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _local(run_dir: str | None, port_base: int | None, vendor: str) -> tuple[str, str, str, str, tuple[str, ...], str]:
    from trunkline.demo.command import addresses_of
    from trunkline.loadtest.business import AGENTS, prepare
    from trunkline.stack.control import state

    layout = Layout.of(run_dir, port_base)
    if "telephony-router" not in state(layout):
        raise Problem("the stack is not running", "trunkline up")
    ground = prepare(addresses_of(layout), vendor, Path(layout.run_dir) / "loadtest" / "state.json")
    base = layout.url("telephony-router") + ground.hook_path
    return base, ground.vendor, ground.token, ground.did, tuple(AGENTS.values()), layout.kafka_bootstrap


def _announce(told: Console, plan: Plan) -> None:
    told.print(
        f"[dim]·[/] {plan.rate * plan.seconds:,.0f} calls in {plan.seconds:.0f} s, {plan.arrivals}, as {plan.vendor} "
        f"tells them; their ids begin with {plan.run}",
        highlight=False,
    )


def _show(console: Console, found: Report) -> None:
    table = Table(box=None, padding=(0, 1))
    for column in ("", "count", "failed", "p50", "p95", "p99", "p99.9", "slowest"):
        table.add_column(column, justify="left" if not column else "right")
    for name, each in (("rings", found.rings), ("statuses", found.statuses), ("ring to event", found.effects)):
        if each is not None:
            table.add_row(name, *_row(each))
    console.print(table)
    console.print(f"{found.calls:,} calls, {found.rate:,.1f} a second; milliseconds, from when each was due.")
    for what, count in sorted(found.errors.items()):
        console.print(f"[red]✗[/] {count:,} times {what}", highlight=False)
    if found.lost:
        console.print(f"[red]✗[/] {found.lost:,} rings were answered and led to no event", highlight=False)
    if found.slipped:
        console.print(
            f"[yellow]![/] this machine was late with what it sent (p99 {found.slip_ms:.1f} ms): the figures are "
            "rather its own; send less, or from another machine",
            highlight=False,
        )
    if found.clean:
        console.print("[green]✓[/] nothing failed, nothing was lost" if found.effects else "[green]✓[/] nothing failed")


def _row(each: Figures) -> list[str]:
    figures = [f"{value:,.1f}" for value in (each.p50, each.p95, each.p99, each.p999, each.slowest)]
    return [f"{each.count:,}", f"[red]{each.failed:,}[/]" if each.failed else "0", *figures]
