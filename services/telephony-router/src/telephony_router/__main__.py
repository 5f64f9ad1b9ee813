"""Run the router: settings from the environment, parts from the wiring, until SIGTERM."""

import sys

from configuration import ConfigurationError
from telephony_router.settings import Settings
from telephony_router.wiring import serve

if __name__ == "__main__":
    try:
        settings = Settings.load()
    except ConfigurationError as error:
        sys.exit(str(error))
    serve(settings)
