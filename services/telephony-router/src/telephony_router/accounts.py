"""Vendor accounts by the secret in a webhook's path, without asking Postgres for those already known."""

from __future__ import annotations

import time

from kit.postgres import Database
from kit.telemetry import get_logger
from telephony_router import store
from telephony_router.budget import Budget, Unavailable
from telephony_router.hooks import AccountsUnknown
from telephony_router.seal import SealBroken, hash_of_secret
from telephony_router.snapshot import Snapshot
from telephony_router.store import StoredAccount
from telephony_router.vendors.base import Account

__all__ = ["AccountTable"]

log = get_logger(__name__)
UNKNOWN_SECONDS = 2.0
UNKNOWN_MAX = 10_000
LOOKUPS_PER_SECOND = 50


class AccountTable:
    """The snapshot's accounts; a secret it does not know is looked up, so that a new account works at once."""

    def __init__(self, snapshot: Snapshot, database: Database, budget: Budget) -> None:
        self._snapshot = snapshot
        self._database = database
        self._budget = budget
        self._unknown: dict[bytes, float] = {}
        self._second = 0
        self._lookups = 0

    async def find(self, secret: str) -> Account | None:
        digest = hash_of_secret(secret)
        account = self._snapshot.account(digest)
        if account is not None:
            return account
        now = time.monotonic()
        if self._unknown.get(digest, 0.0) > now or not self._may_look_up(now):
            return None
        try:
            found = await self._budget.spend(lambda: self._look_up(digest))
        except Unavailable:
            raise AccountsUnknown from None
        if found is None:
            if len(self._unknown) >= UNKNOWN_MAX:
                self._unknown.clear()
            self._unknown[digest] = now + UNKNOWN_SECONDS
            return None
        try:
            return self._snapshot.learn_account(found)
        except SealBroken as error:
            log.exception("account_cannot_be_opened", account_id=str(found.id))
            raise AccountsUnknown from error

    def _may_look_up(self, now: float) -> bool:
        """Guesses of secrets must not become load on Postgres."""
        if int(now) != self._second:
            self._second, self._lookups = int(now), 0
        self._lookups += 1
        return self._lookups <= LOOKUPS_PER_SECOND

    async def _look_up(self, digest: bytes) -> StoredAccount | None:
        async with self._database.system() as tx:
            return await store.find_account(tx, digest)
