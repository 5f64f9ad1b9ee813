"""How entities are answered over REST, alike on every route."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Query, Response

from front_desk.bodies import EntityAnswer
from front_desk.keep_directory import Kept
from front_desk.kinds import Kind, Stored
from front_desk.problems import RESPONSES

__all__ = ["CONFLICT", "NOT_FOUND", "After", "Limit", "answer_of", "kept_answer"]

Limit = Annotated[int, Query(ge=1, le=500, description="How many at most.")]
After = Annotated[str, Query(max_length=200, description="The `next` of the page before.")]
NOT_FOUND: dict[int | str, dict[str, Any]] = {404: RESPONSES[422] | {"description": "Nothing has this reference."}}
CONFLICT: dict[int | str, dict[str, Any]] = {409: RESPONSES[422] | {"description": "It is taken or still in use."}}


def answer_of(kind: Kind, stored: Stored, outcome: Any = None) -> EntityAnswer:
    name = "did" if kind.name == "did" else "external_ref"
    ref = {} if kind.name in ("tenant", "routing") else {name: stored.ref}
    said = {"outcome": outcome} if outcome else {}
    return EntityAnswer.model_validate({**ref, **stored.body, "id": stored.id, "version": stored.version, **said})


def kept_answer(kind: Kind, kept: Kept, response: Response) -> EntityAnswer:
    response.status_code = 201 if kept.outcome == "created" else 200
    response.headers["ETag"] = f'"{kept.stored.version}"'
    return answer_of(kind, kept.stored, kept.outcome)
