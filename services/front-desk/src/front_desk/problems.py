"""Errors as RFC 9457 problem details: a code, a sentence that says what to do, and which fields are wrong."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

import asyncpg
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from front_desk.directory import Invalid, Problem
from front_desk.keep_directory import DidTaken, NoSuchEntity, StaffInUse, Unfit, UnknownStaff
from front_desk.keep_routing import NotThisVersion, RoutingInUse
from kit.telemetry import get_logger

__all__ = ["RESPONSES", "ApiProblem", "FieldProblem", "ProblemDocument", "handle_problems", "problem_response"]

log = get_logger(__name__)
MEDIA_TYPE = "application/problem+json"
UNAVAILABLE = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
)


class FieldProblem(BaseModel):
    field: str
    problem: str


class ProblemDocument(BaseModel):
    """RFC 9457."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[FieldProblem] = []


class ApiProblem(Exception):
    """Ends a request with a problem."""

    def __init__(self, status: int, code: str, detail: str, *, errors: Sequence[Problem] = ()) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.errors = tuple(errors)

    def response(self) -> Response:
        headers = {"WWW-Authenticate": "Bearer"} if self.status == HTTPStatus.UNAUTHORIZED else None
        return problem_response(self.status, self.code, self.detail, errors=self.errors, headers=headers)


def problem_response(
    status: int, code: str, detail: str, *, errors: Sequence[Problem] = (), headers: dict[str, str] | None = None
) -> Response:
    document: dict[str, Any] = {
        "type": f"urn:trunkline:problem:{code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
    }
    if errors:
        document["errors"] = [{"field": each.field, "problem": each.sentence} for each in errors]
    return JSONResponse(document, status_code=status, media_type=MEDIA_TYPE, headers=headers)


def _documented(status: int, description: str) -> dict[str, Any]:
    schema = {"schema": {"$ref": "#/components/schemas/ProblemDocument"}}
    return {"description": description, "model": ProblemDocument, "content": {MEDIA_TYPE: schema}}


RESPONSES: dict[int | str, dict[str, Any]] = {
    401: _documented(401, "No valid key was presented."),
    413: _documented(413, "The body is too long."),
    422: _documented(422, "A field is wrong; `errors` names each."),
    503: _documented(503, "The database cannot be reached; try again."),
}


def handle_problems(app: FastAPI) -> None:
    """Make every error of an app a problem document."""

    def on_problem(request: Request, error: Exception) -> Response:
        return (error if isinstance(error, ApiProblem) else as_problem(error)).response()

    known = (ApiProblem, Invalid, DidTaken, UnknownStaff, Unfit, StaffInUse, RoutingInUse, NotThisVersion, NoSuchEntity)
    for kind in (*known, HTTPException, RequestValidationError, *UNAVAILABLE):
        app.add_exception_handler(kind, on_problem)
    app.add_exception_handler(Exception, on_problem)


def as_problem(error: Exception) -> ApiProblem:
    match error:
        case Invalid():
            return ApiProblem(422, "invalid", "Some fields are wrong; see errors.", errors=error.problems)
        case RequestValidationError():
            return ApiProblem(422, "invalid", "Some fields are wrong; see errors.", errors=_problems_of(error))
        case DidTaken():
            detail = "This number already belongs to another business here. Check the number, or ask for its release."
            return ApiProblem(409, "did-taken", detail, errors=[Problem(field="did", sentence=str(error))])
        case UnknownStaff():
            detail = f"No staff with the reference {', '.join(error.refs[:5])}. Put the person first, then name them."
            return ApiProblem(422, "unknown-staff", detail)
        case Unfit():
            problems = [problem for each in error.problems.values() for problem in each]
            return ApiProblem(422, "invalid", "Some fields are wrong; see errors.", errors=problems)
        case RoutingInUse():
            return ApiProblem(409, "routing-in-use", str(error))
        case NotThisVersion():
            return ApiProblem(409, "version-conflict", str(error))
        case StaffInUse():
            return ApiProblem(409, "staff-in-use", str(error))
        case NoSuchEntity():
            return ApiProblem(404, "not-found", "Nothing here has this reference.")
        case HTTPException():
            return ApiProblem(error.status_code, "http", str(error.detail))
    if isinstance(error, UNAVAILABLE):
        return ApiProblem(503, "unavailable", "The database cannot be reached at the moment. Try again shortly.")
    log.error("request_failed", error=type(error).__name__, exc_info=error)
    return ApiProblem(500, "internal", "This is our mistake and has been recorded. Try again, or tell the operator.")


def _problems_of(error: RequestValidationError) -> list[Problem]:
    # The messages are pydantic's; the values, which may be personal, are left out.
    return [
        Problem(
            field=".".join(str(part) for part in each["loc"] if part not in ("body", "query", "path")) or "body",
            sentence=str(each["msg"]),
        )
        for each in error.errors()
    ]
