"""Runs the vault: ``python -m vault_importer``."""

from runtime.logs import configure_logging
from runtime.service import run
from runtime.tracing import configure_tracing
from vault_importer.settings import Settings
from vault_importer.wiring import build


def main() -> None:
    settings = Settings.load()
    configure_logging(settings.service, settings.log_level)
    configure_tracing(settings.service, settings.otlp_endpoint)
    wired = build(settings)
    run(
        name=settings.service, http=wired.http, host=settings.bind_host, port=settings.http_port,
        components=wired.components, niceness=settings.niceness,
    )  # fmt: skip


if __name__ == "__main__":
    main()
