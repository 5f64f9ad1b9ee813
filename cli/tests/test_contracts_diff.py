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


def test_a_new_field_without_a_default_needs_a_new_major(edit: Edit) -> None:
    edit("vault.py", FIELD, FIELD + "    device: str\n")

    code, found = diff()

    assert code == BREAKING
    change = found["vault.state.v1", "/device", "backward.required_added"]
    assert (change["kind"], change["new_major"]) == ("added", True)


def test_a_removed_field_breaks_its_consumers(edit: Edit) -> None:
    edit("vault.py", "    messages_seen: int", "    messages_read: int")

    code, found = diff()

    assert code == BREAKING
    assert found["vault.state.v1", "/messages_seen", "field_removed"]["consumers"] == ["anomaly-engine", "front-desk"]


def test_another_type_is_told_in_both_directions(edit: Edit) -> None:
    edit("vault.py", "    account_id: str", "    account_id: int")

    code, found = diff()

    rules = {rule for subject, field, rule in found if field == "/account_id"}
    assert (code, rules) == (BREAKING, {"backward.type_changed", "forward.type_changed"})
    assert {change["kind"] for change in found.values()} == {"changed"}


def test_a_value_added_to_a_closed_list_is_widened_and_breaks_older_consumers(edit: Edit) -> None:
    edit("vault.py", '"unchanged", ', '"unchanged", "paused", ')

    code, found = diff()

    assert code == BREAKING
    change = found["vault.state.v1", "/state", "forward.value_added"]
    assert (change["kind"], change["new_major"]) == ("widened", True)


def test_a_value_taken_from_a_closed_list_is_narrowed_and_breaks_what_is_in_the_topic(edit: Edit) -> None:
    edit("vault.py", '"unchanged", ', "")

    code, found = diff()

    assert code == BREAKING
    assert found["vault.state.v1", "/state", "backward.value_added"]["kind"] == "narrowed"


def test_a_new_major_is_for_consumers_first(edit: Edit) -> None:
    edit(
        "vault.py",
        "class VaultStateV1(Event):",
        'class VaultStateV2(Event):\n    """Newer."""\n\n    type: ClassVar[str] = "vault.state.v2"\n\n\n'
        "class VaultStateV1(Event):",
    )
    edit("registry.py", "    vault.VaultStateV1,", "    vault.VaultStateV1,\n    vault.VaultStateV2,")
    # Its upcast is needed for the registry to accept it.
    path = archive.root() / "src" / "contracts" / "vault.py"
    with path.open("a", encoding="utf-8") as module:
        module.write("\n\nVaultStateV2.upcast_from = VaultStateV1\n")

    code, found = diff()

    assert code == COMPATIBLE
    assert found["vault.state.v2", "", "major_added"]["deploy_first"] == "consumers"


def test_an_event_that_left_the_registry_is_a_break(edit: Edit) -> None:
    edit("registry.py", "    vault.VaultStateV1,\n", "")

    code, found = diff()

    assert code == BREAKING
    assert ("vault.state.v1", "", "event_removed") in found


@pytest.mark.parametrize(
    ("old", "new", "rule", "code"),
    [
        ('key="account"', 'key="import"', "key_changed", BREAKING),
        ("partitions=3", "partitions=6", "partitions_changed", BREAKING),
        (
            'consumers=("anomaly-engine", "front-desk"),\n            carries="an import',
            'consumers=("anomaly-engine", "front-desk", "notifier"),\n            carries="an import',
            "consumer_added",
            COMPATIBLE,
        ),
    ],
)
def test_a_topics_settings_are_compared(edit: Edit, old: str, new: str, rule: str, code: int) -> None:
    edit("topics.py", old, new)

    result, found = diff()

    assert result == code
    assert ("vault.state", "", rule) in found


def test_shorter_retention_is_told_and_breaks_nothing(edit: Edit) -> None:
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

    assert "message.imported.v1" in result.stdout
    assert "~ /account_id  changed, breaking (backward.type_changed)" in result.stdout
    assert "breaks brain-distiller, front-desk: needs a new major version" in result.stdout
    assert "vault-importer -> brain-distiller, front-desk" in result.stdout
    assert "breaking since HEAD" in result.stderr


@pytest.mark.parametrize("revision", ["no-such-revision", "--all", ""])
def test_an_unknown_revision_cannot_be_told(checkout: Path, revision: str) -> None:
    result = runner.invoke(app, ["diff", "--json", "--", revision])

    assert result.exit_code == UNKNOWN
    assert "git does not know the revision" in result.stderr
    assert result.stdout == ""


def test_outside_git_it_says_so(checkout: Path) -> None:
    shutil.rmtree(checkout.parents[1] / ".git")

    result = runner.invoke(app, ["diff", "HEAD"])

    assert result.exit_code == UNKNOWN
    assert "not in a git repository" in result.stderr


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
