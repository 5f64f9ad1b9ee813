"""Where everything of a stack is: ports from one base, files under one directory."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from trunkline.stack.problems import Problem

__all__ = ["OBSERVERS", "SERVICES", "Choices", "Layout", "Service"]

DEFAULT_PORT_BASE = 17000
DEFAULT_RUN_DIR = ".run"
ROLES = ("owner", "app", "system", "ro")


@dataclass(frozen=True, slots=True)
class Service:
    """One of the six: its name, its Python package, its port's distance from the base, and how far it lets others go
    first: nobody waits at a telephone or a page for those that do."""

    name: str
    package: str
    offset: int
    niceness: int = 0


SERVICES = (
    Service("front-desk", "front_desk", 80),
    Service("telephony-router", "telephony_router", 81),
    Service("vault-importer", "vault_importer", 82, niceness=5),
    Service("brain-distiller", "brain_distiller", 83, niceness=5),
    Service("anomaly-engine", "anomaly_engine", 84, niceness=5),
    Service("notifier", "notifier", 85, niceness=5),
)

#: What watches the stack, when it was asked for, by the distance of its port from the base.
OBSERVERS = {
    "prometheus": 90, "postgres-exporter": 94, "redis-exporter": 95, "lag-exporter": 96, "tenants-exporter": 97,
    "node-exporter": 98,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Choices:
    """What ``up`` was asked for once and keeps to until it is told otherwise."""

    observe: bool = False
    otlp_endpoint: str = ""


@dataclass(frozen=True, slots=True)
class Layout:
    """A stack's place: ``run_dir`` is absolute, ``port_base`` moves every port."""

    run_dir: Path
    port_base: int

    @classmethod
    def of(cls, run_dir: str | None = None, port_base: int | None = None) -> Layout:
        """From options, else from ``TRUNKLINE_RUN_DIR`` and ``TRUNKLINE_PORT_BASE``, else the defaults."""
        directory = run_dir or os.environ.get("TRUNKLINE_RUN_DIR") or DEFAULT_RUN_DIR
        base = str(port_base or os.environ.get("TRUNKLINE_PORT_BASE") or DEFAULT_PORT_BASE)
        if not base.isdecimal() or not 1024 <= int(base) <= 65000:
            raise Problem(f"the port base is a number from 1024 to 65000, not {base!r}",
                          f"export TRUNKLINE_PORT_BASE={DEFAULT_PORT_BASE}")  # fmt: skip
        return cls(Path(directory).resolve(), int(base))

    @property
    def ports(self) -> dict[str, int]:
        """Every port of the stack by the name of who listens on it."""
        named = {"smtp": 25, "mail-page": 26, "kafka": 92, "kafka-controller": 93, "postgres": 432, "redis": 379}
        offsets = {**named, **{service.name: service.offset for service in SERVICES}, **OBSERVERS}
        return {name: self.port_base + offset for name, offset in offsets.items()}

    @property
    def ports_in_use(self) -> dict[str, int]:
        """The ports that a start needs now: those of the observers only when they are switched on."""
        observe = self.choices.observe
        return {name: port for name, port in self.ports.items() if observe or name not in OBSERVERS}

    @property
    def choices(self) -> Choices:
        path = self.run_dir / "choices.json"
        known: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        return Choices(observe=known.get("observe") is True, otlp_endpoint=str(known.get("otlp_endpoint", "")))

    def choose(self, *, observe: bool | None = None, otlp_endpoint: str | None = None) -> Choices:
        """Change what is given, keep the rest."""
        now = self.choices
        chosen = Choices(
            observe=now.observe if observe is None else observe,
            otlp_endpoint=now.otlp_endpoint if otlp_endpoint is None else otlp_endpoint,
        )
        if chosen != now:
            path = self.run_dir / "choices.json"
            fresh = path.with_suffix(".new")
            fresh.write_text(json.dumps(asdict(chosen)), encoding="utf-8")
            fresh.replace(path)
        return chosen

    @property
    def logs(self) -> Path:
        return self.run_dir / "logs"

    @property
    def mails(self) -> Path:
        return self.run_dir / "mails"

    @property
    def kafka_bootstrap(self) -> str:
        return f"127.0.0.1:{self.ports['kafka']}"

    @property
    def redis_url(self) -> str:
        return f"redis://127.0.0.1:{self.ports['redis']}/0"

    @property
    def postgres_dsn(self) -> str:
        """Of the platform's database, without a user."""
        return f"postgresql://127.0.0.1:{self.ports['postgres']}/trunkline"

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.ports[name]}"

    def secrets(self) -> dict[str, str]:
        """The stack's secrets, made the first time and kept in a file that only its owner can read."""
        path = self.run_dir / "secrets.json"
        known: dict[str, str] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        missing = [name for name in _secret_names() if name not in known]
        if missing:
            known |= {name: _new_secret(name) for name in missing}
            self.run_dir.mkdir(parents=True, exist_ok=True)
            fresh = path.with_suffix(".new")
            fresh.touch(mode=0o600)
            fresh.write_text(json.dumps(known, indent=2), encoding="utf-8")
            fresh.replace(path)
        return known

    def admin_dsn(self, database: str = "postgres") -> str:
        """The superuser's address: for provisioning, tests and backups only."""
        password = self.secrets()["postgres"]
        return f"postgresql://postgres:{password}@127.0.0.1:{self.ports['postgres']}/{database}"

    def environment(self) -> dict[str, str]:
        """What services and commands of this stack need in their environment."""
        known = self.secrets()
        values = {
            "TRUNKLINE_RUN_DIR": str(self.run_dir),
            "TRUNKLINE_PORT_BASE": str(self.port_base),
            "TRUNKLINE_KAFKA_BOOTSTRAP": self.kafka_bootstrap,
            "TRUNKLINE_POSTGRES_DSN": self.postgres_dsn,
            "TRUNKLINE_REDIS_URL": self.redis_url,
            "TRUNKLINE_DEMO": "true",
            "TRUNKLINE_ADMIN_TOKEN": known["admin_token"],
            "TRUNKLINE_FRONT_DESK_SERVICE_URLS": ",".join(f"{each.name}={self.url(each.name)}" for each in SERVICES),
            "TRUNKLINE_NOTIFIER_SMTP_HOST": "127.0.0.1",
            "TRUNKLINE_NOTIFIER_SMTP_PORT": str(self.ports["smtp"]),
            "TRUNKLINE_TELEPHONY_ROUTER_SECRET_KEY": known["router_secret_key"],
            "TRUNKLINE_TELEPHONY_ROUTER_DATA_DIR": str(self.run_dir / "router"),
            "TRUNKLINE_VAULT_IMPORTER_KEY_ENCRYPTION_KEY": known["vault_key_encryption_key"],
            "TRUNKLINE_VAULT_IMPORTER_SIGNING_KEY": _signing_key(known["vault_signing_key"]),
            "TRUNKLINE_VAULT_IMPORTER_WATCH_DIR": str(self.run_dir / "whatsapp"),
            "TRUNKLINE_ANOMALY_ENGINE_RULE_INTERVAL_SECONDS": "2",
        }
        if endpoint := self.choices.otlp_endpoint:
            values["TRUNKLINE_OTLP_ENDPOINT"] = endpoint
        for service in SERVICES:
            prefix = f"TRUNKLINE_{service.package.upper()}"
            values[f"{prefix}_HTTP_PORT"] = str(self.ports[service.name])
            for role in ROLES:
                values[f"{prefix}_{role.upper()}_PASSWORD"] = known[f"{service.package}_{role}"]
        return values

    def passwords(self, service: Service) -> dict[str, str]:
        known = self.secrets()
        return {role: known[f"{service.package}_{role}"] for role in ROLES}


def _secret_names() -> list[str]:
    roles = [f"{service.package}_{role}" for service in SERVICES for role in ROLES]
    return ["postgres", "postgres_monitor", "admin_token", "router_secret_key", "vault_key_encryption_key",
            "vault_signing_key", *roles]  # fmt: skip


def _new_secret(name: str) -> str:
    if name.endswith("_key"):
        import base64

        return base64.b64encode(secrets.token_bytes(32)).decode()
    return secrets.token_urlsafe(24)


def _signing_key(seed: str) -> str:
    """The stack's own key of the vault's checkpoints, in the form of a signed note's private key."""
    import base64

    from vault_importer.signed_note import Signer

    return str(Signer("vault.trunkline.local", base64.b64decode(seed)))


def adopt(environment: Mapping[str, str]) -> None:
    """Give this process a stack's settings, without overriding what was set by hand."""
    for name, value in environment.items():
        os.environ.setdefault(name, value)
