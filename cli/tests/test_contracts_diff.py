"""`trunkline contracts diff` in a git repository of its own, whose working tree a test may change."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from contracts import archive
from trunkline.contracts_command import app

runner = CliRunner()
COMPATIBLE, BREAKING, UNKNOWN = 0, 1, 2
Edit = Callable[[str, str, str], None]


def git(folder: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=test", "-c", "user.email=test@example.test", "-c", "commit.gpgsign=false")
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clean clone with nothing but the contracts in it."""
    folder = tmp_path / "clone" / "libs" / "contracts"
    shutil.copytree(
        archive.root(), folder, ignore=shutil.ignore_patterns("__pycache__", "tests", "*.egg-info", ".hypothesis")
    )
    git(tmp_path / "clone", "init", "-q")
    git(tmp_path / "clone", "add", "-A")
    git(tmp_path / "clone", "commit", "-q", "-m", "Begin")
    monkeypatch.setattr(archive, "root", lambda: folder)
    return folder


@pytest.fixture
def edit(checkout: Path) -> Edit:
    def replace(module: str, old: str, new: str) -> None:
        path = checkout / "src" / "contracts" / module
        text = path.read_text(encoding="utf-8")
        assert text.count(old) >= 1
        path.write_text(text.replace(old, new, 1), encoding="utf-8")

    return replace


def diff(revision: str = "HEAD") -> tuple[int, dict[tuple[str, str, str], dict[str, Any]]]:
    """The exit code, and each change by subject, field and rule."""
    result = runner.invoke(app, ["diff", revision, "--json"])
    document = json.loads(result.stdout)
    codes = {"compatible": COMPATIBLE, "breaking": BREAKING, "unknown": UNKNOWN}
    assert codes[document["verdict"]] == result.exit_code
    return result.exit_code, {(c["subject"], c["field"], c["rule"]): c for c in document["changes"]}


FIELD = "    file_sha256: str\n"


def test_nothing_changed_is_compatible(checkout: Path) -> None:
    assert diff() == (COMPATIBLE, {})


def test_a_new_field_with_a_default_may_be_deployed_in_either_order(edit: Edit) -> None:
    edit("vault.py", FIELD, FIELD + "    device: str | None = None\n")

    code, found = diff()

    assert code == COMPATIBLE
    change = found["vault.state.v1", "/device", "field_added"]
    assert (change["kind"], change["deploy_first"], change["new_major"]) == ("added", "either", False)
    assert (change["producers"], change["consumers"]) == (["vault-importer"], ["anomaly-engine", "front-desk"])
    assert len(found) == 1


def test_a_topics_settings_are_compared(edit: Edit) -> None:
    edit("topics.py", "retention_ms: int = 7 * DAY_MS", "retention_ms: int = 3 * DAY_MS")

    code, found = diff()

    assert code == COMPATIBLE
    assert found["call.state", "", "retention_shortened"]["kind"] == "narrowed"


def test_what_the_check_does_not_understand_cannot_be_told(edit: Edit) -> None:
    edit("vault.py", "from typing import ", "from pydantic import Field\n\nfrom typing import Annotated, ")
    edit("vault.py", FIELD, '    file_sha256: Annotated[str, Field(json_schema_extra={"contentEncoding": "hex"})]\n')

    code, found = diff()

    assert code == UNKNOWN
    assert {change["verdict"] for change in found.values()} == {"unknown"}


def test_a_rewritten_release_is_a_break(checkout: Path) -> None:
    lock = checkout / "schemas" / archive.LOCK
    lock.write_text("\n".join(lock.read_text(encoding="utf-8").splitlines()[1:]) + "\n", encoding="utf-8")

    code, found = diff()

    assert code == BREAKING
    assert {rule for _, _, rule in found} == {"history_rewritten"}


def test_people_read_what_to_do_and_for_whom(edit: Edit) -> None:
    edit("vault.py", "    account_id: str", "    account_id: int")

    result = runner.invoke(app, ["diff", "HEAD"])

    assert "~ /account_id  changed, breaking (backward.type_changed)" in result.stdout
    assert "breaks brain-distiller, front-desk: needs a new major version" in result.stdout
    assert "message.imported.v1  vault-importer -> brain-distiller, front-desk" in result.stdout
    assert "breaking since HEAD" in result.stderr


@pytest.mark.parametrize("revision", ["no-such-revision", "--all", ""])
def test_an_unknown_revision_cannot_be_told(checkout: Path, revision: str) -> None:
    result = runner.invoke(app, ["diff", "--json", "--", revision])

    assert result.exit_code == UNKNOWN
    assert "git does not know the revision" in result.stderr
    assert result.stdout == ""


def test_a_header_that_goes_is_a_break_for_everybody(edit: Edit) -> None:
    edit("envelope.py", """    Header("ce_subject", "The entity the event is about, without the tenant."),\n""", "")

    code, found = diff()

    assert code == BREAKING
    change = found["envelope", "ce_subject", "header_removed"]
    assert {"telephony-router", "notifier"} <= {*change["producers"], *change["consumers"]}


def test_outside_git_it_says_so(checkout: Path) -> None:
    shutil.rmtree(checkout.parents[1] / ".git")

    result = runner.invoke(app, ["diff", "HEAD"])

    assert result.exit_code == UNKNOWN
    assert "not a git repository" in result.stderr


def test_a_revision_before_the_contracts_cannot_be_compared(checkout: Path) -> None:
    git(checkout, "checkout", "-q", "--orphan", "before")
    git(checkout, "rm", "-rq", "--cached", ".")
    git(checkout, "commit", "-q", "--allow-empty", "-m", "Nothing yet")

    result = runner.invoke(app, ["diff", "before"])

    assert result.exit_code == UNKNOWN
    assert "has no event contracts" in result.stderr


def test_a_working_tree_that_does_not_import_cannot_be_told(edit: Edit) -> None:
    edit("vault.py", "from __future__", "from nowhere import nothing\nfrom __future__")

    result = runner.invoke(app, ["diff", "HEAD"])

    assert result.exit_code == UNKNOWN
    assert "the contracts of the working tree cannot be imported" in result.stderr
