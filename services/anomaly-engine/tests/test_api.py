"""The admin API tells what the rules say, to whoever holds the token."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest

from anomaly_engine.api import make_api
from anomaly_engine.detect import Detector
from anomaly_engine.rules import load_rules
from anomaly_engine.store import RuleReader
from kit.postgres import Database

from .conftest import AS_OF, AddTenant, a_rule

TOKEN = "a-token-for-this-test"
STUCK = a_rule("SELECT call_id FROM call WHERE began_at < :as_of", name="stuck")
BROKEN = a_rule("SELECT 1/0 AS call_id FROM call WHERE began_at < :as_of", name="broken")
NEVER = a_rule("SELECT call_id FROM call WHERE began_at < :as_of", name="never")


def client(database: Any, token: str = TOKEN, later: timedelta = timedelta(0)) -> httpx.AsyncClient:
    rules = {rule.id: rule for rule in (STUCK, BROKEN, NEVER)}
    app = make_api(database, rules, admin_token=token, stale_after=timedelta(minutes=3), now=lambda: AS_OF + later)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test")


@pytest.mark.parametrize("path", ["/v1/rules", "/v1/anomalies"])
@pytest.mark.parametrize(
    ("token", "sent"), [(TOKEN, "Bearer wrong"), (TOKEN, ""), ("", "Bearer "), (TOKEN, "Bearer é")]
)
async def test_without_the_token_nothing_is_told(path: str, token: str, sent: str, tenant: UUID) -> None:
    async with client(None, token) as http:
        headers = {"authorization": sent.encode(), "x-tenant": str(tenant).encode()}
        assert (await http.get(path, headers=headers)).status_code == 401


async def test_without_a_tenant_nothing_is_told() -> None:
    async with client(None) as http:
        assert (await http.get("/v1/rules", headers={"authorization": f"Bearer {TOKEN}"})).status_code == 400


@pytest.mark.real
async def test_rules_and_anomalies_of_a_tenant(
    database: Database, reader: RuleReader, add_tenant: AddTenant, tenant: UUID
) -> None:
    known = await add_tenant(tenant, calls=1)
    detector = Detector(database=database, reader=reader, rules=load_rules(), now=lambda: AS_OF)
    for rule in (STUCK, BROKEN):
        await detector.detect(known, rule, as_of=AS_OF)
    headers = {"authorization": f"Bearer {TOKEN}", "x-tenant": str(tenant)}
    async with client(database) as http:
        rules = (await http.get("/v1/rules", headers=headers)).json()["rules"]
        assert {rule["rule"]: rule["state"] for rule in rules} == {
            "stuck": "firing",
            "broken": "error",
            "never": "never_checked",
        }
        [anomaly] = (await http.get("/v1/anomalies?day=2026-03-02", headers=headers)).json()["anomalies"]
        assert (anomaly["rule"], anomaly["evidence"]) == ("stuck", [{"call_id": "c000"}])
        assert (await http.get("/v1/anomalies?day=2026-03-03", headers=headers)).json()["anomalies"] == []
    async with client(database, later=timedelta(minutes=4)) as http:
        rules = (await http.get("/v1/rules", headers=headers)).json()["rules"]
        assert {rule["state"] for rule in rules} == {"stale", "never_checked"}
