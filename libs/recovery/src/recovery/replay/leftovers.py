"""What a replay could not handle: kept under its own name, and tried again, in order, when it is resumed."""

from __future__ import annotations

from typing import Any

from kit.dead_letters import DeadLetterLimits, Failure
from kit.handling import Halted, Handling
from kit.postgres import Database, Transaction
from recovery.replay.letters import letters_of, record_of
from recovery.replay.pace import Pace, Step
from recovery.replay.plan import Plan

__all__ = ["Leftovers"]

PAGE = 100

_PAGE = """
SELECT * FROM dead_letter WHERE consumer = $1 AND state <> 'dropped' AND seq > $2
    AND (lane IS NULL OR lane <> ALL ($3::text[])) ORDER BY seq LIMIT $4
"""
_FAILED = """
UPDATE dead_letter SET state = 'waiting', parked_behind = false, reason = $2, message = $3, stack_hash = $4,
    attempts = attempts + $5, retries = retries + 1, last_failed_at = now(), fingerprint = $6, code_version = $7
WHERE id = $1
"""
_AUDIT = """
INSERT INTO dead_letter_audit (id, tenant_id, consumer, letter_id, event_id, action, who, why)
SELECT gen_random_uuid(), tenant_id, consumer, id, event_id, $2, 'replay', 'the replay was resumed' FROM dead_letter
WHERE id = $1
"""
_LET_GO = """
DELETE FROM parked_key p WHERE consumer = $1 AND NOT EXISTS (
    SELECT FROM dead_letter d WHERE d.consumer = p.consumer AND d.lane = p.key AND d.state <> 'dropped')
"""
_COUNT = """
SELECT count(*) FILTER (WHERE NOT parked_behind) AS parked, count(*) FILTER (WHERE parked_behind) AS parked_behind
FROM dead_letter WHERE consumer = $1 AND state <> 'dropped'
"""


class Leftovers:
    """One replay's dead letters, where its effects go: of a shadow run they are in the shadow."""

    def __init__(self, database: Database, plan: Plan, handling: Handling, limits: DeadLetterLimits) -> None:
        self._database = database
        self._name = letters_of(plan.consumer, plan.id)
        # The role of a shadow run may write nowhere but in the shadow, where no audit is.
        self._audited = plan.target == "live"
        self._handling = handling
        self._limits = limits

    async def retry(self, pace: Pace) -> Step:
        """Try every letter in the order in which they were parked; a key stops at its first that fails again.

        Then keys that have no letter left are let go, also those whose letters an operator has dropped. Raises
        :class:`Halted` when too many fail in a row. A letter that took effect leaves after it, so being killed in
        between costs a second try that the inbox makes harmless.
        """
        stopped: set[str] = set()
        after = 0
        while rows := await pace.patiently(self._page, after, stopped):
            for row in rows:
                after = row["seq"]
                if row["lane"] in stopped:
                    continue
                step = await pace.wait(1)
                if step != "running":
                    return step
                if not await self._try(row, pace) and row["lane"] is not None:
                    stopped.add(row["lane"])
            await self._say(pace)
        await pace.patiently(self._let_go)
        return await self._say(pace)

    async def recount(self, pace: Pace) -> None:
        """Set the counts of what failed to what there is: a record that was read twice was counted twice."""
        for name, count in (await pace.patiently(self._count)).items():
            pace.counts[name] = count

    async def _count(self) -> dict[str, int]:
        async with self._database.system() as tx:
            row = await tx.fetchrow(_COUNT, self._name)
        return dict(row) if row is not None else {}

    async def _page(self, after: int, stopped: set[str]) -> list[Any]:
        async with self._database.system() as tx:
            return await tx.fetch(_PAGE, self._name, after, list(stopped), PAGE)

    async def _try(self, row: Any, pace: Pace) -> bool:
        failure = await pace.patiently(self._handling.attempt, record_of(row))
        await pace.patiently(self._settle, row, failure)
        if failure is None:
            pace.counts["retried"] += 1
            return True
        exceeded = self._limits.would_exceed()
        if exceeded is not None:
            raise Halted(exceeded)
        self._limits.parked()
        return False

    async def _settle(self, row: Any, failure: Failure | None) -> None:
        async with self._database.system() as tx:
            if self._audited:
                await tx.execute(_AUDIT, row["id"], "retried" if failure is None else "failed_again")
            if failure is None:
                await tx.execute("DELETE FROM dead_letter WHERE id = $1", row["id"])
            else:
                await self._keep(tx, row, failure)

    async def _keep(self, tx: Transaction, row: Any, failure: Failure) -> None:
        kind = row["event_type"] or row["topic"]
        await tx.execute(
            _FAILED, row["id"], failure.reason, failure.message, failure.stack_hash, failure.attempts,
            failure.fingerprint(self._name, kind), self._handling.code_version,
        )  # fmt: skip

    async def _let_go(self) -> None:
        async with self._database.system() as tx:
            await tx.execute(_LET_GO, self._name)

    async def _say(self, pace: Pace) -> Step:
        pace.counts.update(self._handling.counts)
        self._handling.counts.clear()
        await self.recount(pace)
        return await pace.step({}, seen=0, outcomes={})
