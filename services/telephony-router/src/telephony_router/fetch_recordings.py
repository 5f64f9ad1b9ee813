"""Fetch the recordings that vendors tell of, take their speakers apart, store them, and tell that they are there."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

from contracts.calls import RecordingStoredV1
from kit import outbox
from kit.postgres import Database, Transaction
from kit.telemetry import get_logger
from runtime.tasks import end
from telephony_router import erasure_store, recording_store
from telephony_router.application_token import NotAKey
from telephony_router.audio import CutShort, NotAudio
from telephony_router.blob_store import BlobStore, Corrupt, StoreAway
from telephony_router.metrics import METRICS
from telephony_router.record import DATABASE_FAILURES
from telephony_router.recording_links import LINK_APIS, address_of, named_file
from telephony_router.recording_source import Access, Fetched, RecordingSource, Refused, authorization
from telephony_router.recording_store import Claim, StoredFile
from telephony_router.recording_vendors import HOSTS, agent_channel, own_credential
from telephony_router.seal import Seal, SealBroken
from telephony_router.split_channels import Heard, listen_apart

__all__ = ["Pace", "RecordingFetcher"]

log = get_logger(__name__)
LOOK_SECONDS = 10.0
AWAY_SECONDS = 30.0
OUTCOMES = ("stored", "again", "failed", "lost")
STATES = ("pending", "fetching", "stored", "absent", "failed", "expired")


@dataclass(frozen=True, kw_only=True, slots=True)
class Pace:
    at_once: int = 4
    at_once_per_account: int = 2
    attempts_max: int = 8
    first_pause_seconds: float = 30.0
    longest_pause_seconds: float = 3600.0
    lease_seconds: float = 60.0
    poll_seconds: float = 1.0

    def pause(self, attempts: int, chance: float) -> float:
        """How long after so many attempts; ``chance``, from 0 to 1, keeps many from coming back together."""
        longest = min(self.first_pause_seconds * 2.0 ** (min(attempts, 30) - 1), self.longest_pause_seconds)
        return longest * (0.5 + chance / 2)


class _Unsuccessful(Exception):
    """An attempt that ended otherwise than with a stored recording."""

    def __init__(self, reason: str, *, again: bool = True, counted: bool = True) -> None:
        super().__init__(reason)
        self.reason, self.again, self.counted = reason, again, counted


Listen = Callable[[Path, Path, Path, bool], Awaitable[Heard]]


class RecordingFetcher:
    """A component; several routers may run one. A recording is one fetcher's for as long as its lease is renewed."""

    name = "recordings"

    def __init__(
        self,
        database: Database,
        source: RecordingSource,
        store: BlobStore,
        seal: Seal,
        *,
        spool: Path,
        pace: Pace,
        listen: Listen = listen_apart,
        link_apis: Mapping[str, str] = LINK_APIS,
    ) -> None:
        self._database = database
        self._source = source
        self._store = store
        self._seal = seal
        self._spool = spool
        self._pace = pace
        self._listen = listen
        self._link_apis = link_apis
        self._tasks: dict[UUID, asyncio.Task[None]] = {}
        self._running: list[asyncio.Task[None]] = []
        self._freed = asyncio.Event()
        self._looked_at = float("-inf")
        self._last_error: str | None = None
        self._stored = 0
        for state in STATES:
            METRICS.recordings.labels(state)
        for vendor in (*HOSTS, "generic"):
            METRICS.recording_seconds.labels(vendor)
            for outcome in OUTCOMES:
                METRICS.recording_attempts.labels(vendor, outcome)

    async def start(self) -> None:
        self._spool.mkdir(parents=True, exist_ok=True)
        # What a killed one left; the folder is this router's own.
        for path in self._spool.iterdir():
            path.unlink()
        loops = (self._fetch(), self._renew()) if self._pace.at_once > 0 else (self._measure(),)
        self._running = [asyncio.create_task(each, name=self.name) for each in loops]

    async def stop(self) -> None:
        """What is being fetched goes back, for another one."""
        await end(*self._running, *self._tasks.values())
        self._running = []

    def alive(self) -> str | None:
        return "recordings are not fetched any more" if any(task.done() for task in self._running) else None

    def ready(self) -> str | None:
        return None

    def status(self) -> dict[str, object]:
        return {"fetching": len(self._tasks), "stored": self._stored, "last_error": self._last_error}

    async def _fetch(self) -> None:
        delay = self._pace.poll_seconds
        while True:
            self._freed.clear()
            try:
                await self.take()
                await self._look()
                delay, self._last_error = self._pace.poll_seconds, None
            except DATABASE_FAILURES as error:
                delay, self._last_error = min(delay * 2, 5.0), type(error).__name__
            except Exception as error:
                log.exception("recordings_not_taken")
                delay, self._last_error = min(delay * 2, 5.0), type(error).__name__
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._freed.wait(), delay)

    async def _measure(self) -> None:
        while True:
            with contextlib.suppress(*DATABASE_FAILURES):
                await self._look()
            await asyncio.sleep(LOOK_SECONDS)

    async def _look(self) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._looked_at < LOOK_SECONDS:
            return
        self._looked_at = now
        async with self._database.system() as tx:
            found = await recording_store.counts(tx)
        for state in STATES:
            METRICS.recordings.labels(state).set(found.get(state, (0, None))[0])
        oldest = min((since for _, since in found.values() if since is not None), default=None)
        METRICS.recordings_age.set((datetime.now(UTC) - oldest).total_seconds() if oldest else 0)

    async def _renew(self) -> None:
        """Leases last three times as long as it takes to renew them: one or two failures cost nothing."""
        while True:
            await asyncio.sleep(self._pace.lease_seconds / 3)
            held = list(self._tasks)
            if not held:
                continue
            try:
                async with self._database.system() as tx:
                    kept = await recording_store.renew(tx, held, self._pace.lease_seconds)
            except DATABASE_FAILURES as error:
                log.warning("recording_leases_not_renewed", error=type(error).__name__)
                continue
            for lease in set(held) - kept:
                if lease in self._tasks:
                    self._tasks[lease].cancel()

    async def take(self) -> int:
        """Begin to fetch what is due and free hands allow; how many."""
        free = self._pace.at_once - len(self._tasks)
        if free <= 0:
            return 0
        async with self._database.system() as tx:
            claims = await recording_store.claim(
                tx, at_most=free, per_account=self._pace.at_once_per_account, lease_seconds=self._pace.lease_seconds
            )
        for claim in claims:
            task = asyncio.create_task(self._one(claim), name=f"recording {claim.id}")
            self._tasks[claim.lease] = task
            task.add_done_callback(partial(self._let_go, claim.lease))
        return len(claims)

    def _let_go(self, lease: UUID, _: asyncio.Task[None]) -> None:
        del self._tasks[lease]
        self._freed.set()

    async def _one(self, claim: Claim) -> None:
        paths = [self._spool / f"{claim.lease}.{part}" for part in ("whole", "first", "second")]
        try:
            await self._attempt(claim, paths)
        except _Unsuccessful as error:
            await self._settle(claim, error)
        except asyncio.CancelledError:
            await self._settle(claim, _Unsuccessful("interrupted", counted=False))
            raise
        except DATABASE_FAILURES as error:
            # The lease runs out, and somebody begins anew; what is in the store already is found there.
            log.warning("recording_not_settled", recording_id=str(claim.id), error=type(error).__name__)
        except Exception:
            log.exception("recording_failed", recording_id=str(claim.id))
            await self._settle(claim, _Unsuccessful("error"))
        finally:
            for path in paths:
                path.unlink(missing_ok=True)

    async def _attempt(self, claim: Claim, paths: list[Path]) -> None:
        if claim.attempts > self._pace.attempts_max:
            raise _Unsuccessful("attempts_exhausted", again=False)
        async with self._database.transaction(claim.tenant_id) as tx:
            told = await recording_store.find_fetch(tx, claim)
        if told is None:
            return
        if not told["url"] and (told["told"] == "pending" or claim.vendor not in self._link_apis):
            raise _Unsuccessful("never_told_of" if told["told"] == "pending" else "no_address", again=False)
        with METRICS.recording_seconds.labels(claim.vendor).time():
            file = await self._obtain(claim, told, paths)
        await self._tell(claim, file)

    async def _obtain(self, claim: Claim, told: Any, paths: list[Path]) -> StoredFile:
        """Everything outside Postgres: fetch, take apart, store."""
        whole, first, second = paths
        try:
            url, access = await self._whence(claim, told)
            fetched = await self._source.fetch(url, whole, access)
            METRICS.recording_bytes.inc(fetched.size_bytes)
            heard = await self._listen(whole, first, second, claim.attempts >= self._pace.attempts_max)
            await self._store.put(claim.tenant_id, fetched.sha256, whole)
            for half, path in zip(heard.halves or (), (first, second), strict=False):
                await self._store.put(claim.tenant_id, half.sha256, path)
        except Refused as error:
            raise _Unsuccessful(error.reason, again=error.again) from None
        except NotAudio as error:
            raise _Unsuccessful("cut_short" if isinstance(error, CutShort) else "not_audio") from None
        except (SealBroken, NotAKey):
            raise _Unsuccessful("credential_cannot_be_opened") from None
        except Corrupt:
            raise _Unsuccessful("changed_on_the_way") from None
        except (StoreAway, OSError) as error:
            log.warning("recordings_cannot_be_kept", error=type(error).__name__)
            raise _Unsuccessful("store_away", counted=False) from None
        return _stored_file(fetched, heard, agent_channel(told["agent_channel"], told["direction"]))

    async def _whence(self, claim: Claim, told: Any) -> tuple[str, Access]:
        """Where it is, and what may be shown there. Vendors that only name it are asked, with the account's token."""
        api = self._link_apis.get(claim.vendor)
        if api is None:
            return told["url"], self._access(claim, told)
        name, sealed = named_file(claim.recording_key, told["url"]), told["sealed_credential"]
        if sealed is not None and name:
            token = self._seal.open(claim.account_id, sealed)
            # The vendor itself says where, under TLS, and for this one file: there is nothing to show there.
            return await address_of(self._source, api, token, name), Access()
        if not told["url"]:
            raise Refused("no_credential", again=False)
        # The token is for the API's query, and no password of whoever has the page.
        return told["url"], replace(self._access(claim, told), authorization="")

    def _access(self, claim: Claim, told: Any) -> Access:
        account = claim.account_id
        if told["sealed_credential"] is not None:
            credential = self._seal.open(account, told["sealed_credential"])
        else:
            tokens = [self._seal.open(account, token) for token in told["sealed_tokens"] or ()]
            credential = own_credential(claim.vendor, told["url"], tokens, claim.attempts)
        hosts = (*HOSTS.get(claim.vendor, ()), *told["hosts"])
        # Who only knows the secret address must not choose where we go.
        shown = authorization(credential, datetime.now(UTC))
        return Access(hosts=hosts, authorization=shown, listed_only=not told["confirmed"])

    async def _tell(self, claim: Claim, file: StoredFile) -> None:
        event = RecordingStoredV1(
            call_id=str(claim.call_id),
            recording_id=str(claim.id),
            vendor=claim.vendor,
            sha256=file.sha256,
            size_bytes=file.size_bytes,
            content_type=file.content_type,
            channels=file.channels,
            duration_ms=file.duration_ms,
            speakers=file.speakers,
            agent_sha256=file.agent[0] if file.agent else None,
            customer_sha256=file.customer[0] if file.customer else None,
            stored_at=file.stored_at,
        )
        async with self._database.transaction(claim.tenant_id, emits=[str(claim.call_id)]) as tx:
            await self._still_there(tx, file)
            ours = await recording_store.end(tx, claim, "stored")
            if ours:
                await recording_store.add_file(tx, claim, file)
                await outbox.append(tx, event)
            else:
                # It may have been erased meanwhile, and nobody else would know of its bytes.
                await erasure_store.let_go(tx, _blobs(file))
        METRICS.recording_attempts.labels(claim.vendor, "stored" if ours else "lost").inc()
        self._stored += ours

    async def _still_there(self, tx: Transaction, file: StoredFile) -> None:
        """The same bytes may have been another recording's, whose time was over just now."""
        blobs = _blobs(file)
        await recording_store.hold_blobs(tx, blobs)
        try:
            there = [await self._store.stat(tx.tenant, blob) for blob in blobs]
        except StoreAway:
            there = [None]
        if None in there:
            raise _Unsuccessful("store_away", counted=False)

    async def _settle(self, claim: Claim, error: _Unsuccessful) -> None:
        again = error.again and not (error.counted and claim.attempts >= self._pace.attempts_max)
        pause = self._pace.pause(claim.attempts, random.random()) if error.counted else AWAY_SECONDS  # noqa: S311
        if error.reason == "interrupted":
            pause = 0.0
        try:
            async with self._database.transaction(claim.tenant_id) as tx:
                ours = await recording_store.end(
                    tx,
                    claim,
                    "pending" if again else "failed",
                    error.reason,
                    again_in=pause,
                    uncounted=not error.counted,
                )
        except DATABASE_FAILURES as failure:
            log.warning("recording_not_settled", recording_id=str(claim.id), error=type(failure).__name__)
            return
        outcome = "lost" if not ours else "again" if again else "failed"
        METRICS.recording_attempts.labels(claim.vendor, outcome).inc()
        log.info("recording_not_stored", recording_id=str(claim.id), reason=error.reason, outcome=outcome)


def _blobs(file: StoredFile) -> list[str]:
    return [file.sha256, *(half[0] for half in (file.agent, file.customer) if half is not None)]


def _stored_file(fetched: Fetched, heard: Heard, agent: int) -> StoredFile:
    halves = [(half.sha256, half.size_bytes) for half in heard.halves or ()]
    return StoredFile(
        sha256=fetched.sha256,
        size_bytes=fetched.size_bytes,
        content_type=heard.facts.content_type,
        channels=heard.facts.channels,
        duration_ms=heard.facts.duration_ms,
        voices=heard.voices,
        agent=halves[agent - 1] if halves else None,
        customer=halves[2 - agent] if halves else None,
        stored_at=datetime.now(UTC),
    )
