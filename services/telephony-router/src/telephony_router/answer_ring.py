"""Answer a ringing caller: look, decide, make it durable, and give every poll of one call the identical answer."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

from pydantic_core import from_json, to_json

from identifiers.phone import Caller, parse_caller, to_e164
from kit.ids import uuid7
from kit.metrics import child
from kit.telemetry import current_traceparent, get_logger
from telephony_router.budget import in_time
from telephony_router.decide import decide
from telephony_router.entries import decision_from_json, decision_to_json
from telephony_router.inputs import inputs_of
from telephony_router.keep_free import AgentLeases
from telephony_router.ladder import Ladder
from telephony_router.metrics import METRICS
from telephony_router.record import NotRecorded, Recorder
from telephony_router.routing import Decision, Request, RoutingView, TenantEntry, offered_first
from telephony_router.signals import CallSignal, call_named, signal_to_json
from telephony_router.snapshot import Snapshot
from telephony_router.store import Intake
from telephony_router.vendors.base import Account

__all__ = [
    "Answer",
    "Answers",
    "RingAnswerer",
    "answer_from_json",
    "answer_to_json",
    "intake_of",
    "number_of",
    "request_of",
]

log = get_logger(__name__)

BUSY_SECONDS = 0.1


@lru_cache(maxsize=8192)
def caller_of(raw: str) -> Caller:
    return parse_caller(raw)


@lru_cache(maxsize=8192)
def number_of(raw: str) -> str | None:
    return to_e164(raw)


def request_of(signal: CallSignal, call: str = "") -> Request:
    return Request(
        caller=caller_of(signal.caller_raw),
        did=number_of(signal.did_raw),
        digits=signal.digits,
        hops=signal.hops,
        call=call,
    )


@dataclass(frozen=True, slots=True)
class _Named:
    """What makes a webhook the same one when it comes again, and our id of its call: the same for every webhook of it,
    whichever router takes it. Both are new for a ring without a call id."""

    identity: str
    call_id: UUID

    @classmethod
    def of(cls, account: Account, signal: CallSignal, body: bytes) -> _Named:
        identity = signal.identity(body, str(uuid7()) if not signal.call_id else "")
        own = signal.correlation or signal.call_id or identity
        return cls(identity, call_named(account.tenant, signal.vendor, account.id, own))


def intake_of(
    account: Account, signal: CallSignal, body: bytes, received_at: datetime, answer: str | None = None
) -> Intake:
    return _intake(account, signal, body, received_at, answer, _Named.of(account, signal, body))


def _intake(
    account: Account, signal: CallSignal, body: bytes, received_at: datetime, answer: str | None, named: _Named
) -> Intake:
    return Intake(
        tenant=account.tenant,
        identity=f"{account.id}:{named.identity}",
        kind=signal.kind,
        account_id=account.id,
        call_id=named.call_id,
        received_at=received_at,
        signal=to_json(signal_to_json(signal)).decode(),
        answer=answer,
        body=body,
        traceparent=current_traceparent(),
    )


def answer_to_json(decision: Decision, answer_ms: float, inputs: dict[str, Any] | None = None) -> str:
    made_of = f',"inputs":{to_json(inputs).decode()}' if inputs is not None else ""
    return f'{{"answer_ms":{answer_ms:.3f},"decision":{decision_to_json(decision)}{made_of}}}'


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer as it was recorded."""

    decision: Decision
    ms: float


def answer_from_json(text: str) -> Answer:
    values = from_json(text)
    return Answer(decision_from_json(values["decision"]), values["answer_ms"])


@dataclass(frozen=True, slots=True)
class _Made:
    """A decision, and what it was made of; nothing when it was made before."""

    decision: Decision
    inputs: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class _Answer:
    decision: Decision
    recorded: bool


class Answers:
    """The answers of recent calls, and of those being answered right now.

    By text and as text: of thousands of decisions the interpreter's collector would have to look through each part,
    while somebody waits.
    """

    def __init__(self, size: int = 10_000) -> None:
        self._size = size
        self._given: OrderedDict[str, str] = OrderedDict()
        self._unrecorded: set[str] = set()
        self.under_way: dict[str, asyncio.Future[Decision]] = {}

    def get(self, key: str) -> _Answer | None:
        text = self._given.get(key)
        return _Answer(answer_from_json(text).decision, key not in self._unrecorded) if text is not None else None

    def put(self, key: str, answer: str, *, recorded: bool) -> None:
        """``answer`` is as :func:`answer_to_json` gives it."""
        self._given[key] = answer
        self._given.move_to_end(key)
        if recorded:
            self._unrecorded.discard(key)
        else:
            self._unrecorded.add(key)
        if len(self._given) > self._size:
            self._unrecorded.discard(self._given.popitem(last=False)[0])


def _key(account: Account, signal: CallSignal) -> str:
    return f"{account.id}:{signal.call_id}"


class RingAnswerer:
    def __init__(
        self,
        *,
        ladder: Ladder,
        snapshot: Snapshot,
        recorder: Recorder,
        answers: Answers,
        clock: Callable[[], datetime],
        deadline_seconds: float = 0.25,
        leases: AgentLeases | None = None,
    ) -> None:
        """Without ``leases`` nobody is kept free, whatever a tenant's routing says."""
        self._ladder = ladder
        self._snapshot = snapshot
        self._recorder = recorder
        self._answers = answers
        self._clock = clock
        self._deadline = deadline_seconds
        self._leases = leases
        self._asked_at = float("-inf")

    def busy(self) -> bool:
        """Whether somebody has just rung."""
        return time.monotonic() - self._asked_at < BUSY_SECONDS

    async def answer(self, account: Account, signal: CallSignal, body: bytes, began: float) -> Decision:
        """The decision for this call, durable unless nothing can be written. ``began`` is a monotonic time."""
        self._asked_at = began
        if not signal.call_id:
            return await self._answer(account, signal, body, began, None)
        key = _key(account, signal)
        given = self._answers.get(key)
        if given is not None and given.recorded:
            METRICS.replayed.labels(signal.vendor, "memory").inc()
            return given.decision
        under_way = self._answers.under_way.get(key)
        if under_way is not None:
            METRICS.replayed.labels(signal.vendor, "under_way").inc()
            return await asyncio.shield(under_way)
        mine: asyncio.Future[Decision] = asyncio.get_running_loop().create_future()
        self._answers.under_way[key] = mine
        try:
            decision = await self._answer(account, signal, body, began, given.decision if given else None)
        except BaseException:
            mine.cancel()
            raise
        else:
            mine.set_result(decision)
            return decision
        finally:
            del self._answers.under_way[key]

    async def _answer(
        self, account: Account, signal: CallSignal, body: bytes, began: float, given: Decision | None
    ) -> Decision:
        now = self._clock()
        named = _Named.of(account, signal, body)
        made = _Made(given) if given is not None else await self._decide(account, signal, now, str(named.call_id))
        decision = made.decision
        answer = answer_to_json(decision, (time.monotonic() - began) * 1000, made.inputs)
        standing = await self._record(_intake(account, signal, body, now, answer, named), began)
        if standing is not None and standing != answer:
            METRICS.replayed.labels(signal.vendor, "stored").inc()
            decision = answer_from_json(standing).decision
        if signal.call_id:
            self._answers.put(_key(account, signal), standing or answer, recorded=standing is not None)
        child(METRICS.answers, signal.vendor, decision.rung, decision.rule).inc()
        return decision

    async def _decide(self, account: Account, signal: CallSignal, now: datetime, call: str) -> _Made:
        request = request_of(signal, call)
        number = request.caller.e164 if request.caller.kind == "number" else None
        try:
            view = await self._ladder.view(account.tenant, request.did, number, now)
            decision = decide(view, request, now)
            if self._leases is not None and any(each.staff_id for each in decision.destinations):
                view, decision = await self._keep_free(self._leases, view, request, now, decision)
            return _Made(decision, inputs_of(view, request, decision))
        except Exception:
            # A bug or a poisoned entry must not leave the caller ringing into nothing.
            log.exception("decision_failed", vendor=signal.vendor)
            METRICS.rung_failures.labels("all", "bug").inc()
            return _Made(decide(self._static(account.tenant, request.did), request, now))

    async def _keep_free(
        self, leases: AgentLeases, view: RoutingView, request: Request, now: datetime, decision: Decision
    ) -> tuple[RoutingView, Decision]:
        """When the tenant wants it, of the latest view only: what Redis does not answer for, it is not asked about."""
        if view.tenant.routing.claim_agents:
            if view.rung == "redis":
                view, decision = await leases.settle(view, request, now, decision)
            else:
                child(METRICS.agent_claims, "down").inc()
        turn = offered_first(decision)
        if turn is not None and view.rung == "redis":
            leases.offered(view.tenant.tenant, turn)
        return view, decision

    def _static(self, tenant: UUID, did: str | None) -> RoutingView:
        """Only what a DID falls back to."""
        found = self._snapshot.did(did) if did is not None else None
        own = found if found is not None and found.tenant == tenant else None
        return RoutingView(tenant=TenantEntry(tenant=tenant), did=own, caller=None, rung="static")

    async def _record(self, row: Intake, began: float) -> str | None:
        """The answer that stands once it is durable; None when that cannot be had before the deadline."""
        try:
            # The time is up for this caller only: what is being written goes on being written.
            left = max(0.0, began + self._deadline - time.monotonic())
            return (await in_time(self._recorder.record(row), left)).answer
        except TimeoutError:
            why = "slow"
        except NotRecorded:
            why = "refused"
        METRICS.unrecorded.inc()
        log.error("ring_answered_unrecorded", call_id=str(row.call_id), why=why)
        return None
