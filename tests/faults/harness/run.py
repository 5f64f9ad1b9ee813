"""One run: a stack, load, the schedule of faults, the heal, the judgement."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
import traceback
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

from confluent_kafka import KafkaException
from tests.faults.harness import checks
from tests.faults.harness.checks import Violation
from tests.faults.harness.faults import FAULTS, Context, NotHere, have_published_again
from tests.faults.harness.groups import Groups
from tests.faults.harness.judge import HEAL_SECONDS, TOO_MUCH, Judge, Unanswered
from tests.faults.harness.ledger import Ledger
from tests.faults.harness.load import Load
from tests.faults.harness.options import KINDS, Options, Planned
from tests.faults.harness.outside import Tail
from tests.faults.harness.report import Outcome, worst
from tests.faults.harness.sinks import Sinks
from tests.faults.harness.stack import FaultLayout, FaultStack
from tests.faults.harness.stores import Stores
from tests.faults.harness.watch import Deaths, Isolation, Readiness, Transactions
from tests.faults.harness.world import make_business

from kit.postgres import SERVER_AWAY, Database

__all__ = ["Run", "run"]

LOOK_SECONDS = 20.0
EVERY_KIND_SECONDS = 600.0
"""A run of so long has made each kind of its faults at least once, or it tells too little."""
Tell = Callable[[str], None]


def run(options: Options, layout: FaultLayout, tell: Tell, *, settle_seconds: float = HEAL_SECONDS) -> Outcome:
    """Start a stack, run the options against it, stop it. The ledger stays in the run directory.

    ``settle_seconds`` is how long outboxes and consumers may take after the heal; more than the promised minute is for
    machines that are busy with other things.
    """
    stack = FaultStack(layout, seed=options.seed, small_disks=any(f.kind == "disk_full" for f in options.faults))
    tell("starting the stack")
    try:
        stack.start(tell)
        return Run(options, stack, tell, settle_seconds=settle_seconds).execute()
    finally:
        stack.stop()


class Run:
    """A run against a stack that is up."""

    def __init__(self, options: Options, stack: FaultStack, tell: Tell, *, settle_seconds: float) -> None:
        self._options = options
        self._settle_seconds = settle_seconds
        self._stack = stack
        self._tell = tell
        self._folder = stack.layout.run_dir / "ledger"
        self._ledger = Ledger(self._folder / f"seed-{options.seed}-{int(time.time())}.jsonl")
        self._tail = Tail(stack.layout.kafka_bootstrap, self._ledger)
        self._context = Context(stack, self._ledger, kafka_lost=self._tail.begin_anew)
        self._groups = Groups(stack.layout.kafka_bootstrap)
        self._judge = Judge(Stores(stack), self._ledger, self._groups, self._context, self._tail)
        self._sinks = Sinks(self._judge)
        self._context.caught_up = self._judge.caught_up
        self._context.standing = self._judge.standing
        self._context.ends = self._judge.ends
        self._readiness = Readiness(stack, self._ledger)
        self._transactions = Transactions(stack)
        self._deaths = Deaths(stack)
        self._faults: Counter[str] = Counter()
        self._skipped: Counter[str] = Counter()
        self._violations: list[Violation] = []
        self._looks: list[Violation] = []
        self._untold: list[str] = []

    @property
    def ledger_path(self) -> Path:
        return self._ledger.path

    def execute(self) -> Outcome:
        (self._folder / "options.json").write_text(self._options.to_json(), encoding="utf-8")
        self._ledger.note("options", options=json.loads(self._options.to_json()))
        self._tell(f"making {self._options.tenants} businesses")
        businesses = [make_business(self._stack, number) for number in range(self._options.tenants)]
        self._groups.discover()
        self._tail.start()
        load = Load(self._options, self._stack, self._ledger, businesses, list(self._groups.topics))
        try:
            return asyncio.run(self._execute(load, [business.tenant_id for business in businesses]))
        finally:
            self._tail.stop()
            self._groups.close()
            self._ledger.close()

    async def _execute(self, load: Load, tenants: list[str]) -> Outcome:
        isolation = Isolation(_probe_database(self._stack.layout), tenants)
        stopping = asyncio.Event()
        watchers = [
            asyncio.create_task(self._keep_watch(watch, stopping))
            for watch in (isolation.run, self._readiness.run, self._transactions.run, self._deaths.run, self._look)
        ]
        loading = asyncio.create_task(load.run())
        self._tell(f"load begins: {self._options.calls_per_second} calls/s; {len(self._options.faults)} faults follow")
        await self._follow_the_schedule()
        await self._mend()
        seconds = await self._settle(load, loading)
        stopping.set()
        await asyncio.gather(*watchers)
        await isolation.close()
        await self._final(isolation)
        return self._outcome(seconds, isolation)

    async def _mend(self) -> None:
        failed = await asyncio.to_thread(self._stack.mend)
        if self._context.halted:
            try:
                await have_published_again(self._context)
            except Exception as error:
                failed.append(f"the relays after Kafka lost its data: {type(error).__name__}: {error}")
        self._untold += [f"what was broken could not be mended: {left}" for left in failed]

    async def _keep_watch(self, watch: Callable[[asyncio.Event], Awaitable[None]], stopping: asyncio.Event) -> None:
        """A watcher that fails is said and goes on: nothing may be looked at for half a run only."""
        while not stopping.is_set():
            try:
                await watch(stopping)
            except Exception as error:
                self._ledger.note("harness_error", error=f"{watch.__qualname__}: {type(error).__name__}: {error}")
                await asyncio.sleep(1)

    async def _follow_the_schedule(self) -> None:
        """Faults at their moments. One that stands alone waits for the others, and the rest of the schedule for it."""
        began, late = time.monotonic(), 0.0
        under_way: set[asyncio.Task[None]] = set()
        for planned in self._options.faults:
            if time.monotonic() - began > self._options.seconds:
                self._skipped["the end of the schedule: this machine was too slow for it"] += 1
                break
            await asyncio.sleep(max(0.0, began + late + planned.at - time.monotonic()))
            under_way = {task for task in under_way if not task.done()}
            if not KINDS[planned.kind].alone:
                under_way.add(asyncio.create_task(self._fault(planned)))
                continue
            await asyncio.gather(*under_way)
            await self._fault(planned)
            late = max(late, time.monotonic() - began - planned.at - planned.seconds)
        await asyncio.gather(*under_way)
        await asyncio.sleep(max(0.0, began + self._options.seconds - time.monotonic()))

    async def _fault(self, planned: Planned) -> None:
        name = f"{planned.kind} {planned.target}"
        self._tell(f"{name}{f' for {planned.seconds} s' if planned.seconds else ''}")
        self._ledger.note("fault", fault=planned.kind, target=planned.target, step="begin")
        try:
            await FAULTS[planned.kind](self._context, planned)
        except NotHere as why:
            self._skipped[f"{name}: {why}"] += 1
            self._ledger.note("fault", fault=planned.kind, target=planned.target, step="not made", why=str(why))
            return
        except Exception as error:
            # A fault that hits another fault's victim: it is said, and the run goes on.
            self._skipped[f"{name}: {type(error).__name__}: {error}"] += 1
            self._ledger.note("fault", fault=planned.kind, target=planned.target, step="failed", why=repr(error))
            return
        self._faults[planned.kind] += 1
        self._readiness.healed(planned.kind, planned.target.partition(".")[2] or planned.target)
        self._ledger.note("fault", fault=planned.kind, target=planned.target, step="healed")

    async def _look(self, stopping: asyncio.Event) -> None:
        """Every so often: a line of progress, and I7 for what was committed since, also between the faults."""
        while not stopping.is_set():
            try:
                await asyncio.wait_for(stopping.wait(), LOOK_SECONDS)
            except TimeoutError:
                counts = self._ledger.counts
                waiting = f"; not ready: {', '.join(self._readiness.last)}" if self._readiness.last else ""
                self._tell(
                    f"    acknowledged: {counts['ring ok']} rings, {counts['status ok']} statuses, "
                    f"{counts['import ok']} imports, {counts['mail ok']} mails; {len(self._tail.seen)} events{waiting}"
                )
                await self._offsets_now()

    async def _offsets_now(self) -> None:
        """I7 in the middle of a run: without Kafka or Postgres there is nothing to compare."""
        try:
            found = await self._judge.offsets(self._tail.seen, self._tail.epoch)
            found += await self._sinks.look()
            await self._judge.note()
        except Exception as error:
            self._ledger.note("look_failed", why=repr(error))
            return
        self._looks += found

    async def _settle(self, load: Load, loading: asyncio.Task[None]) -> float:
        """Everything is mended: load ends, and from now on everything has so long to come to rest."""
        healed, began, ended = time.time(), time.monotonic(), asyncio.Event()
        self._tell("everything is mended; load ends, what is under way is finished")
        load.stop()
        loading.add_done_callback(lambda _: ended.set())
        try:
            seconds, violations = await self._judge.settled(began, self._settle_seconds, ended)
            self._violations += violations
            self._tell(f"{'not ' if violations else ''}settled {seconds:.1f} s after the heal")
        except Unanswered as why:
            seconds = time.monotonic() - began
            self._untold.append(f"whether everything came to rest: {why}")
        await asyncio.wait([loading])
        if (error := loading.exception()) is not None:
            self._untold.append(f"load broke off: {type(error).__name__}: {error}")
        late = await self._readiness.never_all_ready(healed, healed + self._settle_seconds)
        self._violations += checks.ready(late, within=self._settle_seconds)
        return seconds

    async def _final(self, isolation: Isolation) -> None:
        judge = self._judge
        self._violations += await self._asked(
            "dead letters tried again", lambda: self._sinks.work_letters_off(self._settle_seconds)
        )
        self._violations += await self._asked("what they came to", self._at_rest_again)
        await self._until_tail_is_there()
        seen = list(self._tail.seen)
        self._tell(f"judging {len(seen)} events")
        await self._asked("what a restore made forgotten", lambda: judge.forget(seen))
        self._violations += await self._asked("the topics", lambda: asyncio.to_thread(judge.outside, seen))
        self._violations += await self._asked("mails", lambda: asyncio.to_thread(judge.mails, seen))
        self._violations += await self._asked("dead letters", judge.poison)
        self._looks += await self._asked("outcomes", lambda: judge.offsets(seen, self._tail.epoch))
        self._violations += worst(self._looks)
        self._violations += await self._asked("the audit log", lambda: judge.audit(seen))
        self._violations += await self._asked("what consumers show", lambda: self._sinks.effects(self._tail.seen))
        self._violations += await self._asked("facts", lambda: self._sinks.facts(seen))
        self._violations += await self._asked("the order of effects", lambda: self._sinks.sink(seen))
        self._violations += checks.isolated(isolation.strangers)
        self._violations += checks.live({}, self._transactions.idle, within=60)
        self._violations += checks.alive([*self._deaths.strange, *self._deaths.too_many()])
        self._violations += checks.stopped(self._context.beyond_limits)
        broken = [name for name, whole in self._context.migrations if not whole]
        self._violations += checks.conserved((), (), {f"schemas of {name}": (1, 0) for name in broken})
        judge.figures.probes, judge.figures.probes_that_saw = isolation.probes, isolation.own_rows
        planned = {fault.kind for fault in self._options.faults}
        if self._options.seconds >= EVERY_KIND_SECONDS and (never := sorted(planned - self._faults.keys())):
            self._untold.append(f"never made: {', '.join(never)}")
        self._untold += judge.figures.poor
        if errors := self._ledger.counts["harness_error"]:
            self._untold.append(f"{errors} errors inside the harness; see the ledger")
        if judge.figures.in_doubt > TOO_MUCH:
            self._untold.append(f"too much in doubt: {judge.figures.in_doubt:.0%} of something was taken back")

    async def _at_rest_again(self) -> list[Violation]:
        ended = asyncio.Event()
        ended.set()
        _, left = await self._judge.settled(time.monotonic(), self._settle_seconds, ended)
        return left

    async def _asked(self, what: str, question: Callable[[], Awaitable[list[Violation]]]) -> list[Violation]:
        """The answer; asked again for a while when a server does not give it, as a busy machine's may not.

        One that does not come is said, and the run goes on: an hour's other answers are not thrown away with it.
        """
        deadline = time.monotonic() + self._settle_seconds
        while True:
            try:
                return await question()
            except Exception as error:
                away = isinstance(error, (*SERVER_AWAY, KafkaException))
                if not away or time.monotonic() > deadline:
                    self._ledger.note("unanswered", what=what, why=traceback.format_exc())
                    self._untold.append(f"{what}: {type(error).__name__}: {error}")
                    return []
                await asyncio.sleep(1)

    async def _until_tail_is_there(self) -> None:
        deadline = time.monotonic() + self._settle_seconds
        while time.monotonic() < deadline:
            with contextlib.suppress(KafkaException):
                if await self._judge.tail_is_there():
                    return
            await asyncio.sleep(0.3)
        self._untold.append(f"the topics could not be read to their ends within {self._settle_seconds:.0f} s")

    def _outcome(self, settled: float, isolation: Isolation) -> Outcome:
        fired = Counter(f"{each['process'].partition('-')[0]}.{each['point']}" for each in self._stack.fired())
        return Outcome(
            seed=self._options.seed,
            seconds=self._options.seconds,
            settled_seconds=settled,
            figures=self._judge.figures,
            faults=self._faults,
            skipped=self._skipped,
            recoveries=self._readiness.recoveries,
            violations=self._violations,
            untold=self._untold,
            limit=self._settle_seconds,
            kills=self._stack.kills.total() + fired.total(),
            fired=fired,
            unanswered_probes=isolation.unanswered,
            orderly_restarts=self._deaths.orderly,
        )


def _probe_database(layout: FaultLayout) -> Database:
    """front-desk's own app role, over a small pool of the real kind, through the proxy like everybody."""
    secrets = layout.secrets()
    return Database(
        service="front-desk", dsn=layout.environment()["TRUNKLINE_POSTGRES_DSN"],
        app_password=secrets["front_desk_app"], system_password=secrets["front_desk_system"], app_pool=2,
        connect_timeout=3.0, command_timeout=5.0,
    )  # fmt: skip
