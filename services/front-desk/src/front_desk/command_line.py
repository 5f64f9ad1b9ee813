"""What the commands of this service share: a database while one runs, and sentences when it cannot do its work."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, NoReturn, TypeVar
from uuid import UUID

import typer
from rich.console import Console

from configuration import ConfigurationError
from front_desk import store
from front_desk.directory import Invalid
from front_desk.keep_directory import Unfit
from front_desk.problems import UNAVAILABLE
from front_desk.settings import Settings
from front_desk.wiring import open_database
from kit.postgres import Database

__all__ = ["BAD_INPUT", "USAGE", "JsonOption", "TenantOption", "err", "fail", "out", "tenant_of", "with_database"]

T = TypeVar("T")
USAGE, BAD_INPUT = 2, 3
err = Console(stderr=True, highlight=False)

TenantOption = Annotated[str, typer.Option("--tenant", help="Slug or id of the tenant.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Answer as JSON.")]


def fail(sentence: str, code: int = 1) -> NoReturn:
    err.print(sentence, markup=False, soft_wrap=True)
    raise typer.Exit(code)


def out(value: Any, as_json: bool, text: str) -> None:
    sys.stdout.write((json.dumps(value, ensure_ascii=False) if as_json else text) + "\n")


def with_database(work: Callable[[Database], Awaitable[T]]) -> T:
    try:
        settings = Settings.load()
    except ConfigurationError as error:
        fail(str(error), USAGE)

    async def connected() -> T:
        database = open_database(settings)
        try:
            return await work(database)
        finally:
            await database.close()

    try:
        return asyncio.run(connected())
    except Invalid as invalid:
        fail("\n".join(f"{problem.field} {problem.sentence}" for problem in invalid.problems), USAGE)
    except Unfit as unfit:
        fail("\n".join(f"{p.field} {p.sentence}" for each in unfit.problems.values() for p in each), BAD_INPUT)
    except UNAVAILABLE as error:
        fail(f"The database cannot be reached ({type(error).__name__}). Run 'trunkline status', then try again.")


async def tenant_of(database: Database, slug_or_id: str) -> UUID:
    found = await store.find_tenant(database, slug_or_id)
    if found is None:
        fail("There is no such tenant. 'trunkline directory tenant list' shows those there are.", USAGE)
    return found
