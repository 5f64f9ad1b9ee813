"""HTTP in: orders for calls."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from fastapi import FastAPI, Header, HTTPException
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field, model_validator
from starlette.requests import Request

from kit.postgres import Database
from telephony_router import outbound_store as store
from telephony_router.place_call import BeingAnswered, NotPossible, OtherRequest, Wanted, place
from telephony_router.record import DATABASE_FAILURES
from telephony_router.signals import clean

__all__ = ["add_orders", "outbound_of", "without_values"]

RETRY_SECONDS = 1
AWAY_SECONDS = 5
PLAIN = r"^[^\x00-\x1f\x7f]*$"
Number = Annotated[str, Field(max_length=48, pattern=PLAIN)]
Key = Annotated[
    str,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern=r"^[\x21-\x7e]+$",
        description="Any text of your own, another one for every call; kept for 8 days.",
    ),
]
Tenant = Annotated[UUID, Header(alias="X-Tenant")]


class CallOrder(BaseModel):
    """A call between somebody who works here, whose telephone rings first, and somebody else."""

    model_config = ConfigDict(extra="forbid")

    account: UUID
    """The vendor account to place it with."""
    from_staff: Annotated[str, Field(max_length=64, pattern=PLAIN)] | None = None
    """Whose first telephone rings. This or ``from_number``."""
    from_number: Number | None = None
    to: Number
    did: Number | None = None
    """The line that both see, one of the tenant's; the account's own choice by default."""
    reference: Annotated[str, Field(max_length=128, pattern=PLAIN)] | None = None
    """Yours; it comes back with the call."""

    @model_validator(mode="after")
    def _one_caller(self) -> Self:
        if bool(self.from_staff) == bool(self.from_number):
            raise ValueError("give from_staff or from_number, and not both")
        return self


class OrderTaken(BaseModel):
    id: UUID
    """The call's id, for ``GET /v1/calls/{id}``."""
    state: Literal["requested"]


class Problem(BaseModel):
    detail: str


class Outbound(BaseModel):
    """What became of an order."""

    state: Literal["requested", "submitting", "submitted", "refused", "submission_unknown"]
    code: str
    """Why it was refused, or why nobody knows: ``dnd_refused``, ``breaker_open``, ``not_sent_connect``, ``timeout``."""
    retryable: bool
    """Nothing rang, and the same call may be ordered again, under another key."""
    vendor_call_id: str
    from_number: str
    to_number: str
    did: str | None
    staff_id: str | None
    reference: str
    requested_at: datetime
    submitting_at: datetime | None
    settled_at: datetime | None


RESPONSES: dict[int | str, dict[str, Any]] = {
    409: {"model": Problem, "description": "The same key is being answered; ask again after Retry-After seconds."},
    422: {"model": Problem, "description": "The key was used for another request, or the order cannot be taken."},
    503: {"model": Problem, "description": "It could not be stored. Send it again, under the same key."},
}


def add_orders(app: FastAPI, database: Database, placed: Callable[[], None]) -> None:
    """``placed`` is called for every order that was taken, so that it is placed at once."""

    @app.post("/v1/calls", status_code=202, response_model=OrderTaken, responses=RESPONSES)
    async def post_call(order: CallOrder, tenant: Tenant, key: Key) -> Response:
        """Order a call. The answer says that it is stored, and not yet what the vendor made of it.

        Repeat a request that got no answer under the same key: it is never placed twice.
        """
        wanted = Wanted(
            account=order.account,
            to=order.to,
            from_staff=order.from_staff or "",
            from_number=order.from_number or "",
            did=order.did or "",
            reference=order.reference or "",
        )
        try:
            answer = await place(database, tenant, key, wanted)
        except BeingAnswered:
            wait = {"retry-after": str(RETRY_SECONDS)}
            raise HTTPException(409, "a request with this key is being answered", headers=wait) from None
        except OtherRequest:
            raise HTTPException(422, "this Idempotency-Key was used for another request") from None
        except NotPossible as error:
            raise HTTPException(422, str(error)) from None
        except DATABASE_FAILURES:
            # Perhaps it was stored, perhaps not: the same key finds out.
            wait = {"retry-after": str(AWAY_SECONDS)}
            raise HTTPException(503, "orders cannot be stored right now; send it again", headers=wait) from None
        placed()
        return Response(answer, status_code=202, media_type="application/json")


async def without_values(_: Request, error: Exception) -> JSONResponse:
    """What is wrong with a request, and nothing of what was sent: it may hold numbers, or what no answer can."""
    found = error.errors() if isinstance(error, RequestValidationError) else []
    kept = [
        {"loc": [clean(each) for each in one["loc"]], "msg": clean(one["msg"]), "type": one["type"]} for one in found
    ]
    return JSONResponse({"detail": kept}, status_code=422)


async def outbound_of(database: Database, tenant: UUID, call_id: UUID) -> dict[str, Any] | None:
    """The order behind a call, as it is told; None for a call that nobody ordered here."""
    async with database.transaction(tenant) as tx:
        found = (await store.find_outbound(tx, [call_id])).get(call_id)
    return Outbound.model_validate(found).model_dump() if found is not None else None
