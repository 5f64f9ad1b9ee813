"""The only place that makes clients."""

from __future__ import annotations

from brain_distiller.api import make_app
from brain_distiller.consumers import DIRECTORY, MESSAGES
from brain_distiller.settings import Settings
from kit.consume import Consumer
from kit.postgres import Database
from recovery.dead_letters.api import beside
from recovery.parts import consuming
from runtime.relay import Relay
from runtime.service import Wired

__all__ = ["build", "database_of"]

SERVICE = "brain-distiller"


def database_of(settings: Settings, *, app_pool: int = 10) -> Database:
    return Database(
        service=SERVICE,
        dsn=settings.postgres_dsn,
        app_password=settings.app_password.get_secret_value(),
        system_password=settings.system_password.get_secret_value(),
        app_pool=app_pool,
    )


def build(settings: Settings, *, database: Database | None = None) -> Wired:
    database = database or database_of(settings)
    directory = Consumer(
        group=f"{SERVICE}.directory",
        database=database,
        kafka_bootstrap=settings.kafka_bootstrap,
        subscriptions=DIRECTORY,
        instance_id=settings.instance_id,
    )
    messages = Consumer(
        database=database,
        kafka_bootstrap=settings.kafka_bootstrap,
        subscriptions=MESSAGES,
        max_records=settings.intake_batch_max,
        instance_id=settings.instance_id,
    )
    relay = Relay(database=database, kafka_bootstrap=settings.kafka_bootstrap, service=SERVICE)
    token = settings.admin_token.get_secret_value()
    app = beside(make_app(database, admin_token=token), database, admin_token=token)
    return Wired(http=app, components=(database, relay, *consuming(database, directory, messages)))
