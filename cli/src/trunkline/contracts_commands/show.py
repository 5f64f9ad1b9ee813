"""``trunkline contracts show``: topics and events as a person at a terminal wants them."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from contracts import catalogue
from contracts.event import Event
from contracts.registry import REGISTRY
from contracts.topics import TOPICS, Topic
from trunkline.contracts_commands.checkout import AsJson, fail

__all__ = ["show"]


def show(
    event: Annotated[str | None, typer.Argument(help="A type or topic, for instance call.inbound.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show all topics, or one event with its fields."""
    if event is None:
        _print_topics(as_json)
        return
    cls = REGISTRY.get(event) or (REGISTRY.newest(event) if event in TOPICS else None)
    if cls is None:
        fail(f"{event} is neither a type nor a topic; `trunkline contracts show` lists them")
    _print_event(cls, TOPICS[cls.topic()], as_json)


def _print_topics(as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps([_topic(topic) for topic in TOPICS.values()], indent=2) + "\n")
        return
    table = Table(box=SIMPLE_HEAD)
    for column in ("topic, version", "key, partitions"):
        table.add_column(column, no_wrap=True)
    for column in ("remembers, replay", "producer -> consumers"):
        table.add_column(column, overflow="fold", min_width=17)
    for topic in TOPICS.values():
        cls = REGISTRY.newest(topic.name)
        table.add_row(
            f"{topic.name} {cls.major()}.{cls.minor}",
            f"{topic.key}, {topic.partitions}",
            f"{catalogue.retention(topic)}; {topic.replay}",
            f"{', '.join(topic.producers)} -> {', '.join(topic.consumers)}",
        )
    Console().print(table)


def _print_event(cls: type[Event], topic: Topic, as_json: bool) -> None:
    models = [cls, *catalogue.parts_of(cls)]
    if as_json:
        fields = {
            model.__name__: [
                {"name": field.name, "type": field.type, "default": field.default, "meaning": field.meaning}
                for field in catalogue.fields_of(model)
            ]
            for model in models
        }
        described = {"type": cls.type, "schema": cls.dataschema(), "topic": _topic(topic), "fields": fields}
        sys.stdout.write(json.dumps(described, indent=2, ensure_ascii=False) + "\n")
        return
    console = Console()
    console.print(f"[bold]{cls.type}[/bold] ({cls.dataschema()})")
    remembers = catalogue.retention(topic)
    console.print(f"key {topic.key}, {topic.partitions} partitions, {remembers}, replay {topic.replay}")
    console.print(f"{', '.join(topic.producers)} -> {', '.join(topic.consumers)}: {topic.carries}\n")
    for model in models:
        table = Table(title=model.__name__, title_justify="left", box=SIMPLE_HEAD)
        for column in ("field", "type", "default", "meaning"):
            table.add_column(column, overflow="fold")
        for field in catalogue.fields_of(model):
            table.add_row(field.name, field.type, field.default, field.meaning)
        console.print(table)


def _topic(topic: Topic) -> dict[str, object]:
    return {
        "name": topic.name,
        "key": topic.key,
        "partitions": topic.partitions,
        "producers": topic.producers,
        "consumers": topic.consumers,
        "replay": topic.replay,
        "config": topic.config(),
    }
