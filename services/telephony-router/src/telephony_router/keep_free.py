"""Keep the people whom an answer names free for that call: two calls that ring at once are not given the same.

That is in Redis and nowhere else, and lapses by itself: without Redis calls are answered all the same, unclaimed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from kit.metrics import child
from runtime.tasks import end
from telephony_router.budget import Budget, in_time
from telephony_router.decide import decide
from telephony_router.metrics import METRICS
from telephony_router.routing import Decision, Request, RoutingView
from telephony_router.view import REDIS_FAILURES, client, offers_key

__all__ = ["AgentLeases", "NotClaimed", "Wanted"]

ROUNDS = 3
KEPT_MS = 24 * 3600 * 1000
WAITING_MAX = 1000
OUTCOMES = ("claimed", "contested", "nobody", "slow", "down", "paused")
AT_ONCE = 200

_LOAD = """
local raw = redis.call('GET', KEYS[1])
local whole, agents = pcall(cjson.decode, raw or '{}')
if not whole or type(agents) ~= 'table' then agents = {} end
"""

# Gives each agent to the call who is not full: with calls that they are on, and with leases that others hold.
_CLAIM = (
    _LOAD
    + """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local granted = {}
for _, each in ipairs(cjson.decode(ARGV[2])) do
    local agent = agents[each.s] or {}
    local kept, taken, count = {}, {}, 0
    for _, call in ipairs(each.b) do taken[call] = true; count = count + 1 end
    for call, till in pairs(agent.l or {}) do
        if till > now then
            kept[call] = till
            if call ~= ARGV[1] and not taken[call] then count = count + 1 end
        end
    end
    if count < each.c then
        kept[ARGV[1]] = now + tonumber(ARGV[3])
        granted[#granted + 1] = each.s
    end
    agent.l = next(kept) and kept or nil
    agents[each.s] = agent
end
redis.call('SET', KEYS[1], cjson.encode(agents), 'PX', ARGV[4])
return granted
"""
)

_OFFER = (
    _LOAD
    + """
local time = redis.call('TIME')
local agent = agents[ARGV[1]] or {}
agent.o = time[1] * 1000 + math.floor(time[2] / 1000)
agents[ARGV[1]] = agent
redis.call('SET', KEYS[1], cjson.encode(agents), 'PX', ARGV[2])
"""
)

# Frees everybody who is kept for a call, but for one; a call that keeps nobody costs no more than a look.
_RELEASE = (
    """
if not string.find(redis.call('GET', KEYS[1]) or '', ARGV[1], 1, true) then return 0 end
"""
    + _LOAD
    + """
for staff, agent in pairs(agents) do
    if agent.l and staff ~= ARGV[2] then
        agent.l[ARGV[1]] = nil
        if not next(agent.l) then agent.l = nil end
    end
end
redis.call('SET', KEYS[1], cjson.encode(agents), 'PX', ARGV[3])
return 1
"""
)


class NotClaimed(Exception):
    """Redis did not answer within the budget. The message is ``slow``, ``down`` or ``paused``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    staff_id: str
    capacity: int
    calls: tuple[str, ...]
    """Those that they are on, as the view has them."""


class AgentLeases:
    def __init__(self, url: str, *, budget_seconds: float = 0.03, margin_seconds: int = 15) -> None:
        self._claims = client(url, budget_seconds)
        self._notes = client(url, 2.0)
        self._budget_seconds = budget_seconds
        self._budget = Budget(budget_seconds, failures=())
        self._margin = timedelta(seconds=margin_seconds)
        self._asking: list[tuple[tuple[Any, ...], asyncio.Future[set[str]]]] = []
        self._asker: asyncio.Task[None] | None = None
        self._waiting: list[tuple[Any, ...]] = []
        self._teller: asyncio.Task[None] | None = None
        # A counter that is born with the first failure gives no rate of a burst: it begins at zero.
        for outcome in OUTCOMES:
            child(METRICS.agent_claims, outcome)

    async def close(self) -> None:
        await end(*(task for task in (self._asker, self._teller) if task is not None))
        await self._claims.aclose()
        await self._notes.aclose()

    async def settle(
        self, view: RoutingView, request: Request, now: datetime, first: Decision
    ) -> tuple[RoutingView, Decision]:
        """Keep those free whom the decision names. Who is somebody else's by now is left out, and it is decided again.

        Ends after a few rounds, with nobody named who was not given to this call. When Redis fails in between, the
        latest decision stands as it is, unclaimed.
        """
        decision, granted = first, set[str]()
        for _ in range(ROUNDS):
            asked = _staff(decision) - granted
            if not asked:
                break
            try:
                wanted = _wanted(view, decision, request, now)
                got = await self.claim(view.tenant.tenant, request.call, wanted, decision)
            except NotClaimed as error:
                child(METRICS.agent_claims, str(error)).inc()
                return view, decision
            granted |= got
            if asked - got:
                view = replace(view, claimed=view.claimed | (asked - got))
                decision = decide(view, request, now)
        while more := _staff(decision) - granted:
            # The rounds are over: whoever was not given to this call is not named.
            view = replace(view, claimed=view.claimed | more)
            decision = decide(view, request, now)
        named = bool(_staff(decision))
        outcome = "nobody" if not named else "contested" if view.claimed else "claimed"
        child(METRICS.agent_claims, outcome).inc()
        return view, replace(decision, claimed=named)

    async def claim(self, tenant: UUID, call: str, wanted: Sequence[Wanted], decision: Decision) -> set[str]:
        """Those of the wanted who are kept free for the call from now on, as long as its destinations may ring.

        Asking again for the same call gives the same. Raises :class:`NotClaimed` after the budget at the latest.
        """
        if not self._budget.open:
            raise NotClaimed("paused")
        ringing = decision.ring_seconds * (1 if decision.parallel else len(decision.destinations))
        lease = int((timedelta(seconds=ringing) + self._margin).total_seconds() * 1000)
        people = json.dumps([{"s": each.staff_id, "c": each.capacity, "b": each.calls} for each in wanted])
        done: asyncio.Future[set[str]] = asyncio.get_running_loop().create_future()
        self._asking.append(((_CLAIM, 1, offers_key(tenant), call, people, lease, max(lease, KEPT_MS)), done))
        if self._asker is None or self._asker.done():
            self._asker = asyncio.create_task(self._ask_all())
        try:
            return await in_time(done, self._budget_seconds)
        except TimeoutError:
            self._budget.failed()
            raise NotClaimed("slow") from None
        except REDIS_FAILURES as error:
            self._budget.failed()
            raise NotClaimed("slow" if "imeout" in type(error).__name__ else "down") from None

    async def _ask_all(self) -> None:
        """All claims that wait are one round trip; each is a script of its own, one after the other."""
        while self._asking:
            group, self._asking = self._asking[:AT_ONCE], self._asking[AT_ONCE:]
            try:
                async with self._claims.pipeline(transaction=False) as pipe:
                    for arguments, _ in group:
                        pipe.eval(*arguments)
                    answers: list[Any] = await pipe.execute(raise_on_error=False)
            except REDIS_FAILURES as error:
                answers = [error] * len(group)
            for (_, done), answer in zip(group, answers, strict=True):
                if done.done():
                    continue
                if isinstance(answer, BaseException):
                    done.set_exception(answer)
                else:
                    done.set_result({each.decode() for each in answer})

    def offered(self, tenant: UUID, staff_id: str) -> None:
        """Note whose turn it was, some time soon."""
        self._tell((_OFFER, 1, offers_key(tenant), staff_id, KEPT_MS))

    def release(self, tenant: UUID, call: str, keep: str | None) -> None:
        """Free those who were kept for a call, some time soon, but for the one who took it."""
        self._tell((_RELEASE, 1, offers_key(tenant), call, keep or "", KEPT_MS))

    def _tell(self, arguments: tuple[Any, ...]) -> None:
        if len(self._waiting) >= WAITING_MAX:
            METRICS.agent_notes_lost.inc()
            return
        self._waiting.append(arguments)
        if self._teller is None or self._teller.done():
            self._teller = asyncio.create_task(self._tell_all())

    async def _tell_all(self) -> None:
        while self._waiting:
            group, self._waiting = self._waiting[:AT_ONCE], self._waiting[AT_ONCE:]
            try:
                async with self._notes.pipeline(transaction=False) as pipe:
                    for arguments in group:
                        pipe.eval(*arguments)
                    await pipe.execute()
            except REDIS_FAILURES:
                # Leases lapse by themselves, and turns are in Postgres as well.
                METRICS.agent_notes_lost.inc(len(group))

    async def told(self) -> None:
        """Wait until what waits to be noted is noted or lost."""
        while self._teller is not None and not self._teller.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.shield(self._teller)


def _wanted(view: RoutingView, decision: Decision, request: Request, now: datetime) -> list[Wanted]:
    wanted = []
    for staff_id in sorted(_staff(decision)):
        load = view.load.agents.get(staff_id)
        calls = load.calls.items() if load is not None else ()
        busy = tuple(sorted(call for call, at in calls if call != request.call and at > now - view.busy_max))
        wanted.append(Wanted(staff_id=staff_id, capacity=view.tenant.agents[staff_id].capacity, calls=busy))
    return wanted


def _staff(decision: Decision) -> set[str]:
    return {each.staff_id for each in decision.destinations if each.staff_id}
