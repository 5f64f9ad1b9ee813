"""Members of a group come, go and freeze under load: nothing lost, nothing doubled, order kept for every key.

Each member is a process of its own with kit's consumer; the ledger that they write is judged row by row.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import subprocess
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from tests.faults.member import Member

from kit.postgres import Database, role_dsn
from kit.testing import Bench, MakeDatabase, eventually

pytestmark = [pytest.mark.real, pytest.mark.slow]

KEYS = "abcdefgh"
STORM = (1, 4, 2, 3, 1)
MOST = 400


@pytest.fixture
async def database(make_database: MakeDatabase) -> Database:
    database = await make_database(service="front-desk", package="kit")
    owner = await asyncpg.connect(role_dsn(database._app_dsn, "front_desk_owner", "test"))
    await owner.execute(
        "CREATE TABLE ledger (tenant_id uuid NOT NULL, entity text NOT NULL, number integer NOT NULL, "
        "seq bigint GENERATED ALWAYS AS IDENTITY); SELECT protect('ledger')"
    )
    await owner.close()
    return database


@dataclass
class Group:
    """The members of one group, as processes."""

    make: Callable[..., Member]
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    ever: dict[str, Member] = field(default_factory=dict)

    def start(self, **options: Any) -> Member:
        member = self.make(f"member-{len(self.ever)}", **options)
        self.ever[member.name] = member
        self.running[member.name] = subprocess.Popen(member.command(), stdin=subprocess.DEVNULL)
        return member

    def end(self, number: int, member: Member | None = None) -> None:
        name = member.name if member else next(iter(self.running))
        process = self.running.pop(name)
        process.send_signal(number)
        if number == signal.SIGKILL:
            process.wait()

    def signal(self, member: Member, number: int) -> None:
        os.kill(self.running[member.name].pid, number)

    def all_have_joined(self) -> bool:
        """Whether every member that runs has been given partitions; there are enough for the largest storm."""
        return all(self.ever[name].counts().get("partitions") for name in self.running)

    def counted(self, what: str) -> int:
        return sum(int(member.counts().get(what, 0)) for member in self.ever.values())


@pytest.fixture
def group(database: Database, bench: Bench, tmp_path: Path) -> Iterator[Group]:
    name = f"g-{secrets.token_hex(4)}"

    def make(member: str, **options: Any) -> Member:
        return Member(
            dsn=database._app_dsn,
            bootstrap=bench.bootstrap,
            topic=bench.topic,
            group=name,
            name=member,
            folder=str(tmp_path),
            **options,
        )

    group = Group(make)
    yield group
    for process in group.running.values():
        process.kill()
        process.wait()


async def rows(database: Database, bench: Bench) -> dict[str, list[int]]:
    """What took effect, by key, in the order in which it did."""
    found: dict[str, list[int]] = defaultdict(list)
    async with database.transaction(bench.tenant) as tx:
        for row in await tx.fetch("SELECT entity, number FROM ledger ORDER BY seq"):
            found[row["entity"]].append(row["number"])
    return found


async def test_a_storm_of_rebalances_loses_nothing_doubles_nothing_and_keeps_order(
    bench: Bench, database: Database, group: Group
) -> None:
    stop = asyncio.Event()
    sent = 0

    async def load() -> None:
        nonlocal sent
        while not stop.is_set() and sent < MOST:
            for key in KEYS:
                event_id = f"{key}-{sent}"
                await bench.send(key, sent, event_id=event_id)
                if sent % 10 == 0:
                    await bench.send(key, sent, event_id=event_id)
            sent += 1
            await asyncio.sleep(0.05)

    loading = asyncio.create_task(load())
    for turn, members in enumerate(STORM):
        while len(group.running) > members:
            # Every other one leaves as a deployment makes it leave, the rest as a machine that dies.
            group.end(signal.SIGTERM if turn % 2 else signal.SIGKILL)
        while len(group.running) < members:
            group.start(session_seconds=6.0)
        await eventually(group.all_have_joined, within=120, every=0.2)
        await asyncio.sleep(2)
    stop.set()
    await loading

    async def all_there() -> bool:
        found = await rows(database, bench)
        return all(len(set(found[key])) == sent for key in KEYS)

    await eventually(all_there, within=120, every=0.5)
    await asyncio.sleep(2)
    assert await rows(database, bench) == {key: list(range(sent)) for key in KEYS}
    assert group.counted("duplicate") >= len(KEYS), "records that were sent twice were not counted as duplicates"
    assert group.counted("rebalances") > len(STORM)
    assert group.counted("parked") == 0


@pytest.mark.parametrize("where", ["before", "inside"])
async def test_a_zombie_doubles_nothing_and_its_late_commit_is_refused(
    bench: Bench, database: Database, group: Group, where: str
) -> None:
    """Frozen for longer than its session, in the middle of an event, while another member has its partitions.

    It wakes up with a batch in hand that the other has worked through, or is waiting to.
    """
    zombie = group.start(session_seconds=6.0, linger_at=5, linger=where)
    await eventually(lambda: zombie.counts().get("partitions") == 4, within=90)
    for number in range(12):
        for key in KEYS:
            await bench.send(key, number)
    await eventually(zombie.lingers_file.exists, within=90)
    group.signal(zombie, signal.SIGSTOP)
    other = group.start(session_seconds=6.0)
    await eventually(lambda: other.counts().get("partitions") == 4, within=120)
    for number in range(12, 20):
        for key in KEYS:
            await bench.send(key, number)
    # Time for the other to come to where the zombie stands: it is past it, or waits for its transaction.
    await asyncio.sleep(3)
    group.signal(zombie, signal.SIGCONT)

    async def all_there() -> bool:
        found = await rows(database, bench)
        return all(len(set(found[key])) == 20 for key in KEYS)

    await eventually(all_there, within=120, every=0.5)
    await eventually(lambda: zombie.counts()["refused_commits"] >= 1, within=90)
    await asyncio.sleep(1)
    assert await rows(database, bench) == {key: list(range(20)) for key in KEYS}
    assert group.counted("duplicate") >= 1
    assert group.counted("parked") == 0
