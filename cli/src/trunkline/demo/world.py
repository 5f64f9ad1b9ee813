"""The two businesses of the demo: made once, remembered in the run directory, brought up to date every time."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trunkline.demo.clients import Directory, GenericPbx, Platform, TwilioPbx

__all__ = ["Addresses", "Business", "CommandFailed", "World", "command", "passing_number", "prepare"]

# Every number of the demo is invented.
KOCHI_DID = "+914842000001"
MUMBAI_DID = "+912269000001"
VISITORS_DID = "+914842000002"
KOCHI_STAFF = {"reception": "+919847000011", "accounts": "+919847000012"}
MUMBAI_STAFF = {"front-office": "+919820000021", "renewals": "+919820000022"}
# A line with opening hours and a group. The main line has none: the story is told at any hour of any day.
KOCHI_ROUTING = {
    "groups": [{"name": "reception", "strategy": "longest_idle", "staff": ["reception", "accounts"]}],
    "calendars": [
        {
            "name": "office",
            "hours": "Mon-Sat 09:30-18:30",
            "holidays": [{"date": "2027-01-26", "label": "Republic Day"}],
        }
    ],
    "after_hours": {"number": "+914842000099"},
}
CUSTOMER_WHATSAPP = "+919847000100"
PASSWORD_BYTES = 9
ATTEMPTS = 4
"""Of a PBX to have a webhook taken: where everything has just started the first may be told to come again."""


@dataclass(frozen=True, kw_only=True)
class Addresses:
    """Where the services of a stack are."""

    console: str
    router: str
    brain: str
    anomaly: str
    mail: str
    kafka: str
    admin_token: str
    environment: Mapping[str, str] = field(default_factory=dict)
    """What a command needs in its environment to work on this stack."""


@dataclass(kw_only=True)
class Business:
    """One tenant and the keys to it."""

    slug: str
    tenant_id: str
    api_key: str
    did: str
    hook_path: str = ""
    auth_token: str = ""
    vault_account: str = ""
    login: dict[str, str] = field(default_factory=dict)

    def directory(self, addresses: Addresses) -> Directory:
        return Directory(console_url=addresses.console, api_key=self.api_key)


@dataclass(kw_only=True)
class World:
    addresses: Addresses
    kochi: Business
    mumbai: Business
    runs: int

    def businesses(self) -> tuple[Business, Business]:
        return self.kochi, self.mumbai

    def kochi_pbx(self) -> GenericPbx:
        return GenericPbx(router_url=self.addresses.router, hook_path=self.kochi.hook_path, attempts=ATTEMPTS)

    def mumbai_pbx(self) -> TwilioPbx:
        return TwilioPbx(
            router_url=self.addresses.router,
            hook_path=self.mumbai.hook_path,
            auth_token=self.mumbai.auth_token,
            attempts=ATTEMPTS,
        )


class CommandFailed(RuntimeError):
    """A ``trunkline`` command ended with an error; the message is what it said."""


def command(addresses: Addresses, *arguments: str, stdin: str | None = None) -> Any:
    """Run a ``trunkline`` command on the stack as an operator would; return its JSON."""
    done = subprocess.run(
        [sys.executable, "-m", "trunkline", *arguments, "--json"],
        env={**os.environ, **addresses.environment},
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise CommandFailed(f"trunkline {' '.join(arguments[:3])}: {done.stderr.strip() or done.stdout.strip()}")
    return json.loads(done.stdout)


def prepare(addresses: Addresses, state_file: Path) -> World:
    """Make the two businesses, or find them again, with staff, numbers and one customer."""
    state = json.loads(state_file.read_text(encoding="utf-8")) if state_file.exists() else {}
    platform = Platform(console_url=addresses.console, admin_token=addresses.admin_token)
    kochi = _business(platform, state, "kochi", "Lagoon Virtual Office, Kochi", KOCHI_DID)
    mumbai = _business(platform, state, "mumbai", "Harbour Virtual Office, Mumbai", MUMBAI_DID)
    runs = int(state.get("runs", 0)) + 1
    _people(kochi.directory(addresses), KOCHI_STAFF, KOCHI_DID, "reception", **KOCHI_ROUTING)
    kochi.directory(addresses).put(
        f"/v1/dids/{VISITORS_DID}", {"label": "Visitors' line", "default_group": "reception", "calendar": "office"}
    )
    _people(mumbai.directory(addresses), MUMBAI_STAFF, MUMBAI_DID, "front-office")
    kochi.directory(addresses).put(
        "/v1/customers/blue-lagoon-exports",
        {
            "name": "Blue Lagoon Exports",
            "numbers": [CUSTOMER_WHATSAPP, caller_number(runs)],
            "owner": "accounts",
            "vip": True,
            "language": "ml",
        },
    )
    if not kochi.hook_path:
        _connect(addresses, kochi, mumbai)
    world = World(addresses=addresses, kochi=kochi, mumbai=mumbai, runs=runs)
    _remember(world, state_file)
    return world


def caller_number(run: int) -> str:
    """The customer's number of this run: nobody has talked to it yet, so the story begins anew."""
    return f"+9198470{10000 + run % 50000:05d}"


def passing_number(run: int) -> str:
    """The number of this run's caller who asks to be forgotten."""
    return f"+9198480{10000 + run % 50000:05d}"


def _business(platform: Platform, state: dict[str, Any], slug: str, name: str, did: str) -> Business:
    known = state.get(slug, {})
    tenant_id = platform.tenant(
        slug,
        name=name,
        timezone="Asia/Kolkata",
        owner_name="The owner",
        owner_email=f"owner@{slug}.example",
        pulse_at="23:59",
    )
    if known.get("tenant_id") == tenant_id:
        return Business(**known)
    login = {"email": f"owner@{slug}.example", "password": secrets.token_urlsafe(PASSWORD_BYTES)}
    platform.user(tenant_id, login["email"], login["password"])
    return Business(slug=slug, tenant_id=tenant_id, api_key=platform.api_key(tenant_id, "demo"), did=did, login=login)


def _people(directory: Directory, staff: dict[str, str], did: str, default: str, **routing: Any) -> None:
    for reference, number in staff.items():
        directory.put(f"/v1/staff/{reference}", {"name": reference.replace("-", " ").title(), "numbers": [number]})
        directory.back_from_leave(reference)
    directory.put(f"/v1/dids/{did}", {"label": "Main line", "default_staff": [default]})
    directory.put(
        "/v1/routing",
        {"last_agent_days": 30, "ring_seconds": 25, "fallback_number": list(staff.values())[-1], **routing},
    )


def _connect(addresses: Addresses, kochi: Business, mumbai: Business) -> None:
    """Give both businesses a PBX account, and Kochi an archive."""
    kochi.hook_path = command(
        addresses, "router", "account", "add", "--tenant", kochi.tenant_id, "--vendor", "generic", "--label", "PBX"
    )["hook_base_path"]
    mumbai.auth_token = secrets.token_hex(16)
    mumbai.hook_path = command(
        addresses, "router", "account", "add", "--tenant", mumbai.tenant_id, "--vendor", "twilio", "--label", "PBX",
        "--auth-token-file", "-", stdin=mumbai.auth_token,
    )["hook_base_path"]  # fmt: skip
    kochi.vault_account = command(
        addresses, "vault", "account", "add", "--tenant", kochi.tenant_id, "--name", "Desk phone", "--number", KOCHI_DID
    )["account_id"]


def _remember(world: World, state_file: Path) -> None:
    state = {"kochi": vars(world.kochi), "mumbai": vars(world.mumbai), "runs": world.runs}
    state_file.parent.mkdir(parents=True, exist_ok=True)
    state_file.touch(mode=0o600)
    state_file.write_text(json.dumps(state, indent=2), encoding="utf-8")
