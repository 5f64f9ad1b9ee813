"""Bring what went to the local journal to Postgres, when it is back."""

from __future__ import annotations

import asyncio

from kit.telemetry import get_logger
from runtime.background import Background
from telephony_router.journal import Journal
from telephony_router.record import DATABASE_FAILURES, PostgresIntakes, Recorder, drain

__all__ = ["JournalDrain"]

log = get_logger(__name__)


class JournalDrain(Background):
    """Brings the journal to Postgres when it is back; at the end waits for what is being recorded."""

    name = "journal"
    ended = "the journal is not drained any more"

    def __init__(self, journal: Journal, recorder: Recorder, intakes: PostgresIntakes, *, seconds: float = 1.0) -> None:
        self._journal = journal
        self._recorder = recorder
        self._intakes = intakes
        self._seconds = seconds
        self._drained = 0

    async def stop(self) -> None:
        await self._recorder.close()
        await super().stop()
        # The journal stays open: HTTP is served until after the last part has stopped.

    def status(self) -> dict[str, object]:
        return {"bytes": self._journal.size(), "drained": self._drained}

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._seconds)
            try:
                self._journal.open()
                if not self._journal.empty:
                    self._drained += (count := await drain(self._journal, self._intakes))
                    log.info("journal_drained", webhooks=count)
            except DATABASE_FAILURES as error:
                log.warning("journal_waits", error=type(error).__name__, bytes=self._journal.size())
            except Exception:
                log.exception("journal_not_drained")
