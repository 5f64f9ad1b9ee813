"""HTTP in: facts for the console and for people with the admin token. Nothing here is on a customer's path."""

from __future__ import annotations

import secrets
from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import Depends, FastAPI, Header, HTTPException, Query
from pydantic import BaseModel

from brain_distiller import store
from brain_distiller.facts import Fact, State
from brain_distiller.store import HistoryEntry, KnownEvidence
from kit.postgres import Database
from runtime.tracing import QUIET

__all__ = ["EvidenceOut", "FactDetail", "FactOut", "FactPage", "make_app"]

EVIDENCE_IN_LIST, EVIDENCE_IN_DETAIL = 3, 100


class EvidenceOut(BaseModel):
    source_type: str
    source_id: str
    revision: int
    start: int
    end: int
    quote: str
    said_at: datetime
    withdrawn_at: datetime | None

    @classmethod
    def of(cls, known: KnownEvidence) -> EvidenceOut:
        evidence = known.evidence
        return cls(
            source_type=evidence.source_type,
            source_id=evidence.source_id,
            revision=evidence.revision,
            start=evidence.start,
            end=evidence.end,
            quote=evidence.quote,
            said_at=evidence.at,
            withdrawn_at=known.withdrawn_at,
        )


class FactOut(BaseModel):
    fact_id: UUID
    subject: str
    key: str
    value: str
    raw_value: str
    value_type: str
    unit: str | None
    state: State
    version: int
    confidence: float
    extractor: str
    evidence: list[EvidenceOut]

    @classmethod
    def of(cls, fact: Fact, evidence: list[KnownEvidence]) -> FactOut:
        return cls(
            fact_id=fact.fact_id,
            subject=fact.subject,
            key=fact.key,
            value=fact.value,
            raw_value=fact.raw_value,
            value_type=fact.value_type,
            unit=fact.unit,
            state=fact.state,
            version=fact.version,
            confidence=fact.confidence,
            extractor=fact.extractor,
            evidence=[EvidenceOut.of(each) for each in evidence],
        )


class FactPage(BaseModel):
    facts: list[FactOut]


class VersionOut(BaseModel):
    version: int
    state: State
    reason: str
    source_id: str
    at: datetime

    @classmethod
    def of(cls, entry: HistoryEntry) -> VersionOut:
        return cls(
            version=entry.version, state=entry.state, reason=entry.reason, source_id=entry.source_id, at=entry.at
        )


class FactDetail(BaseModel):
    fact: FactOut
    history: list[VersionOut]


def make_app(database: Database, *, admin_token: str) -> FastAPI:
    """The admin API. Every request needs the admin token and names its tenant in ``X-Tenant``."""
    app = FastAPI(title="Trunkline brain-distiller", version="1", docs_url=None, redoc_url=None, telemetry=QUIET)

    def admin(authorization: Annotated[str, Header()] = "") -> None:
        scheme, _, token = authorization.partition(" ")
        # An empty token in the settings closes the API; it must not open it.
        right = bool(admin_token) and secrets.compare_digest(token.encode(), admin_token.encode())
        if scheme.lower() != "bearer" or not right:
            raise HTTPException(
                401, "This needs the admin token: Authorization: Bearer …", {"WWW-Authenticate": "Bearer"}
            )

    @app.get("/v1/facts", dependencies=[Depends(admin)])
    async def list_facts(
        x_tenant: Annotated[UUID, Header()],
        subject: Annotated[str | None, Query(max_length=300)] = None,
        key: Annotated[str | None, Query(max_length=50)] = None,
        state: State | None = None,
        limit: Annotated[int, Query(ge=1, le=500)] = 100,
    ) -> FactPage:
        """Facts of a tenant, the latest change first, each with its first evidence."""
        async with database.transaction(x_tenant) as tx:
            facts = await store.list_facts(tx, subject=subject, key=key, state=state, limit=limit)
            evidence = await store.evidence_of(tx, [fact.fact_id for fact in facts], each=EVIDENCE_IN_LIST)
        return FactPage(facts=[FactOut.of(fact, evidence[fact.fact_id]) for fact in facts])

    @app.get("/v1/facts/{fact_id}", dependencies=[Depends(admin)])
    async def get_fact(fact_id: UUID, x_tenant: Annotated[UUID, Header()]) -> FactDetail:
        """One fact with its evidence and every state it was in."""
        async with database.transaction(x_tenant) as tx:
            found = await store.history_of(tx, fact_id)
            evidence = await store.evidence_of(tx, [fact_id], each=EVIDENCE_IN_DETAIL)
        if found is None:
            raise HTTPException(404, "This tenant has no such fact.")
        fact, history = found
        return FactDetail(fact=FactOut.of(fact, evidence[fact_id]), history=[VersionOut.of(entry) for entry in history])

    return app
