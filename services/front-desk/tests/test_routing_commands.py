"""``trunkline routing`` on a real database: the way an operator goes, and what is said when it leads nowhere."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from front_desk.routing_commands import app

pytestmark = pytest.mark.real


async def _run(runner: CliRunner, *arguments: str, code: int = 0) -> Any:
    # A command has an event loop of its own, so it runs beside this test's.
    answer = await asyncio.to_thread(runner.invoke, app, [*arguments, "--tenant", "malabar"])
    assert answer.exit_code == code, answer.output
    return answer


async def test_the_routing_is_edited_as_a_file(desk: Any, runner: CliRunner, tmp_path: Path) -> None:
    shop = await desk.open("malabar")
    await desk.http.put("/v1/staff/desk", json={"name": "Desk"}, headers=shop.headers)
    file = tmp_path / "routing.json"
    shown = json.loads((await _run(runner, "show")).stdout)
    assert shown["version"] == 0
    calendar = {"name": "office", "hours": "Mon-Sat 09:30-18:00", "holidays": [{"date": "2026-08-15"}]}
    shown |= {"groups": [{"name": "reception", "staff": ["desk"]}], "calendars": [calendar]}
    file.write_text(json.dumps(shown))
    checked = await _run(runner, "check", str(file))
    assert "groups.reception.staff: desk (new)" in checked.stdout
    assert (await desk.http.get("/v1/routing", headers=shop.headers)).status_code == 404
    assert (await _run(runner, "edit-from", str(file), "--why", "the beginning")).stdout == "Version 1.\n"
    again = json.loads((await _run(runner, "show")).stdout)
    assert (again["version"], again["calendars"][0]["hours"]) == (1, "Mon-Sat 09:30-18:00")
    # What is shown can be put back as it is; what was edited from an older version cannot.
    newer = tmp_path / "newer.json"
    newer.write_text(json.dumps(again))
    assert "Nothing changed; it is version 1." in (await _run(runner, "edit-from", str(newer))).stdout
    late = await _run(runner, "edit-from", str(file), code=4)
    assert "at version 1 now, you edited version 0" in late.stderr
    newer.write_text(json.dumps({**again, "ring_seconds": 30}))
    await _run(runner, "edit-from", str(newer))
    assert (await _run(runner, "diff", "2")).stdout == "ring_seconds: 25 → 30\n"
    assert (await _run(runner, "diff", "1", "--against", "2")).stdout == "ring_seconds: 30 → 25\n"
    assert (await _run(runner, "restore", "1", "--why", "too long")).stdout == "Version 3.\n"
    listed = json.loads((await _run(runner, "versions", "--json")).stdout)
    assert [(row["version"], row["why"]) for row in listed] == [
        (3, "version 1 again: too long"), (2, ""), (1, "the beginning"),
    ]  # fmt: skip
    assert listed[0]["changed_by"].startswith("command line")
    assert "No version yet" not in (await _run(runner, "versions")).stdout


async def test_what_is_wrong_in_a_file_is_said(desk: Any, runner: CliRunner, tmp_path: Path) -> None:
    await desk.open("malabar")
    file = tmp_path / "routing.json"
    for content, command, code, said in (
        ("{", "check", 2, "Invalid JSON"),
        ('{"gruops": []}', "edit-from", 2, "gruops"),
        ('{"spam_limit": 0, "max_hops": 0}', "check", 3, "spam_limit is a number from 1 to 100"),
        ('{"spam_limit": 0, "max_hops": 0}', "edit-from", 3, "max_hops is a number from 1 to 20"),
        ('{"groups": [{"name": "a", "staff": ["nobody"]}]}', "edit-from", 3, "nobody"),
    ):
        file.write_text(content)
        assert said in (await _run(runner, command, str(file), code=code)).stderr
    assert "no version 7" in (await _run(runner, "diff", "7", code=2)).stderr
    assert "no version 7" in (await _run(runner, "restore", "7", code=2)).stderr


async def test_the_red_button_is_within_reach(desk: Any, runner: CliRunner) -> None:
    shop = await desk.open("malabar")
    await _run(runner, "emergency", "off", code=2)
    on = ("emergency", "on", "--number", "0484 200 0007", "--reason", "flood")
    await _run(runner, *on, "--until", "2031-01-01T00:00+05:30")
    body = (await desk.http.get("/v1/routing", headers=shop.headers)).json()
    assert (body["emergency"]["number"], body["emergency"]["reason"]) == ("+914842000007", "flood")
    assert "zone" in (await _run(runner, *on, "--until", "2031-01-01T00:00", code=2)).stderr
    await _run(runner, "emergency", "on", "--reason", "no place", code=3)
    await _run(runner, "emergency", "off", "--why", "dry")
    assert (await desk.http.get("/v1/routing", headers=shop.headers)).json()["emergency"] is None


def test_help_teaches_the_way() -> None:
    text = " ".join(CliRunner().invoke(app, ["--help"], terminal_width=200).output.split())
    assert "routing show --tenant T > routing.json" in text
    for command in ("show", "check", "edit-from", "versions", "diff", "restore", "emergency"):
        assert command in text
