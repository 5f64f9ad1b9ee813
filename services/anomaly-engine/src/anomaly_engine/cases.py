"""Cases of rules: rows that make a rule fire, and rows that look like it and must not."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime
from importlib.resources import files
from typing import Any, Literal
from uuid import UUID

import yaml  # type: ignore[import-untyped]  # what it gives is validated at once
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from anomaly_engine import store
from anomaly_engine.findings import Evaluation, State
from anomaly_engine.lint import PROJECTIONS
from anomaly_engine.rules import Rule
from kit.postgres import Database, Transaction

__all__ = ["Case", "CaseMistake", "Outcome", "load_cases", "run_case"]

Kind = Literal["fires", "stays_quiet"]


class CaseMistake(Exception):
    """A rule's cases cannot be read; the message says which and why."""


class _Case(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str
    as_of: datetime
    rows: dict[str, list[dict[str, Any]]]
    found: list[dict[str, Any]] = Field(default_factory=list)


class _Cases(BaseModel):
    model_config = ConfigDict(extra="forbid")

    fires: list[_Case] = Field(min_length=1)
    stays_quiet: list[_Case] = Field(min_length=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    rule: Rule
    kind: Kind
    name: str
    as_of: datetime
    rows: Mapping[str, Sequence[Mapping[str, Any]]]
    """By projection; a row names the columns that matter, the rest take their defaults."""
    found: Sequence[Mapping[str, Any]]
    """What the evidence must say, row by row; only these columns are compared."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    case: Case
    evaluation: Evaluation
    problem: str | None
    """Nothing when the rule did what the case says."""


def load_cases(rule: Rule) -> list[Case]:
    """The cases beside a rule; it has at least one of each kind. Raises :class:`CaseMistake`."""
    file = files("anomaly_engine.rules").joinpath(f"cases/{rule.id}.yaml")
    if not file.is_file():
        raise CaseMistake(f"{rule.id} has no cases; write rules/cases/{rule.id}.yaml with fires and stays_quiet")
    try:
        parsed = _Cases.model_validate(yaml.safe_load(file.read_text(encoding="utf-8")))
    except (yaml.YAMLError, ValidationError) as error:
        raise CaseMistake(f"cases/{rule.id}.yaml: {error}") from None
    cases = [_case(rule, "fires", each) for each in parsed.fires]
    return cases + [_case(rule, "stays_quiet", each) for each in parsed.stays_quiet]


def _case(rule: Rule, kind: Kind, case: _Case) -> Case:
    if unknown := case.rows.keys() - PROJECTIONS:
        raise CaseMistake(f"{rule.id}, {case.name}: {', '.join(sorted(unknown))} is not a projection")
    as_of = case.as_of if case.as_of.tzinfo else case.as_of.replace(tzinfo=UTC)
    return Case(rule=rule, kind=kind, name=case.name, as_of=as_of, rows=case.rows, found=case.found)


class _Undo(Exception):
    """Ends a transaction that must leave nothing."""


async def run_case(database: Database, tenant: UUID, case: Case) -> Outcome:
    """Insert the case's rows, ask the rule, and roll everything back."""
    outcomes: list[Outcome] = []
    with suppress(_Undo):
        async with database.transaction(tenant) as tx:
            await _insert(tx, case)
            evaluation = await store.evaluate(tx, case.rule, case.as_of)
            outcomes.append(Outcome(case=case, evaluation=evaluation, problem=problem_of(case, evaluation)))
            raise _Undo
    return outcomes[0]


async def _insert(tx: Transaction, case: Case) -> None:
    for projection, rows in case.rows.items():
        await store.add_rows(tx, projection, [{name: _plain(value) for name, value in row.items()} for row in rows])


def problem_of(case: Case, evaluation: Evaluation) -> str | None:
    """How an evaluation differs from what its case says, as a sentence."""
    if evaluation.state is State.ERROR:
        return evaluation.error
    if case.kind == "stays_quiet":
        return f"expected no rows, got {evaluation.total}" if evaluation.total else None
    if not evaluation.total:
        return "expected it to fire, it found nothing"
    if not case.found:
        return None
    if len(case.found) != evaluation.total:
        return f"expected {len(case.found)} rows, got {evaluation.total}"
    for number, (expected, row) in enumerate(zip(case.found, evaluation.rows, strict=True), 1):
        wrong = [name for name, value in expected.items() if row.get(name) != value]
        if wrong:
            got = json.dumps({name: row.get(name) for name in wrong}, ensure_ascii=False)
            return f"row {number} differs in {', '.join(wrong)}: got {got}"
    return None


def _plain(value: Any) -> Any:
    # YAML knows times and dates, JSON does not; one without a zone is meant in UTC.
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).isoformat()
    return value.isoformat() if isinstance(value, date) else value
