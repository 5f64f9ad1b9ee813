"""``trunkline contracts publish``: the same schemas in a Confluent-compatible registry, for consumers outside.

Our own services never ask a registry. Subjects are named by topic and record, one per major version; the versions of
a subject are the minors, oldest first. What is published is what a consumer may rely on: the reader's schema, open.
That makes FORWARD the compatibility that means something: whoever validates by an older version accepts newer
records. (To a registry, an open schema that gains an optional field is not BACKWARD compatible.)
"""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from contracts.archive import Archive, Released
from contracts.schemas import draft_07
from trunkline.contracts_commands.checkout import AsJson, committed_files, fail, say
from trunkline.contracts_commands.schema_registry import (
    CredentialsError,
    Incompatible,
    RegistryError,
    SchemaRegistry,
    credentials,
)

__all__ = ["Compatibility", "publish", "schema_text", "subject_of"]


class Compatibility(StrEnum):
    """The registry's own names."""

    BACKWARD = "BACKWARD"
    BACKWARD_TRANSITIVE = "BACKWARD_TRANSITIVE"
    FORWARD = "FORWARD"
    FORWARD_TRANSITIVE = "FORWARD_TRANSITIVE"
    FULL = "FULL"
    FULL_TRANSITIVE = "FULL_TRANSITIVE"
    NONE = "NONE"


def publish(
    registry: Annotated[
        str, typer.Option(envvar="TRUNKLINE_REGISTRY_URL", help="Base address, for instance http://localhost:8081.")
    ],
    compatibility: Annotated[
        Compatibility, typer.Option(help="What the registry is to enforce on each subject.")
    ] = Compatibility.FORWARD_TRANSITIVE,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Ask, and write nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Publish the released schemas to a Confluent-compatible schema registry.

    What is there already stays untouched, so it may be run again. Credentials come from the environment:
    TRUNKLINE_REGISTRY_TOKEN, or TRUNKLINE_REGISTRY_USERNAME and TRUNKLINE_REGISTRY_PASSWORD; each may come from
    a file (…_FILE). Exit code 1 when the registry refused anything.
    """
    committed = committed_files()
    try:
        with SchemaRegistry(registry, credentials()) as target:
            rows = _publish(target, committed, compatibility.value, dry_run)
    except (CredentialsError, RegistryError) as error:
        fail(str(error))
    if as_json:
        sys.stdout.write(json.dumps(rows, indent=2) + "\n")
    else:
        _print(rows)
    refused = [row for row in rows if row["outcome"] == "refused"]
    for row in refused:
        say(f"{row['subject']} {row['version']} was refused: {row['reason']}")
    raise typer.Exit(1 if refused else 0)


def subject_of(released: Released) -> str:
    """Topic and record name, as registries' clients spell ``TopicRecordNameStrategy``."""
    return f"{released.topic}-{released.topic}.v{released.major}"


def schema_text(released: Released) -> str:
    """The reader's schema in the dialect that every registry understands, always the same bytes."""
    return json.dumps(draft_07(released.reader), ensure_ascii=False, separators=(",", ":"))


def _publish(target: SchemaRegistry, committed: Archive, compatibility: str, dry_run: bool) -> list[dict[str, Any]]:
    rows = []
    subjects = {subject_of(each): "" for each in committed.released}
    for subject in subjects:
        subjects[subject] = _compatibility(target, subject, compatibility, dry_run)
    for each in committed.released:
        subject = subject_of(each)
        row = {"subject": subject, "version": each.version, "compatibility": subjects[subject], "id": None}
        rows.append({**row, "reason": "", **_version(target, subject, schema_text(each), dry_run)})
    return rows


def _compatibility(target: SchemaRegistry, subject: str, wanted: str, dry_run: bool) -> str:
    current = target.compatibility(subject)
    if current == wanted:
        return wanted
    if not dry_run:
        target.set_compatibility(subject, wanted)
    return f"{current or 'default'} -> {wanted}"


def _version(target: SchemaRegistry, subject: str, schema: str, dry_run: bool) -> dict[str, Any]:
    known = target.find(subject, schema)
    if known is not None:
        return {"outcome": "unchanged", "id": known}
    if dry_run:
        return {"outcome": "would publish"}
    try:
        return {"outcome": "published", "id": target.register(subject, schema)}
    except Incompatible as error:
        return {"outcome": "refused", "reason": str(error)}


def _print(rows: list[dict[str, Any]]) -> None:
    table = Table(box=SIMPLE_HEAD)
    for column in ("subject", "version", "id", "compatibility", "outcome"):
        table.add_column(column, overflow="fold")
    for row in rows:
        shown = "" if row["id"] is None else str(row["id"])
        table.add_row(row["subject"], row["version"], shown, row["compatibility"], row["outcome"])
    Console().print(table)
