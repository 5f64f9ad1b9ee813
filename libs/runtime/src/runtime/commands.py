"""What the commands of every service share: settings, or a sentence; a database's answer, or a sentence.

Whatever is slow to import is imported when it is used: asking for help must not wait for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import typer

if TYPE_CHECKING:
    from configuration import ServiceSettings
    from kit.postgres import Database

__all__ = ["complete", "complete_on", "fail", "settings_of"]

T = TypeVar("T")
S = TypeVar("S", bound="ServiceSettings")


def fail(sentence: str, code: int = 1) -> NoReturn:
    """Say what is wrong, and end with this exit code."""
    typer.echo(sentence, err=True)
    raise typer.Exit(code)


def settings_of(cls: type[S]) -> S:
    """A service's settings from the environment, with its log kept quiet; a sentence when they are not right."""
    from configuration import ConfigurationError
    from runtime.logs import configure_logging

    try:
        settings = cls.load()
    except ConfigurationError as error:
        fail(str(error))
    configure_logging(settings.service, "WARNING")
    return settings


def complete(settings: ServiceSettings, work: Coroutine[Any, Any, T]) -> T:
    """What the work returns; a sentence when Postgres cannot be reached or refuses the service's roles."""
    from asyncpg import InvalidPasswordError, PostgresConnectionError

    try:
        return asyncio.run(work)
    except InvalidPasswordError:
        prefix = f"TRUNKLINE_{settings.service.upper().replace('-', '_')}"
        fail(f"Postgres refuses the password: set {prefix}_APP_PASSWORD and {prefix}_SYSTEM_PASSWORD.")
    except (ConnectionError, TimeoutError, PostgresConnectionError):
        fail("Postgres cannot be reached: start it with `trunkline up`, or set TRUNKLINE_POSTGRES_DSN.")


def complete_on(
    make_database: Callable[[S], Database], settings: S, work: Callable[[Database], Coroutine[Any, Any, T]]
) -> T:
    """The same for work on a database that is made for it and closed after it."""

    async def within() -> T:
        database = make_database(settings)
        try:
            return await work(database)
        finally:
            await database.close()

    return complete(settings, within())
