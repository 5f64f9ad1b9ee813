"""Runs the engine: ``python -m anomaly_engine``."""

from anomaly_engine.settings import Settings
from anomaly_engine.wiring import build
from runtime.service import main

if __name__ == "__main__":
    main(Settings, build)
