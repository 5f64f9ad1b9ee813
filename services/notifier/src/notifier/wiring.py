"""The only place that makes clients."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from kit.postgres import Database
from notifier.channels import CHANNELS
from notifier.channels.email import SmtpOptions
from notifier.deliver import Deliverer
from notifier.enqueue import PulseRules, enqueue_due_pulses
from notifier.sends import RetryPolicy

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from notifier.settings import Settings
    from runtime.service import Component, Wired

__all__ = ["build", "make_database", "make_deliverer"]


def make_database(settings: Settings) -> Database:
    return Database(
        service=settings.service,
        dsn=settings.postgres_dsn,
        app_password=settings.app_password.get_secret_value(),
        system_password=settings.system_password.get_secret_value(),
    )


def make_deliverer(settings: Settings, database: Database) -> Deliverer:
    smtp = SmtpOptions(
        host=settings.smtp_host,
        port=settings.smtp_port,
        sender=settings.mail_from,
        tls=settings.smtp_tls,
        ca_file=settings.smtp_ca_file,
        username=settings.smtp_username,
        password=settings.smtp_password.get_secret_value(),
        timeout_seconds=settings.smtp_timeout_seconds,
    )
    return Deliverer(
        database=database,
        channels={"email": CHANNELS["email"](smtp)},
        sender=settings.mail_from,
        retry=RetryPolicy(
            first=timedelta(seconds=settings.retry_first_seconds),
            longest=timedelta(seconds=settings.retry_longest_seconds),
            give_up=timedelta(hours=settings.give_up_hours),
        ),
        lease=timedelta(seconds=settings.lease_seconds),
    )


def build(settings: Settings) -> Wired:
    """The service: consumer, relay, HTTP, and, unless sending is held back, the schedule and the dispatcher."""
    from kit.consume import Consumer
    from notifier.api import make_api
    from notifier.consumers import SUBSCRIPTIONS
    from notifier.dispatch import Dispatcher
    from recovery.dead_letters.api import beside
    from recovery.parts import consuming
    from runtime.relay import Relay
    from runtime.service import Every, Wired

    database = make_database(settings)
    token = settings.admin_token.get_secret_value()
    consumer = Consumer(
        database=database,
        kafka_bootstrap=settings.kafka_bootstrap,
        subscriptions=SUBSCRIPTIONS,
        instance_id=settings.instance_id,
    )
    components: list[Component] = [
        database,
        Relay(database=database, kafka_bootstrap=settings.kafka_bootstrap, service=settings.service),
        *consuming(database, consumer),
    ]
    if settings.sending_enabled:
        deliverer = make_deliverer(settings, database)
        components += [
            Every("pulses", settings.pulse_check_seconds, _schedule(settings, database)),
            Dispatcher(database=database, deliverer=deliverer, every_seconds=settings.dispatch_seconds),
        ]
    http = beside(make_api(database, token), database, admin_token=token)
    return Wired(http=http, components=components)


def _schedule(settings: Settings, database: Database) -> Callable[[], Awaitable[None]]:
    rules = PulseRules(late=timedelta(hours=settings.pulse_late_hours), all_green=settings.pulse_all_green)
    began = time.monotonic()

    async def schedule() -> None:
        if time.monotonic() - began >= settings.pulse_settle_seconds:
            await enqueue_due_pulses(database, now=datetime.now(UTC), rules=rules)

    return schedule
