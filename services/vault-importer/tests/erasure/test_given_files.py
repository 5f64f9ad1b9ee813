"""Files of whoever is being erased are given to nobody, from the moment the erasure has begun."""

from __future__ import annotations

import httpx
import pytest

from vault_importer.api import make_api

from .conftest import OWN_FILE, SHARED_FILE, Forgetting

pytestmark = pytest.mark.real


async def test_files_of_an_erased_person_are_given_to_nobody(forgetting: Forgetting) -> None:
    vault = forgetting.vault
    rows = await vault.rows("SELECT id, key_id FROM message WHERE key_id IN ('D3', 'D4', 'G6')")
    paths = {row["key_id"]: f"/v1/media/{row['id']}" for row in rows}
    app = make_api(vault.database, "t0ken", media_store=forgetting.folder / "media")
    headers = {"Authorization": "Bearer t0ken", "X-Tenant": str(vault.tenant)}
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app=app), base_url="http://vault", headers=headers
    ) as client:
        assert (await client.get(paths["D3"])).content == OWN_FILE
        case = await forgetting.begun()
        assert [(await client.get(paths[key])).status_code for key in ("D3", "D4")] == [404, 404]
        await forgetting.carry_out(case.id)
        assert [(await client.get(paths[key])).status_code for key in ("D3", "D4")] == [404, 404]
        # What somebody else sent as well stays theirs.
        assert (await client.get(paths["G6"])).content == SHARED_FILE
