"""``python -m brain_distiller`` runs the service."""

from __future__ import annotations

from brain_distiller.settings import Settings
from brain_distiller.wiring import run_service
from configuration import ConfigurationError

if __name__ == "__main__":
    try:
        settings = Settings.load()
    except ConfigurationError as error:
        raise SystemExit(str(error)) from None
    run_service(settings)
