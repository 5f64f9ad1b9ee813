"""A business of its own on the local stack for load tests: its calls are nobody's, and its numbers are invented."""

from __future__ import annotations

import json
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path

from trunkline.demo.clients import Directory, Platform
from trunkline.demo.world import Addresses, command

__all__ = ["AGENTS", "Ground", "prepare"]

DID = "+914842000900"
AGENTS = {f"load-desk-{number}": f"+91984709{number:04d}" for number in range(1, 9)}


@dataclass(frozen=True, kw_only=True, slots=True)
class Ground:
    """An account that calls are sent to."""

    vendor: str
    hook_path: str
    token: str
    did: str


def prepare(addresses: Addresses, vendor: str, state_file: Path) -> Ground:
    """Make the business and its account at this vendor, or find them again."""
    platform = Platform(console_url=addresses.console, admin_token=addresses.admin_token)
    tenant = platform.tenant("load-test", name="Load test", timezone="Asia/Kolkata", pulse_at="23:59")
    known = json.loads(state_file.read_text(encoding="utf-8")) if state_file.exists() else {}
    if known.get("tenant") != tenant:
        known = {"tenant": tenant, "accounts": {}}
        directory = Directory(console_url=addresses.console, api_key=platform.api_key(tenant, "load test"))
        for reference, number in AGENTS.items():
            directory.put(f"/v1/staff/{reference}", {"name": reference.replace("-", " ").title(), "numbers": [number]})
        directory.put(f"/v1/dids/{DID}", {"label": "Load test", "default_staff": list(AGENTS)[:2]})
        directory.put("/v1/routing", {"fallback_number": list(AGENTS.values())[-1]})
    if vendor not in known["accounts"]:
        known["accounts"][vendor] = asdict(_account(addresses, tenant, vendor))
        state_file.parent.mkdir(parents=True, exist_ok=True)
        state_file.touch(mode=0o600)
        state_file.write_text(json.dumps(known), encoding="utf-8")
    return Ground(**known["accounts"][vendor])


def _account(addresses: Addresses, tenant: str, vendor: str) -> Ground:
    arguments = ["router", "account", "add", "--tenant", tenant, "--vendor", vendor, "--label", "Load test"]
    token = secrets.token_hex(16) if vendor == "twilio" else ""
    made = command(addresses, *arguments, *(["--auth-token-file", "-"] if token else []), stdin=token or None)
    return Ground(vendor=vendor, hook_path=made["hook_base_path"], token=token, did=DID)
