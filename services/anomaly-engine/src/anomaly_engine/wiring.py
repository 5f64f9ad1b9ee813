"""The only place that makes clients."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

from anomaly_engine import store
from anomaly_engine.detect import Detector
from anomaly_engine.rules import load_rules
from anomaly_engine.store import RuleReader
from kit.postgres import Database

if TYPE_CHECKING:
    from anomaly_engine.settings import Settings
    from runtime.service import Wired

__all__ = ["build", "make_database", "make_detector"]

FORGET_EVERY_SECONDS = 3600.0


def make_database(settings: Settings) -> Database:
    return Database(
        service=settings.service,
        dsn=settings.postgres_dsn,
        app_password=settings.app_password.get_secret_value(),
        system_password=settings.system_password.get_secret_value(),
    )


def make_detector(settings: Settings, database: Database) -> Detector:
    reader = RuleReader(
        service=settings.service,
        dsn=settings.postgres_dsn,
        ro_password=settings.ro_password.get_secret_value(),
        timeout_seconds=settings.rule_timeout_seconds,
        connections=settings.tenants_at_once,
    )
    return Detector(
        database=database,
        reader=reader,
        rules=load_rules(),
        now=lambda: datetime.now(UTC),
        interval=timedelta(seconds=settings.rule_interval_seconds),
        tenants_at_once=settings.tenants_at_once,
    )


def build(settings: Settings) -> Wired:
    """The service: consumer, relay, the periodic evaluation and HTTP."""
    from anomaly_engine.api import make_api
    from anomaly_engine.consumers import SUBSCRIPTIONS
    from kit.consume import Consumer
    from recovery.dead_letters.api import beside
    from recovery.parts import consuming
    from runtime.relay import Relay
    from runtime.service import Every, Wired

    database = make_database(settings)
    detector = make_detector(settings, database)
    forget = partial(store.forget_runs, database, keep_days=settings.run_keep_days)
    token = settings.admin_token.get_secret_value()
    api = make_api(
        database,
        detector.rules,
        admin_token=token,
        stale_after=max(detector.interval * 3, timedelta(seconds=10)),
        now=detector.now,
    )
    consumer = Consumer(
        database=database,
        kafka_bootstrap=settings.kafka_bootstrap,
        subscriptions=SUBSCRIPTIONS,
        instance_id=settings.instance_id,
    )
    return Wired(
        http=beside(api, database, admin_token=token),
        components=[
            database,
            detector.reader,
            Relay(database=database, kafka_bootstrap=settings.kafka_bootstrap, service=settings.service),
            *consuming(database, consumer),
            Every("rules", settings.rule_interval_seconds, detector.run),
            Every("forget runs", FORGET_EVERY_SECONDS, forget),
        ],
    )
