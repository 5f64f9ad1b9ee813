"""Runs the vault: ``python -m vault_importer``."""

from runtime.service import main
from vault_importer.settings import Settings
from vault_importer.wiring import build

if __name__ == "__main__":
    main(Settings, build)
