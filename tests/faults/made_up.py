"""A made-up run in which everything is right: ledger, topics and tables, for tests of the judge that spoil one."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from tests.faults.harness.checks import Violation
from tests.faults.harness.faults import Context
from tests.faults.harness.groups import Groups
from tests.faults.harness.judge import Judge
from tests.faults.harness.ledger import Ledger, Operation
from tests.faults.harness.outside import Seen, Tail
from tests.faults.harness.sinks import Sinks
from tests.faults.harness.stack import FaultLayout, FaultStack
from tests.faults.harness.stores import PROJECTIONS, Letter, Projection, Stores

from vault_importer.audit import AuditRecord, chained

NOWHERE = "127.0.0.1:1"
TENANT, PBX, ARCHIVE = "01890000-0000-7000-8000-000000000001", "pbx-1", str(uuid4())
GSTIN = "32ABCCD1234E1Z5"
OWNER = "owner@mail-1.example"
POISON = b'{"poison": "c9"}'
READERS = {
    "front-desk.live": ("call.inbound", "call.state", "fact.extracted", "vault.state", "notification.state"),
    "front-desk.bulk": ("message.imported",),
    "brain-distiller.messages": ("message.imported",),
    "anomaly-engine": ("call.inbound", "call.state", "fact.extracted"),
    "notifier": ("directory.tenant",),
}
SAID = {"call.inbound": "answer", "call.state": "state", "fact.extracted": "state", "notification.state": "state",
        "vault.state": "state"}  # fmt: skip


class Known(Groups):
    """Groups of which everything is known without a broker."""

    def __init__(self) -> None:
        super().__init__(NOWHERE)
        self.topics = dict(READERS)
        self.offsets: dict[tuple[str, str, int], int] = {}

    def everywhere(self) -> dict[tuple[str, str, int], int]:
        return self.offsets


class World(Stores):
    """Tables and files as they are when everything is right; a test spoils one of them."""

    def __init__(self, stack: FaultStack) -> None:
        super().__init__(stack)
        self.claimed_at: dict[tuple[str, str], float] = {}
        self.parked: list[Letter] = []
        self.boards: dict[str, dict[str, tuple[int, str]]] = {}
        self.gstins: list[tuple[str, str]] = []
        self.log: list[dict[str, Any]] = []
        self.arrived: Counter[str] = Counter()
        self.unrecorded: set[str] = set()
        self.says = ""
        self.works = False

    async def letters(self) -> list[Letter]:
        return self.parked

    async def taken(self) -> dict[tuple[str, str], float]:
        return self.claimed_at

    async def claimed(self, consumer: str, events: Sequence[tuple[str, str]]) -> set[str]:
        return {event_id for _, event_id in events if (consumer, event_id) in self.claimed_at}

    async def shown(self, projection: Projection) -> dict[str, tuple[int, str]]:
        return dict(self.boards.get(projection.name, {}))

    async def read_gstins(self) -> list[tuple[str, str]]:
        return self.gstins

    async def audit_log(self) -> list[Mapping[str, Any]]:
        return list(self.log)

    async def heads(self) -> dict[str, tuple[int, str]]:
        return {TENANT: (self.log[-1]["sequence"], self.log[-1]["hash"].hex())} if self.log else {}

    async def verified(self, tenant: str) -> int | str:
        return self.says or len(self.log)

    async def retry_letters(self, consumers: Sequence[str]) -> int:
        if self.works:
            self.parked = [each for each in self.parked if each.value == POISON]
        return len(consumers)

    def mails(self) -> Counter[str]:
        return self.arrived

    def declared(self) -> set[str]:
        return self.unrecorded


@dataclass
class Run:
    """A run whose judge is asked."""

    judge: Judge
    sinks: Sinks
    ledger: Ledger
    world: World
    groups: Known
    seen: list[Seen] = field(default_factory=list)

    def record(
        self, topic: str, entity: str, version: int, *, key: str = "k", event_id: str = "", **fields: Any
    ) -> Seen:
        offset = sum(each.topic == topic for each in self.seen)
        made = Seen(
            topic=topic, partition=0, offset=offset, at=100.0 + len(self.seen), key=key,
            event_id=event_id or f"{entity} v{version}", tenant=TENANT, effect=f"{entity} v{version}" if entity else "",
            entity=entity, version=version, fields=fields,
        )  # fmt: skip
        self.seen.append(made)
        return made

    def of(self, kind: str, key: str) -> Operation:
        return self.ledger.operations[kind, key]

    def handle_all(self) -> None:
        """Every consumer took everything, in the order of the topics, and shows it."""
        for number, each in enumerate(self.seen):
            for group in self.groups.readers(each.topic):
                self.world.claimed_at.setdefault((group, each.event_id), 1000.0 + number)
                self.groups.offsets[group, each.topic, each.partition] = each.offset + 1
        for projection in PROJECTIONS:
            board = self.world.boards.setdefault(projection.name, {})
            for each in self.seen:
                if each.topic == projection.topic and each.entity:
                    identity = each.entity.split()[1].rpartition("/")[2]
                    ended = each.topic == "vault.state" and each.fields["state"] == "completed"
                    said = str(each.fields.get(SAID.get(each.topic, ""), "")) if projection.says else ""
                    board[identity] = (2 if ended else each.version, said)

    def change(self, event_id: str, **changes: Any) -> None:
        at = next(number for number, each in enumerate(self.seen) if each.event_id == event_id)
        self.seen[at] = dataclasses.replace(self.seen[at], **changes)

    def forget(self, event_id: str) -> None:
        self.seen[:] = [each for each in self.seen if each.event_id != event_id]


def message(number: int) -> dict[str, Any]:
    at = datetime(2026, 1, 5, tzinfo=UTC) + timedelta(minutes=number)
    return {"message_id": f"m{number}", "account_id": ARCHIVE, "sent_at": at.isoformat()}


def audit(*actions: str, import_id: UUID) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for action in actions:
        record = AuditRecord(
            tenant_id=UUID(TENANT), sequence=0, at=datetime.now(UTC), action=action, account_id=UUID(ARCHIVE),
            import_id=import_id if action.startswith("import") else None, file_sha256="", details={},
            previous_hash=b"", hash=b"",
        )  # fmt: skip
        after = (rows[-1]["sequence"], rows[-1]["hash"]) if rows else None
        rows.append(dataclasses.asdict(chained(record, after=after)))
    return rows


IMPORT = UUID("01890000-0000-7000-8000-00000000000a")


@contextmanager
def made_up(folder: Path) -> Iterator[Run]:
    """A call, an import, a mail and a poison record, all of which came to their right end."""
    stack = FaultStack(FaultLayout(folder, 7800))
    ledger, groups, world = Ledger(folder / "ledger.jsonl"), Known(), World(stack)
    judge = Judge(world, ledger, groups, Context(stack, ledger), Tail(NOWHERE, ledger))
    judge.__dict__["_windows"] = []
    made = Run(judge, Sinks(judge), ledger, world, groups)
    make_inputs(ledger)
    made.record("directory.tenant", f"directory.tenant {TENANT}/{TENANT}", 1)
    made.record("call.inbound", "ring i1", 1, vendor_call_id="c1", answer="+919847000031")
    for version, state in enumerate(("ringing", "answered", "completed"), start=1):
        made.record("call.state", "call i1", version, vendor_call_id="c1", state=state)
    made.record("vault.state", f"import {IMPORT} started", 1, state="started")
    for number in (1, 2):
        made.record("message.imported", f"message m{number}", 1, key="chat", **message(number))
    made.record("message.imported", "", 0, event_id="poison", key="poison")
    made.record("vault.state", f"import {IMPORT} completed", 1, state="completed")
    made.record("fact.extracted", "fact f1", 1, key="f1", value=GSTIN, state="asserted")
    made.record("fact.extracted", "fact f2", 1, key="f2", value=GSTIN[2:12], state="asserted")
    for version, state in enumerate(("accepted", "sent"), start=1):
        made.record("notification.state", "notification n1", version, recipient=OWNER, state=state)
    made.handle_all()
    for group in ("front-desk.bulk", "brain-distiller.messages"):
        del world.claimed_at[group, "poison"]
        world.parked.append(Letter(group, "message.imported", 0, 2, "poison", POISON))
    world.gstins.append(("m1", GSTIN))
    world.log += audit("account.stored", "import.started", "import.completed", "import.contacts", import_id=IMPORT)
    world.arrived[OWNER] = 1
    yield made
    groups.close()
    ledger.close()


def make_inputs(ledger: Ledger) -> None:
    call = {"tenant": TENANT, "call": "c1", "account": PBX}
    ledger.enter("ring", "c1/ring", "invoke", **call)
    ledger.enter("ring", "c1/ring", "ok", answers=["+919847000031"])
    for status in ("ringing", "answered", "completed"):
        ledger.enter("status", f"c1/{status}", "invoke", **call)
        ledger.enter("status", f"c1/{status}", "ok", answers=[""])
    archive = {"tenant": TENANT, "account": ARCHIVE, "messages": 2, "gstins": [GSTIN]}
    ledger.enter("import", "import-1", "invoke", **archive)
    ledger.enter("import", "import-1", "ok")
    ledger.enter("tenant", "mail-1", "invoke")
    ledger.enter("tenant", "mail-1", "ok")
    ledger.enter("mail", OWNER, "invoke")
    ledger.enter("mail", OWNER, "ok")
    place = {"topic": "message.imported", "partition": 0, "offset": 2, "digest": hashlib.sha256(POISON).hexdigest()}
    ledger.enter("poison", "c9", "invoke")
    ledger.enter("poison", "c9", "ok", **place)
    for operation in ledger.operations.values():
        operation.first_at, operation.settled_at = 90.0, 99.0


async def everything(run: Run) -> list[Violation]:
    judge, sinks, seen = run.judge, run.sinks, run.seen
    return [
        *judge.outside(seen),
        *judge.mails(seen),
        *await judge.poison(),
        *await judge.offsets(seen, 0),
        *await judge.audit(seen),
        *await sinks._effects(seen),
        *await sinks.facts(seen),
        *await sinks.sink(seen),
        *await sinks.look(),
        *await sinks.work_letters_off(0),
    ]
