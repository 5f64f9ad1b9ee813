"""``python -m brain_distiller`` runs the service."""

from brain_distiller.settings import Settings
from brain_distiller.wiring import build
from runtime.service import main

if __name__ == "__main__":
    main(Settings, build)
