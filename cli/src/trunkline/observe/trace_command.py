"""``trunkline trace``: one call, followed from its webhooks to its row, its events in Kafka, their effects and logs."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import asyncpg
import typer
from confluent_kafka import KafkaException
from rich.console import Console
from rich.markup import escape

from contracts.topics import TOPICS
from trunkline.observe.lag import Place
from trunkline.observe.places import places_of
from trunkline.observe.rows import Call, Database, Effect, Event, calls_of, effects_of
from trunkline.observe.signs import Exemplar, LogLine, exemplars_of, log_lines
from trunkline.stack.layout import SERVICES, Layout
from trunkline.stack.problems import Problem

__all__ = ["Story", "app", "follow"]

app = typer.Typer(add_completion=False)
out = Console()
RunDir = Annotated[str | None, typer.Option(help="Where the stack keeps its files.", envvar="TRUNKLINE_RUN_DIR")]
PortBase = Annotated[int | None, typer.Option(help="Moves every port.", envvar="TRUNKLINE_PORT_BASE")]


@dataclass(frozen=True, kw_only=True, slots=True)
class Story:
    """All that is known of one call, from five look-ups: rows, effects, Kafka, logs, metrics."""

    call: Call
    places: Mapping[str, Place]
    effects: tuple[Effect, ...]
    logs: tuple[LogLine, ...]
    exemplars: tuple[Exemplar, ...]

    def of(self, event: Event) -> list[Effect]:
        return [effect for effect in self.effects if effect.event_id == event.id]

    def waiting(self, event: Event) -> list[str]:
        """Services that read the topic and have done nothing with this event yet."""
        done = {service for service in TOPICS[event.topic].consumers for e in self.of(event) if _is_of(e, service)}
        return [service for service in TOPICS[event.topic].consumers if service not in done]


def _is_of(effect: Effect, service: str) -> bool:
    return effect.consumer == service or effect.consumer.startswith((f"{service}.", f"{service}-"))


@app.command()
def trace(
    call_id: Annotated[UUID, typer.Argument(help="Our id of the call, as in events, logs and the console.")],
    run_dir: RunDir = None,
    port_base: PortBase = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs: JSON on standard output.")] = False,
) -> None:
    """Follow one call: its row and webhooks, trace, events with topic, partition and offset, what every consumer did
    with them, the log lines that name it, and the measurements that carry its trace.

    Shows no number and no name: whom a call is about is for the console.
    """
    layout = Layout.of(run_dir, port_base)
    try:
        stories = follow(call_id, layout)
    except (OSError, asyncpg.PostgresError) as error:
        raise Problem(f"the database does not answer: {type(error).__name__}", "trunkline status") from error
    except KafkaException as error:
        raise Problem("Kafka does not say where the call's events lie", "trunkline status") from error
    if not stories:
        raise Problem(
            f"no webhook of a call {call_id} is known; webhooks are kept for 30 days", "trunkline logs telephony-router"
        )
    if as_json:
        sys.stdout.write(json.dumps([_plain(story) for story in stories], default=str) + "\n")
        return
    for story in stories:
        _show(story)


def follow(call_id: UUID, layout: Layout) -> list[Story]:
    """A story for each tenant that has a call of this id."""
    known = (layout.run_dir / "secrets.json").exists()
    settings = {**os.environ, **(layout.environment() if known else {})}
    missing = [name for name in ("TRUNKLINE_POSTGRES_DSN", "TRUNKLINE_KAFKA_BOOTSTRAP") if name not in settings]
    if missing:
        raise Problem(f"there is no stack here, and {', '.join(missing)} is not set", "trunkline up")
    database = Database(settings)
    return [_story(database, call, settings, layout) for call in asyncio.run(calls_of(database, call_id))]


def _story(database: Database, call: Call, settings: Mapping[str, str], layout: Layout) -> Story:
    ids = [event.id for event in call.events]
    return Story(
        call=call,
        effects=tuple(asyncio.run(effects_of(database, call.tenant, ids))),
        places=places_of(settings["TRUNKLINE_KAFKA_BOOTSTRAP"], call.events),
        logs=tuple(log_lines(layout.logs, [str(call.id), *ids, *call.trace_ids])),
        exemplars=tuple(
            exemplars_of(
                call.trace_ids,
                prometheus=layout.url("prometheus") if layout.choices.observe else None,
                services=[layout.url(service.name) for service in SERVICES],
                around=call.webhooks[0].received_at,
            )
        ),
    )


def _plain(story: Story) -> dict[str, Any]:
    events = [
        {
            **asdict(event),
            "partition": story.places[event.id][1] if event.id in story.places else None,
            "offset": story.places[event.id][2] if event.id in story.places else None,
            "effects": [asdict(effect) for effect in story.of(event)],
            "waiting": story.waiting(event),
        }
        for event in story.call.events
    ]
    return {
        **asdict(story.call),
        "trace_ids": story.call.trace_ids,
        "events": events,
        "logs": [asdict(line) for line in story.logs],
        "exemplars": [asdict(exemplar) for exemplar in story.exemplars],
    }


def _show(story: Story) -> None:
    call = story.call
    state = (
        f"{call.vendor}, {call.state or 'never asked about'}, version {call.version}" if call.vendor else "no row yet"
    )
    _say(f"[bold]call {call.id}[/]  {state}  [dim]tenant {call.tenant}[/]")
    for webhook in call.webhooks:
        became = "[red]parked: " + escape(webhook.parked) + "[/]" if webhook.parked else "processed"
        when = f" {_clock(webhook.processed_at)}" if webhook.processed_at else ""
        waits = "[yellow]waits to be processed[/]"
        became = became if webhook.parked or webhook.processed_at else waits
        _say(f"  {_clock(webhook.received_at)}  webhook {webhook.kind}, {became}{when}  {_trace(webhook.trace_id)}")
    for event in call.events:
        _say(f"  {_clock(event.created_at)}  [bold]{event.type}[/] {event.id}  {_trace(event.trace_id)}")
        _say(f"      {_where(story.places.get(event.id), event)}")
        for effect in story.of(event):
            _say(f"      {_clock(effect.at)}  {_effect(effect)}")
        for service in story.waiting(event):
            _say(f"      [yellow]not handled yet[/] by {service}")
    _show_signs(story)


def _show_signs(story: Story) -> None:
    _say("[bold]logs[/]" if story.logs else "[bold]logs[/]  no line names it")
    for line in story.logs:
        colour = "red" if line.level in ("error", "critical") else "yellow" if line.level == "warning" else "dim"
        _say(f"  {line.file}:{line.number}  [{colour}]{line.level or '-'}[/] {escape(line.event)}  {line.at}")
    _say("[bold]measurements[/]" if story.exemplars else "[bold]measurements[/]  none carries its trace any more")
    for exemplar in story.exemplars:
        _say(f"  {escape(exemplar.series)}  {exemplar.value * 1000:.1f} ms  {_trace(exemplar.trace_id)}")


def _effect(effect: Effect) -> str:
    if effect.parked is None:
        return f"[green]took effect[/] in {effect.consumer}"
    counter = f'trunkline_dead_letters_total{{consumer="{effect.consumer}",topic="{effect.topic}"}}'
    why = f"{escape(effect.parked)}  dead letter {effect.letter_id}"
    return f"[red]parked[/] by {effect.consumer}: {why}  {escape(counter)}"


def _where(place: Place | None, event: Event) -> str:
    if place is None:
        return f"[yellow]not found in {event.topic}[/]: not published yet, or retention took it"
    return "topic {}  partition {}  offset {}".format(*place)


def _trace(trace_id: str) -> str:
    return f"[dim]trace[/] [cyan]{trace_id}[/]" if trace_id else "[dim]without a trace[/]"


def _clock(at: datetime) -> str:
    return at.strftime("%H:%M:%S.%f")[:-3]


def _say(line: str) -> None:
    out.print(line, highlight=False, soft_wrap=True)
