"""``trunkline anomaly``: the rules, their evaluation, their cases. Data on stdout, everything else on stderr."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from runtime.commands import complete_on, fail, settings_of

if TYPE_CHECKING:
    from anomaly_engine.cases import Outcome
    from anomaly_engine.detect import Finding
    from anomaly_engine.rules import Rule
    from anomaly_engine.settings import Settings
    from kit.postgres import Database

__all__ = ["app"]

app = typer.Typer(name="anomaly", help="The rules that watch the operation.", no_args_is_help=True)

JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
RuleOption = Annotated[str | None, typer.Option("--rule", help="This rule only.")]


@app.command()
def rules(as_json: JsonOption = False) -> None:
    """List the rules: what each finds and what it teaches."""
    listed = [
        {
            "rule": rule.id,
            "version": rule.version,
            "severity": rule.severity,
            "title": rule.title,
            "description": rule.description,
            "learning": rule.learning,
            "requires": list(rule.requires),
        }
        for rule in _rules().values()
    ]
    if as_json:
        typer.echo(json.dumps(listed, ensure_ascii=False))
        return
    for each in listed:
        typer.echo(f"{each['rule']} ({each['severity']}, version {each['version']})\n  {each['description']}")


@app.command()
def run(
    tenant: Annotated[UUID, typer.Option(help="Whose operation is looked at.")],
    as_of: Annotated[
        str | None, typer.Option(help="The time that is asked for, as an ISO time; now if absent.")
    ] = None,
    rule: RuleOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Evaluate, and keep and tell nothing.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Evaluate the rules for a tenant now. Exit code 2 when a rule could not be evaluated."""
    chosen, at, settings = _chosen(rule), _time(as_of), _settings()

    async def work(database: Database) -> list[Finding]:
        from anomaly_engine import store
        from anomaly_engine.wiring import make_detector

        detector = make_detector(settings, database)
        try:
            async with database.transaction(tenant) as tx:
                known = await store.find_tenant(tx)
            if known is None:
                fail("No tenant has this id here; its directory event may not have arrived yet.")
            if dry_run:
                return [await detector.dry_run(known, each, as_of=at) for each in chosen]
            found = [await detector.detect(known, each, as_of=at, again=True) for each in chosen]
            return [each for each in found if each is not None]
        finally:
            await detector.reader.stop()

    findings: list[Finding] = _run(settings, work)
    described = [_finding(finding) for finding in findings]
    typer.echo(json.dumps(described, ensure_ascii=False) if as_json else "\n".join(map(_line, described)))
    if any(each["state"] == "error" for each in described):
        raise typer.Exit(2)


@app.command("test")
def run_cases(rule: RuleOption = None, as_json: JsonOption = False) -> None:
    """Run the cases of the rules on the real database; every row they insert is rolled back."""
    from anomaly_engine.cases import CaseMistake, load_cases, run_case

    chosen, settings = _chosen(rule), _settings()
    try:
        cases = [case for each in chosen for case in load_cases(each)]
    except CaseMistake as mistake:
        fail(str(mistake))

    async def work(database: Database) -> list[Outcome]:
        from kit.ids import uuid7

        # A tenant that nobody has: the cases see their own rows only.
        return [await run_case(database, uuid7(), case) for case in cases]

    outcomes: list[Outcome] = _run(settings, work)
    described = [
        {"rule": o.case.rule.id, "kind": o.case.kind, "case": o.case.name, "problem": o.problem} for o in outcomes
    ]
    if as_json:
        typer.echo(json.dumps(described, ensure_ascii=False))
    else:
        for each in described:
            verdict = f"FAILED: {each['problem']}" if each["problem"] else "ok"
            typer.echo(f"{each['rule']} {each['kind']}: {each['case']}: {verdict}")
    if any(each["problem"] for each in described):
        raise typer.Exit(1)


def _finding(finding: Finding) -> dict[str, Any]:
    evaluation = finding.evaluation
    return {
        "rule": finding.rule.id,
        "state": evaluation.state.value,
        "local_day": finding.day.isoformat(),
        "fired": finding.fired,
        "evidence_total": evaluation.total,
        "evidence": [dict(row) for row in evaluation.rows],
        "duration_ms": evaluation.duration_ms,
        "error": evaluation.error,
    }


def _line(found: dict[str, Any]) -> str:
    what = found["error"] or f"{found['evidence_total']} found"
    told = ", told now" if found["fired"] else ""
    return f"{found['state']:7} {found['rule']}: {what}{told} ({found['duration_ms']:.0f} ms)"


def _rules() -> dict[str, Rule]:
    from anomaly_engine.rules import RuleMistake, load_rules

    try:
        return load_rules()
    except RuleMistake as mistake:
        fail(str(mistake))


def _chosen(name: str | None) -> list[Rule]:
    known = _rules()
    if name is None:
        return list(known.values())
    if name not in known:
        fail(f"There is no rule {name}; there are {', '.join(known)}.")
    return [known[name]]


def _time(text: str | None) -> datetime:
    if text is None:
        return datetime.now(UTC)
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        fail("--as-of must be an ISO time, for instance 2026-03-02T09:00:00+05:30.")
    if at.tzinfo is None:
        fail("--as-of needs a zone, for instance +05:30 or Z at its end.")
    return at


def _settings() -> Settings:
    from anomaly_engine.settings import Settings

    return settings_of(Settings)


def _run(settings: Settings, work: Callable[[Database], Coroutine[Any, Any, Any]]) -> Any:
    from anomaly_engine.wiring import make_database

    return complete_on(make_database, settings, work)
