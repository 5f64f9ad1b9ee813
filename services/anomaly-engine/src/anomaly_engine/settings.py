"""What this service can be told."""

from __future__ import annotations

from pydantic import Field

from configuration import ServiceSettings

__all__ = ["Settings"]


class Settings(ServiceSettings, service="anomaly-engine"):
    http_port: int = 17084
    rule_interval_seconds: float = Field(60.0, gt=0, description="Time between two evaluations of every rule.")
    rule_timeout_seconds: float = Field(2.0, gt=0, le=10, description="A query that takes longer is an error.")
    tenants_at_once: int = Field(4, ge=1, le=8, description="Tenants whose rules are evaluated at the same time.")
    run_keep_days: int = Field(7, ge=1, description="How long the record of each evaluation is kept.")
