from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest
from typer.testing import CliRunner

from brain_distiller.commands import app
from contracts.vault import MessageImportedV1

KOCHI = "32AABCU9603R1ZW"


def test_extract_shows_what_a_text_says_on_stdout_and_the_rest_elsewhere() -> None:
    done = CliRunner().invoke(app, ["extract"], input=f"gst {KOCHI}, ₹5 lakh")
    assert done.exit_code == 0
    assert done.stdout.splitlines() == [f"gstin\t{KOCHI}\t4-19\t{KOCHI}", "amount\t50000000\t21-28\t₹5 lakh"]
    assert done.stderr == "2 found\n"


def test_extract_can_be_read_by_a_program() -> None:
    done = CliRunner().invoke(app, ["extract", "--json", "--key", "phone"], input="ഫോൺ ൯൮൪൭൦൦൦൦൦൧, ₹500")
    (mention,) = json.loads(done.stdout)["mentions"]
    assert (mention["key"], mention["value"], mention["start"]) == ("phone", "+919847000001", 4)


def test_extract_refuses_a_key_that_nobody_distils() -> None:
    done = CliRunner().invoke(app, ["extract", "--key", "aadhaar"], input="")
    assert done.exit_code == 2
    assert "gstin" in done.stderr


def test_facts_say_that_the_database_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRUNKLINE_POSTGRES_DSN", "postgresql://127.0.0.1:1/none")
    done = CliRunner().invoke(app, ["facts", "--tenant", "6f2a4d0e-5f0e-4b52-9d3e-7a3e1c0b9a11"])
    assert done.exit_code == 1
    assert "is it up?" in done.stderr


def test_facts_say_what_is_wrong_with_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRUNKLINE_BRAIN_DISTILLER_INTAKE_BATCH_MAXX", "5")
    done = CliRunner().invoke(app, ["facts", "--tenant", "6f2a4d0e-5f0e-4b52-9d3e-7a3e1c0b9a11"])
    assert done.exit_code == 2
    assert "INTAKE_BATCH_MAX?" in done.stderr


@pytest.mark.real
async def test_facts_are_listed_for_people_and_for_programs(
    brain: Any, a_message: Callable[..., MessageImportedV1], monkeypatch: pytest.MonkeyPatch
) -> None:
    await brain.hears(a_message(f"gst {KOCHI}"))
    dsn = urlsplit(brain.database._app_dsn)
    environment = {
        "TRUNKLINE_DEMO": "true",
        "TRUNKLINE_POSTGRES_DSN": urlunsplit(dsn._replace(netloc=dsn.netloc.rpartition("@")[2])),
        "TRUNKLINE_BRAIN_DISTILLER_APP_PASSWORD": "test",
        "TRUNKLINE_BRAIN_DISTILLER_SYSTEM_PASSWORD": "test",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    arguments = ["facts", "--tenant", str(brain.tenant), "--subject", "contact:+919847000001"]
    shown = await asyncio.to_thread(CliRunner().invoke, app, arguments)
    assert shown.stdout == f"contact:+919847000001\tgstin\t{KOCHI}\tasserted\tv1\t“{KOCHI}” in m-1\n"
    read = await asyncio.to_thread(CliRunner().invoke, app, [*arguments, "--json"])
    (fact,) = json.loads(read.stdout)["facts"]
    assert (fact["value"], fact["evidence"][0]["start"]) == (KOCHI, 4)
