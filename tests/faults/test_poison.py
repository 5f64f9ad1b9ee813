"""A record that nobody can handle is parked, and everybody else's goes on."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest
from confluent_kafka import Producer
from tests.conftest import Stack, Tenant, import_until_done, wait_for

from contracts.envelope import Envelope, partition_key
from kit.ids import uuid7

pytestmark = [pytest.mark.real, pytest.mark.slow]

UNREADABLE = b"\xff\x00 without a tenant"


def test_a_poison_message_is_parked_by_its_consumers_and_blocks_nobody(
    stack: Stack, make_tenant: Callable[[str], Tenant], make_backup: Callable[..., Path]
) -> None:
    tenant = make_tenant("poison")
    key = partition_key(UUID(tenant.id), "poisoned-chat")
    envelope = Envelope(
        id=str(uuid7()), type="message.imported.v1", source="/test", time=datetime.now(UTC), tenant=UUID(tenant.id),
        subject="poisoned-chat", partitionkey=key,
    )  # fmt: skip
    producer = Producer({"bootstrap.servers": stack.layout.kafka_bootstrap, "log_level": 0})
    producer.produce("message.imported", key=key, value=b'{"message_id": 12}', headers=list(envelope.to_headers()))
    producer.produce("message.imported", key=key, value=UNREADABLE, headers=[("ce_id", b"\xff")])
    assert producer.flush(10) == 0

    import_until_done(stack, tenant, make_backup(tenant.customer_number, 200))
    wait_for(
        lambda: len(stack.admin("brain-distiller", "/v1/facts?key=gstin&state=conflicting", tenant)["facts"]) == 2,
        "the poison has blocked the messages behind it",
    )  # fmt: skip
    for schema in ("brain_distiller", "front_desk"):
        # What names no tenant that anybody could read belongs to nobody, and is kept all the same.
        nobodys = wait_for(
            lambda schema=schema: stack.query(
                f"SELECT reason, tenant_id, lane, event_id FROM {schema}.dead_letter WHERE value = $1", UNREADABLE
            ),
            f"{schema} has not parked a record without a tenant",
        )
        assert [tuple(row) for row in nobodys] == [("malformed_envelope", UUID(int=0), None, None)]
        rows = wait_for(
            lambda schema=schema: stack.query(
                f"SELECT reason, value FROM {schema}.dead_letter WHERE tenant_id = $1::text::uuid", tenant.id
            ),
            f"{schema} has parked nothing",
        )
        assert [(row["reason"], row["value"]) for row in rows] == [("contract_violation", b'{"message_id": 12}')]
