"""``trunkline anomaly`` on a real database, as a person or a script runs it."""

from __future__ import annotations

import json
from uuid import UUID, uuid4

import pytest
from typer.testing import CliRunner

from anomaly_engine.commands import app
from anomaly_engine.rules import RULES
from kit.postgres import Database

from .conftest import AddTenant


@pytest.fixture
def environment(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRUNKLINE_DEMO", "true")
    monkeypatch.setenv("TRUNKLINE_POSTGRES_DSN", database._app_dsn)
    for role in ("APP", "SYSTEM", "RO"):
        monkeypatch.setenv(f"TRUNKLINE_ANOMALY_ENGINE_{role}_PASSWORD", "test")


def test_the_rules_are_listed_without_any_server() -> None:
    result = CliRunner().invoke(app, ["rules", "--json"])
    assert [rule["rule"] for rule in json.loads(result.stdout)] == list(RULES)


@pytest.mark.real
@pytest.mark.usefixtures("environment")
class TestOnADatabase:
    """The commands run an event loop of their own, so these tests have none."""

    def test_the_cases_pass_and_leave_nothing(self) -> None:
        result = CliRunner().invoke(app, ["test", "--json"])
        assert result.exit_code == 0, result.output
        outcomes = json.loads(result.stdout)
        assert {outcome["rule"] for outcome in outcomes} == set(RULES)
        assert all(outcome["problem"] is None for outcome in outcomes)

    def test_an_unknown_tenant_is_a_sentence(self) -> None:
        result = CliRunner().invoke(app, ["run", "--tenant", str(uuid4())])
        assert result.exit_code == 1
        assert "No tenant has this id here" in result.stderr

    @pytest.fixture
    async def stuck(self, add_tenant: AddTenant, tenant: UUID) -> None:
        await add_tenant(tenant, calls=2)

    @pytest.mark.usefixtures("stuck")
    def test_a_run_tells_once_and_a_dry_run_never(self, tenant: UUID) -> None:
        command = ["run", "--tenant", str(tenant), "--as-of", "2026-03-02T10:00:00Z", "--json"]
        told = []
        for extra in (["--dry-run"], [], []):
            result = CliRunner().invoke(app, command + extra)
            assert result.exit_code == 0, result.output
            found = {each["rule"]: each for each in json.loads(result.stdout)}
            assert found["stuck_initiated_calls"]["evidence_total"] == 2
            told.append(found["stuck_initiated_calls"]["fired"])
        assert told == [False, True, False]

    def test_a_time_without_a_zone_is_refused(self, tenant: UUID) -> None:
        result = CliRunner().invoke(app, ["run", "--tenant", str(tenant), "--as-of", "2026-03-02T10:00:00"])
        assert (result.exit_code, "needs a zone" in result.stderr) == (1, True)
