"""An operator works dead letters off, with the commands as they are typed, on the running platform."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from confluent_kafka import Producer
from tests.conftest import Stack, Tenant, wait_for

from contracts.envelope import Envelope, partition_key
from contracts.facts import Evidence, FactExtractedV1

pytestmark = [pytest.mark.real, pytest.mark.slow]


def fact(version: int) -> FactExtractedV1:
    evidence = Evidence(
        source_type="message", source_id="m1", start=0, end=3, quote="PAN", at=datetime(2026, 3, 2, tzinfo=UTC)
    )
    return FactExtractedV1(
        fact_id="00000000-0000-4000-8000-000000000001", version=version, subject="chat:c1", key="pan",
        raw_value="ABCPE1234F", value="ABCPE1234F", value_type="pan", unit=None, evidence=evidence, confidence=0.9,
        extractor="pan/1", state="asserted" if version == 1 else "retracted",
    )  # fmt: skip


def send(stack: Stack, tenant: Tenant, event: FactExtractedV1, value: bytes | None = None) -> None:
    envelope = Envelope(
        id=str(uuid4()), type=event.type, source="/test", time=datetime.now(UTC), tenant=tenant.id,  # type: ignore[arg-type]
        subject=event.subject, partitionkey=partition_key(tenant.id, event.subject),  # type: ignore[arg-type]
    )  # fmt: skip
    producer = Producer({"bootstrap.servers": stack.layout.kafka_bootstrap, "log_level": 0})
    headers: list[tuple[str, str | bytes | None]] = list(envelope.to_headers())
    payload = event.model_dump_json().encode() if value is None else value
    producer.produce(event.topic(), key=envelope.partitionkey.encode(), value=payload, headers=headers)
    assert producer.flush(10) == 0


def board(stack: Stack, tenant: Tenant) -> list[tuple[int, str]]:
    sql = "SELECT version, state FROM front_desk.board_fact WHERE tenant_id = $1::text::uuid"
    return [(row["version"], row["state"]) for row in stack.query(sql, tenant.id)]


def dlq(stack: Stack, *arguments: str, code: int = 0) -> Any:
    done = stack.cli("dlq", *arguments)
    assert done.returncode == code, done.stdout + done.stderr
    return json.loads(done.stdout) if "--json" in arguments else done.stdout + done.stderr


def test_a_broken_record_is_found_repaired_and_worked_off_with_what_waited(
    stack: Stack, make_tenant: Callable[[str], Tenant], tmp_path: Path
) -> None:
    tenant = make_tenant("letters")
    broken = fact(1).model_dump_json().replace('"version":1', '"version":"one"').encode()
    send(stack, tenant, fact(1), broken)
    send(stack, tenant, fact(2))
    services = ("anomaly-engine", "front-desk")

    def parked() -> dict[str, list[Any]]:
        found: dict[str, list[Any]] = {}
        for letter in dlq(stack, "list", "--tenant", tenant.id, "--json")["letters"]:
            found.setdefault(letter["consumer"], []).append(letter)
        return found if all(len(found.get(name, ())) == 2 for name in services) else {}

    letters = wait_for(parked, "the record and what follows it were not parked")
    groups = dlq(stack, "list", "--json")["groups"]
    group = next(each for each in groups if each["fingerprint"] == letters["front-desk"][0]["fingerprint"])
    assert group["reason"] == "contract_violation"
    first, behind = (letters["front-desk"][n]["id"] for n in (0, 1))
    told = dlq(stack, "show", first)
    assert "contract_violation" in told
    assert "ABCPE1234F" not in told
    assert "ABCPE1234F" in dlq(stack, "show", first, "--reveal")
    assert "earlier letter of this key" in dlq(stack, "retry", behind, code=2)
    assert board(stack, tenant) == []

    repaired = tmp_path / "repaired.json"
    repaired.write_text(fact(1).model_dump_json())
    for name in services:
        told = dlq(stack, "edit", letters[name][0]["id"], "--value-file", str(repaired), "--why", "a typo", "--yes")
        assert '-  "version": "one"' in told
        assert '+  "version": 1' in told
        dlq(stack, "retry", letters[name][0]["id"], "--why", "repaired")
    wait_for(lambda: board(stack, tenant) == [(2, "retracted")], "the repaired record and the next took no effect")
    wait_for(lambda: not dlq(stack, "list", "--tenant", tenant.id, "--json")["letters"], "letters are left")
    send(stack, tenant, fact(3))
    wait_for(lambda: board(stack, tenant) == [(3, "retracted")], "the key was not let go")
    trail = stack.query("SELECT action, who FROM front_desk.dead_letter_audit WHERE letter_id = $1::text::uuid "
                        "ORDER BY at, id", first)  # fmt: skip
    assert [row["action"] for row in trail if row["action"] != "reveal"] == ["edit", "retry", "retried"]
    assert all("@" in row["who"] or row["who"] == "worker" for row in trail)


def test_a_group_is_dropped_by_plan_and_a_silent_service_hides_no_other(
    stack: Stack, make_tenant: Callable[[str], Tenant]
) -> None:
    tenant = make_tenant("dropped")
    send(stack, tenant, fact(1), b"not json at all")
    wait_for(lambda: len(dlq(stack, "list", "--tenant", tenant.id, "--json")["letters"]) == 2, "it was not parked")
    assert "say why" in dlq(stack, "plan", "drop", "--consumer", "front-desk", "--service", "front-desk", code=2)
    plan = dlq(stack, "plan", "drop", "--consumer", "front-desk", "--service", "front-desk", "--tenant", tenant.id,
               "--why", "garbage", "--rate", "100", "--json")  # fmt: skip
    assert plan["letters"] == 1
    dlq(stack, "apply", plan["id"], "--service", "front-desk", "--hash", plan["plan_hash"], "--json")
    wait_for(lambda: dlq(stack, "status", "--json")["jobs"][0]["state"] == "done", "the plan was not carried out")
    dlq(stack, "drop", "--tenant", tenant.id, "--consumer", "anomaly-engine", "--why", "garbage", "--yes")
    letters = dlq(stack, "list", "--tenant", tenant.id, "--json")["letters"]
    assert {each["state"] for each in letters} == {"dropped"}
    told = dlq(stack, "list", "--url", "notifier=http://127.0.0.1:9", "--json", code=1)
    assert set(told["unavailable"]) == {"notifier"}
    assert told["groups"]
