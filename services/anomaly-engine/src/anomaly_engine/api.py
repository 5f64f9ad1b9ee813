"""HTTP in: what the rules say and what they found. Admin token, tenant by ``X-Tenant``."""

import hmac
from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, FastAPI, Header, HTTPException, Query

from anomaly_engine import store
from anomaly_engine.findings import RuleState
from anomaly_engine.rules import Rule
from kit.postgres import Database
from runtime.tracing import QUIET

__all__ = ["make_api"]


def make_api(
    database: Database,
    rules: Mapping[str, Rule],
    *,
    admin_token: str,
    stale_after: timedelta,
    now: Callable[[], datetime],
) -> FastAPI:
    """The admin API. Without an admin token every request is refused."""
    app = FastAPI(title="Trunkline anomaly engine", version="1", openapi_url="/v1/openapi.json", telemetry=QUIET)

    async def tenant(
        authorization: Annotated[str, Header()] = "", x_tenant: Annotated[UUID | None, Header()] = None
    ) -> UUID:
        if not admin_token or not hmac.compare_digest(authorization.encode(), f"Bearer {admin_token}".encode()):
            raise HTTPException(401, "Send the admin token as a bearer token.")
        if x_tenant is None:
            raise HTTPException(400, "Name the tenant in the X-Tenant header.")
        return x_tenant

    Tenant = Annotated[UUID, Depends(tenant)]  # noqa: N806 - a type

    @app.get("/v1/rules")
    async def list_rules(tenant_id: Tenant) -> dict[str, Any]:
        """Every rule with what it says now: ``ok``, ``firing``, ``error``, ``stale`` or ``never_checked``."""
        async with database.transaction(tenant_id) as tx:
            states = await store.rule_states(tx)
        moment = now()
        return {"rules": [describe(rule, states.get(rule.id), moment - stale_after) for rule in rules.values()]}

    @app.get("/v1/anomalies")
    async def list_anomalies(
        tenant_id: Tenant, day: date | None = None, limit: Annotated[int, Query(ge=1, le=500)] = 100
    ) -> dict[str, Any]:
        """What has fired, the newest first; ``day`` is a local day of the tenant."""
        async with database.transaction(tenant_id) as tx:
            return {"anomalies": await store.anomalies(tx, day=day, limit=limit)}

    return app


def describe(rule: Rule, state: RuleState | None, oldest: datetime) -> dict[str, Any]:
    """A rule and its state. What has not been checked lately is stale, whatever it said then."""
    said = "never_checked" if state is None else "stale" if state.checked_at < oldest else state.state.value
    return {
        "rule": rule.id,
        "version": rule.version,
        "title": rule.title,
        "description": rule.description,
        "learning": rule.learning,
        "severity": rule.severity,
        "state": said,
        "since": state.since if state else None,
        "checked_at": state.checked_at if state else None,
        "failures": state.failures if state else 0,
        "error": state.error if state else None,
    }
