"""``trunkline directory``: files in, tenants, users and keys. Data on standard output, everything else on error."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import typer
from rich.progress import Progress

from front_desk import store
from front_desk.command_line import BAD_INPUT, USAGE, JsonOption, TenantOption, err, fail, out, tenant_of, with_database
from front_desk.credentials import ROLES, Role
from front_desk.directory import Tenant
from front_desk.import_sheet import ImportResult, import_rows
from front_desk.keep_directory import NoSuchEntity, republish
from front_desk.kinds import KINDS
from front_desk.open_tenant import EmailTaken, add_api_key, add_user, disable_user, open_tenant
from front_desk.sheets import SHEETS, BadRow, Sheet, UnreadableSheet, bad_rows_csv, read_sheet, template_csv
from kit.postgres import Database

__all__ = ["app"]

SHOWN_PROBLEMS = 20

app = typer.Typer(help="Tenants, people and numbers.", no_args_is_help=True)
tenants = typer.Typer(help="Businesses on this installation.", no_args_is_help=True)
users = typer.Typer(help="People who sign in to the console.", no_args_is_help=True)
keys = typer.Typer(help="Keys of programs that use the REST interface.", no_args_is_help=True)
app.add_typer(tenants, name="tenant")
app.add_typer(users, name="user")
app.add_typer(keys, name="api-key")
KindOption = Annotated[str, typer.Option("--kind", help=f"One of {', '.join(SHEETS)}.")]


def _sheet(kind: str) -> Sheet:
    if kind not in SHEETS:
        fail(f"--kind is one of {', '.join(SHEETS)}.", USAGE)
    return SHEETS[kind]


@app.command()
def template(kind: KindOption) -> None:
    """Print a CSV file to fill in: the columns and one example row."""
    sys.stdout.write(template_csv(_sheet(kind)))


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True, help="A CSV file, UTF-8.")],
    tenant: TenantOption,
    kind: KindOption,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would happen; change nothing.")] = False,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Take the good rows; write the bad ones to FILE.bad.csv.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Import staff, customers or DIDs. All rows or none, unless --skip-bad; importing again changes nothing."""
    sheet = _sheet(kind)
    try:
        good, bad = read_sheet(sheet, file.read_bytes())
    except UnreadableSheet as error:
        fail(f"{file}: {error}", USAGE)

    async def work(database: Database) -> ImportResult:
        tenant_id = await tenant_of(database, tenant)
        with Progress(console=err, transient=True, disable=not err.is_terminal) as bar:
            task = bar.add_task("Importing", total=len(good))
            return await import_rows(
                database,
                tenant_id,
                sheet,
                good,
                bad,
                dry_run=dry_run,
                skip_bad=skip_bad,
                progress=lambda rows: bar.advance(task, rows),
            )

    result = with_database(work)
    left_out = _write_bad(file, sheet, result.bad) if skip_bad and result.written else None
    _report(result, as_json=as_json, dry_run=dry_run, left_out=left_out)


def _write_bad(file: Path, sheet: Sheet, rows: tuple[BadRow, ...]) -> Path | None:
    if not rows:
        return None
    path = file.with_suffix(".bad.csv")
    # With the mark that makes spreadsheets read it as UTF-8.
    path.write_text(bad_rows_csv(sheet, rows), encoding="utf-8-sig", newline="")
    return path


def _report(result: ImportResult, *, as_json: bool, dry_run: bool, left_out: Path | None) -> None:
    errors = [
        {"line": row.line, "column": problem.field, "problem": problem.sentence}
        for row in result.bad
        for problem in row.problems
    ]
    for error in errors[:SHOWN_PROBLEMS]:
        column = f", {error['column']}" if error["column"] else ""
        err.print(f"line {error['line']}{column}: {error['problem']}", markup=False, soft_wrap=True)
    if len(errors) > SHOWN_PROBLEMS:
        err.print(f"… and {len(errors) - SHOWN_PROBLEMS} more; --json lists all")
    counts = {"created": result.created, "changed": result.changed, "unchanged": result.unchanged}
    would = "" if result.written else "Would be: "
    text = f"{would}{', '.join(f'{count} {what}' for what, count in counts.items())}."
    if result.bad and not result.written and not dry_run:
        rows = "1 row is" if len(result.bad) == 1 else f"{len(result.bad)} rows are"
        text = f"Nothing was imported: {rows} wrong. Mend what is named above, or add --skip-bad."
    elif left_out is not None:
        text += f" Left out: {len(result.bad)}; mend them in {left_out} and import that file."
    value = {**counts, "bad": len(result.bad), "written": result.written, "dry_run": dry_run, "errors": errors}
    out(value | {"bad_rows_file": str(left_out) if left_out else None}, as_json, text)
    if result.bad and left_out is None:
        raise typer.Exit(BAD_INPUT)


@app.command("republish")
def republish_(
    tenant: TenantOption,
    kind: Annotated[str, typer.Option("--kind", help=f"One of {', '.join(KINDS)}, or all.")] = "all",
    as_json: JsonOption = False,
) -> None:
    """Emit the tenant's directory again from Postgres, with the versions it has: for a Kafka that lost it."""
    if kind != "all" and kind not in KINDS:
        fail(f"--kind is one of {', '.join(KINDS)}, or all.", USAGE)

    async def work(database: Database) -> dict[str, int]:
        tenant_id = await tenant_of(database, tenant)
        wanted = KINDS.values() if kind == "all" else [KINDS[kind]]
        return {each.name: await republish(database, tenant_id, each) for each in wanted}

    counts = with_database(work)
    out(counts, as_json, "\n".join(f"{name}: {count}" for name, count in counts.items()))


@tenants.command("add")
def tenant_add(
    slug: Annotated[str, typer.Argument(help="Short name in small letters, like malabar-spices.")],
    name: Annotated[str, typer.Option("--name", help="The business's name.")],
    timezone: Annotated[str, typer.Option(help="IANA name.")] = "Asia/Kolkata",
    owner_name: Annotated[str, typer.Option(help="Who owns the business.")] = "",
    owner_email: Annotated[str, typer.Option(help="Where the daily pulse goes.")] = "",
    pulse_at: Annotated[str, typer.Option(help="When it goes, HH:MM in the tenant's zone.")] = "09:00",
    as_json: JsonOption = False,
) -> None:
    """Open a tenant; one that has this slug already is left as it is."""

    async def work(database: Database) -> tuple[UUID, str]:
        made = Tenant.of(
            slug=slug, name=name, timezone=timezone, owner_name=owner_name, owner_email=owner_email, pulse_at=pulse_at
        )
        return await open_tenant(database, made)

    tenant_id, outcome = with_database(work)
    out({"tenant_id": str(tenant_id), "slug": slug, "outcome": outcome}, as_json, f"{tenant_id}")


@tenants.command("list")
def tenant_list(as_json: JsonOption = False) -> None:
    """List tenants."""

    async def work(database: Database) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        while page := await store.list_tenants(database, found[-1]["slug"] if found else "", 500):
            found += [
                {"tenant_id": str(tenant_id), "version": version, **fields} for tenant_id, version, fields in page
            ]
        return found

    rows = with_database(work)
    out(rows, as_json, "\n".join(f"{row['tenant_id']}  {row['slug']}  {row['name']}" for row in rows))


@users.command("add")
def user_add(
    email: Annotated[str, typer.Argument(help="What they sign in with.")],
    tenant: TenantOption,
    role: Annotated[str, typer.Option("--role", help=f"One of {', '.join(ROLES)}.")] = "owner",
    name: Annotated[str, typer.Option(help="What colleagues see them called.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Make a user, or give one a new password and role. The password is asked for, or read from standard input."""
    known: dict[str, Role] = {each: each for each in ROLES}
    if role not in known:
        fail(f"--role is one of {', '.join(ROLES)}.", USAGE)
    if sys.stdin.isatty():
        password = typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    else:
        password = sys.stdin.readline().rstrip("\r\n")

    async def work(database: Database) -> tuple[UUID, bool]:
        tenant_id = await tenant_of(database, tenant)
        try:
            return await add_user(database, tenant_id, email, password, known[role], name)
        except EmailTaken:
            fail("Somebody of another business signs in with this address. Use another.", USAGE)

    user_id, new = with_database(work)
    outcome = "created" if new else "changed"
    out({"user_id": str(user_id), "outcome": outcome}, as_json, f"{user_id}")


@users.command("disable")
def user_disable(
    email: Annotated[str, typer.Argument(help="What they sign in with.")],
    tenant: TenantOption,
    as_json: JsonOption = False,
) -> None:
    """Let a user in no more. They are signed out everywhere, and what they have claimed is given back."""

    async def work(database: Database) -> UUID:
        try:
            return await disable_user(database, await tenant_of(database, tenant), email)
        except NoSuchEntity:
            fail("There is no such user of this tenant.", USAGE)

    user_id = with_database(work)
    out({"user_id": str(user_id), "outcome": "disabled"}, as_json, f"{user_id}")


@keys.command("add")
def api_key_add(
    tenant: TenantOption,
    label: Annotated[str, typer.Option("--label", help="What uses the key.")],
    as_json: JsonOption = False,
) -> None:
    """Make an API key. It is shown once: keep it where the program reads its secrets."""

    async def work(database: Database) -> dict[str, str]:
        try:
            key = await add_api_key(database, await tenant_of(database, tenant), label)
        except NoSuchEntity:
            fail("There is no such tenant.", USAGE)
        return {"api_key": key.text, "key_id": key.key_id, "label": label}

    made = with_database(work)
    out(made, as_json, made["api_key"])
