"""``trunkline contracts check`` and ``generate``: is it safe to release, and release it."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from contracts import archive, checks
from contracts.registry import REGISTRY
from contracts.topics import TOPICS
from trunkline.contracts_commands.checkout import AsJson, committed_files, fail, lock_at, say
from trunkline.contracts_commands.pages import pages

__all__ = ["check", "generate", "stale"]


def check(
    against: Annotated[
        str | None, typer.Option(help="A git revision, such as origin/main, whose released schemas must all be there.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say what must not be released as it is; exit with 1 when there is anything."""
    committed = committed_files()
    findings = checks.check(REGISTRY, TOPICS, committed)
    if against is not None:
        findings += checks.rewritten_history(lock_at(against), committed)
    # A page that cannot be right yet is no finding of its own.
    findings += [] if findings else stale(committed)
    if as_json:
        sys.stdout.write(json.dumps([finding.as_json() for finding in findings], indent=2) + "\n")
    elif findings:
        _print_findings(findings)
    else:
        schemas, examples = len(committed.released), len(committed.examples)
        say(f"{schemas} released versions and {examples} examples: every reader can read every writer.")
    raise typer.Exit(1 if findings else 0)


def generate() -> None:
    """Release the schemas of classes with a new minor or major, and rewrite docs/events.md and docs/asyncapi.yaml."""
    committed = committed_files()
    folder = archive.root()
    new = checks.unreleased(REGISTRY, committed)
    broken = [finding for cls in new for finding in checks.incompatible(cls, TOPICS, committed)]
    if broken:
        _print_findings(broken)
        fail("nothing was written; docs/howto/change-an-event.md says how to make a breaking change")
    for path in archive.release(folder, new):
        say(f"released {path.relative_to(folder)}")
    committed = committed_files()
    for name, text in pages(REGISTRY, TOPICS, committed).items():
        (folder.parents[1] / name).write_text(text, encoding="utf-8")
        say(f"wrote {name}")
    if findings := checks.check(REGISTRY, TOPICS, committed):
        _print_findings(findings)
        raise typer.Exit(1)


def _print_findings(findings: list[checks.Finding]) -> None:
    for finding in findings:
        versions = f" ({finding.old} -> {finding.new})" if finding.old else ""
        place = f"{finding.event} {finding.field}".rstrip()
        typer.secho(f"{finding.rule}  {place}{versions}", bold=True)
        typer.echo(f"  {finding.message}")
        if finding.breaks:
            typer.echo(f"  breaks {', '.join(finding.breaks)}")
    typer.echo(f"{len(findings)} findings" if len(findings) != 1 else "1 finding")


def stale(committed: archive.Archive) -> list[checks.Finding]:
    """The generated pages that no longer say what the code says."""
    root = archive.root().parents[1]
    message = f"it is not what the code says; {checks.GENERATE}"
    return [
        checks.Finding(rule="page_stale", event=path, message=message)
        for path, text in pages(REGISTRY, TOPICS, committed).items()
        if not (root / path).is_file() or (root / path).read_text(encoding="utf-8") != text
    ]
