"""What brain-distiller can be told: ``TRUNKLINE_BRAIN_DISTILLER_…`` and the settings that all services share."""

from __future__ import annotations

from pydantic import Field

from configuration import ServiceSettings

__all__ = ["Settings"]


class Settings(ServiceSettings, service="brain-distiller"):
    http_port: int = 17083
    intake_batch_max: int = Field(500, ge=1, le=5000, description="Messages distilled in one transaction.")
