"""Runs the router: ``python -m telephony_router``."""

from runtime.service import main
from telephony_router import realtime
from telephony_router.settings import Settings
from telephony_router.wiring import build

if __name__ == "__main__":
    main(Settings, build, first=realtime.begin)
