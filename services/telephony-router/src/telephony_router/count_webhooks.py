"""How many webhooks of a day came again, beside how many came: a vendor that changes shows in it first."""

from __future__ import annotations

from kit.postgres import Database
from telephony_router import outbound_store as store
from telephony_router.metrics import METRICS

__all__ = ["count_webhooks"]


async def count_webhooks(database: Database) -> None:
    """Set the gauges of every live account, also of those that sent nothing."""
    async with database.system() as tx:
        accounts = await store.webhooks_of_a_day(tx)
    for each in accounts:
        names = (each["vendor"], str(each["id"]))
        METRICS.dedupe_skips.labels(*names).set(each["repeats"])
        METRICS.webhooks_of_a_day.labels(*names).set(each["stored"] + each["repeats"])
