"""Runs the notifier: ``python -m notifier``."""

from notifier.settings import Settings
from notifier.wiring import build
from runtime.logs import configure_logging
from runtime.service import run
from runtime.tracing import configure_tracing


def main() -> None:
    settings = Settings.load()
    configure_logging(settings.service, settings.log_level)
    configure_tracing(settings.service, settings.otlp_endpoint)
    wired = build(settings)
    host, port, niceness = settings.bind_host, settings.http_port, settings.niceness
    run(name=settings.service, http=wired.http, host=host, port=port, components=wired.components, niceness=niceness)


if __name__ == "__main__":
    main()
