"""Runs the notifier: ``python -m notifier``."""

from notifier.settings import Settings
from notifier.wiring import build
from runtime.service import main

if __name__ == "__main__":
    main(Settings, build)
