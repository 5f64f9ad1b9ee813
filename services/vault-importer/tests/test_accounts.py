from __future__ import annotations

from base64 import b64encode
from uuid import uuid4

import pytest

from vault_importer.accounts import SealingError, open_key, parse_sealing_key, seal_key

SEALING = bytes(range(32, 64))


def test_a_sealed_key_opens_only_for_its_own_account_and_under_its_own_sealing_key() -> None:
    tenant, account = uuid4(), uuid4()
    sealed = seal_key(b"k" * 32, sealing_key=SEALING, tenant_id=tenant, account_id=account)
    assert open_key(sealed, sealing_key=SEALING, tenant_id=tenant, account_id=account) == b"k" * 32
    assert b"k" * 8 not in sealed
    for other in ({"sealing_key": bytes(32)}, {"account_id": uuid4()}, {"tenant_id": uuid4()}):
        with pytest.raises(SealingError, match="does not open"):
            open_key(sealed, **{"sealing_key": SEALING, "tenant_id": tenant, "account_id": account, **other})  # type: ignore[arg-type]
    with pytest.raises(SealingError):
        open_key(b"", sealing_key=SEALING, tenant_id=tenant, account_id=account)


def test_the_sealing_key_is_thirty_two_bytes_of_base64() -> None:
    assert parse_sealing_key(b64encode(SEALING).decode()) == SEALING
    for wrong in ("", "x", b64encode(b"short").decode(), "not base64 at all!"):
        with pytest.raises(SealingError, match="KEY_ENCRYPTION_KEY"):
            parse_sealing_key(wrong)
