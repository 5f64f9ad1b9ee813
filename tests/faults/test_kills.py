"""kill -9 of each service and each server in the middle of calls, an import and a mail: nothing lost, nothing twice.

What must hold is checked against a ledger of our own: what the router acknowledged to the PBX, what was published on
Kafka, what arrived at the mail server.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.conftest import AGENTS, PATIENCE, Stack, Tenant, import_until_done, read_on, wait_for

from trunkline.demo.clients import GenericPbx
from trunkline.demo.events import Tail

pytestmark = [pytest.mark.real, pytest.mark.slow]

SERVERS = ("kafka", "postgres", "redis", "smtp-sink")
SERVICES = ("front-desk", "telephony-router", "vault-importer", "brain-distiller", "anomaly-engine", "notifier")
CALLS, MESSAGES = 20, 3000
STATUSES = ("ringing", "answered", "completed")


@dataclass
class Ledger:
    """What the outside world was told."""

    rung: dict[str, str] = field(default_factory=dict)
    """Calls that were answered, with the first number."""
    acknowledged: set[tuple[str, str]] = field(default_factory=set)
    unanswered: list[str] = field(default_factory=list)
    """Rings that got no answer at their first try."""
    errors: list[BaseException] = field(default_factory=list)


class Traffic(threading.Thread):
    """A PBX that rings and reports, and repeats what was not acknowledged, as PBXs do."""

    def __init__(self, pbx: GenericPbx, tenant: Tenant, ledger: Ledger, prefix: str) -> None:
        super().__init__(name="pbx", daemon=True)
        self._pbx, self._tenant, self._ledger, self._prefix = pbx, tenant, ledger, prefix
        self.half_way = threading.Event()

    def run(self) -> None:
        try:
            for number in range(CALLS):
                if number == CALLS // 2:
                    self.half_way.set()
                self._call(f"{self._prefix}-{number}")
                time.sleep(0.05)
        except BaseException as error:
            self._ledger.errors.append(error)

    def _call(self, call_id: str) -> None:
        caller = self._tenant.customer_number
        answer = self._until_ok(lambda: self._pbx.ring(call_id, caller, self._tenant.did), call_id)
        self._ledger.rung[call_id] = answer.first["number"]
        begun = datetime.now(UTC)
        for sequence, status in enumerate(STATUSES):
            at = (begun + timedelta(seconds=5 * sequence)).isoformat()
            fields = {"sequence": sequence, "at": at, "agent_number": AGENTS["accounts"], "from": caller,
                      "to": self._tenant.did}  # fmt: skip
            self._until_ok(lambda s=status, f=fields: self._pbx.status(call_id, s, **f), None)
            self._ledger.acknowledged.add((call_id, status))

    def _until_ok(self, attempt: Callable[[], Any], ring: str | None) -> Any:
        deadline, first = time.monotonic() + PATIENCE, True
        while True:
            try:
                answer = attempt()
                if answer.status == 200:
                    return answer
                why = f"status {answer.status}"
            except httpx.HTTPError as error:
                why = type(error).__name__
            if ring is not None and first:
                self._ledger.unanswered.append(f"{ring}: {why}")
            first = False
            if time.monotonic() > deadline:
                raise AssertionError(f"not acknowledged within {PATIENCE:.0f} s: {why}")
            time.sleep(0.1)


@pytest.mark.parametrize("victim", [*SERVERS, *SERVICES])
def test_a_kill_loses_nothing_and_repeats_nothing(
    stack: Stack, tail: Tail, make_tenant: Callable[[str], Tenant], make_backup: Callable[..., Path], victim: str
) -> None:
    tenant = make_tenant(f"kill-{victim}")
    backup = make_backup(tenant.customer_number, MESSAGES)
    restarts = stack.process(victim)["restarts"]
    ledger = Ledger()
    traffic = Traffic(stack.pbx(tenant), tenant, ledger, f"{tenant.slug}")
    importing = threading.Thread(target=lambda: import_until_done(stack, tenant, backup), daemon=True)

    traffic.start()
    importing.start()
    assert traffic.half_way.wait(PATIENCE)
    stack.kill(victim)
    traffic.join(PATIENCE)
    importing.join(PATIENCE)
    assert not importing.is_alive(), "the import did not finish"

    wait_for(lambda: stack.process(victim).get("restarts", 0) > restarts, f"{victim} was not started again")
    stack.wait_until_ready()
    assert ledger.errors == []
    assert len(ledger.rung) == CALLS
    if victim != "telephony-router":
        assert ledger.unanswered == [], "a ringing caller was not answered at the first try"
    check_calls(stack, tail, tenant, ledger)
    check_archive(stack, tail, tenant)
    check_mail(stack, tenant)


def events_by_call(tail: Tail, ledger: Ledger) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """What was published of each call, every event once: a repeated record has the id of the first."""
    tail.poll(0.2)
    found: dict[str, dict[str, list[dict[str, Any]]]] = defaultdict(lambda: defaultdict(list))
    ids: set[str] = set()
    for seen in tail.seen:
        call = seen.data.get("vendor_call_id")
        if call in ledger.rung and seen.envelope.id not in ids:
            ids.add(seen.envelope.id)
            found[call][seen.topic].append(seen.data)
    return found


def check_calls(stack: Stack, tail: Tail, tenant: Tenant, ledger: Ledger) -> None:
    def complete() -> bool:
        events = events_by_call(tail, ledger)
        return all(
            events[call]["call.inbound"] and any(e["state"] == "completed" for e in events[call]["call.state"])
            for call in ledger.rung
        )

    wait_for(complete, "an acknowledged call has no event, or did not reach its end")
    read_on(tail)
    for call, topics in events_by_call(tail, ledger).items():
        assert len(topics["call.inbound"]) == 1, f"{call} rang twice"
        assert topics["call.inbound"][0]["destinations"][0]["number"] == ledger.rung[call], "answered otherwise"
        versions = [event["version"] for event in topics["call.state"]]
        assert versions == sorted(set(versions)), f"{call}: states out of order or twice: {versions}"
        assert topics["call.state"][-1]["state"] == "completed"

    ids = [topics["call.inbound"][0]["call_id"] for topics in events_by_call(tail, ledger).values()]

    def board() -> bool:
        rows = stack.query(
            "SELECT state FROM front_desk.board_call WHERE tenant_id = $1::text::uuid AND call_id = ANY ($2)",
            tenant.id, ids,
        )  # fmt: skip
        return len(rows) == CALLS and all(row["state"] == "completed" for row in rows)

    try:
        wait_for(board, "the console's board lacks calls")
    except AssertionError as error:
        raise AssertionError(f"{error}; front-desk says: {stack.status('front-desk')}") from None


def check_archive(stack: Stack, tail: Tail, tenant: Tenant) -> None:
    def imported() -> int:
        of_tenant = "SELECT count(*) AS n FROM vault_importer.message WHERE tenant_id = $1::text::uuid"
        count: int = stack.query(of_tenant, tenant.id)[0]["n"]
        return count

    wait_for(lambda: imported() >= MESSAGES, "the archive is not complete")
    assert imported() == MESSAGES

    def all_published() -> bool:
        tail.poll(0.2)
        mine = [s for s in tail.seen if s.topic == "message.imported" and str(s.envelope.tenant) == tenant.id]
        return len({s.data["message_id"] for s in mine}) == MESSAGES

    wait_for(all_published, "messages are missing on Kafka")

    def conflicting() -> bool:
        facts = stack.admin("brain-distiller", "/v1/facts?key=gstin&state=conflicting", tenant)["facts"]
        return len(facts) == 2

    wait_for(conflicting, "the two tax numbers were not found conflicting")
    fired = wait_for(
        lambda: stack.admin("anomaly-engine", "/v1/anomalies", tenant)["anomalies"], "the rule has not fired"
    )
    assert [a["rule"] for a in fired] == ["capsule_fact_value_conflict"]


def check_mail(stack: Stack, tenant: Tenant) -> None:
    for _ in range(2):
        stack.run("notify", "pulse", "--tenant", tenant.id)
    wait_for(lambda: stack.mails_to(tenant.owner_email), "no mail has arrived")
    assert len(stack.mails_to(tenant.owner_email)) == 1
