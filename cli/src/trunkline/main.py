"""The ``trunkline`` command: the local stack, and every service's own commands by entry point."""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text
from typer.core import TyperGroup
from typer.main import get_command

from trunkline.stack.layout import Layout, adopt
from trunkline.stack.problems import Problem, copyable, quote

__all__ = ["app", "main"]

err = Console(stderr=True)
out = Console()
PLUGINS = "trunkline.commands"

RunDir = Annotated[str | None, typer.Option(help="Where the stack keeps its files.", envvar="TRUNKLINE_RUN_DIR")]
PortBase = Annotated[int | None, typer.Option(help="Moves every port.", envvar="TRUNKLINE_PORT_BASE")]
Json = Annotated[bool, typer.Option("--json", help="For programs: JSON on standard output.")]


class _Group(TyperGroup):
    """Our own commands, and those of the services, which are imported only when they are called."""

    def list_commands(self, ctx: Any) -> list[str]:
        return [*super().list_commands(ctx), *sorted(_plugins())]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        own = super().get_command(ctx, cmd_name)
        plugin = _plugins().get(cmd_name)
        if own is not None or plugin is None:
            return own
        asked = cmd_name in sys.argv[1:]
        if not asked:
            # Listing all commands must not import six services.
            return TyperGroup(name=cmd_name, help=HELP.get(cmd_name, ""))
        adopt_stack()
        _trace_commands()
        command = get_command(importlib.import_module(plugin[0]).__dict__[plugin[1]])
        command.name = cmd_name
        return command


HELP = {
    "anomaly": "Rules: list, try, test them.",
    "brain": "Facts of a subject; what would be read in a text.",
    "contracts": "The events: show, check for breaking changes, generate schemas and docs.",
    "dashboards": "Dashboards and alert rules: make, check, list them.",
    "demo": "Tell the whole story on the running stack.",
    "directory": "Tenants, staff, customers, numbers: import and manage them.",
    "loadtest": "Ring like a PBX, at a rate: latencies, failures, losses.",
    "notify": "The daily pulse and what became of each mail.",
    "dlq": "Records that could not be handled: list, show, retry, edit, drop.",
    "relay": "What waits to be published; publish again after Kafka lost it.",
    "replay": "Handle past events again: plan, dry-run, apply, compare, promote.",
    "routing": "How calls are routed: show, edit, check, restore; the red button.",
    "router": "PBX accounts, the routing view, what-if questions.",
    "sip": "The SIP server beside the router: write its configuration.",
    "trace": "Follow one call: rows, events, offsets, effects, logs, measurements.",
    "vault": "WhatsApp archives: import, verify, make a sample.",
}
app = typer.Typer(
    cls=_Group, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich",
    help="Trunkline: calls and WhatsApp of a business, answered, archived, watched.",
)  # fmt: skip


def _plugins() -> dict[str, tuple[str, str]]:
    found = {
        "contracts": ("trunkline.contracts_command", "app"),
        "dashboards": ("trunkline.observability.command", "app"),
        "demo": ("trunkline.demo.command", "app"),
        "dlq": ("trunkline.dlq.commands", "app"),
        "loadtest": ("trunkline.loadtest.command", "app"),
        "relay": ("trunkline.relay_command", "app"),
        "replay": ("trunkline.replay.commands", "app"),
        "sip": ("trunkline.sip.command", "app"),
        "trace": ("trunkline.observe.trace_command", "app"),
    }
    for entry in importlib.metadata.entry_points(group=PLUGINS):
        found[entry.name] = (entry.module, entry.attr)
    return found


def adopt_stack() -> None:
    """Let commands work on the local stack, when there is one and nothing else was said."""
    layout = Layout.of()
    if (layout.run_dir / "secrets.json").exists() and "TRUNKLINE_POSTGRES_DSN" not in os.environ:
        adopt(layout.environment())


def _trace_commands() -> None:
    """What a command writes belongs to a trace, as what a service writes."""
    if "TRUNKLINE_POSTGRES_DSN" in os.environ:
        from runtime.tracing import configure_tracing

        configure_tracing("trunkline", os.environ.get("TRUNKLINE_OTLP_ENDPOINT"))


def tell(line: str) -> None:
    err.print(f"[dim]·[/] {line}", highlight=False)


@app.command()
def up(
    only: Annotated[str | None, typer.Option(help="servers: without the services.")] = None,
    observe: Annotated[
        bool | None,
        typer.Option("--observe/--no-observe", help="With Prometheus and its exporters. Kept for later starts."),
    ] = None,
    otlp_endpoint: Annotated[
        str | None,
        typer.Option(
            envvar="TRUNKLINE_OTLP_ENDPOINT",
            help="Where services send traces (OTLP over HTTP), such as http://127.0.0.1:4318. Kept for later starts; "
            "'' sends them nowhere.",
        ),
    ] = None,
    run_dir: RunDir = None,
    port_base: PortBase = None,
    as_json: Json = False,
) -> None:
    """Start the stack, or what is missing of it, and wait until it is ready. Safe to repeat."""
    from trunkline.stack import control

    if only not in (None, "servers"):
        raise typer.BadParameter("--only takes: servers")
    layout = Layout.of(run_dir, port_base)
    control.up(layout, with_services=only is None, tell=tell, observe=observe, otlp_endpoint=otlp_endpoint)
    if as_json:
        print_json(_addresses(layout))
        return
    prometheus = f"   metrics {layout.url('prometheus')}" if layout.choices.observe else ""
    where = f"console {layout.url('front-desk')}   mails {layout.url('mail-page')}{prometheus}"
    out.print(f"[green]up[/]  {where}", highlight=False, soft_wrap=True)


def _addresses(layout: Layout) -> dict[str, str]:
    watched = ("prometheus",) if layout.choices.observe else ()
    urls = {f"{name}_url": layout.url(name) for name in ("front-desk", "telephony-router", "mail-page", *watched)}
    return {"postgres_dsn": layout.admin_dsn(), "kafka_bootstrap": layout.kafka_bootstrap,
            "redis_url": layout.redis_url, **urls}  # fmt: skip


def print_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, default=str) + "\n")


@app.command()
def down(run_dir: RunDir = None, port_base: PortBase = None) -> None:
    """Stop the stack; its data stays."""
    from trunkline.stack import control

    was_running = control.down(Layout.of(run_dir, port_base))
    err.print("stopped" if was_running else "nothing was running")


@app.command()
def stop(name: str, run_dir: RunDir = None, port_base: PortBase = None) -> None:
    """Stop one process and keep it stopped: for a drill, or to work on it."""
    from trunkline.stack import control

    control.stop_one(Layout.of(run_dir, port_base), name)
    err.print(f"{name} is stopped; start it again by: trunkline start {name}", highlight=False)


@app.command()
def start(name: str, run_dir: RunDir = None, port_base: PortBase = None) -> None:
    """Start one process that was stopped."""
    from trunkline.stack import control

    control.start_one(Layout.of(run_dir, port_base), name)
    err.print(f"{name} is started")


@app.command()
def clean(run_dir: RunDir = None, port_base: PortBase = None) -> None:
    """Stop the stack and forget all of its data."""
    from trunkline.stack import control

    control.clean(Layout.of(run_dir, port_base))
    err.print("stopped, and its data forgotten")


@app.command()
def migrate(run_dir: RunDir = None, port_base: PortBase = None) -> None:
    """Bring every service's schema up to date."""
    from trunkline.stack import control

    for line in control.migrate_all(Layout.of(run_dir, port_base)) or ["every schema is up to date"]:
        tell(line)


@app.command()
def status(run_dir: RunDir = None, port_base: PortBase = None, as_json: Json = False) -> None:
    """Every process: its state, restarts and memory; where everything is."""
    from trunkline.stack.report import processes

    layout = Layout.of(run_dir, port_base)
    rows = processes(layout)
    if as_json:
        print_json({"processes": rows, "memory_mb": sum(row["memory_mb"] for row in rows), **_addresses(layout)})
        return
    if not rows:
        err.print("nothing is running; start it by: trunkline up")
        raise typer.Exit(1)
    table = Table(box=None, padding=(0, 1))
    for column in ("process", "state", "pid", "restarts", "MB", "where"):
        table.add_column(
            column, justify="right" if column in ("pid", "restarts", "MB") else "left", no_wrap=column != "state"
        )
    for row in rows:
        colour = "green" if row["state"] == "ready" else "yellow" if row["state"] == "running" else "red"
        table.add_row(row["name"], f"[{colour}]{row['state']}[/] {row['why']}", str(row["pid"] or ""),
                      str(row["restarts"]), f"{row['memory_mb']:.0f}", row["where"])  # fmt: skip
    table.add_row("", "", "", "", f"[bold]{sum(row['memory_mb'] for row in rows):.0f}[/]", "[bold]all together[/]")
    out.print(table)


@app.command()
def logs(
    name: Annotated[str | None, typer.Argument(help="A process; without it, all of them are named.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Keep showing what is added.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", help="How many of the last lines.")] = 50,
    run_dir: RunDir = None,
) -> None:
    """Show a process's log."""
    folder = Layout.of(run_dir).logs
    known = sorted(path.stem for path in folder.glob("*.log")) if folder.exists() else []
    if name not in known:
        raise Problem(f"there is no log of {name!r}; there are: {', '.join(known) or 'none yet'}", "trunkline up")
    os.execvp("tail", ["tail", "-n", str(lines), *(["-F"] if follow else []), str(folder / f"{name}.log")])


@app.command(name="lag-exporter")
def lag_exporter(
    kafka: Annotated[
        str, typer.Option(envvar="TRUNKLINE_KAFKA_BOOTSTRAP", help="The broker whose consumer groups are measured.")
    ],
    port: Annotated[int, typer.Option(help="Where /metrics is served, on loopback unless --host says otherwise.")],
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    every: Annotated[float, typer.Option(help="Seconds from one measurement to the next.", min=0.2)] = 5.0,
) -> None:
    """Measure how far every consumer group is behind, from outside: also of consumers that are dead.

    Serves OpenMetrics at /metrics: lag in records and in seconds by group, topic and partition, what retention took
    before it was read, and each group's members. `trunkline up --observe` runs it; it needs Kafka and nothing else.
    """
    from trunkline.observe.lag_exporter import serve

    serve(kafka=kafka, host=host, port=port, every=every)


@app.command(name="tenants-exporter")
def tenants_exporter(
    port: Annotated[int, typer.Option(help="Where /metrics is served, on loopback unless --host says otherwise.")],
    host: Annotated[str, typer.Option(help="The address to listen on. Operators alone should reach it.")] = "127.0.0.1",
    every: Annotated[float, typer.Option(help="Seconds from one count to the next.", min=0.2)] = 5.0,
    top: Annotated[int, typer.Option(help="How many tenants get series of their own: the busiest.", min=1)] = 50,
) -> None:
    """Count events, dead letters and waiting keys by tenant, for operators: the services' own metrics name no tenant.

    Reads the services' outboxes with their system roles, read-only, and serves them at /metrics under the tenants'
    opaque ids. `trunkline up --observe` runs it; it needs Postgres and the services' passwords in its environment.
    """
    from trunkline.observe.tenants import run

    run(host=host, port=port, every=every, top=top)


@app.command()
def doctor(run_dir: RunDir = None, port_base: PortBase = None, as_json: Json = False) -> None:
    """Look for what is wrong, and say which command mends it. Changes nothing."""
    from trunkline.stack.checks import examine

    found = examine(Layout.of(run_dir, port_base))
    if as_json:
        print_json([{"name": c.name, "verdict": c.verdict, "finding": c.finding, "mend": c.mend} for c in found])
    else:
        colours = {"PASS": "green", "WARN": "yellow", "FAIL": "red", "SKIP": "dim"}
        for check in found:
            out.print(
                Text.assemble((check.verdict, colours[check.verdict]), f"  {check.name}: {check.finding}"),
                soft_wrap=True,
            )
            if check.mend:
                out.print(Text.assemble("      mend it by: ", (copyable(check.mend), "bold")), soft_wrap=True)
    if any(check.verdict == "FAIL" for check in found):
        raise typer.Exit(1)


def main() -> None:
    """Run a command; what stands in its way is a sentence and a command, not a traceback."""
    from configuration import ConfigurationError

    try:
        app()
    except Problem as problem:
        _explain(problem)
        raise SystemExit(1) from None
    except PermissionError as error:
        place = Path(error.filename or ".")
        _explain(Problem(f"{place} may not be read or written by this account", f"sudo chown -R $USER {quote(place)}"))
        raise SystemExit(1) from None
    except ConfigurationError as error:
        err.print(f"[red]✗[/] {error}", highlight=False)
        raise SystemExit(2) from None


def _explain(problem: Problem) -> None:
    err.print(Text.assemble(("✗", "red"), f" {problem.sentence}"), soft_wrap=True)
    err.print(Text.assemble("  mend it by: ", (copyable(problem.mend), "bold")), soft_wrap=True)


if __name__ == "__main__":
    main()
