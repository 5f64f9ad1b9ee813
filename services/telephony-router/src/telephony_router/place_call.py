"""Take an order for a call: once per key, durable before anybody is asked to dial."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from pydantic_core import to_json

from identifiers.phone import to_e164
from kit.postgres import Database, Transaction
from telephony_router import outbound_store as store
from telephony_router.metrics import METRICS
from telephony_router.outbound_store import Claimed
from telephony_router.signals import call_named
from telephony_router.store import Q as ROUTER
from telephony_router.vendors.dialling import CANNOT_DIAL, DIALLERS
from telephony_router.vendors.dialling.base import Order

__all__ = ["BeingAnswered", "NotPossible", "OtherRequest", "Wanted", "place"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    account: UUID
    to: str
    from_staff: str = ""
    from_number: str = ""
    did: str = ""
    reference: str = ""
    missed: tuple[UUID, datetime] | None = None
    """The claim of a missed call that this is for: the item's id, and since when it was claimed. The request's key
    names it, so the digest need not."""

    def digest(self) -> bytes:
        """The same for the same request, however it was written down."""
        values = [str(self.account), self.to, self.from_staff, self.from_number, self.did, self.reference]
        return hashlib.sha256(to_json(values)).digest()


class NotPossible(Exception):
    """The order cannot be taken. The message is for whoever asked, and holds no number."""


class OtherRequest(Exception):
    """The key was used for another request."""


class BeingAnswered(Exception):
    """The same key is being answered at this moment."""


async def place(database: Database, tenant: UUID, key: str, wanted: Wanted) -> str:
    """The answer, as JSON: the same one to every repetition. Raises the three above."""
    digest = wanted.digest()
    async with database.transaction(tenant) as tx:
        if not await store.hold_key(tx, key):
            raise BeingAnswered
        known = await store.find_key(tx, key)
        if known is not None:
            if known[0] != digest:
                raise OtherRequest
            return known[1]
        call, staff_id = await _order(tx, wanted)
        answer = to_json({"id": str(call.id), "state": "requested"}).decode()
        await store.add_call(tx, call, staff_id, wanted.missed)
        await store.put_key(tx, key, digest, answer)
    METRICS.outbound_calls.labels(call.vendor, "requested").inc()
    return answer


async def _order(tx: Transaction, wanted: Wanted) -> tuple[Claimed, str | None]:
    account = await store.find_account_of(tx, wanted.account)
    if account is None:
        raise NotPossible("there is no such account")
    vendor = account["vendor"]
    if vendor not in DIALLERS:
        raise NotPossible(f"{vendor} cannot dial: {CANNOT_DIAL.get(vendor, 'it is not known')}")
    if not account["dials"]:
        raise NotPossible("this account is not set up to dial: trunkline router dialling set")
    agent = await _agent(tx, wanted)
    customer = _number(wanted.to, "to")
    if agent == customer:
        raise NotPossible("to and from are the same number")
    did = await _line(tx, wanted.did) if wanted.did else ""
    ref = f"tl{secrets.token_hex(16)}"
    # As the call's webhooks make it, which carry the reference.
    call_id = call_named(tx.tenant, vendor, wanted.account, ref)
    order = Order(ref=ref, agent=agent, customer=customer, did=did, reference=wanted.reference)
    call = Claimed(tenant=tx.tenant, id=call_id, account_id=wanted.account, vendor=vendor, order=order)
    return call, wanted.from_staff or None


async def _agent(tx: Transaction, wanted: Wanted) -> str:
    if not wanted.from_staff:
        return _number(wanted.from_number, "from_number")
    number = await store.staff_number(tx, wanted.from_staff)
    if number is None:
        raise NotPossible("from_staff is nobody who works here and has a telephone")
    return number


async def _line(tx: Transaction, raw: str) -> str:
    """A line that rings for this tenant: whoever is called must not be shown somebody else's."""
    did = _number(raw, "did")
    if not await tx.fetchval(ROUTER.holds_did, did):
        raise NotPossible("did is not a line of this tenant")
    return did


def _number(raw: str, name: str) -> str:
    number = to_e164(raw)
    if number is None:
        raise NotPossible(f"{name} is not a number that can be dialled")
    return number
