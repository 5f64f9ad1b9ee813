"""The faults: each does its harm, waits for as long as planned, and mends it. What one finds impossible here it says
by raising :class:`NotHere`; that is printed and counted, never silent."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
from confluent_kafka import KafkaException
from tests.faults.harness import migrating
from tests.faults.harness.doubt import Doubt, Loss, Standing
from tests.faults.harness.ledger import Ledger
from tests.faults.harness.options import Planned
from tests.faults.harness.saboteur.crash_points import FAKETIME
from tests.faults.harness.stack import FaultStack, wait_until

from kit.dead_letters import DeadLetterLimits
from kit.migrations import provision
from kit.postgres import SERVER_AWAY, Database, role_dsn, schema_of
from recovery.rewind import rewind
from trunkline.stack import control, kafka, postgres
from trunkline.stack.layout import SERVICES, Service

__all__ = ["FAULTS", "MIGRATION_POINTS", "Context", "NotHere", "have_published_again"]


COLUMNS = """
SELECT table_schema, table_name, column_name, data_type, column_default FROM information_schema.columns
WHERE table_schema NOT IN ('pg_catalog', 'information_schema') ORDER BY 1, 2, 3
"""


CATCH_UP_SECONDS = 40.0
PATIENCE = 180.0
"""Seconds that are waited for what everything else depends on."""
SOME_POISON = 10
MIGRATION_POINTS = (
    ("inside_a_migration", 0),
    ("inside_a_migration_file", 4),
    ("inside_a_migration", 1),
    ("inside_a_migration_file", 9),
)
"""Between two files, and in the transaction of one (the first, the second): its statements are done, and it is not
noted yet. What is counted there is what the migration asks of Postgres."""


class NotHere(Exception):
    """This fault cannot be made on this machine, or in this version; the message says why."""


async def _nobody_judges() -> Any:
    raise NotHere("nobody judges this run")


@dataclass
class Context:
    """What faults work on, and what they leave for the judgement."""

    stack: FaultStack
    ledger: Ledger
    doubts: list[Doubt] = field(default_factory=list)
    losses: list[Loss] = field(default_factory=list)
    """When Kafka lost its data: what was on no outbox, and not handled yet, went with it."""
    kafka_lost: Callable[[], None] = lambda: None
    """Tells whoever reads the topics that they begin anew. The broker is down meanwhile."""
    standing: Callable[[], Awaitable[Standing]] = _nobody_judges
    """How far everybody is now; whoever judges knows. This and the next fail when a server does not answer."""
    ends: Callable[[], Awaitable[dict[tuple[str, int], int]]] = _nobody_judges
    """Where every partition ends now."""
    caught_up: Callable[[], Awaitable[bool]] | None = None
    """Whether nobody has more to do than what came within the last moments; whoever judges knows."""
    halted: set[str] = field(default_factory=set)
    """Services whose relay has not been told to publish again since Kafka lost its data."""
    beyond_limits: list[str] = field(default_factory=list)
    """Consumers that parked more than they may, and did not stop."""
    migrations: list[tuple[str, bool]] = field(default_factory=list)
    """Migrations that were killed, and whether the schema came out as that of a whole run."""
    _table: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def stop(self, name: str) -> None:
        """Stop a process in an orderly way. The table of processes is changed by one at a time."""
        async with self._table:
            await asyncio.to_thread(control.stop_one, self.stack.layout, name)

    async def start(self, name: str) -> None:
        async with self._table:
            await asyncio.to_thread(control.start_one, self.stack.layout, name)


Fault = Callable[[Context, Planned], Awaitable[None]]


def service(name: str) -> Service:
    return next(each for each in SERVICES if each.name == name)


async def kill(context: Context, planned: Planned) -> None:
    """kill -9; the supervisor starts it again."""
    if await asyncio.to_thread(context.stack.signal, planned.target, signal.SIGKILL) is None:
        raise NotHere("it was not running at that moment")


async def restart_server(context: Context, planned: Planned) -> None:
    """An orderly stop, a pause, a start."""
    await context.stop(planned.target)
    await asyncio.sleep(planned.seconds)
    await context.start(planned.target)


async def crash(context: Context, planned: Planned) -> None:
    """Arm a crash point; disarm it when nobody came by in time."""
    process, _, point = planned.target.partition(".")
    cap = {"inside_an_import": 6, "after_a_commit_inside_a_batch": 5}.get(point, 2)
    path = context.stack.arm(process, point, int(planned.figure * cap))
    deadline = time.monotonic() + planned.seconds
    with _postgres_cut_off(context) if "journal" in point else contextlib.nullcontext(lambda: None) as end:
        while path.exists() and time.monotonic() < deadline:
            await asyncio.sleep(0.1)
            if point == "after_journal_record_is_stored" and time.monotonic() > deadline - planned.seconds / 2:
                # The journal is drained once Postgres is back.
                end()
    if path.exists():
        path.unlink(missing_ok=True)
        raise NotHere("nobody came by the point in time")


@contextlib.contextmanager
def _postgres_cut_off(context: Context) -> Any:
    """No connection to Postgres, until the end or until what this gives is called."""
    proxies = context.stack.proxies
    number = proxies.poison("postgres", refuse=True)
    proxies.reset("postgres")
    try:
        yield lambda: proxies.heal("postgres", number)
    finally:
        proxies.heal("postgres", number)


async def pause(context: Context, planned: Planned) -> None:
    """SIGSTOP for longer than the session's time-out: it wakes up as a zombie that believes it owns partitions."""
    pid = await asyncio.to_thread(context.stack.signal, planned.target, signal.SIGSTOP)
    if pid is None:
        raise NotHere("it was not running at that moment")
    try:
        await asyncio.sleep(planned.seconds)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


async def storm(context: Context, planned: Planned) -> None:
    """A second process of the service joins its group and is killed, again and again: rebalances."""
    spare = context.stack.layout.port_base + 190 + [each.name for each in SERVICES].index(planned.target)
    package = service(planned.target).package
    environment = {**os.environ, **context.stack.layout.environment(),
                   f"TRUNKLINE_{package.upper()}_HTTP_PORT": str(spare)}  # fmt: skip
    url, end = f"http://127.0.0.1:{spare}/readyz", time.monotonic() + planned.seconds
    while time.monotonic() < end:
        context.stack.guests[planned.target] += 1
        with _process([sys.executable, "-m", package], environment):
            up = asyncio.to_thread(wait_until, lambda: control.probe(url)[0] == 200, "no second process", 15)
            with contextlib.suppress(TimeoutError):
                await up
            await asyncio.sleep(1)


@contextlib.contextmanager
def _process(command: list[str], environment: dict[str, str]) -> Any:
    process = subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _toxic(**toxics: Any) -> Fault:
    async def fault(context: Context, planned: Planned) -> None:
        proxies = context.stack.proxies
        given = {name: value(planned.figure) if callable(value) else value for name, value in toxics.items()}
        number = proxies.poison(planned.target, **given)
        try:
            await asyncio.sleep(planned.seconds)
        finally:
            # Others may be at work on the same link: only ours ends here.
            proxies.heal(planned.target, number)

    return fault


async def resets(context: Context, planned: Planned) -> None:
    """Every connection is reset, several times."""
    end = time.monotonic() + planned.seconds
    while time.monotonic() < end:
        context.stack.proxies.reset(planned.target)
        await asyncio.sleep(0.3 + planned.figure)


async def read_transaction(context: Context, planned: Planned) -> None:
    """A reader with a snapshot that stays open: a report somebody forgot."""
    connection = await context.stack.admin()
    try:
        await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        await connection.execute("SELECT count(*) FROM telephony_router.outbox")
        await asyncio.sleep(planned.seconds)
    finally:
        await connection.close(timeout=5)


async def write_transaction(context: Context, planned: Planned) -> None:
    """A writer that stays open: nothing younger may be published meanwhile, and nothing may be skipped for it."""
    connection = await context.stack.admin()
    try:
        await connection.execute("BEGIN")
        await connection.execute("SELECT pg_current_xact_id()")
        await asyncio.sleep(planned.seconds)
        await connection.execute("ROLLBACK")
    finally:
        await connection.close(timeout=5)


async def dump(context: Context, planned: Planned) -> None:
    """pg_dump of everything, under load."""
    folder = postgres.binaries()
    tool = str(folder / "pg_dump") if folder else "pg_dump"
    process = await asyncio.create_subprocess_exec(
        tool, "--dbname", context.stack.layout.admin_dsn("trunkline"), "--format", "custom", "--no-sync", "--file",
        "/dev/null",
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    _, said = await process.communicate()
    if process.returncode:
        raise NotHere(f"pg_dump was interrupted: {said.decode(errors='replace').strip()[-120:]}")


async def clock(context: Context, planned: Planned) -> None:
    """One process lives minutes or an hour away from all others."""
    if not FAKETIME.exists():
        raise NotHere("libfaketime is not installed (apt-get install faketime)")
    steps = ("+5m", "-5m", "+1h", "-1h")
    step = steps[int(planned.figure * len(steps)) % len(steps)]
    package = service(planned.target).package
    (context.stack.layout.folder / f"clock.{package}").write_text(step)
    context.stack.signal(planned.target, signal.SIGKILL)
    try:
        await asyncio.sleep(planned.seconds)
    finally:
        (context.stack.layout.folder / f"clock.{package}").unlink(missing_ok=True)
        context.stack.signal(planned.target, signal.SIGKILL)


async def crash_in_migration(context: Context, planned: Planned) -> None:
    """Migrate a database of its own, die on the way, migrate again: the schema is the one of a whole run."""
    stack, chosen, number = context.stack, service(planned.target), time.time_ns()
    broken, whole, process = f"migrating_broken_{number}", f"migrating_whole_{number}", f"migrating-{number}"
    point, passes = MIGRATION_POINTS[int(planned.figure * len(MIGRATION_POINTS)) % len(MIGRATION_POINTS)]
    try:
        for database in (broken, whole):
            await _as_admin(stack, f"CREATE DATABASE {database}")
            await _while_away(functools.partial(_provision, stack, chosen, database))
        armed = stack.arm(process, point, passes)
        try:
            first = await _migrate(stack, chosen, broken, process)
        finally:
            # Whoever migrates after this must live.
            armed.unlink(missing_ok=True)
        if first != -signal.SIGKILL:
            raise NotHere(f"the migration did not come to its point, it ended with {first}")
        codes = [first, *[await _migrate_in_the_end(stack, chosen, name, process) for name in (broken, whole)]]
        same = await _schema(stack, broken) == await _schema(stack, whole)
        context.migrations.append((chosen.name, codes == [-signal.SIGKILL, 0, 0] and same))
        context.ledger.note("migration", service=chosen.name, point=point, passes=passes, codes=codes, same=same)
    finally:
        for database in (broken, whole):
            await _as_admin(stack, f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")


async def _as_admin(stack: FaultStack, statement: str) -> None:
    async def attempt() -> None:
        connection = await stack.admin()
        try:
            # An attempt whose answer was lost has made it already.
            with contextlib.suppress(asyncpg.DuplicateDatabaseError):
                await connection.execute(statement)
        finally:
            await connection.close(timeout=5)

    await _while_away(attempt)


async def _while_away(attempt: Callable[[], Awaitable[None]], within: float = CATCH_UP_SECONDS) -> None:
    """Again while Postgres is away: other faults may have it for a while."""
    deadline = time.monotonic() + within
    while True:
        try:
            return await attempt()
        except SERVER_AWAY as error:
            if time.monotonic() > deadline:
                raise NotHere(f"Postgres was away for {within:.0f} s") from error
            await asyncio.sleep(0.5)


async def _migrate_in_the_end(stack: FaultStack, chosen: Service, database: str, process: str) -> int:
    """How it ended; begun anew only when the server went away meanwhile."""
    deadline = time.monotonic() + CATCH_UP_SECONDS
    while (code := await _migrate(stack, chosen, database, process)) == migrating.AWAY:
        if time.monotonic() > deadline:
            raise NotHere(f"Postgres was away for {CATCH_UP_SECONDS:.0f} s")
        await asyncio.sleep(0.5)
    return code


async def _provision(stack: FaultStack, chosen: Service, database: str) -> None:
    await provision(stack.layout.admin_dsn(database), service=chosen.name, passwords=stack.layout.passwords(chosen))


async def _migrate(stack: FaultStack, chosen: Service, database: str, process: str) -> int:
    owner = role_dsn(
        stack.layout.admin_dsn(database), f"{schema_of(chosen.name)}_owner", stack.layout.passwords(chosen)["owner"]
    )
    environment = {
        **os.environ, **stack.layout.environment(), "FAULTS_PROCESS": process, "FAULTS_OWNER_DSN": owner,
    }  # fmt: skip
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.faults.harness.migrating", chosen.name, chosen.package, env=environment,
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    return await child.wait()


async def _schema(stack: FaultStack, database: str) -> list[Any]:
    connection = await stack.admin(database)
    try:
        return [tuple(row) for row in await connection.fetch(COLUMNS)]
    finally:
        await connection.close(timeout=5)


async def bad_deploy(context: Context, planned: Planned) -> None:
    """Every event fails: the consumer must stop at its limits. Then the handler is mended and the service restarted."""
    stack, chosen = context.stack, service(planned.target)
    before, processes = await _letters(stack, chosen), _processes_so_far(stack, chosen)
    path = stack.arm(chosen.package, "after_claim_before_handler", -1)
    halted = f"{stack.layout.url(planned.target)}/readyz"
    try:
        await asyncio.to_thread(
            wait_until, lambda: "stopped" in control.probe(halted)[1], "the consumer did not stop", planned.seconds, 0.3
        )
        context.ledger.note("halted", service=planned.target)
    except TimeoutError:
        # Each process of the service counts for itself; what was unreadable before anything failed counts as well.
        allowed = DeadLetterLimits().consecutive * (1 + _processes_so_far(stack, chosen) - processes) + SOME_POISON
        parked = await _letters(stack, chosen) - before
        beyond = [f"{consumer} {count}" for consumer, count in parked.items() if count > allowed]
        if not beyond:
            raise NotHere("too few events for the limits in this window") from None
        context.beyond_limits += beyond
    finally:
        path.unlink(missing_ok=True)
        stack.signal(planned.target, signal.SIGKILL)


async def _letters(stack: FaultStack, chosen: Service) -> Counter[str]:
    """How many records each consumer of the service has parked for their own sake."""
    found: Counter[str] = Counter()

    async def attempt() -> None:
        connection = await stack.admin()
        try:
            rows = await connection.fetch(
                f"SELECT consumer, count(*) AS n FROM {chosen.package}.dead_letter WHERE NOT parked_behind GROUP BY 1"
            )
        finally:
            await connection.close(timeout=5)
        found.update({str(row["consumer"]): int(row["n"]) for row in rows})

    await _while_away(attempt)
    return found


def _processes_so_far(stack: FaultStack, chosen: Service) -> int:
    """How many processes of the service there have been."""
    return int(stack.process(chosen.name).get("restarts", 0)) + stack.guests[chosen.name]


async def disk_full(context: Context, planned: Planned) -> None:
    """Fill the small disk of a server to the last byte; then somebody makes room."""
    stack = context.stack
    if not stack.has_small_disks:
        raise NotHere(stack.why_no_small_disks or "this run was started without small disks")
    ballast = stack.disk(planned.target) / "ballast"
    try:
        await asyncio.to_thread(_fill, ballast)
        await asyncio.sleep(planned.seconds)
    finally:
        ballast.unlink(missing_ok=True)


def _fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(1 << 20))


async def restore_postgres(context: Context, planned: Planned) -> None:
    """Put the cluster's files back as they were a while ago: what was acknowledged since is gone, nothing older.

    Only when nobody is far behind. What is worked off within the window comes back as not done, however long ago it
    was acknowledged: mails that are sent again, offsets ahead of their outcomes. That is what a restore means, and
    could not be told from a double; so it is noted who was how far.
    """
    deadline = time.monotonic() + CATCH_UP_SECONDS
    while context.caught_up is not None and not await context.caught_up():
        if time.monotonic() > deadline:
            raise NotHere(f"services were still behind after {CATCH_UP_SECONDS:.0f} s")
        await asyncio.sleep(0.5)
    stack, data = context.stack, context.stack.layout.run_dir / "postgres" / "data"
    copy = stack.layout.run_dir / "postgres-copy"
    # Until it is over, everything since its beginning is in doubt.
    begin = time.time()
    doubt = Doubt("Postgres was restored to an earlier point", begin, await context.standing())
    context.doubts.append(doubt)
    try:
        await context.stop("postgres")
        await asyncio.to_thread(_copy, data, copy)
        await context.start("postgres")
        await asyncio.sleep(planned.seconds)
        await context.stop("postgres")
        await asyncio.to_thread(_copy, copy, data)
        await context.start("postgres")
        await asyncio.to_thread(wait_until, lambda: postgres.is_up(stack.layout), "Postgres did not come up", PATIENCE)
    finally:
        # However it went: a window without an end would leave nothing to judge.
        doubt.ends = await _ends(context)
        doubt.end = time.time()
        shutil.rmtree(copy, ignore_errors=True)


async def _ends(context: Context) -> dict[tuple[str, int], int] | None:
    """Where partitions end, if Kafka tells within a while."""
    for _ in range(5):
        with contextlib.suppress(KafkaException):
            return await context.ends()
        await asyncio.sleep(1)
    return None


def _copy(source: Path, target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    subprocess.run(["cp", "-a", str(source), str(target)], check=True)


async def lose_kafka(context: Context, planned: Planned) -> None:
    """The broker's data is gone; the outboxes still have every event of the last days, and publish them again."""
    stack = context.stack
    standing = await context.standing()
    await context.stop("kafka")
    data = kafka.home(stack.layout) / "data"
    for entry in data.iterdir():
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    context.losses.append(Loss(time.time(), standing))
    context.halted |= {each.name for each in SERVICES}
    await asyncio.to_thread(context.kafka_lost)
    await asyncio.to_thread(kafka._format, stack.layout, data, lambda _: None)
    await context.start("kafka")
    await have_published_again(context)


async def have_published_again(context: Context) -> None:
    """What an operator does after Kafka lost its data: topics, and every relay from the beginning.

    Until that is done everybody stands still, as they must; so it is done, however busy the machine is.
    """
    layout = context.stack.layout
    await asyncio.to_thread(wait_until, lambda: kafka.is_up(layout), "Kafka did not come up", PATIENCE)
    await asyncio.to_thread(kafka.ensure_topics, layout.kafka_bootstrap)
    for each in SERVICES:
        if each.name in context.halted:
            await _while_away(functools.partial(_rewind, context, each), PATIENCE)


async def _rewind(context: Context, chosen: Service) -> None:
    passwords = context.stack.layout.passwords(chosen)
    database = Database(service=chosen.name, dsn=context.stack.layout.postgres_dsn, app_password=passwords["app"],
                        system_password=passwords["system"])  # fmt: skip
    try:
        context.ledger.note("rewound", service=chosen.name, events=await rewind(database, since=None))
        context.halted.discard(chosen.name)
    finally:
        await database.close()


FAULTS: dict[str, Fault] = {
    "kill_service": kill,
    "kill_server": kill,
    "restart_server": restart_server,
    "crash": crash,
    "pause": pause,
    "storm": storm,
    "latency": _toxic(latency=lambda f: 0.05 + f * 0.25, jitter=lambda f: 0.02 + f * 0.1),
    "slow": _toxic(bytes_per_second=lambda f: int(40_000 + f * 300_000), latency=0.05),
    "sliced": _toxic(slice_bytes=lambda f: int(7 + f * 60)),
    "reset": resets,
    "black_hole": _toxic(swallow_up=True, swallow_down=True),
    "one_way": _toxic(swallow_down=True),
    "read_transaction": read_transaction,
    "write_transaction": write_transaction,
    "dump": dump,
    "clock": clock,
    "crash_in_migration": crash_in_migration,
    "bad_deploy": bad_deploy,
    "disk_full": disk_full,
    "restore_postgres": restore_postgres,
    "lose_kafka": lose_kafka,
}
