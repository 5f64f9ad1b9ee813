"""Two and three replicas of every service, one of each killed under load: nothing lost, nothing doubled.

The further replicas are processes of their own beside the supervised ones, as they would be on other machines: own
port, own data directory, the same servers, the same watched folder. Judged by what the outside world was told.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from http.client import HTTPException
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.group import LeaveGroupRequest
from confluent_kafka.admin import AdminClient
from tests.conftest import AGENTS, Stack, Tenant, read_on, wait_for
from tests.faults.test_kills import CALLS, STATUSES, Ledger, check_archive, check_calls

from trunkline.demo.clients import Directory, GenericPbx, Platform
from trunkline.demo.events import Tail
from trunkline.stack import control
from trunkline.stack.layout import SERVICES, Layout, Service

MESSAGES, PULSES, EDITS = 3000, 4, 12
IDENTITY = "replica-1"
PATIENCE = 240
"""Seconds for what must come: a dozen processes that start together on a machine that does other things as well."""


@dataclass
class Replica:
    """One further process of a service, number 1 or 2 beside the supervised one."""

    layout: Layout
    service: Service
    number: int
    instance_id: str | None
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.layout.port_base + 200 + 10 * self.number + self.service.offset - 80}"

    def start(self) -> None:
        prefix = f"TRUNKLINE_{self.service.package.upper()}"
        own = {
            f"{prefix}_HTTP_PORT": self.url.rpartition(":")[2],
            "TRUNKLINE_TELEPHONY_ROUTER_DATA_DIR": str(self.layout.run_dir / f"router-{self.number}"),
            "TRUNKLINE_NOTIFIER_PULSE_CHECK_SECONDS": "1",
            "TRUNKLINE_NOTIFIER_PULSE_SETTLE_SECONDS": "0",
        }
        if self.instance_id is not None:
            own["TRUNKLINE_INSTANCE_ID"] = self.instance_id
        plain = {name: value for name, value in os.environ.items() if not name.startswith("TRUNKLINE_")}
        log = self.layout.logs / f"{self.service.name}-{self.number}.log"
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", self.service.package],
                env={**plain, **self.layout.environment(), **own},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def ready(self) -> bool:
        try:
            return bool(control.probe(f"{self.url}/readyz")[0] == 200)
        except HTTPException:
            # Among the ports that the system gives to clients, a client that asks before anybody listens meets itself.
            return False


@dataclass
class Fleet:
    """Every process of every service, by service; the first is the supervised one."""

    stack: Stack
    further: list[Replica] = field(default_factory=list)

    def urls(self, service: str) -> list[str]:
        """Of those that run."""
        running = [each.url for each in self.further if each.service.name == service and each.process is not None]
        return [self.stack.layout.url(service), *running]

    def wait_until_ready(self) -> None:
        self.stack.wait_until_ready()
        for each in self.further:
            if each.process is not None:
                wait_for(each.ready, f"{each.service.name} number {each.number} is not ready", PATIENCE)

    def metric(self, service: str, name: str, label: str = "") -> dict[str, float]:
        """A figure of every running process, summed over its other labels."""
        found = {}
        for url in self.urls(service):
            with contextlib.suppress(httpx.HTTPError):
                lines = httpx.get(f"{url}/metrics", timeout=30).text
                values = re.findall(rf"^{name}(?:{{[^}}]*{label}[^}}]*}})? (\S+)", lines, re.MULTILINE)
                found[url] = sum(float(value) for value in values)
        return found

    def journaled(self) -> dict[str, float]:
        """How many webhooks each router has written to its journal, or answered while even that took too long.

        Postgres did not answer it within its budget then. It must not leave the caller waiting, and cannot know what
        another router answers meanwhile.
        """
        journal = self.metric("telephony-router", "trunkline_webhooks_recorded_total", 'where="journal"')
        unrecorded = self.metric("telephony-router", "trunkline_ring_unrecorded_total")
        return {url: count + unrecorded.get(url, 0.0) for url, count in journal.items()}

    def has_journaled(self, since: dict[str, float]) -> bool:
        """Whether a router did so since it was asked, or nobody can tell, since it is gone."""
        return has_grown(since, self.journaled())


def has_grown(before: dict[str, float], after: dict[str, float]) -> bool:
    """Whether a counter of any process has grown, or may have: a process that was started again counts from nothing."""
    grown = any(count > before.get(url, 0.0) or 0 < count < before.get(url, 0.0) for url, count in after.items())
    return grown or not before.keys() <= after.keys()


@pytest.fixture
def make_fleet(stack: Stack) -> Iterator[Callable[[int], Fleet]]:
    fleet = Fleet(stack)

    def make(count: int) -> Fleet:
        # The second of each has an identity and comes back; a third one has none and does not.
        identities = {1: IDENTITY, 2: None}
        for number in range(1, count):
            for service in SERVICES:
                shutil.rmtree(stack.layout.run_dir / f"router-{number}", ignore_errors=True)
                fleet.further.append(Replica(stack.layout, service, number, identities[number]))
        for each in fleet.further:
            each.start()
        fleet.wait_until_ready()
        return fleet

    yield make
    for each in fleet.further:
        each.kill()
    asyncio.run(leave_the_groups(stack))


async def leave_the_groups(stack: Stack) -> None:
    """For the dead: Kafka keeps the partitions of a member with an identity until its session ends, and nobody would
    work on them meanwhile."""
    client = AIOKafkaClient(bootstrap_servers=stack.layout.kafka_bootstrap)
    await client.bootstrap()
    try:
        for group, members in members_by_group(stack).items():
            for member in members:
                if member.group_instance_id == f"{group}-{IDENTITY}":
                    await client.send(client.get_random_node(), LeaveGroupRequest(group, member.member_id))
    finally:
        await client.close()


def members_by_group(stack: Stack) -> dict[str, list[Any]]:
    """Who takes part in each consumer group of the services."""
    admin = AdminClient({"bootstrap.servers": stack.layout.kafka_bootstrap, "log_level": 0})
    groups = [found.group_id for found in admin.list_consumer_groups().result(60).valid]
    ours = [group for group in groups if group.startswith(tuple(service.name for service in SERVICES))]
    assert len(ours) >= len(SERVICES)
    described = admin.describe_consumer_groups(ours)
    return {group: described[group].result(60).members for group in ours}


class Traffic(threading.Thread):
    """A PBX in front of several routers: asks all of them about each call at once, reports to one after the other."""

    def __init__(self, fleet: Fleet, tenant: Tenant, ledger: Ledger) -> None:
        super().__init__(name="pbx", daemon=True)
        self._fleet, self._tenant, self._ledger = fleet, tenant, ledger
        self._pbxes: dict[str, GenericPbx] = {}
        self._pool = ThreadPoolExecutor(3)
        self.half_way = threading.Event()
        self.disagreements: list[str] = []

    def run(self) -> None:
        try:
            for number in range(CALLS):
                if number == CALLS // 2:
                    self.half_way.set()
                self._call(f"{self._tenant.slug}-{number}", number)
                time.sleep(0.1)
        except BaseException as error:
            self._ledger.errors.append(error)
        finally:
            self._pool.shutdown()
            for pbx in self._pbxes.values():
                pbx.close()

    def _call(self, call_id: str, number: int) -> None:
        caller, did = self._tenant.customer_number, self._tenant.did
        before = self._fleet.journaled()
        answers = self._until_one(lambda pbx: pbx.ring(call_id, caller, did), everywhere=True)
        bodies = {str(answer.body) for answer in answers}
        if len(bodies) > 1 and not self._fleet.has_journaled(since=before):
            self.disagreements.append(f"{call_id}: {bodies}")
        self._ledger.rung[call_id] = answers[0].first["number"]
        begun = datetime.now(UTC)
        for sequence, status in enumerate(STATUSES):
            at = (begun + timedelta(seconds=5 * sequence)).isoformat()
            fields = {"sequence": sequence, "at": at, "agent_number": AGENTS["accounts"], "from": caller, "to": did}
            # Every third call's reports reach two routers: vendors repeat what they think was lost.
            self._until_one(
                lambda pbx, s=status, f=fields: pbx.status(call_id, s, **f), everywhere=number % 3 == 0, turn=number
            )
            self._ledger.acknowledged.add((call_id, status))

    def _until_one(self, ask: Callable[[GenericPbx], Any], *, everywhere: bool, turn: int = 0) -> list[Any]:
        """The answers of 200; asked again, elsewhere, until there is one."""
        deadline = time.monotonic() + PATIENCE
        while True:
            urls = self._fleet.urls("telephony-router")
            chosen = urls if everywhere else [urls[turn % len(urls)]]
            answers = [a for a in self._pool.map(lambda url: self._ask(url, ask), chosen) if a is not None]
            if answers:
                return answers
            if time.monotonic() > deadline:
                raise AssertionError("no router has acknowledged")
            turn += 1
            time.sleep(0.1)

    def _ask(self, url: str, ask: Callable[[GenericPbx], Any]) -> Any:
        pbx = self._pbxes.setdefault(url, GenericPbx(router_url=url, hook_path=self._tenant.hook_path))
        try:
            answer = ask(pbx)
        except httpx.HTTPError:
            return None
        return answer if answer.status == 200 else None


def make_pulses(stack: Stack, slug: str) -> dict[str, str]:
    """Businesses whose daily mail is not due yet; returns their owners' addresses by tenant."""
    platform = Platform(console_url=stack.addresses.console, admin_token=stack.addresses.admin_token)
    owners = {}
    for number in range(PULSES):
        owner = f"owner{number}@{slug}.example"
        tenant = platform.tenant(
            f"{slug}-p{number}", name=slug, timezone="Asia/Kolkata", owner_email=owner, pulse_at="23:59"
        )
        owners[tenant] = owner
    return owners


def make_due(stack: Stack, tenants: list[str]) -> None:
    """Every notifier finds these pulses due by itself, at the same moment."""
    known = "SELECT count(*) AS n FROM notifier.recipient WHERE tenant_id = ANY ($1::text[]::uuid[])"
    wait_for(lambda: stack.query(known, tenants)[0]["n"] == len(tenants), "the notifier does not know them", PATIENCE)
    stack.query(
        "UPDATE notifier.recipient SET pulse_at = to_char(now() AT TIME ZONE timezone, 'HH24:MI'), "
        "known_since = now() - interval '1 day' WHERE tenant_id = ANY ($1::text[]::uuid[])",
        tenants,
    )


def put_into_the_watched_folder(stack: Stack, tenant: Tenant, folder: Path) -> Tenant:
    """Under an account of its own that has the key; every importer sees the file at the same time."""
    key = str(folder / "backup.key")
    account = stack.run("vault", "account", "add", "--tenant", tenant.id, "--name", "Watched", "--key-file", key)
    target = stack.layout.run_dir / "whatsapp" / account["account_id"]
    target.mkdir(parents=True)
    shutil.copy(folder / "msgstore.db.crypt15", target / "arriving")
    (target / "arriving").rename(target / "msgstore.db.crypt15")
    return replace(tenant, vault_account=account["account_id"])


def edit_everywhere(fleet: Fleet, tenant: Tenant) -> None:
    """One customer edited at all consoles in turn, and at two of them at once at the end."""
    consoles = [replace(tenant.directory, console_url=url) for url in fleet.urls("front-desk")]

    def edit(console: Directory, number: int) -> None:
        console.put("/v1/customers/c2", {"name": f"Name {number}", "numbers": ["+919847000077"], "owner": "accounts"})

    for number in range(EDITS):
        edit(consoles[number % len(consoles)], number)
    with ThreadPoolExecutor(len(consoles)) as pool:
        list(pool.map(edit, consoles, range(EDITS, EDITS + len(consoles))))


def kill_one_of_each(fleet: Fleet, count: int) -> None:
    """The last of every service. With an identity it is started again, as an orchestrator would; without, never."""
    victims = [each for each in fleet.further if each.number == count - 1]
    for each in victims:
        each.kill()
    for each in victims:
        if each.instance_id is not None:
            each.start()


@pytest.mark.parametrize(
    ("before", "after", "grown"),
    [
        ({"a": 2.0, "b": 0.0}, {"a": 2.0, "b": 0.0}, False),
        ({"a": 2.0}, {"a": 3.0}, True),
        ({"a": 2.0}, {"a": 0.0}, False),
        ({"a": 2.0}, {"a": 1.0}, True),
        ({"a": 2.0}, {"a": 2.0, "b": 0.0}, False),
        ({"a": 2.0}, {}, True),
    ],
    ids=["nothing", "one more", "began again", "began again and wrote", "joined", "gone"],
)
def test_only_what_was_journaled_meanwhile_excuses_two_answers(
    before: dict[str, float], after: dict[str, float], grown: bool
) -> None:
    assert has_grown(before, after) is grown


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 3])
def test_replicas_of_every_service_lose_nothing_and_double_nothing(
    stack: Stack,
    tail: Tail,
    make_tenant: Callable[[str], Tenant],
    make_backup: Callable[..., Path],
    make_fleet: Callable[[int], Fleet],
    count: int,
) -> None:
    tenant = make_tenant(f"replicas-{count}")
    backup = make_backup(tenant.customer_number, MESSAGES)
    pulses = make_pulses(stack, tenant.slug)
    fleet = make_fleet(count)
    ledger = Ledger()
    traffic = Traffic(fleet, tenant, ledger)

    watched = put_into_the_watched_folder(stack, tenant, backup)
    traffic.start()
    edit_everywhere(fleet, tenant)
    assert traffic.half_way.wait(PATIENCE)
    kill_one_of_each(fleet, count)
    traffic.join(PATIENCE)
    fleet.wait_until_ready()

    assert ledger.errors == []
    assert traffic.disagreements == [], "two routers answered one call differently"
    check_calls(stack, tail, tenant, ledger)
    check_one_answer_stands(fleet, tenant)
    check_archive(stack, tail, tenant)
    check_imports(stack, tail, watched)
    check_told_once(stack, tail, tenant)
    check_leaders(fleet)
    check_identities(stack)
    check_mails(stack, tenant, pulses)


def check_one_answer_stands(fleet: Fleet, tenant: Tenant) -> None:
    """Another router repeats what the first has answered, also after the directory has changed."""
    routers = [GenericPbx(router_url=url, hook_path=tenant.hook_path) for url in fleet.urls("telephony-router")]
    try:
        _ask_again_elsewhere(fleet, tenant, *routers)
    finally:
        for router in routers:
            router.close()


def _ask_again_elsewhere(fleet: Fleet, tenant: Tenant, first: GenericPbx, *others: GenericPbx) -> None:
    def ring(pbx: GenericPbx, call_id: str) -> str:
        return str(pbx.ring(call_id, tenant.customer_number, tenant.did).first["number"])

    calls = [f"{tenant.slug}-standing-{number}" for number in range(4)]
    before = fleet.journaled()
    given = [ring(first, call) for call in calls]
    unsure = fleet.has_journaled(since=before)
    hour = timedelta(hours=1)
    now = datetime.now(UTC)
    tenant.directory.leave("accounts", (now - hour).isoformat(), (now + hour).isoformat(), "away")
    for other in others:
        wait_for(
            lambda o=other: ring(o, f"{tenant.slug}-{time.time_ns()}") != given[0],
            "a router does not know of it",
            PATIENCE,
        )
        before = fleet.journaled()
        again = [ring(other, call) for call in calls]
        assert again == given or unsure or fleet.has_journaled(since=before), (
            "a second router changed the answer of a call"
        )


def check_imports(stack: Stack, tail: Tail, watched: Tenant) -> None:
    """One import, told once, in a chain of audit records that verifies; the file is put away once."""
    folder = stack.layout.run_dir / "whatsapp" / watched.vault_account

    def put_away() -> bool:
        return not (folder / "msgstore.db.crypt15").exists()

    def states() -> list[str]:
        tail.poll(0.2)
        found = {
            seen.envelope.id: seen.data["state"]
            for seen in tail.seen
            if seen.topic == "vault.state" and seen.data["account_id"] == watched.vault_account
        }
        return sorted(found.values())

    wait_for(put_away, "the file was not put away", PATIENCE)
    assert len(list((folder / "done").iterdir())) == 1
    assert not (folder / "refused").exists()
    # The file is put away before its end is told of.
    wait_for(lambda: {*states()} >= {"completed", "started"}, "the import was not told", PATIENCE)
    read_on(tail)
    assert states() == ["completed", "started"], "several importers told of one file"
    assert stack.run("vault", "verify", "--tenant", watched.id)["ok"] is True


def check_told_once(stack: Stack, tail: Tail, tenant: Tenant) -> None:
    """What must be told comes, and nothing of it twice."""

    def all_told() -> bool:
        fired, versions = told(tail, tenant)
        return bool(fired) and max(map(len, versions.values()), default=0) >= EDITS

    wait_for(all_told, "a rule that fired or an edit was not told", PATIENCE)
    read_on(tail)
    fired, versions = told(tail, tenant)
    assert {rule: len(ids) for rule, ids in fired.items()} == {"capsule_fact_value_conflict": 1}
    for entity, found in versions.items():
        assert found == sorted(set(found)), f"{entity}: versions out of order or twice: {found}"


def told(tail: Tail, tenant: Tenant) -> tuple[dict[str, set[str]], dict[str, list[int]]]:
    """The tenant's anomalies by rule and versions by entity; a repeated record is no second event."""
    tail.poll(0.2)
    fired: dict[str, set[str]] = defaultdict(set)
    versions: dict[str, list[int]] = defaultdict(list)
    known: set[str] = set()
    for seen in tail.seen:
        if str(seen.envelope.tenant) != tenant.id or seen.envelope.id in known:
            continue
        known.add(seen.envelope.id)
        if seen.topic == "anomaly.fired":
            fired[seen.data["rule"]].add(seen.envelope.id)
        elif seen.topic.startswith("directory."):
            versions[f"{seen.topic} {seen.envelope.subject}"].append(seen.data["version"])
    return fired, versions


def check_leaders(fleet: Fleet) -> None:
    for service in SERVICES:
        wait_for(
            lambda name=service.name: sum(fleet.metric(name, "trunkline_relay_leader").values()) == 1,
            f"{service.name} has not exactly one process that publishes",
            PATIENCE,
        )


def check_identities(stack: Stack) -> None:
    """Every consumer of every service takes part under its replica's identity."""
    strangers: dict[str, set[str]] = {}

    def all_known() -> bool:
        strangers.clear()
        for group, members in members_by_group(stack).items():
            identities = {member.group_instance_id for member in members}
            if f"{group}-{IDENTITY}" not in identities:
                strangers[group] = identities
        return not strangers

    # Who joins anew is in no group for a moment.
    with contextlib.suppress(AssertionError):
        wait_for(all_known, "", PATIENCE)
    assert strangers == {}, "groups without the replica"


def check_mails(stack: Stack, tenant: Tenant, pulses: dict[str, str]) -> None:
    make_due(stack, [*pulses])
    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(stack.run, "notify", "pulse", "--tenant", tenant.id) for _ in range(2)]:
            done.result()
    owners = [*pulses.values(), tenant.owner_email]
    for owner in owners:
        wait_for(lambda o=owner: stack.mails_to(o), f"no mail to {owner}", PATIENCE)
    time.sleep(3)
    assert {owner: len(stack.mails_to(owner)) for owner in owners} == dict.fromkeys(owners, 1)
