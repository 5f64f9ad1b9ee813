"""Run front-desk: ``python -m front_desk``."""

import sys

from configuration import ConfigurationError
from front_desk.settings import Settings
from front_desk.wiring import build
from runtime.logs import configure_logging
from runtime.service import run
from runtime.tracing import configure_tracing


def main() -> None:
    try:
        settings = Settings.load()
    except ConfigurationError as error:
        sys.exit(str(error))
    configure_logging(settings.service, settings.log_level)
    configure_tracing(settings.service, settings.otlp_endpoint)
    service = build(settings)
    host, port, niceness = settings.bind_host, settings.http_port, settings.niceness
    run(name=settings.service, http=service.app, host=host, port=port, components=service.components, niceness=niceness)


if __name__ == "__main__":
    main()
