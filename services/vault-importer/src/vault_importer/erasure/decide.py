"""The use cases of people: ask for an erasure, approve it, see what it would do, start it, give it up, hold it off.

Each is one transaction with its record in the audit log, which names the request and who acted, never the person.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from contracts.topics import TOPICS
from identifiers.phone import to_e164
from kit.ids import name_uuid, uuid7
from kit.postgres import Database, Transaction
from vault_importer.audit_store import append_audit
from vault_importer.erasure import hold_store, store, suppression_store
from vault_importer.erasure.case import (
    APPROVALS,
    Case,
    ErasureRefused,
    Ground,
    Hold,
    Mode,
    Scope,
    SuppressionKey,
    Who,
    due_at,
    name_key,
    plan_hash,
)
from vault_importer.erasure.keep_out import copy_tag, milliseconds

__all__ = [
    "Asked",
    "approve",
    "ask",
    "begin",
    "cancel",
    "directory_id",
    "hold",
    "lift",
    "make_plan",
    "release",
    "require_name",
    "set_policy",
    "who_of",
]

WAITING = ("asked", "approved", "planned")


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """What somebody asks for."""

    who: Who
    scope: Scope = "person"
    ground: Ground = "request"
    by: str
    why: str = ""


def who_of(
    numbers: list[str] | None = None,
    contacts: list[UUID] | None = None,
    emails: list[str] | None = None,
    customers: list[str] | None = None,
    leads: list[str] | None = None,
) -> Who:
    """A person as somebody names them. Raises :class:`ErasureRefused`."""
    read = {number: to_e164(number) for number in numbers or ()}
    if wrong := [number for number, found in read.items() if found is None]:
        raise ErasureRefused(f"{len(wrong)} of the numbers cannot be read; write them like +919847000010.")
    who = Who(
        numbers=tuple(found for found in read.values() if found),
        emails=tuple(email.strip().lower() for email in emails or ()),
        customer_ids=tuple(customers or ()),
        lead_ids=tuple(leads or ()),
        contact_ids=tuple(contacts or ()),
    )
    if not who:
        raise ErasureRefused("Say who it is: a number, a contact, an e-mail address, a customer or a lead.")
    return who


async def ask(database: Database, tenant: UUID, asked: Asked) -> Case:
    """Enter a request. Nothing is hidden or erased by it."""
    require_name(asked.by)
    now = datetime.now(UTC)
    async with database.transaction(tenant) as tx:
        try:
            who = await store.who_is(tx, await _with_directory_ids(tx, asked.who))
        except ValueError as error:
            raise ErasureRefused(str(error)) from None
        case = Case(
            id=uuid7(),
            subject_id=uuid7(),
            state="asked",
            scope=asked.scope,
            ground=asked.ground,
            asked_by=asked.by,
            asked_at=now,
            why=asked.why,
            who=who,
            counts={},
        )
        await store.add_case(tx, case)
        await _audit(tx, "erasure.asked", case.id, by=asked.by, ground=asked.ground, scope=asked.scope)
    return case


def directory_id(tenant: UUID, kind: str, reference: str) -> str:
    """The id of a customer or a lead, as the directory makes it of the reference that people use."""
    return str(name_uuid(str(tenant), kind, reference))


async def _with_directory_ids(tx: Transaction, who: Who) -> Who:
    """Customers and leads by their ids: by these, and not by references, all services but the directory know them."""
    return replace(
        who,
        customer_ids=await _directory_ids(tx, "customer", who.customer_ids),
        lead_ids=await _directory_ids(tx, "lead", who.lead_ids),
    )


async def _directory_ids(tx: Transaction, kind: str, named: Sequence[str]) -> tuple[str, ...]:
    made = {each: directory_id(tx.tenant, kind, each) for each in named}
    known = await store.known_parties(tx, kind, [*made, *made.values()])
    found = [next((id_ for id_ in (each, made[each]) if id_ in known), None) or _uuid(each) for each in named]
    if not all(found):
        raise ErasureRefused(
            f"The directory has told the archive of no {kind} of this reference: name the {kind} by the id that"
            f" front-desk's REST shows, or wait until the archive has heard of it."
        )
    return tuple(dict.fromkeys(each for each in found if each))


def _uuid(text: str) -> str | None:
    try:
        return str(UUID(text))
    except ValueError:
        return None


async def approve(database: Database, tenant: UUID, id_: UUID, *, by: str) -> Case:
    """One of the two approvals; the second opens the way to a plan."""
    require_name(by)
    async with _case(database, tenant, id_) as (tx, case):
        if case.state not in WAITING:
            raise ErasureRefused(f"The request is {case.state}; it needs no approval.")
        added = name_key(by) not in case.approvers and await store.add_approval(tx, id_, by, at=datetime.now(UTC))
        if not added:
            raise ErasureRefused(f"{by} has approved already; the second approval is another person's.")
        if case.state == "asked" and len(case.approvers) + 1 >= APPROVALS:
            await store.set_state(tx, id_, "approved")
        await _audit(tx, "erasure.approved", id_, by=by)
        return await store.known_case(tx, id_)


async def make_plan(database: Database, tenant: UUID, id_: UUID) -> Case:
    """What it would do, counted; nothing is erased. Refused while something holds it off."""
    async with _case(database, tenant, id_) as (tx, case):
        if case.state not in ("approved", "planned"):
            raise ErasureRefused(f"The request is {case.state}; {_NEEDED[case.state]}")
        case = replace(case, who=await store.who_is(tx, case.who))
        await store.set_who(tx, id_, case.who)
        await store.choose_messages(tx, id_)
        await _refuse_held(tx, case)
        mode = await store.policy(tx)
        processed = await store.newest_processed(tx, id_)
        due = due_at(mode, now=datetime.now(UTC), processed_at=processed, called=case.calls_go)
        plan = await _plan(tx, case, mode=mode, due=due)
        hash_ = plan_hash(plan)
        await store.set_plan(tx, id_, plan, hash_, mode=mode, due_at=due)
        await _audit(tx, "erasure.planned", id_, plan=hash_)
        return await store.known_case(tx, id_)


_NEEDED: Mapping[str, str] = {
    "asked": "two different people approve it first: `trunkline vault erasure approve`.",
    "locked": "it is hidden and erased on its day.",
    "erasing": "it is being carried out.",
    "told": "it is carried out and waits for the other services.",
    "done": "`trunkline vault erasure certificate` prints what came of it.",
    "cancelled": "ask for it again if it should be done after all.",
    "approved": "plan it first: `trunkline vault erasure plan`.",
}


async def _plan(tx: Transaction, case: Case, *, mode: Mode, due: datetime) -> dict[str, Any]:
    reached = await store.reach(tx, case.id)
    return {
        "scope": case.scope,
        "addresses": len(case.who.addresses),
        "messages": {each.reach: each.messages for each in reached},
        "first_at": min((each.first_at.isoformat() for each in reached), default=None),
        "last_at": max((each.last_at.isoformat() for each in reached), default=None),
        "beside": await store.reached_beside(tx, case.id, case.who),
        # An id with a slip in it would erase nothing, and nobody would notice.
        "not in the directory": await _unknown(tx, case.who),
        "kept": {"messages of others that name the number": await store.named_by_others(tx, case.id)},
        "told": sorted(TOPICS["subject.erased"].consumers),
        "mode": mode,
        "due_on": due.date().isoformat(),
        "due_because": _why_then(case, mode),
    }


def _why_then(case: Case, mode: Mode) -> str:
    if mode == "at_once":
        return ""
    if case.calls_go:
        return "their calls go as well, and the last one may have been today: a year from when it is applied"
    return "the newest of it has been held for a year then"


async def _unknown(tx: Transaction, who: Who) -> int:
    """How many of the customers and leads that are named the directory does not have, or not any more."""
    customers = await store.known_parties(tx, "customer", who.customer_ids)
    leads = await store.known_parties(tx, "lead", who.lead_ids)
    return len({*who.customer_ids} - customers) + len({*who.lead_ids} - leads)


async def begin(database: Database, tenant: UUID, id_: UUID, *, plan: str, by: str, key: SuppressionKey | None) -> Case:
    """Carry out a plan that somebody has read: from now on the person is hidden and kept out. The rest is work for
    :mod:`vault_importer.erasure.run`, at once or on its day."""
    require_name(by)
    if key is None:
        raise ErasureRefused(
            "The next backup would bring the person back: set TRUNKLINE_VAULT_IMPORTER_KEY_ENCRYPTION_KEY."
        )
    now = datetime.now(UTC)
    async with _case(database, tenant, id_, alone=True) as (tx, case):
        if case.state != "planned":
            raise ErasureRefused(f"The request is {case.state}; {_NEEDED[case.state]}")
        if plan != case.plan_hash:
            raise ErasureRefused(f"The plan is {case.plan_hash} by now; read it again before you apply it.")
        if len(case.approvers) < APPROVALS:
            raise ErasureRefused("Two different people approve it first.")
        await _refuse_held(tx, case)
        due = case.due_at or now
        if case.mode == "after_one_year" and case.calls_go:
            # They may have called since the plan was made.
            due = max(due, due_at("after_one_year", now=now, processed_at=None, called=True))
        at_once = due <= now
        await store.begin_case(tx, id_, "erasing" if at_once else "locked", effective_at=now, due_at=due)
        await store.choose_messages(tx, id_)
        # Phones' clocks are wrong at times: all that is erased stays out, also from whoever is let in again.
        until = max([now, *(each.last_at for each in await store.reach(tx, id_))])
        copies = [copy_tag(key_id, milliseconds(at)) for key_id, at in await store.cards(tx, id_)]
        await suppression_store.suppress(tx, key, [*case.who.addresses, *copies], erasure_id=id_, until=until)
        await _audit(tx, "erasure.begun", id_, by=by, plan=plan, mode=case.mode, at_once=at_once)
        return await store.known_case(tx, id_)


async def cancel(database: Database, tenant: UUID, id_: UUID, *, by: str, why: str) -> Case:
    """Give a request up, as long as nothing was erased: what was hidden is shown again."""
    require_name(by)
    if not why:
        raise ErasureRefused("Say why it is given up.")
    async with _case(database, tenant, id_, alone=True) as (tx, case):
        if case.state not in (*WAITING, "locked"):
            raise ErasureRefused(f"The request is {case.state}; it cannot be given up any more.")
        await store.cancel_case(tx, id_, at=datetime.now(UTC))
        await store.release_messages(tx, id_)
        await suppression_store.unsuppress(tx, id_, by=by)
        if case.state == "locked":
            await store.search_again(tx)
        await _audit(tx, "erasure.cancelled", id_, by=by)
        return await store.known_case(tx, id_)


# Around it ------------------------------------------------------------------------------------------------------


async def hold(
    database: Database, tenant: UUID, *, number: str | None, chat_id: UUID | None, reason: str, by: str
) -> Hold:
    """Something has to stay for a claim or a court: erasures of it are refused until it is released."""
    require_name(by)
    if not reason:
        raise ErasureRefused("Say what it has to stay for.")
    read = to_e164(number) if number else None
    if number and read is None:
        raise ErasureRefused("The number cannot be read; write it like +919847000010.")
    now = datetime.now(UTC)
    made = Hold(id=uuid7(), number=read, chat_id=chat_id, reason=reason, placed_by=by, placed_at=now)
    async with database.transaction(tenant) as tx:
        await hold_store.add_hold(tx, made)
        await _audit(tx, "hold.placed", made.id, by=by)
    return made


async def release(database: Database, tenant: UUID, id_: UUID, *, by: str, why: str) -> None:
    require_name(by)
    if not why:
        raise ErasureRefused("Say why it need not stay any more.")
    now = datetime.now(UTC)
    async with database.transaction(tenant) as tx:
        if not await hold_store.release_hold(tx, id_, by=by, at=now, why=why):
            raise ErasureRefused("There is no such hold, or it was released before.")
        await _audit(tx, "hold.released", id_, by=by)


async def set_policy(database: Database, tenant: UUID, mode: Mode, *, by: str) -> None:
    """When requests that are planned from now on are carried out."""
    require_name(by)
    async with database.transaction(tenant) as tx:
        await store.set_policy(tx, mode, by=by)
        await _audit(tx, "erasure.policy", None, by=by, mode=mode)


async def lift(database: Database, tenant: UUID, who: Who, *, by: str, key: SuppressionKey) -> int:
    """Let somebody in again who has come back: what is newer than their erasure. How many addresses that were."""
    require_name(by)
    async with database.transaction(tenant) as tx:
        found = await store.who_is(tx, who)
        lifted = await suppression_store.lift(tx, [key.tag(tenant, each) for each in found.addresses], by=by)
        if not lifted:
            raise ErasureRefused("Nobody with this number is kept out.")
        await _audit(tx, "suppression.lifted", None, by=by, addresses=lifted)
    return lifted


def require_name(by: str) -> None:
    """Raises :class:`ErasureRefused` when nobody says who acts."""
    if not by.strip():
        raise ErasureRefused("Say who you are: --by.")


@asynccontextmanager
async def _case(
    database: Database, tenant: UUID, id_: UUID, *, alone: bool = False
) -> AsyncIterator[tuple[Transaction, Case]]:
    async with database.transaction(tenant) as tx:
        if alone:
            await suppression_store.keep_out(tx)
        case = await store.case_of(tx, id_, for_change=True)
        if case is None:
            raise ErasureRefused("There is no such request; `trunkline vault erasure list` shows what there is.")
        yield tx, case


async def _refuse_held(tx: Transaction, case: Case) -> None:
    if on := await hold_store.holds_on_case(tx, case):
        ids = ", ".join(str(each.id) for each in on)
        raise ErasureRefused(
            f"A legal hold is on it ({ids}): it must stay until `trunkline vault hold release` says otherwise."
        )


async def _audit(tx: Transaction, action: str, subject: UUID | None, **details: Any) -> None:
    about = {"erasure" if action.startswith("erasure") else "hold": str(subject)} if subject else {}
    await append_audit(tx, action, at=datetime.now(UTC), details={**about, **details})
