"""Run front-desk: ``python -m front_desk``."""

from front_desk.settings import Settings
from front_desk.wiring import build
from runtime.service import main

if __name__ == "__main__":
    main(Settings, build)
