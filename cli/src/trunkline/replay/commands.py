"""``trunkline replay``: what an engineer does with yesterday's events, and how far it can go wrong (it cannot)."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, TypeVar
from uuid import UUID

import asyncpg
import typer
from aiokafka.errors import KafkaError
from rich.markup import escape

from configuration import ConfigurationError
from kit.handling import Halted
from recovery.replay import settle
from recovery.replay.book import Book, Entry, Wanted
from recovery.replay.compare import TableDiff
from recovery.replay.make import Asked, check_appliable, make_plan
from recovery.replay.plan import Filters, Plan, Refused, Replayable, Target
from recovery.replay.rehearsal import RehearsalDatabase, rehearse
from recovery.replay.run import Run
from recovery.replay.shadow import Letters, Shadow
from runtime.logs import configure_logging
from trunkline.replay import show
from trunkline.replay.ask import bound, of_id, operator, read_plan, replayable, services

__all__ = ["app"]

T = TypeVar("T")
app = typer.Typer(
    no_args_is_help=True, rich_markup_mode="rich",
    help="Handle past events again: plan, dry-run, apply, compare, promote.\n\n"
    "A replay runs under its own id: nothing it emits makes anybody send a mail or a message. Begin with "
    "[bold]plan[/]; it changes nothing. Exit codes: 0 done, 1 could not be done now, 2 refused or misused, "
    "3 done with failures.",
)  # fmt: skip

PlanFile = Annotated[Path, typer.Argument(help="The file that `replay plan --out` wrote.")]
Id = Annotated[str, typer.Argument(help="The replay's id, such as brain-distiller.1121-3f9a2c.")]
Why = Annotated[str, typer.Option(help="The reason, for the audit.")]
MaybeWhy = Annotated[str, typer.Option("--why", help="The reason, for the audit.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]


MEND = "Look at its dead letters, mend the handler, then go on with it: trunkline replay resume"


def work(coroutine: Coroutine[Any, Any, T], *, halted: str = MEND) -> T:
    """Run, and say what went wrong in a sentence; ``halted`` is what to do when too much could not be handled."""
    configure_logging("replay", "WARNING")
    try:
        return asyncio.run(coroutine)
    except Refused as refused:
        raise _failed(str(refused), 2) from None
    except ConfigurationError as error:
        raise _failed(str(error), 2) from None
    except Halted as reason:
        raise _failed(f"It stopped: {reason}. {halted}", 3) from None
    except (OSError, KafkaError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        sentence = f"Kafka or Postgres cannot be asked ({type(error).__name__}); are they up? `trunkline status` tells."
        raise _failed(sentence, 1) from None


def _failed(sentence: str, code: int) -> typer.Exit:
    show.err.print(escape(sentence))
    return typer.Exit(code)


@app.command(name="plan")
def plan_(  # long: every parameter is an option of the command
    service: Annotated[str, typer.Argument(help="Whose handlers; with --from-store, whose store.")],
    consumer: Annotated[str | None, typer.Option(help="The consumer group; the service's main one by default.")] = None,
    target: Annotated[
        str | None,
        typer.Option(
            help="live: into the service's tables. shadow (the default): into copies, to compare and promote. rewind: "
            "move the stopped group back, whole, for after a restore; its inbox knows what had effect."
        ),
    ] = None,
    topic: Annotated[list[str] | None, typer.Option(help="Only these topics of those the consumer reads.")] = None,
    from_: Annotated[
        str | None,
        typer.Option(
            "--from", help="2026-11-20T09:00+05:30, 3h (ago), topic/4@1200, or an event's id; the oldest by default."
        ),
    ] = None,
    to: Annotated[str | None, typer.Option(help="Likewise; where the live consumer is, by default.")] = None,
    tenant: Annotated[list[UUID] | None, typer.Option(help="Only these tenants.")] = None,
    event_type: Annotated[list[str] | None, typer.Option("--type", help="Only these types of events.")] = None,
    key: Annotated[list[str] | None, typer.Option(help="Only these entities.")] = None,
    event: Annotated[list[UUID] | None, typer.Option(help="Only these event ids.")] = None,
    emitted_by: Annotated[str, typer.Option(help="Only what this earlier replay emitted.")] = "",
    sample: Annotated[float, typer.Option(min=0.0001, max=1, help="A share of the keys, the same every time.")] = 1.0,
    dead_letters: Annotated[str, typer.Option(help="Instead of topics: the dead letters of this fingerprint.")] = "",
    from_store: Annotated[
        bool,
        typer.Option(
            "--from-store",
            help="Instead of topics: have the owner tell a topic again from its store, by --tenant, --from and --to. "
            "vault-importer tells message.imported, brain-distiller fact.extracted; directory.* are told by "
            "`trunkline directory republish`; no store tells the rest.",
        ),
    ] = False,
    allow_effects: Annotated[
        bool,
        typer.Option(
            "--allow-effects",
            help="With --target rewind: although handlers act on others, and do so again for what the inbox forgot.",
        ),
    ] = False,
    rebuild: Annotated[
        bool,
        typer.Option("--rebuild", help="Projections start empty and are made anew; with --target shadow, to the end."),
    ] = False,
    rate: Annotated[float, typer.Option(min=0.1, help="At most so many records a second.")] = 1000.0,
    out: Annotated[Path | None, typer.Option(help="Write the plan here, to apply it.")] = None,
    as_json: Json = False,
) -> None:
    """Find out what a replay would read, and freeze it. Changes nothing."""
    filters = Filters(
        tenants=tuple(map(str, tenant or ())), types=tuple(event_type or ()), keys=tuple(key or ()),
        event_ids=tuple(map(str, event or ())), replay=emitted_by, sample=sample,
    )  # fmt: skip
    if target not in (None, "live", "shadow", "rewind"):
        raise _failed(f"--target takes live, shadow or rewind, not {target}", 2)
    if from_store and (target or consumer or dead_letters or allow_effects):
        raise _failed(
            "a store is told again to everybody: --from-store goes with no --target, --consumer, --dead-letters or "
            "--allow-effects", 2
        )  # fmt: skip
    chosen: Target = "reemit" if from_store else target or "shadow"  # type: ignore[assignment]
    try:
        start, end = bound(from_), bound(to)
    except Refused as refused:
        raise _failed(str(refused), 2) from None
    asked = Asked(
        consumer=consumer or service, target=chosen, topics=tuple(topic or ()), start=start, end=end,
        source="store" if from_store else "dead_letters" if dead_letters else "topics",
        fingerprint=dead_letters, tenants=tuple(tenant or ()), filters=filters, rebuild=rebuild, rate=rate,
        allow_effects=allow_effects,
    )  # fmt: skip

    async def make() -> Plan:
        return await make_plan(replayable(service), asked)

    made = work(make())
    if out is not None:
        out.write_text(made.to_json() + "\n", encoding="utf-8")
    if as_json:
        show.as_json({**asdict(made), "hash": made.hash()})
        return
    show.plan(made)
    if not made.records:
        return
    if out is not None:
        begin = f"trunkline replay apply {out} --why …"
        if made.target in ("live", "shadow"):
            begin = f"try it without effect: trunkline replay dry-run {out}   then: {begin}"
        show.err.print(escape(begin))
    else:
        show.err.print("Write it to a file with --out to dry-run or apply it.")


@app.command(name="dry-run")
def dry_run(plan: PlanFile, as_json: Json = False) -> None:
    """Run the handlers on everything in the plan, each in a transaction that is taken back."""

    async def go() -> Any:
        made = read_plan(plan)
        if made.target in ("rewind", "reemit"):
            raise Refused(f"a {made.target} runs no handlers here; there is nothing to rehearse")
        given = replayable(made.service)
        await check_appliable(given, made)
        database = RehearsalDatabase(
            service=given.service, dsn=given.postgres_dsn, app_password=given.passwords["app"],
            system_password=given.passwords["system"],
        )  # fmt: skip
        try:
            with show.progress(made.records) as watch:
                return await rehearse(given, made, database, report=watch)
        finally:
            await database.close()

    found = work(go(), halted="Nothing was changed. Mend the handler, then rehearse the plan again")
    if as_json:
        show.as_json({"outcomes": found.outcomes, "rows": found.rows, "failures": found.failures,
                      "examples": found.examples})  # fmt: skip
    else:
        show.findings(found)
    if found.failures:
        raise typer.Exit(3)


@app.command()
def apply(plan: PlanFile, why: Why, as_json: Json = False) -> None:
    """Do it. Shows progress; Ctrl-C pauses it, kill -9 loses nothing: go on with `replay resume`."""

    async def begin() -> tuple[Replayable, Plan]:
        made = read_plan(plan)
        given = replayable(made.service)
        await check_appliable(given, made)
        database = given.database()
        try:
            await Book(database).open(made, who=operator(), why=why)
        finally:
            await database.close()
        return given, made

    given, made = work(begin())
    _run(given, made.id, made.records, as_json)


@app.command()
def resume(id_: Id, why: MaybeWhy = "", as_json: Json = False) -> None:
    """Go on with a replay that was paused, killed, or stopped at its limits: its dead letters first, then the rest.

    One that is done is resumed for the sake of what it could not handle, after the handler was mended.
    """
    given = _known(id_)
    entry = work(_find(given, id_))
    _run(given, id_, entry.total, as_json, resumed=why)


def _run(given: Replayable, id_: str, total: int, as_json: bool, *, resumed: str | None = None) -> None:
    with show.progress(total) as watch:

        async def go() -> Entry:
            run = Run(given, report=watch)
            for number in (signal.SIGINT, signal.SIGTERM):
                asyncio.get_running_loop().add_signal_handler(number, run.stop.set)
            if resumed is None:
                return await run.run(id_)
            return await run.resume(id_, who=operator(), why=resumed)

        entry = work(go())
    if as_json:
        show.as_json(show.entry_json(entry))
    else:
        show.entry(entry, [])
    if entry.report and entry.report["failed"]:
        raise typer.Exit(3)


def _known(id_: str) -> Replayable:
    try:
        return of_id(id_)
    except Refused as refused:
        raise _failed(str(refused), 2) from None
    except ConfigurationError as error:
        raise _failed(str(error), 2) from None


async def _find(given: Replayable, id_: str) -> Entry:
    database = given.database()
    try:
        return await Book(database).find(id_)
    finally:
        await database.close()


def _want(id_: str, wanted: Wanted, why: str) -> None:
    given = _known(id_)

    async def go() -> Entry:
        database = given.database()
        try:
            entry = await Book(database).want(id_, wanted, who=operator(), why=why)
        finally:
            await database.close()
        if entry.state == "cancelled":
            await Shadow(given).discard(id_)
        return entry

    entry = work(go())
    if entry.state == "running":
        show.err.print(f"{id_} is running; it is asked to {wanted}, and hears it within a second")
    else:
        show.err.print(f"{id_} is {entry.state}")


@app.command()
def pause(id_: Id, why: MaybeWhy = "") -> None:
    """Have a running replay stop after its current step; `resume` goes on from there."""
    _want(id_, "pause", why)


@app.command()
def cancel(id_: Id, why: Why) -> None:
    """End a replay for good. What it did to live tables stays; a shadow is thrown away."""
    _want(id_, "cancel", why)


@app.command()
def status(
    id_: Annotated[str | None, typer.Argument(help="A replay's id; without it, all of every service.")] = None,
    as_json: Json = False,
) -> None:
    """How far replays are, and who did what with them."""
    if id_ is None:
        found = [entry for service in sorted(services()) for entry in work(_all_of(service))]
        show.as_json([show.entry_json(each) for each in found]) if as_json else show.entries(found)
        return
    given = _known(id_)

    async def one() -> tuple[Entry, list[dict[str, Any]], list[Letters]]:
        database = given.database()
        try:
            book = Book(database)
            entry = await book.find(id_)
            letters = await Shadow(given).letters(entry.plan) if entry.plan.target == "shadow" else []
            return entry, await book.history(id_), letters
        finally:
            await database.close()

    entry, history, letters = work(one())
    if as_json:
        show.as_json(show.entry_json(entry, history, letters))
    else:
        show.entry(entry, history, letters)


async def _all_of(service: str) -> list[Entry]:
    database = replayable(service).database()
    try:
        return await Book(database).all()
    finally:
        await database.close()


@app.command()
def diff(
    id_: Id,
    reveal: Annotated[bool, typer.Option("--reveal", help="Show the values; they can be personal. Audited.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="At most so many rows of each table.")] = 50,
    as_json: Json = False,
) -> None:
    """What a shadow run changed, table by table and key by key. Changes nothing."""
    given = _known(id_)

    async def compare() -> tuple[list[TableDiff], list[Letters]]:
        entry, shadow = await _find(given, id_), Shadow(given)
        settle.check_done(entry)
        if await shadow.holder() != id_:
            raise Refused(f"{id_} has no shadow tables any more; it was promoted, discarded or cancelled")
        if reveal:
            await _audit(given, id_, "reveal", "", {})
        return await shadow.diff(entry.plan, examples=limit), await shadow.letters(entry.plan)

    found, letters = work(compare())
    if as_json:
        show.as_json(show.diff_json(found, letters, reveal=reveal))
    else:
        show.diff(found, letters, id_, reveal=reveal)


async def _audit(given: Replayable, id_: str, action: str, why: str, detail: dict[str, Any]) -> None:
    database = given.database()
    try:
        await Book(database).audit(id_, action, who=operator(), why=why, detail=detail)
    finally:
        await database.close()


@app.command()
def promote(
    id_: Id,
    why: Why,
    with_failures: Annotated[
        bool, typer.Option("--with-failures", help="Although records could not be handled. Audited.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Make a shadow run's changes live, and its events known, in one transaction; or refuse and change nothing."""
    counts = work(settle.promote(_known(id_), id_, who=operator(), why=why, with_failures=with_failures))
    if as_json:
        show.as_json(counts)
        return
    told = ", ".join(f"{name} {count:,}" for name, count in counts.items() if count) or "nothing differed"
    show.out.print(f"promoted {id_}: {told}")


@app.command()
def discard(id_: Id, why: MaybeWhy = "") -> None:
    """Throw a shadow run's copies away; the run is cancelled and cannot be gone on with."""
    work(settle.discard(_known(id_), id_, who=operator(), why=why))
    show.err.print(f"the shadow of {id_} is thrown away")
