"""A tampered or truncated backup is refused by the command with a sentence, and nothing of it is written."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.conftest import Stack, Tenant, new_tenant

from trunkline.demo.world import CommandFailed

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def whole(make_backup: Callable[..., Path]) -> Path:
    return make_backup("+919847000177", 200)


@pytest.fixture(scope="module")
def tenant(stack: Stack) -> Tenant:
    """One for all damages: nothing of any of them may be there."""
    return new_tenant(stack, "damaged")


@pytest.mark.parametrize("damage", ["tampered", "truncated", "wrong key"])
def test_a_damaged_backup_is_refused_and_nothing_is_written(
    stack: Stack, tenant: Tenant, whole: Path, damage: str, tmp_path: Path
) -> None:
    backup, key = tmp_path / "msgstore.db.crypt15", tmp_path / "backup.key"
    shutil.copy(whole / "backup.key", key)
    content = bytearray((whole / "msgstore.db.crypt15").read_bytes())
    if damage == "tampered":
        content[len(content) // 2] ^= 1
    elif damage == "truncated":
        del content[-100:]
    else:
        key.write_text("ab" * 32, encoding="ascii")
    backup.write_bytes(content)
    with pytest.raises(CommandFailed, match=r"(?i)refused"):
        stack.run("vault", "import", str(backup), "--account", tenant.vault_account, "--key-file", str(key))
    for table in ("message", "chat", "contact"):
        rows = stack.query(
            f"SELECT count(*) AS n FROM vault_importer.{table} WHERE tenant_id = $1::text::uuid", tenant.id
        )
        assert rows[0]["n"] == 0, table
