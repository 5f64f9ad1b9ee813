"""One suite for every rule of the menu, and for what makes a file a rule."""

from __future__ import annotations

from importlib.resources import files
from uuid import UUID

import pytest

from anomaly_engine.cases import Case, load_cases, run_case
from anomaly_engine.findings import EVIDENCE_ROWS
from anomaly_engine.rules import RULES, RuleMistake, load_rules, parse_rule
from kit.testing import MakeDatabase

FOLDER = files("anomaly_engine.rules")
CASES = [case for rule in load_rules().values() for case in load_cases(rule)]

GOOD = """\
-- id: quiet_calls
-- title: Quiet calls
-- description: Calls that nobody heard.
-- learning: Listen.
-- severity: info
-- version: 1
-- requires: [call]
-- key: [call_id]

SELECT call_id FROM call WHERE began_at < :as_of
"""


def test_every_rule_that_lies_in_the_menu_is_in_its_table() -> None:
    assert {entry.name for entry in FOLDER.iterdir() if entry.name.endswith(".sql")} == {f"{r}.sql" for r in RULES}


def test_every_file_of_cases_belongs_to_a_rule() -> None:
    assert {entry.name for entry in FOLDER.joinpath("cases").iterdir()} == {f"{r}.yaml" for r in RULES}


@pytest.mark.real
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.rule.id}: {case.name}")
async def test_a_rule_does_what_its_cases_say(case: Case, make_database: MakeDatabase, tenant: UUID) -> None:
    database = await make_database(service="anomaly-engine", package="anomaly_engine")
    outcome = await run_case(database, tenant, case)
    assert outcome.problem is None
    async with database.transaction(tenant) as tx:
        assert await tx.fetchval("SELECT count(*) FROM call") == 0


@pytest.mark.parametrize("rule", load_rules().values(), ids=lambda rule: rule.id)
def test_a_fired_case_shows_the_columns_of_the_key(rule: object) -> None:
    columns = {name for case in CASES if case.rule == rule for row in case.found for name in row}
    assert set(rule.key) <= columns  # type: ignore[attr-defined]


def test_a_good_file_is_a_rule() -> None:
    rule = parse_rule("quiet_calls", GOOD)
    assert (rule.id, rule.severity, rule.requires, rule.key) == ("quiet_calls", "info", ("call",), ("call_id",))
    assert EVIDENCE_ROWS == 20


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("-- learning: Listen.\n", "", "lacks learning"),
        ("-- id: quiet_calls", "-- id: other", "the id is other"),
        ("severity: info", "severity: red", "severity is one of"),
        ("version: 1", "version: one", "version is a whole number"),
        ("-- version: 1", "-- version: 1\n-- version: 2", "version is given twice"),
        ("-- version: 1", "-- version: 1\n-- owner: me", "owner is not a key"),
        ("-- version: 1", "-- version: 1\n-- and so on", "not '-- key: value'"),
        ("title: Quiet calls", "title: " + "long " * 20, "title has"),
        ("[call]", "[call, outbox]", "outbox is not a projection"),
        ("SELECT call_id", "SELECT pg_sleep(9)", "pg_sleep is not allowed"),
        ("[call_id]", "[call id]", "call id is not a name"),
    ],
)
def test_a_mistake_is_named_with_its_file(old: str, new: str, says: str) -> None:
    with pytest.raises(RuleMistake, match=r"^quiet_calls\.sql: ") as caught:
        parse_rule("quiet_calls", GOOD.replace(old, new))
    assert says in str(caught.value)
