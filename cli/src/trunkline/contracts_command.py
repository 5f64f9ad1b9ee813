"""``trunkline contracts``: show, check and release the event contracts of this checkout."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from contracts import archive, catalogue, checks
from contracts.event import Event
from contracts.registry import REGISTRY
from contracts.topics import TOPICS, Topic

__all__ = ["app"]

app = typer.Typer(help="The event contracts: show, check and release them.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


@app.command()
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
        _fail(f"{event} is neither a type nor a topic; `trunkline contracts show` lists them")
    _print_event(cls, TOPICS[cls.topic()], as_json)


@app.command()
def check(
    against: Annotated[
        str | None, typer.Option(help="A git revision, such as origin/main, whose released schemas must all be there.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say what must not be released as it is; exit with 1 when there is anything."""
    committed = _archive()
    findings = checks.check(REGISTRY, TOPICS, committed)
    if against is not None:
        findings += checks.rewritten_history(_lock_at(against), committed)
    if as_json:
        sys.stdout.write(json.dumps([finding.as_json() for finding in findings], indent=2) + "\n")
    elif findings:
        _print_findings(findings)
    else:
        schemas, examples = len(committed.released), len(committed.examples)
        _say(f"{schemas} released versions and {examples} examples: every reader can read every writer.")
    raise typer.Exit(1 if findings else 0)


@app.command()
def generate() -> None:
    """Release the schemas of classes with a new minor or major, and rewrite docs/events.md."""
    committed = _archive()
    folder = archive.root()
    new = checks.unreleased(REGISTRY, committed)
    broken = [finding for cls in new for finding in checks.incompatible(cls, TOPICS, committed)]
    if broken:
        _print_findings(broken)
        _fail("nothing was written; docs/howto/change-an-event.md says how to make a breaking change")
    for path in archive.release(folder, new):
        _say(f"released {path.relative_to(folder)}")
    committed = _archive()
    page = folder.parents[1] / "docs" / "events.md"
    page.write_text(catalogue.page(REGISTRY, TOPICS, committed), encoding="utf-8")
    _say("wrote docs/events.md")
    if findings := checks.check(REGISTRY, TOPICS, committed):
        _print_findings(findings)
        raise typer.Exit(1)


def _archive() -> archive.Archive:
    try:
        return archive.read(archive.root())
    except archive.ArchiveError as error:
        _fail(str(error))


def _lock_at(revision: str) -> dict[str, str]:
    """The lock as a git revision has it; empty when that revision had none."""
    schemas = archive.root() / "schemas"
    if shutil.which("git") is None:
        _fail("comparing with a revision needs git: apt-get install git")
    known = _git("rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}", within=schemas)
    if known.returncode != 0:
        _fail(f"git does not know the revision {revision}; fetch it, or leave --against out")
    shown = _git("show", f"{revision}:./{archive.LOCK}", within=schemas)
    return archive.parse_lock(shown.stdout) if shown.returncode == 0 else {}


def _git(*arguments: str, within: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["git", *arguments], cwd=within, capture_output=True, text=True, check=False)


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


def _print_findings(findings: list[checks.Finding]) -> None:
    for finding in findings:
        versions = f" ({finding.old} -> {finding.new})" if finding.old else ""
        place = f"{finding.event} {finding.field}".rstrip()
        typer.secho(f"{finding.rule}  {place}{versions}", bold=True)
        typer.echo(f"  {finding.message}")
        if finding.breaks:
            typer.echo(f"  breaks {', '.join(finding.breaks)}")
    typer.echo(f"{len(findings)} findings" if len(findings) != 1 else "1 finding")


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")


def _fail(sentence: str) -> NoReturn:
    _say(sentence)
    raise typer.Exit(1)
