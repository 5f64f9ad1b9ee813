"""What keeps a command from its work is said in a sentence, never in a traceback."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import asyncpg
import pytest
import typer

from configuration import ServiceSettings
from runtime.commands import complete, complete_on, settings_of


class Settings(ServiceSettings, service="toy-service"):
    pace: int = 1


class ToyDatabase:
    closed = False

    async def close(self) -> None:
        self.closed = True


async def answer(_: Any) -> str:
    return "answer"


async def refused(_: Any) -> str:
    raise asyncpg.InvalidPasswordError("password authentication failed")


async def away(_: Any) -> str:
    raise ConnectionRefusedError


def test_settings_that_are_wrong_are_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("TRUNKLINE_TOY_SERVICE_PACE", "quick")

    with pytest.raises(typer.Exit) as ended:
        settings_of(Settings)

    assert ended.value.exit_code == 1
    assert "TRUNKLINE_TOY_SERVICE_PACE" in capsys.readouterr().err


def test_the_database_is_closed_after_the_work() -> None:
    database = ToyDatabase()
    made: Callable[[Settings], Any] = lambda _: database  # noqa: E731

    assert complete_on(made, Settings(), answer) == "answer"
    assert database.closed


@pytest.mark.parametrize(
    ("work", "says"), [(refused, "TRUNKLINE_TOY_SERVICE_APP_PASSWORD"), (away, "start it with `trunkline up`")]
)
def test_a_database_that_does_not_answer_is_told_with_what_to_do(
    work: Callable[[Any], Any], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(typer.Exit) as ended:
        complete(Settings(), work(None))

    assert ended.value.exit_code == 1
    assert says in capsys.readouterr().err
