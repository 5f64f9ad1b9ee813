"""Run front-desk: ``python -m front_desk``."""

from front_desk.settings import Settings
from front_desk.wiring import build
from kit.service import run
from kit.telemetry import configure_logging, configure_tracing


def main() -> None:
    settings = Settings.load()
    configure_logging("front-desk", settings.log_level)
    configure_tracing("front-desk", settings.otlp_endpoint)
    service = build(settings)
    run(
        name="front-desk",
        http=service.app,
        host=settings.bind_host,
        port=settings.http_port,
        components=service.components,
    )


if __name__ == "__main__":
    main()
