"""The only place that makes clients."""

from __future__ import annotations

from dataclasses import dataclass

from brain_distiller.api import make_app
from brain_distiller.consumers import DIRECTORY, MESSAGES
from brain_distiller.settings import Settings
from kit.consume import Consumer
from kit.postgres import Database
from recovery.dead_letters.api import beside
from recovery.parts import consuming
from runtime.logs import configure_logging
from runtime.relay import Relay
from runtime.service import AsgiApp, Component, run
from runtime.tracing import configure_tracing

__all__ = ["Service", "build", "database_of", "run_service"]

SERVICE = "brain-distiller"


@dataclass(frozen=True, kw_only=True, slots=True)
class Service:
    app: AsgiApp
    components: tuple[Component, ...]


def database_of(settings: Settings, *, app_pool: int = 10) -> Database:
    return Database(
        service=SERVICE,
        dsn=settings.postgres_dsn,
        app_password=settings.app_password.get_secret_value(),
        system_password=settings.system_password.get_secret_value(),
        app_pool=app_pool,
    )


def build(settings: Settings, *, database: Database | None = None) -> Service:
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
    return Service(app=app, components=(database, relay, *consuming(database, directory, messages)))


def run_service(settings: Settings) -> None:
    """Run until SIGTERM. Blocks."""
    configure_logging(SERVICE, settings.log_level)
    configure_tracing(SERVICE, settings.otlp_endpoint)
    service = build(settings)
    run(
        name=SERVICE, http=service.app, host=settings.bind_host, port=settings.http_port,
        components=service.components, niceness=settings.niceness,
    )  # fmt: skip
