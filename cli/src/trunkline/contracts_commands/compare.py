"""``trunkline contracts diff``: what the working tree changes against a revision, and what it means for whom."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tarfile
import tempfile
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any

import typer

from contracts import archive, checks
from contracts.changes import Change, changes, verdict
from trunkline.contracts_commands import snapshot
from trunkline.contracts_commands.checkout import AsJson, commit_of, committed_files, fail, lock_at, say

__all__ = ["diff"]

EXIT = {"compatible": 0, "breaking": 1, "unknown": 2}
SIGNS = {"added": "+", "removed": "-", "widened": ">", "narrowed": "<", "changed": "~"}
SECONDS = 60


def diff(
    revision: Annotated[str, typer.Argument(help="A git revision: origin/main, a tag, a commit.", metavar="GIT-REF")],
    as_json: AsJson = False,
) -> None:
    """Say what the working tree changes in the contracts since a revision, and what that means for whom.

    Topics, events, versions and fields: added (+), removed (-), widened (>), narrowed (<) or changed (~); whom it
    breaks, who is to be deployed first, whether it needs a new major version. Both states are asked by their own code.

    Exit code: 0 compatible, 1 breaking, 2 cannot be told: an unknown revision, code that does not import, a schema
    keyword that the check does not understand.
    """
    try:
        folder = archive.root()
    except archive.ArchiveError as error:
        fail(str(error), EXIT["unknown"])
    commit = commit_of(revision, folder, EXIT["unknown"])
    with tempfile.TemporaryDirectory(prefix="trunkline-contracts-") as scratch:
        then = _snapshot(_source_at(commit, folder, Path(scratch)), revision)
    now = _snapshot(folder / "src", "the working tree")
    found = changes(then, now) + _rewritten(commit)
    outcome = verdict(found)
    if as_json:
        listed = [each.as_json() for each in found]
        document = {"revision": revision, "commit": commit, "verdict": outcome, "changes": listed}
        sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    else:
        _print(found)
        say(_summary(found, outcome, revision))
    raise typer.Exit(EXIT[outcome])


def _source_at(commit: str, folder: Path, scratch: Path) -> Path:
    """The package's sources as a commit has them, below ``scratch``."""
    packed = subprocess.run(
        ["git", "archive", "--format=tar", commit, "src"], cwd=folder, capture_output=True, check=False
    )
    if packed.returncode != 0:
        fail("that revision has no event contracts in libs/contracts; there is nothing to compare", EXIT["unknown"])
    with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as tar:
        for member in tar:
            content = tar.extractfile(member) if member.isfile() else None
            if content is not None:
                path = scratch / member.name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content.read())
    return scratch / "src"


def _snapshot(source: Path, name: str) -> dict[str, Any]:
    command = [sys.executable, "-I", "-B", str(Path(snapshot.__file__)), str(source)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        fail(f"the contracts of {name} did not import within {SECONDS} s", EXIT["unknown"])
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["it ended without a word"])[-1]
        fail(f"the contracts of {name} cannot be imported: {reason}", EXIT["unknown"])
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _rewritten(commit: str) -> list[Change]:
    return [
        Change(
            subject=finding.event,
            kind="changed",
            rule=finding.rule,
            verdict="breaking",
            message=finding.message,
            producers=(),
            consumers=(),
            deploy_first="none",
        )
        for finding in checks.rewritten_history(lock_at(commit), committed_files(EXIT["unknown"]))
    ]


def _print(found: list[Change]) -> None:
    for subject, group in groupby(found, key=lambda change: change.subject):
        told = list(group)
        who = f"{', '.join(told[0].producers)} -> {', '.join(told[0].consumers) or 'nobody'}"
        typer.echo(typer.style(subject, bold=True) + (f"  {who}" if told[0].producers else ""))
        for change in told:
            place = f"{change.field}  " if change.field else ""
            typer.echo(f"  {SIGNS[change.kind]} {place}{change.kind}, {change.verdict} ({change.rule})")
            typer.echo(f"      {change.message}")
            typer.echo(f"      {_todo(change)}")


def _todo(change: Change) -> str:
    consumers, producers = ", ".join(change.consumers) or "nobody", ", ".join(change.producers)
    if change.rule == "history_rewritten":
        return "released schemas are frozen: restore the file and its line in the lock"
    if change.verdict == "unknown":
        return f"cannot be judged; ask the owners of {consumers}"
    if change.new_major:
        return f"breaks {consumers}: needs a new major version (docs/howto/change-an-event.md)"
    if change.verdict == "breaking":
        return f"breaks {consumers}: needs a new topic, or all of them stopped while it is changed"
    if change.deploy_first == "consumers":
        return f"deploy {consumers} before {producers}"
    if change.deploy_first == "producers":
        return f"deploy {producers} before {consumers}"
    return "deploy in either order"


def _summary(found: list[Change], outcome: str, revision: str) -> str:
    if not found:
        return f"nothing changed since {revision}"
    counted = {each: sum(change.verdict == each for change in found) for each in EXIT}
    parts = ", ".join(f"{count} {each}" for each, count in counted.items() if count)
    return f"{outcome} since {revision}: {parts}; `trunkline contracts check` compares with every released version"
