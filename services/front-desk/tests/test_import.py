"""Importing and republishing on a real database, through the functions and through the command."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
from typer.testing import CliRunner

from front_desk.commands import app
from front_desk.import_sheet import CHUNK, import_rows
from front_desk.keep_directory import republish
from front_desk.kinds import KINDS
from front_desk.sheets import SHEETS, read_sheet

pytestmark = pytest.mark.real


async def _import(desk: Any, tenant: Any, kind: str, content: str, **options: bool) -> Any:
    good, bad = read_sheet(SHEETS[kind], content.encode())
    given = {"dry_run": False, "skip_bad": False, **options}
    return await import_rows(desk.database, tenant, SHEETS[kind], good, bad, progress=lambda rows: None, **given)


def _staff(count: int) -> str:
    return "external_ref,name\n" + "".join(f"s{n},Person {n}\n" for n in range(count))


async def test_a_sheet_is_imported_and_again_changes_nothing(desk: Any) -> None:
    shop = await desk.open("malabar")
    first = await _import(desk, shop.tenant, "staff", _staff(3))
    events = len(await desk.outbox())
    again = await _import(desk, shop.tenant, "staff", _staff(3))
    assert (first.created, first.written, again.created, again.unchanged) == (3, True, 0, 3)
    assert len(await desk.outbox()) == events == 4


async def test_a_dry_run_says_what_would_happen_and_keeps_nothing(desk: Any) -> None:
    shop = await desk.open("malabar")
    result = await _import(desk, shop.tenant, "staff", _staff(3), dry_run=True)
    assert (result.created, result.written) == (3, False)
    assert len(await desk.outbox()) == 1


async def test_one_bad_row_keeps_the_whole_sheet_out_unless_it_is_skipped(desk: Any) -> None:
    shop = await desk.open("malabar")
    await _import(desk, shop.tenant, "staff", _staff(1))
    sheet = "external_ref,name,owner\nk1,Good,s0\nk2,Owned by nobody,nobody\nk3,,\n"
    refused = await _import(desk, shop.tenant, "customers", sheet)
    assert (refused.written, [row.line for row in refused.bad]) == (False, [3, 4])
    assert "nobody" in refused.bad[0].problems[0].sentence
    assert (await desk.http.get("/v1/customers", headers=shop.headers)).json()["items"] == []
    taken = await _import(desk, shop.tenant, "customers", sheet, skip_bad=True)
    assert (taken.written, taken.created, len(taken.bad)) == (True, 1, 2)


async def test_a_did_of_another_tenant_is_a_bad_row(desk: Any) -> None:
    kochi, mumbai = await desk.open("kochi"), await desk.open("mumbai")
    await _import(desk, kochi.tenant, "dids", "did,label\n+914842000001,Shop\n")
    sheet = "did,label\n0484 200 0001,Mine\n+91 22 6900 0001,Ours\n"
    result = await _import(desk, mumbai.tenant, "dids", sheet, skip_bad=True)
    assert ([row.line for row in result.bad], result.created) == ([2], 1)
    assert "kochi" not in str(result.bad).lower()


async def test_numbers_that_do_not_fit_the_routing_are_bad_rows(desk: Any) -> None:
    shop = await desk.open("malabar")
    await desk.http.put("/v1/routing", json={"groups": [{"name": "reception"}]}, headers=shop.headers)
    sheet = (
        "did,label,fallback_number,default_group,menu\n"
        "0484 200 0001,Shop,,reception,1=reception\n"
        "0484 200 0002,There,0484 200 0003,,\n"
        "0484 200 0003,Back,0484 200 0002,,\n"
        "0484 200 0004,Fair,,nobody,2=none\n"
    )
    result = await _import(desk, shop.tenant, "dids", sheet, skip_bad=True)
    named = {(row.line, problem.field) for row in result.bad for problem in row.problems}
    assert named == {(3, "fallback_number"), (4, "fallback_number"), (5, "default_group"), (5, "menu")}
    assert result.created == 1


async def test_a_sheet_of_several_chunks_is_imported_whole(desk: Any) -> None:
    shop = await desk.open("malabar")
    result = await _import(desk, shop.tenant, "staff", _staff(CHUNK + 5))
    assert result.created == CHUNK + 5
    assert len(await desk.outbox()) == CHUNK + 6


async def test_republishing_emits_what_is_there_and_what_is_gone(desk: Any) -> None:
    shop, other = await desk.open("kochi"), await desk.open("mumbai")
    await _import(desk, shop.tenant, "staff", _staff(4))
    await _import(desk, other.tenant, "staff", _staff(2))
    await desk.http.delete("/v1/staff/s3", headers=shop.headers)
    before = len(await desk.outbox())
    assert await republish(desk.database, shop.tenant, KINDS["staff"]) == 4
    again = (await desk.outbox())[before:]
    assert [event["payload"] is None for event in again] == [False, False, False, True]
    assert {json.loads(event["payload"])["version"] for event in again[:3]} == {1}
    assert {event["tenant_id"] for event in again} == {shop.tenant}


async def _run(runner: CliRunner, *arguments: str, stdin: str = "") -> Any:
    # A command has an event loop of its own, so it runs beside this test's.
    return await asyncio.to_thread(runner.invoke, app, list(arguments), input=stdin)


async def test_the_command_line_opens_a_tenant_and_lets_people_in(desk: Any, runner: CliRunner) -> None:
    made = await _run(runner, "tenant", "add", "malabar", "--name", "Malabar Spices", "--json")
    assert made.exit_code == 0, made.output
    tenant = json.loads(made.stdout)
    again = await _run(runner, "tenant", "add", "malabar", "--name", "Malabar Spices", "--json")
    assert json.loads(again.stdout) == {**tenant, "outcome": "unchanged"}
    listed = await _run(runner, "tenant", "list", "--json")
    assert [row["slug"] for row in json.loads(listed.stdout)] == ["malabar"]
    user = await _run(
        runner, "user", "add", "owner@malabar.example", "--tenant", "malabar", "--json", stdin="a good password\n"
    )
    assert user.exit_code == 0, user.output
    assert (await desk.sign_in(desk.browser(), "owner@malabar.example")).status_code == 303
    key = await _run(runner, "api-key", "add", "--tenant", "malabar", "--label", "billing", "--json")
    headers = {"Authorization": f"Bearer {json.loads(key.stdout)['api_key']}"}
    assert (await desk.http.get("/v1/tenant", headers=headers)).json()["slug"] == "malabar"
    short = await _run(runner, "user", "add", "x@malabar.example", "--tenant", "malabar", stdin="short\n")
    assert short.exit_code == 2
    nowhere = await _run(runner, "api-key", "add", "--tenant", "nowhere", "--label", "x")
    assert (nowhere.exit_code, "no such tenant" in nowhere.stderr) == (2, True)


async def test_the_command_line_imports_and_says_what_is_wrong(desk: Any, runner: CliRunner, tmp_path: Path) -> None:
    shop = await desk.open("malabar")
    file = tmp_path / "staff.csv"
    file.write_text("external_ref,name,numbers\ndesk,Desk,9847000011\nbills,,12\n")
    refused = await _run(runner, "import", str(file), "--tenant", "malabar", "--kind", "staff")
    assert (refused.exit_code, "Nothing was imported" in refused.stdout) == (3, True)
    assert "line 3, name: is missing" in refused.stderr
    taken = await _run(runner, "import", str(file), "--tenant", "malabar", "--kind", "staff", "--skip-bad", "--json")
    answer = json.loads(taken.stdout)
    assert (taken.exit_code, answer["created"], answer["bad"], answer["written"]) == (0, 1, 1, True)
    assert "bills" in (tmp_path / "staff.bad.csv").read_text(encoding="utf-8-sig")
    staff = (await desk.http.get("/v1/staff", headers=shop.headers)).json()["items"]
    assert [each["external_ref"] for each in staff] == ["desk"]
    template = await _run(runner, "template", "--kind", "dids")
    assert template.stdout.startswith("did,label,")
    again = await _run(runner, "republish", "--tenant", "malabar", "--json")
    assert json.loads(again.stdout) == {"tenant": 1, "staff": 1, "customer": 0, "lead": 0, "did": 0, "routing": 0}


async def test_the_command_line_says_when_the_database_is_away(
    runner: CliRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRUNKLINE_POSTGRES_DSN", "postgresql://127.0.0.1:1/nothing")
    answer = await _run(runner, "tenant", "list")
    assert (answer.exit_code, "cannot be reached" in answer.stderr) == (1, True)


async def test_the_schema_file_is_what_the_migrations_make(desk: Any, make_database: Any, postgres_dsn: str) -> None:
    plain = await make_database(service="front-desk", package="kit")
    path = urlsplit(plain._app_dsn).path
    parts = urlsplit(postgres_dsn)
    owner = urlunsplit(parts._replace(netloc=f"front_desk_owner:test@{parts.netloc.rpartition('@')[2]}", path=path))
    connection = await asyncpg.connect(owner)
    try:
        await connection.execute((Path(__file__).parents[1] / "schema.sql").read_text())
    finally:
        await connection.close()
    assert await _shape(plain) == await _shape(desk.database)


async def _shape(database: Any) -> list[tuple[Any, ...]]:
    query = """
        SELECT 'column', table_name, column_name, data_type || coalesce(column_default, '') || is_nullable
        FROM information_schema.columns WHERE table_schema = 'front_desk' AND table_name !~ '^outbox_[0-9]'
        UNION ALL SELECT 'index', tablename, indexname, indexdef FROM pg_indexes
        WHERE schemaname = 'front_desk' AND tablename !~ '^outbox_[0-9]'
        UNION ALL SELECT 'policy', tablename, policyname, coalesce(qual, '') || roles::text FROM pg_policies
        WHERE schemaname = 'front_desk' AND tablename !~ '^outbox_[0-9]'
        UNION ALL SELECT 'constraint', conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
        WHERE connamespace = 'front_desk'::regnamespace AND conrelid::regclass::text !~ 'outbox_[0-9]'
        UNION ALL SELECT 'view', viewname, '', definition FROM pg_views WHERE schemaname = 'front_desk'
        UNION ALL SELECT 'security', relname, relrowsecurity::text, relforcerowsecurity::text FROM pg_class
        WHERE relnamespace = 'front_desk'::regnamespace AND relkind IN ('r', 'p') AND relname !~ '^outbox_[0-9]'
        ORDER BY 1, 2, 3, 4"""
    async with database.system() as tx:
        return [tuple(row) for row in await tx.fetch(query)]


async def test_every_table_of_ours_has_a_tenant_and_forced_security(desk: Any) -> None:
    async with desk.database.system() as tx:
        rows = await tx.fetch(
            """SELECT c.relname, c.relrowsecurity AND c.relforcerowsecurity AS forced,
                      EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'tenant_id'
                              AND a.attnotnull) AS has_tenant
               FROM pg_class c WHERE c.relnamespace = 'front_desk'::regnamespace AND c.relkind = 'r'
                 AND c.relname NOT IN ('schema_migration', 'relay_position', 'cluster_epoch', 'dead_letter_job',
                                       'dead_letter_job_audit', 'replay', 'replay_audit', 'replay_position',
                                       'replay_promotion')
                 AND NOT c.relispartition"""
        )
    assert len(rows) >= 20
    assert [row["relname"] for row in rows if not (row["forced"] and row["has_tenant"])] == []
