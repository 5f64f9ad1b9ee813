from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import ClassVar

import pytest
from typer.testing import CliRunner

from contracts import archive
from contracts.event import Event
from contracts.registry import REGISTRY, Registry
from contracts.topics import TOPICS
from contracts.vault import VaultStateV1
from trunkline.contracts_command import app
from trunkline.contracts_commands import release

runner = CliRunner()


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the committed files, in which a test may break things."""
    folder = tmp_path / "libs" / "contracts"
    for part in ("schemas", "examples"):
        shutil.copytree(archive.root() / part, folder / part)
    (tmp_path / "docs").mkdir()
    monkeypatch.setattr(archive, "root", lambda: folder)
    return folder


def test_show_lists_every_topic_with_its_consumers() -> None:
    shown = json.loads(runner.invoke(app, ["show", "--json"]).stdout)

    assert [topic["name"] for topic in shown] == list(TOPICS)
    assert shown[0]["consumers"] == list(TOPICS["call.inbound"].consumers)


@pytest.mark.parametrize("name", ["call.inbound", "call.inbound.v1"])
def test_show_tells_fields_and_what_they_mean(name: str) -> None:
    result = runner.invoke(app, ["show", name])

    assert result.exit_code == 0
    for text in ("urn:trunkline:call.inbound:1.1", "answer_ms", "Destination", "telephony-router"):
        assert text in result.stdout


def test_show_of_an_unknown_event_says_how_to_list_them() -> None:
    result = runner.invoke(app, ["show", "call.outbound"])

    assert result.exit_code == 1
    assert "trunkline contracts show" in result.stderr


def test_check_is_quiet_and_successful_on_what_is_committed() -> None:
    result = runner.invoke(app, ["check"])

    assert result.exit_code == 0, result.stdout
    assert "every reader can read every writer" in result.stderr


def test_check_fails_and_names_an_edited_schema(checkout: Path) -> None:
    path = checkout / "schemas/call.state/v1.0.reader.json"
    path.write_text(path.read_text(encoding="utf-8").replace('"version"', '"revision"'), encoding="utf-8")

    result = runner.invoke(app, ["check", "--json"])

    assert result.exit_code == 1
    found = {(each["rule"], each["event"]) for each in json.loads(result.stdout)}
    assert ("schema_edited", "call.state/v1.0.reader.json") in found


def test_check_prints_the_consumers_that_break(checkout: Path) -> None:
    # As if a field that exists today had once been another type: old records of it cannot be read.
    path = checkout / "schemas/vault.state/v1.0.writer.json"
    schema = json.loads(path.read_text(encoding="utf-8"))
    schema["properties"]["messages_new"] = {"type": "string"}
    path.write_text(json.dumps(schema), encoding="utf-8")

    result = runner.invoke(app, ["check", "--json"])

    (finding,) = [each for each in json.loads(result.stdout) if each["rule"] == "backward.type_changed"]
    assert finding["field"] == "/messages_new"
    assert finding["breaks"] == ["anomaly-engine", "front-desk"]


def test_check_against_an_unknown_revision_says_so() -> None:
    result = runner.invoke(app, ["check", "--against", "no-such-revision"])

    assert result.exit_code == 1
    assert "git does not know" in result.stderr


def test_check_fails_when_a_generated_page_is_stale(checkout: Path) -> None:
    assert runner.invoke(app, ["generate"]).exit_code == 0
    assert runner.invoke(app, ["check"]).exit_code == 0
    page = checkout.parents[1] / "docs/asyncapi.yaml"
    page.write_text(page.read_text(encoding="utf-8").replace("partitions: 12", "partitions: 13", 1), encoding="utf-8")

    result = runner.invoke(app, ["check", "--json"])

    assert result.exit_code == 1
    assert [(each["rule"], each["event"]) for each in json.loads(result.stdout)] == [
        ("page_stale", "docs/asyncapi.yaml")
    ]


def test_generate_changes_nothing_when_nothing_is_new(checkout: Path) -> None:
    before = archive.read(checkout)

    result = runner.invoke(app, ["generate"])

    assert result.exit_code == 0, result.stdout
    assert archive.read(checkout) == before
    assert (checkout.parents[1] / "docs/events.md").is_file()


def test_generate_releases_what_has_no_schema_yet(checkout: Path) -> None:
    committed = archive.read(checkout)
    # Only the newest of each can be made again: what it was like before, its class does not know any more.
    newest = {f"{event.topic()}/v{event.major()}.{event.minor}" for event in REGISTRY}
    for path in (checkout / "schemas").rglob("*.json"):
        name = path.relative_to(checkout / "schemas").as_posix()
        if name.removesuffix(".writer.json").removesuffix(".reader.json") in newest:
            path.unlink()
    lock = checkout / "schemas" / "released.sha256"
    kept = [line for line in lock.read_text().splitlines(keepends=True) if (lock.parent / line.split()[1]).exists()]
    lock.write_text("".join(kept))

    result = runner.invoke(app, ["generate"])

    assert result.exit_code == 0, result.stdout
    assert archive.read(checkout).digests == committed.digests
    assert archive.read(checkout).lock == committed.lock


def test_generate_refuses_a_breaking_change_and_writes_nothing(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(Event):
        type: ClassVar[str] = "vault.state.v1"
        minor: ClassVar[int] = 1
        account_id: int

    events = [event for event in REGISTRY if event.type != Broken.type]
    monkeypatch.setattr(release, "REGISTRY", Registry([*events, Broken]))
    before = archive.read(checkout)

    result = runner.invoke(app, ["generate"])

    assert result.exit_code == 1
    assert "backward.type_changed  vault.state.v1 /account_id (v1.0 -> v1.1)" in result.stdout
    assert "  breaks anomaly-engine, front-desk" in result.stdout
    assert "nothing was written" in result.stderr
    assert archive.read(checkout) == before


def test_generate_releases_an_additive_change_as_a_new_minor(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Wider(VaultStateV1):
        minor: ClassVar[int] = 1
        device: str | None = None
        """The phone that made the backup."""

    events = [event for event in REGISTRY if event.type != Wider.type]
    monkeypatch.setattr(release, "REGISTRY", Registry([*events, Wider]))

    result = runner.invoke(app, ["generate"])

    assert "released schemas/vault.state/v1.1.writer.json" in result.stderr
    # What remains to be done is told.
    assert result.exit_code == 1
    assert "no example of v1.1" in result.stdout
