"""Give back what somebody had claimed who is not let in any more."""

from __future__ import annotations

from front_desk import access_store
from front_desk.claims import Claims, NotNow
from kit.postgres import Database
from kit.telemetry import get_logger

__all__ = ["give_back_claims"]

log = get_logger(__name__)
REASON = "user deactivated"


async def give_back_claims(database: Database, claims: Claims) -> int:
    """Tell the telephone service of everybody who is gone, until it has heard; how many it heard of.

    It is told again when this process dies in between: to give back nothing changes nothing.
    """
    told = 0
    for tenant, user_id in await access_store.users_with_claims(database):
        try:
            await claims.release_all(tenant, str(user_id), REASON)
        except NotNow:
            log.info("claims_not_given_back_yet")
            return told
        await access_store.claims_released(database, tenant, user_id)
        told += 1
    return told
