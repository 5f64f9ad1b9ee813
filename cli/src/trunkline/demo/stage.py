"""What the scenes of the story are made of: calls, waiting, and rows of the services."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

from trunkline.demo.clients import Answer, GenericPbx
from trunkline.demo.events import Tail
from trunkline.demo.tell import Teller
from trunkline.demo.world import KOCHI_STAFF, World

__all__ = ["TENANT_SETTLES_SECONDS", "Stage", "StoryBroken", "expect"]

TENANT_SETTLES_SECONDS = 20.0


class StoryBroken(RuntimeError):
    """A scene did not turn out as the guarantees promise."""


def expect(condition: object, otherwise: str) -> None:
    if not condition:
        raise StoryBroken(otherwise)


@dataclass
class Stage:
    world: World
    tell: Teller
    tail: Tail
    folder: Path
    rang: dict[str, str] = field(default_factory=dict)
    """The calls of this telling, with who called."""

    def _ring(self, pbx: GenericPbx, call_id: str, caller: str) -> Answer:
        self.rang[call_id] = caller
        answer = pbx.ring(call_id, caller, self.world.kochi.did)
        expect(answer.status == 200, f"a ringing call got {answer.status}: {answer.body}")
        return answer

    def _rung(self, answer: Answer, staff: str, reason: str) -> None:
        wanted = (KOCHI_STAFF[staff], reason)
        got = (answer.first["number"], answer.first["reason"])
        expect(got == wanted, f"expected {staff} by {reason}, got {got[1]}")

    def _asked(self, answer: Answer, why: str) -> list[str]:
        first = answer.first
        return [f"answered in {answer.ms:.1f} ms: ring {first['name'] or first['number']} ({first['reason']}) — {why}"]

    def _talk(self, pbx: GenericPbx, call_id: str, caller: str, agent: str) -> None:
        self._ring(pbx, call_id, caller)
        ends = {"from": caller, "to": self.world.kochi.did, "agent_number": agent}
        now = datetime.now(UTC)
        for sequence, status in enumerate(("ringing", "answered", "completed")):
            at = (now + timedelta(seconds=10 * sequence)).isoformat()
            extra = {"duration_seconds": 10} if status == "completed" else {}
            pbx.status(call_id, status, sequence=sequence, at=at, **ends, **extra)

    def _until(self, attempt: Callable[[int], Answer], good: Callable[[Answer], bool]) -> Answer:
        deadline, number = time.monotonic() + TENANT_SETTLES_SECONDS, 0
        while True:
            number += 1
            answer = attempt(number)
            if good(answer) or time.monotonic() > deadline:
                return answer
            time.sleep(0.1)

    def _rows(self, url: str, name: str, *, at_least: int) -> list[dict[str, Any]]:
        """Rows of a service's admin API about Kochi, waited for."""
        headers = {
            "Authorization": f"Bearer {self.world.addresses.admin_token}",
            "X-Tenant": self.world.kochi.tenant_id,
        }
        deadline = time.monotonic() + 60
        while True:
            response = httpx.get(url, headers=headers, timeout=10)
            response.raise_for_status()
            rows: list[dict[str, Any]] = response.json()[name]
            if len(rows) >= at_least:
                return rows
            if time.monotonic() > deadline:
                raise StoryBroken(f"{url} gave {len(rows)} rows of {at_least}; see: trunkline status")
            time.sleep(0.25)

    def _everybody_hangs_up(self, pbx: GenericPbx) -> None:
        """Calls that are left ringing would be an anomaly, and rightly."""
        for call_id, caller in self.rang.items():
            pbx.status(call_id, "canceled", sequence=9, **{"from": caller, "to": self.world.kochi.did})

    def _follow(self, topic: str, vendor_call_id: str) -> None:
        seen = self.tail.wait(topic, lambda d: d["vendor_call_id"] == vendor_call_id)
        age = (seen.published - seen.envelope.time).total_seconds() * 1000
        self.tell.more(
            f"event {seen.envelope.type} on Kafka {age:.0f} ms after the call; the view came from {seen.data['rung']}"
        )

    def _settle(self) -> None:
        """Give repeated callbacks the time in which they would have shown an effect."""
        deadline = time.monotonic() + 1.0
        while time.monotonic() < deadline:
            self.tail.poll(0.1)
