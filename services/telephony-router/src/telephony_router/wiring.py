"""The only place that makes clients."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

from kit.consume import Consumer
from kit.postgres import Database
from kit.telemetry import get_logger
from recovery.dead_letters.api import beside
from recovery.parts import consuming
from runtime.relay import Relay
from runtime.service import AsgiApp, Component, Every, Wired
from telephony_router import realtime
from telephony_router.accounts import AccountTable
from telephony_router.answer_ring import Answers, RingAnswerer
from telephony_router.api import admin_app, router_app
from telephony_router.blob_store import BlobStore, FileBlobStore, Verified
from telephony_router.budget import Budget
from telephony_router.consumers import SUBSCRIPTIONS
from telephony_router.count_webhooks import count_webhooks
from telephony_router.drain_journal import JournalDrain
from telephony_router.drift import DriftWatch
from telephony_router.expire_recordings import expire_recordings
from telephony_router.fetch_recordings import Pace, RecordingFetcher
from telephony_router.forget_person import remove_erased_recordings, sweep_erased
from telephony_router.hooks import Hooks
from telephony_router.journal import Journal
from telephony_router.keep_free import AgentLeases
from telephony_router.keep_missed import MissedKeeper
from telephony_router.keep_view import ViewKeeper
from telephony_router.ladder import Ladder, PostgresView
from telephony_router.missed_api import missed_api
from telephony_router.peers import networks
from telephony_router.process_intake import IntakeProcessor
from telephony_router.reconcile import Reconciler
from telephony_router.record import DATABASE_FAILURES, PostgresIntakes, Recorder
from telephony_router.recording_source import Limits, RecordingSource
from telephony_router.s3_blob_store import Credentials, S3BlobStore
from telephony_router.seal import Seal
from telephony_router.settings import Settings
from telephony_router.snapshot import Snapshot
from telephony_router.submit_calls import CallSubmitter, tidy
from telephony_router.sweep_view import ViewSweeper
from telephony_router.vendor_api import VendorApi
from telephony_router.vendor_tokens import VendorTokens
from telephony_router.vendors import VENDORS
from telephony_router.view import RedisView

__all__ = ["Behind", "build", "make_blob_store", "make_database", "make_view"]

log = get_logger(__name__)


class Behind:
    """A part that callers do not wait for: the router is ready without it."""

    optional = True

    def __init__(self, part: Component) -> None:
        self._part = part
        self.name = part.name

    async def start(self) -> None:
        await self._part.start()

    async def stop(self) -> None:
        await self._part.stop()

    def alive(self) -> str | None:
        return self._part.alive()

    def ready(self) -> str | None:
        return None

    def status(self) -> dict[str, object]:
        return {"serving": self._part.ready() or "yes", **self._part.status()}


def make_database(
    settings: Settings, *, connect_timeout: float = 5.0, command_timeout: float = 60.0, system_pool: int = 4
) -> Database:
    return Database(
        service=settings.service,
        dsn=settings.postgres_dsn,
        app_password=settings.app_password.get_secret_value(),
        system_password=settings.system_password.get_secret_value(),
        system_pool=system_pool,
        connect_timeout=connect_timeout,
        command_timeout=command_timeout,
    )


def make_view(settings: Settings) -> RedisView:
    return RedisView(settings.redis_url, read_budget_seconds=settings.redis_budget_ms / 1000)


def make_leases(settings: Settings) -> AgentLeases:
    budget, margin = settings.redis_budget_ms / 1000, settings.claim_margin_seconds
    return AgentLeases(settings.redis_url, budget_seconds=budget, margin_seconds=margin)


def clock() -> datetime:
    return datetime.now(UTC)


def build(settings: Settings) -> Wired:
    """Everything, without touching a server: the snapshot comes from the disk, the rest connects when it is used."""
    data = Path(settings.data_dir)
    # The ringing path has connections of its own, which give up soon: a caller must not queue behind a sweep.
    ringing = make_database(settings, connect_timeout=1.0, command_timeout=2.0)
    database, view, leases = make_database(settings), make_view(settings), make_leases(settings)
    seal = Seal(settings.secret_key.get_secret_value())
    snapshot = Snapshot(seal, callers_max=settings.snapshot_callers_max)
    sweeper = ViewSweeper(database, view, seconds=settings.view_sweep_seconds)
    keeper = _keeper(settings, database, None if settings.answers_only else view, snapshot, sweeper)
    keeper.load()
    budget = Budget(settings.postgres_budget_ms / 1000, failures=DATABASE_FAILURES)
    journal = Journal(data / "journal", max_bytes=settings.journal_max_bytes)
    intakes = PostgresIntakes(ringing, realtime.take_along if settings.realtime else None)
    recorder = Recorder(intakes, budget, journal)
    ladder = _ladder(settings, view, snapshot, PostgresView(ringing, budget))
    answerer = _answerer(settings, ladder, snapshot, recorder, leases)
    drift = DriftWatch(database, clock=clock)
    hooks = Hooks(
        vendors=VENDORS,
        accounts=AccountTable(snapshot, ringing, budget),
        answerer=answerer,
        recorder=recorder,
        clock=clock,
        public_base_url=settings.public_base_url,
        trusted_proxies=networks(settings.trusted_proxies.split(",")),
        note=drift.note,
    )
    token = settings.admin_token.get_secret_value()
    api, blobs = make_vendor_api(settings, seal), make_blob_store(settings)
    submitter = CallSubmitter(database, api, seal, clock=clock, at_once=settings.dial_at_once)
    behind: list[Component] = [JournalDrain(journal, recorder, intakes), drift]
    if not settings.answers_only:
        missed = _missed(settings, database)
        bells = (keeper.doorbell, missed.doorbell)
        understanding = _intake(settings, database, bells, answerer, leases)
        behind = [*_plumbing(settings, database), understanding, sweeper, missed, *behind]
        behind += [submitter, *_sweeps(settings, database, api, seal), _recordings(settings, database, blobs, seal)]
        behind += _retention(settings, database, blobs)
    admin = _admin(settings, database, submitter, Verified(blobs))
    closing = Closing([view, leases, intakes, api, blobs], ringing, database)
    return Wired(
        http=router_app(hooks, beside(admin, database, admin_token=token)),
        components=[Behind(closing), keeper, *(Behind(part) for part in behind)],
    )


def _keeper(
    settings: Settings, database: Database, view: RedisView | None, snapshot: Snapshot, sweeper: ViewSweeper
) -> ViewKeeper:
    return ViewKeeper(
        database=database,
        view=view,
        snapshot=snapshot,
        path=Path(settings.data_dir) / "snapshot",
        clock=clock,
        poll_seconds=settings.view_poll_ms / 1000,
        accounts_seconds=settings.view_sweep_seconds,
        on_missed=sweeper.ask,
    )


def _ladder(settings: Settings, view: RedisView, snapshot: Snapshot, projections: PostgresView) -> Ladder:
    return Ladder(
        cached=view,
        cached_budget=Budget(settings.redis_budget_ms / 1000, failures=()),
        snapshot=snapshot,
        projections=projections,
        busy_max=timedelta(minutes=settings.busy_max_minutes),
    )


def _answerer(
    settings: Settings, ladder: Ladder, snapshot: Snapshot, recorder: Recorder, leases: AgentLeases
) -> RingAnswerer:
    return RingAnswerer(
        ladder=ladder,
        snapshot=snapshot,
        recorder=recorder,
        answers=Answers(),
        clock=clock,
        deadline_seconds=settings.deadline_ms / 1000,
        leases=leases,
    )


def _plumbing(settings: Settings, database: Database) -> list[Component]:
    """What goes out to Kafka and what comes in from it."""
    bootstrap, service = settings.kafka_bootstrap, settings.service
    consumer = Consumer(
        database=database, kafka_bootstrap=bootstrap, subscriptions=SUBSCRIPTIONS, instance_id=settings.instance_id
    )
    return [Relay(database=database, kafka_bootstrap=bootstrap, service=service), *consuming(database, consumer)]


def make_vendor_api(settings: Settings, seal: Seal) -> VendorApi:
    return VendorApi(VendorTokens(settings.redis_url, seal), extra_bases=settings.dial_api_bases.split(","))


def _sweeps(settings: Settings, database: Database, api: VendorApi, seal: Seal) -> list[Component]:
    reconciler = Reconciler(
        database,
        api,
        seal,
        clock=clock,
        after=timedelta(minutes=settings.stuck_minutes),
        per_minute=settings.reconcile_per_minute,
    )
    return [
        Every("outbound-tidy", 10, lambda: tidy(database)),
        Every("reconcile", 60, reconciler.run),
        Every("webhooks-of-a-day", 60, lambda: count_webhooks(database)),
    ]


def _admin(settings: Settings, database: Database, submitter: CallSubmitter, blobs: Verified) -> AsgiApp:
    lease = timedelta(seconds=settings.claim_lease_seconds)
    placed = submitter.doorbell.set
    more = [missed_api(database, lease=lease, placed=placed)]
    return admin_app(database, settings.admin_token, blobs, more, placed=placed)


def _missed(settings: Settings, database: Database) -> MissedKeeper:
    window = timedelta(hours=settings.missed_window_hours)
    return MissedKeeper(database, window=window, seconds=settings.missed_sweep_seconds)


def _intake(
    settings: Settings,
    database: Database,
    doorbells: Sequence[asyncio.Event],
    answerer: RingAnswerer,
    leases: AgentLeases,
) -> IntakeProcessor:
    def ring() -> None:
        for doorbell in doorbells:
            doorbell.set()

    return IntakeProcessor(
        database,
        vendors=VENDORS,
        on_change=ring,
        on_settled=leases.release,
        busy=answerer.busy,
        poll_seconds=settings.intake_poll_ms / 1000,
        limit=settings.intake_batch_max,
        keep_days=settings.intake_keep_days,
    )


def make_blob_store(settings: Settings) -> BlobStore:
    place = settings.recording_store or str(Path(settings.data_dir) / "recordings")
    if not place.startswith("s3://"):
        return FileBlobStore(Path(place))
    bucket, _, prefix = place.removeprefix("s3://").partition("/")
    return S3BlobStore(
        endpoint=settings.recording_s3_endpoint or f"https://s3.{settings.recording_s3_region}.amazonaws.com",
        bucket=bucket,
        prefix=prefix,
        credentials=Credentials(
            access_key=settings.recording_s3_access_key,
            secret_key=settings.recording_s3_secret_key.get_secret_value(),
            region=settings.recording_s3_region,
        ),
    )


def _recordings(settings: Settings, database: Database, blobs: BlobStore, seal: Seal) -> RecordingFetcher:
    source = RecordingSource(
        limits=Limits(bytes_max=settings.recording_max_bytes, total_seconds=settings.recording_total_seconds),
        allow_networks=networks(settings.recording_allow_networks.split(",")),
        allow_http=settings.recording_allow_http,
        ca_file=settings.recording_ca_file,
    )
    return RecordingFetcher(
        database,
        source,
        blobs,
        seal,
        spool=Path(settings.data_dir) / "recordings-incoming",
        pace=Pace(
            at_once=settings.recording_fetchers,
            at_once_per_account=settings.recording_fetchers_per_account,
            attempts_max=settings.recording_attempts_max,
            first_pause_seconds=settings.recording_pause_seconds,
            lease_seconds=settings.recording_lease_seconds,
        ),
    )


def _retention(settings: Settings, database: Database, blobs: BlobStore) -> list[Component]:
    async def remove() -> None:
        await remove_erased_recordings(database, blobs)

    erased: list[Component] = [
        Every("erased people", 600, lambda: sweep_erased(database)),
        Every("erased recordings", 10, remove),
    ]
    if not settings.recording_keep_days:
        return erased
    keep = timedelta(days=settings.recording_keep_days)

    async def expire() -> None:
        await expire_recordings(database, blobs, keep=keep)

    return [*erased, Every("recordings-retention", 600, expire)]


class Closes(Protocol):
    async def close(self) -> None: ...


class Closing:
    """Closes the clients when everything that uses them has stopped."""

    name = "connections"

    def __init__(self, clients: Sequence[Closes], *databases: Database) -> None:
        self._clients = clients
        self._databases = databases

    async def start(self) -> None:
        return

    async def stop(self) -> None:
        for each in self._clients:
            await each.close()
        for database in self._databases:
            await database.close()

    def alive(self) -> str | None:
        return None

    def ready(self) -> str | None:
        return None

    def status(self) -> dict[str, object]:
        return {}
