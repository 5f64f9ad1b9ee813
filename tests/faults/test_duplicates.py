"""Callbacks that come several times, shuffled, over several connections at once: one call each, in its right state."""

from __future__ import annotations

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest
from tests.conftest import AGENTS, Stack, Tenant, read_on, wait_for

from trunkline.demo.clients import GenericPbx
from trunkline.demo.events import Tail

pytestmark = [pytest.mark.real, pytest.mark.slow]

CALLS, REPEATS, CONNECTIONS = 12, 3, 4
ENDS = {"completed": "completed", "busy": "busy", "no-answer": "missed", "failed": "failed"}


@pytest.mark.parametrize("seed", [1, 2])
def test_repeated_and_shuffled_callbacks_have_effect_once(
    stack: Stack, tail: Tail, make_tenant: Callable[[str], Tenant], seed: int
) -> None:
    order = random.Random(seed)
    tenant = make_tenant(f"shuffled-{seed}")
    begun = datetime.now(UTC)
    ends = {f"{tenant.slug}-{number}": order.choice(list(ENDS)) for number in range(CALLS)}
    sends: list[tuple[str, str, dict[str, object]]] = []
    for call, end in ends.items():
        for sequence, status in enumerate(["ringing", *(["answered"] if end == "completed" else []), end]):
            at = (begun + timedelta(seconds=10 * sequence)).isoformat()
            fields = {"sequence": sequence, "at": at, "from": tenant.customer_number, "to": tenant.did}
            if status in ("answered", "completed"):
                fields["agent_number"] = AGENTS["accounts"]
            sends += [(call, status, fields)] * REPEATS
        sends += [(call, "ring", {})] * REPEATS
    order.shuffle(sends)

    def send(part: int) -> list[int]:
        with closing(GenericPbx(router_url=stack.addresses.router, hook_path=tenant.hook_path)) as pbx:
            return [
                pbx.ring(call, tenant.customer_number, tenant.did).status
                if status == "ring"
                else pbx.status(call, status, **fields).status
                for call, status, fields in sends[part::CONNECTIONS]
            ]

    with ThreadPoolExecutor(CONNECTIONS) as pool:
        codes = [code for part in pool.map(send, range(CONNECTIONS)) for code in part]
    assert set(codes) == {200}

    def last_states() -> dict[str, str]:
        tail.poll(0.2)
        return {
            seen.data["vendor_call_id"]: seen.data["state"]
            for seen in tail.seen
            if seen.topic == "call.state" and seen.data["vendor_call_id"] in ends
        }

    def rung() -> list[str]:
        return [s.data["vendor_call_id"] for s in tail.seen if s.topic == "call.inbound"]

    wanted = {call: ENDS[end] for call, end in ends.items()}
    wait_for(lambda: last_states() == wanted, "a call did not reach its right end")
    # Of another topic, and perhaps later than the call's end.
    wait_for(lambda: last_states() and ends.keys() <= set(rung()), "a ring was not published")
    read_on(tail)
    for call in ends:
        states = [s.data for s in tail.seen if s.topic == "call.state" and s.data["vendor_call_id"] == call]
        assert len({s["call_id"] for s in states}) == 1
        versions = [s["version"] for s in states]
        assert versions == sorted(set(versions)), "a repeated callback took effect twice, or out of order"
        assert rung().count(call) == 1
