"""The table of dashboards. One file each; a new one is named here."""

from __future__ import annotations

from trunkline.observability.dashboards import (
    brain,
    dead_letters,
    fleet,
    ingress,
    notifier,
    outbound,
    pipeline,
    postgres,
    redis,
    router,
    tenants,
    vault,
)

__all__ = ["DASHBOARDS"]

DASHBOARDS = (
    fleet.BOARD,
    ingress.BOARD,
    router.BOARD,
    outbound.BOARD,
    pipeline.BOARD,
    dead_letters.BOARD,
    vault.BOARD,
    brain.BOARD,
    notifier.BOARD,
    tenants.BOARD,
    postgres.BOARD,
    redis.BOARD,
)
