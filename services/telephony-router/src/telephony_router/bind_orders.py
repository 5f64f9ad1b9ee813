"""Tell the orders for calls what their webhooks prove, and the webhooks whose call it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from uuid import UUID

from kit.postgres import Transaction
from telephony_router import outbound_store as store
from telephony_router.signals import CallSignal, call_named
from telephony_router.store import IntakeRow

__all__ = ["bind_orders"]


async def bind_orders(
    tx: Transaction, rows: Sequence[IntakeRow], signals: Mapping[int, CallSignal]
) -> dict[int, CallSignal]:
    """The signals, those of ordered calls with who is on the line as the order says it."""
    found = dict(signals)
    own = [row for row in rows if row.ordered or signals[row.seq].correlation]
    if not own:
        return found
    orders = await store.find_outbound(tx, {row.call_id for row in own})
    proofs: dict[UUID, tuple[UUID, str, UUID | None]] = {}
    for row in own:
        order, signal = orders.get(row.call_id), signals[row.seq]
        if order is None or order["account_id"] != row.account_id:
            continue
        found[row.seq] = replace(
            signal,
            direction="outbound",
            agent_raw=order["from_number"],
            # Seen from the business: the caller is whoever is not ours.
            caller_raw=order["to_number"],
            did_raw=order["did"] or signal.did_raw,
        )
        known = proofs.get(row.call_id)
        if known is None or not known[1]:
            proofs[row.call_id] = (row.call_id, signal.call_id, _alias(tx.tenant, row, signal))
    await store.bind(tx, sorted(proofs.values(), key=lambda each: each[0]))
    return found


def _alias(tenant: UUID, row: IntakeRow, signal: CallSignal) -> UUID | None:
    """Our id of the call by the vendor's own, under which webhooks without our reference come."""
    if not signal.call_id:
        return None
    return call_named(tenant, signal.vendor, row.account_id, signal.call_id)
