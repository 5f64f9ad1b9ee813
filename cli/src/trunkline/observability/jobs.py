"""The names of Prometheus's jobs: one for each service, and the exporters beside them."""

from __future__ import annotations

from trunkline.stack.layout import SERVICES

__all__ = ["SERVICE_JOBS"]

SERVICE_JOBS = "|".join(service.name for service in SERVICES)
"""A regular expression that matches the jobs of the six services and no exporter's."""
