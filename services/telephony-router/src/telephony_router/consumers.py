"""Kafka in: everything the router listens to."""

from __future__ import annotations

from contracts.directory import CustomerV1, DidV1, LeadV1, RoutingV1, StaffV1, TenantV1
from kit.consume import Subscription, on, on_deleted
from recovery.erasure import erasing
from telephony_router.forget_person import forget
from telephony_router.project_directory import (
    project_customer,
    project_did,
    project_lead,
    project_routing,
    project_staff,
    project_tenant,
    remove_customer,
    remove_did,
    remove_lead,
    remove_routing,
    remove_staff,
    remove_tenant,
)

__all__ = ["SUBSCRIPTIONS"]

SUBSCRIPTIONS: tuple[Subscription, ...] = (
    on(TenantV1, project_tenant),
    on(StaffV1, project_staff),
    on(CustomerV1, project_customer),
    on(LeadV1, project_lead),
    on(DidV1, project_did),
    on(RoutingV1, project_routing),
    on_deleted(TenantV1, remove_tenant),
    on_deleted(StaffV1, remove_staff),
    on_deleted(CustomerV1, remove_customer),
    on_deleted(LeadV1, remove_lead),
    on_deleted(DidV1, remove_did),
    on_deleted(RoutingV1, remove_routing),
    erasing("telephony-router", forget),
)
