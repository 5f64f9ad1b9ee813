"""Nobody is erased without a trace: the functions demand records of the audit log that the tree holds."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import asyncpg
import pytest

from vault_importer.audit_store import append_audit
from vault_importer.erasure.case import Case
from vault_importer.erasure.run import BESIDE

from .conftest import Forgetting

pytestmark = pytest.mark.real


async def _approved_by_hand(forgetting: Forgetting, *approvers: str) -> Case:
    """What somebody with the service's password makes of a request: approved, and at work."""
    vault = forgetting.vault
    case = await forgetting.ask()
    async with vault.database.transaction(vault.tenant) as tx:
        for approver in approvers:
            await tx.execute("INSERT INTO erasure_approval VALUES ($1, $2, $3, now())", vault.tenant, case.id, approver)
        await tx.execute("UPDATE erasure SET state = 'erasing' WHERE id = $1", case.id)
    return case


async def _refused(forgetting: Forgetting, case: Case) -> None:
    for call in (
        *(f"erase_beside('{case.id}', '{target}')" for target in BESIDE),
        f"erase_messages('{case.id}', '{{}}')",
        f"destroy_openings('{case.id}', '{{0}}')",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="audit log does not tell"):
            async with forgetting.vault.database.transaction(forgetting.vault.tenant) as tx:
                await tx.execute(f"SELECT {call}")


async def test_nobody_is_erased_without_a_record(forgetting: Forgetting) -> None:
    await _refused(forgetting, await _approved_by_hand(forgetting, "owner", "partner"))


async def test_a_record_that_the_tree_does_not_hold_is_none(forgetting: Forgetting) -> None:
    vault = forgetting.vault
    case = await _approved_by_hand(forgetting, "owner", "partner")
    for action, by in (("erasure.approved", "owner"), ("erasure.approved", "partner"), ("erasure.begun", "owner")):
        details = json.dumps({"erasure": str(case.id), "by": by, "plan": ""})
        async with vault.database.transaction(vault.tenant) as tx:
            await tx.execute(
                "INSERT INTO audit_log SELECT tenant_id, sequence + 1, at, $1, NULL, NULL, '', $2::jsonb, hash,"
                " sha256('x') FROM audit_log ORDER BY sequence DESC LIMIT 1",
                action,
                details,
            )
    await _refused(forgetting, case)


async def test_two_who_are_on_record_are_asked_for_and_not_one(forgetting: Forgetting) -> None:
    vault = forgetting.vault
    case = await _approved_by_hand(forgetting, "owner", "partner")
    for action in ("erasure.approved", "erasure.approved", "erasure.begun"):
        details = {"erasure": str(case.id), "by": "owner", "plan": ""}
        async with vault.database.transaction(vault.tenant) as tx:
            await append_audit(tx, action, at=datetime.now(UTC), details=details)
    await _refused(forgetting, case)


@pytest.mark.parametrize(
    "change",
    [
        "contact_ids = contact_ids || gen_random_uuid()",
        "chat_ids = chat_ids || gen_random_uuid()",
        "numbers = array_append(numbers, '+919847000012')",
        "addresses = ARRAY['919847000012@s.whatsapp.net']",
        "plan_hash = 'another'",
        "state = 'planned'",
        "state = 'done'",
    ],
)
async def test_an_erasure_that_has_begun_is_turned_at_nobody_else(forgetting: Forgetting, change: str) -> None:
    vault = forgetting.vault
    await forgetting.begun()
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="only goes forward"):
        async with vault.database.transaction(vault.tenant) as tx:
            await tx.execute(f"UPDATE erasure SET {change}")
