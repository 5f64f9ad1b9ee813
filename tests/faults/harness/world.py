"""The businesses of a run: made before the first fault, known to every service before load begins."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from tests.faults.harness.stack import FaultStack, wait_until

from trunkline.demo.clients import Directory, GenericPbx, Platform
from trunkline.demo.world import command

__all__ = ["AGENTS", "Business", "make_business", "new_vault_account"]

AGENTS = {"reception": "+919847000031", "accounts": "+919847000032"}
FALLBACK = "+914842000098"
FIRST_DID, FIRST_CALLER = 914842100000, 919847050000


@dataclass(frozen=True, kw_only=True)
class Business:
    """One tenant with two agents, a line, customers and a PBX."""

    number: int
    tenant_id: str
    did: str
    callers: tuple[str, ...]
    account_id: str
    hook: str
    """The address of its PBX's webhooks, without the last part."""


def make_business(stack: FaultStack, number: int) -> Business:
    addresses = stack.addresses
    platform = Platform(console_url=addresses.console, admin_token=addresses.admin_token)
    slug = f"fault-{number}"
    tenant = platform.tenant(slug, name=f"Business {number}", timezone="Asia/Kolkata", pulse_at="23:59")
    directory = Directory(console_url=addresses.console, api_key=platform.api_key(tenant, "faults"))
    did = f"+{FIRST_DID + number}"
    for reference, phone in AGENTS.items():
        directory.put(f"/v1/staff/{reference}", {"name": reference, "numbers": [phone]})
    directory.put(f"/v1/dids/{did}", {"label": "Main", "default_staff": ["reception"]})
    directory.put("/v1/routing", {"fallback_number": FALLBACK})
    callers = tuple(f"+{FIRST_CALLER + number * 100 + each}" for each in range(5))
    for index, caller in enumerate(callers[:3]):
        directory.put(f"/v1/customers/c{index}", {"name": f"C{index}", "numbers": [caller], "owner": "accounts"})
    account = command(
        addresses, "router", "account", "add", "--tenant", tenant, "--vendor", "generic", "--label", "PBX"
    )
    business = Business(
        number=number,
        tenant_id=tenant,
        did=did,
        callers=callers,
        account_id=account["account_id"],
        hook=addresses.router + account["hook_base_path"],
    )
    _wait_until_known(business, addresses.router, account["hook_base_path"])
    return business


def _wait_until_known(business: Business, router: str, hook_path: str) -> None:
    pbx = GenericPbx(router_url=router, hook_path=hook_path)
    probes = itertools.count()

    def known() -> bool:
        answer = pbx.ring(f"warm-up-{business.number}-{next(probes)}", business.callers[0], business.did)
        return answer.status == 200 and bool(answer.body["destinations"]) and answer.first["reason"] == "owner"

    try:
        wait_until(known, "the directory has not reached the router", 60)
    finally:
        pbx.close()


def new_vault_account(stack: FaultStack, business: Business, name: str) -> str:
    """An archive of its own for one import, so that what belongs to the import can be counted from outside."""
    from vault_importer.manage_accounts import add_account
    from vault_importer.settings import Settings
    from vault_importer.wiring import make_database

    settings = Settings.load(stack.layout.environment())

    async def add() -> str:
        database = make_database(settings)
        try:
            account = await add_account(
                database, tenant_id=UUID(business.tenant_id), name=name, number=None, backup_key=None, sealing_key=None,
                now=datetime.now(UTC),
            )  # fmt: skip
        finally:
            await database.close()
        return str(account.id)

    return asyncio.run(add())
