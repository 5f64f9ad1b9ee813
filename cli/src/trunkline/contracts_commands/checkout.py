"""What the commands of the contracts share: the committed files, git, and how they speak."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from contracts import archive

__all__ = ["AsJson", "commit_of", "committed_files", "fail", "git", "lock_at", "say"]

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


def committed_files(code: int = 1) -> archive.Archive:
    """Schemas and examples of this checkout; ends the command with ``code`` when they cannot be read."""
    try:
        return archive.read(archive.root())
    except archive.ArchiveError as error:
        fail(str(error), code)


def commit_of(revision: str, folder: Path, code: int = 1) -> str:
    """The commit that a revision names; ends the command with ``code`` where git cannot say."""
    if shutil.which("git") is None:
        fail("comparing with a revision needs git: apt-get install git", code)
    inside = git("rev-parse", "--git-dir", within=folder)
    if inside.returncode != 0:
        reason = (inside.stderr.strip().splitlines() or ["it does not say why"])[0]
        fail(f"git cannot read {folder} ({reason}); run this in a clone of the repository", code)
    # What begins with a dash would be an option.
    known = git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}", within=folder)
    if known.returncode != 0:
        fail(f"git does not know the revision {revision}; `git fetch` it, or name another", code)
    return known.stdout.strip()


def lock_at(revision: str) -> dict[str, str]:
    """The lock as a git revision has it; empty when that revision had none."""
    schemas = archive.root() / "schemas"
    shown = git("show", f"{commit_of(revision, schemas)}:./{archive.LOCK}", within=schemas)
    return archive.parse_lock(shown.stdout) if shown.returncode == 0 else {}


def git(*arguments: str, within: Path) -> subprocess.CompletedProcess[str]:
    plain = {**os.environ, "LC_ALL": "C"}
    return subprocess.run(["git", *arguments], cwd=within, env=plain, capture_output=True, text=True, check=False)


def say(line: str) -> None:
    sys.stderr.write(line + "\n")


def fail(sentence: str, code: int = 1) -> NoReturn:
    say(sentence)
    raise typer.Exit(code)
