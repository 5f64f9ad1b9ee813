"""``trunkline dlq``: what an operator does with records that could not be handled."""

from __future__ import annotations

import difflib
import json
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar
from uuid import UUID

import typer

from trunkline.dlq import show
from trunkline.dlq.ask import Refused, Services, Unavailable, services_of

__all__ = ["app"]

T = TypeVar("T")
app = typer.Typer(
    no_args_is_help=True, rich_markup_mode="rich",
    help="Records that could not be handled: list, show, retry, edit, drop.\n\n"
    "While a record is parked, later ones of its key wait behind it, so nothing is handled out of order. Mend the "
    "cause, then [bold]retry[/]: the running service tries the letters of each key in their order. Everything is "
    "audited. Exit codes: 0 done, 1 a service did not answer, 2 refused or misused.",
)  # fmt: skip

Service = Annotated[str | None, typer.Option(help="Only this service; all of them by default.")]
Urls = Annotated[list[str] | None, typer.Option("--url", help="name=url of a service that is not on this machine.")]
Group = Annotated[str | None, typer.Option(help="The letters of one cause: a group's name, as `dlq list` shows it.")]
Key = Annotated[str | None, typer.Option(help="The letters of one key, in their order: tenant:entity.")]
Tenant = Annotated[UUID | None, typer.Option(help="The letters of one tenant.")]
Consumer = Annotated[str | None, typer.Option(help="The letters of one consumer group.")]
Letter = Annotated[UUID, typer.Argument(help="The letter's id.")]
Why = Annotated[str, typer.Option(help="The reason, for the audit.")]
MaybeWhy = Annotated[str, typer.Option("--why", help="The reason, for the audit.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]


def work(function: Callable[[], T]) -> T:
    """Do it, and say what went wrong in a sentence."""
    try:
        return function()
    except Refused as refused:
        show.err.print(str(refused), markup=False)
        raise typer.Exit(2) from None
    except Unavailable as unavailable:
        show.err.print(str(unavailable), markup=False)
        raise typer.Exit(1) from None


def _json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, default=str, ensure_ascii=False) + "\n")


@app.command(name="list")
def list_(  # long: every parameter is an option of the command
    group: Group = None,
    key: Key = None,
    tenant: Tenant = None,
    consumer: Consumer = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many letters of a service.")] = 100,
    service: Service = None,
    url: Urls = None,
    as_json: Json = False,
) -> None:
    """What failed, by cause; with --group, --key or --tenant the letters themselves."""
    services = work(lambda: services_of(service, url or []))
    one_by_one = any(each is not None for each in (group, key, tenant))
    if one_by_one:
        told = services.ask_all("/letters", fingerprint=group, lane=key, consumer=consumer, limit=limit,
                                tenant=str(tenant) if tenant else None)  # fmt: skip
    else:
        told = services.ask_all("/groups", consumer=consumer)
    name = "letters" if one_by_one else "groups"
    found = [each for answer in told.answers.values() for each in answer[name]]
    if as_json:
        _json({name: found, "unavailable": dict(told.silent)})
    else:
        (show.letters if one_by_one else show.groups)(found)
        show.silent(told.silent)
    if told.silent:
        raise typer.Exit(1)


@app.command(name="show")
def show_(
    letter: Letter,
    reveal: Annotated[bool, typer.Option("--reveal", help="Show what it says; it can be personal. Audited.")] = False,
    service: Service = None,
    url: Urls = None,
    as_json: Json = False,
) -> None:
    """One letter: the record, why it was parked, what was done with it."""
    services = work(lambda: services_of(service, url or []))
    holder = work(lambda: services.holding(str(letter)))
    one = work(lambda: services.ask(holder, "GET", f"/letters/{letter}", params={"reveal": reveal}))
    _json(one) if as_json else show.letter(one, reveal=reveal)


def _body(group: str | None, key: str | None, tenant: UUID | None, consumer: str | None, **more: Any) -> dict[str, Any]:
    """What is chosen. Raises :class:`Refused` when nothing is."""
    chosen = {"fingerprint": group, "lane": key, "tenant": str(tenant) if tenant else None, "consumer": consumer}
    given = {name: value for name, value in {**chosen, **more}.items() if value not in (None, "")}
    if not set(given) & {*chosen, "ids"}:
        raise Refused("say which letters: one by its id, or --group, --key, --tenant or --consumer")
    return given


def _for_all(services: Services, path: str, body: dict[str, Any], word: str) -> int:
    total = 0
    for name in services.urls:
        total += services.ask(name, "POST", path, body=body)[word]
    return total


@app.command()
def retry(  # long: every parameter is an option of the command
    letter: Annotated[UUID | None, typer.Argument(help="One letter's id.")] = None,
    group: Group = None,
    key: Key = None,
    tenant: Tenant = None,
    consumer: Consumer = None,
    why: MaybeWhy = "",
    service: Service = None,
    url: Urls = None,
    as_json: Json = False,
) -> None:
    """Have letters tried again by the running service, the letters of each key in their order."""
    services = work(lambda: services_of(service, url or []))

    def ask() -> int:
        if letter is not None:
            body = {"ids": [str(letter)], "why": why}
            return int(services.ask(services.holding(str(letter)), "POST", "/retry", body=body)["asked"])
        return _for_all(services, "/retry", _body(group, key, tenant, consumer, why=why), "asked")

    asked = work(ask)
    if as_json:
        _json({"asked": asked})
    elif asked:
        show.err.print(f"{asked} letters will be tried again within seconds; look: trunkline dlq list")
    else:
        show.err.print("No such letters wait.")


@app.command()
def drop(  # long: every parameter is an option of the command
    why: Why,
    letter: Annotated[UUID | None, typer.Argument(help="One letter's id.")] = None,
    group: Group = None,
    key: Key = None,
    tenant: Tenant = None,
    consumer: Consumer = None,
    yes: Yes = False,
    service: Service = None,
    url: Urls = None,
    as_json: Json = False,
) -> None:
    """Give letters up. What waits behind them goes on, without them. Dropped letters can be restored for 30 days."""
    services = work(lambda: services_of(service, url or []))
    if not yes:
        show.err.print("These records will never take effect; what waits behind them goes on without them.")
        typer.confirm("Drop them?", abort=True, err=True)

    def ask() -> int:
        if letter is not None:
            body = {"ids": [str(letter)], "why": why}
            return int(services.ask(services.holding(str(letter)), "POST", "/drop", body=body)["dropped"])
        return _for_all(services, "/drop", _body(group, key, tenant, consumer, why=why), "dropped")

    dropped = work(ask)
    if as_json:
        _json({"dropped": dropped})
    else:
        show.err.print(f"{dropped} letters dropped; take one back: trunkline dlq restore …")


@app.command()
def restore(letter: Letter, service: Service = None, url: Urls = None) -> None:
    """Take a dropped letter back. What came after it has gone by; its key waits again from now on."""
    services = work(lambda: services_of(service, url or []))
    work(lambda: services.ask(services.holding(str(letter)), "POST", f"/letters/{letter}/restore"))
    show.err.print(f"it waits again; try it: trunkline dlq retry {letter}")


@app.command()
def edit(
    letter: Letter,
    why: Why,
    value_file: Annotated[
        Path | None, typer.Option(help="The new value; without it, $EDITOR opens with the present one (audited).")
    ] = None,
    yes: Yes = False,
    service: Service = None,
    url: Urls = None,
) -> None:
    """Repair a record's value. Shows the difference before it is stored; the original is kept."""
    services = work(lambda: services_of(service, url or []))
    holder = work(lambda: services.holding(str(letter)))
    present = work(lambda: services.ask(holder, "GET", f"/letters/{letter}", params={"reveal": True}))["value"]
    new = value_file.read_text(encoding="utf-8") if value_file else _edited(present)
    if new is None or new.strip() == present.strip():
        show.err.print("Nothing was changed.")
        raise typer.Exit(2)
    now, then = _pretty(present).splitlines(), _pretty(new).splitlines()
    show.difference("\n".join(difflib.unified_diff(now, then, "now", "then", lineterm="")))
    if not yes:
        typer.confirm("Have this tried in its place?", abort=True, err=True)
    work(lambda: services.ask(holder, "PUT", f"/letters/{letter}/value", body={"value": new.strip(), "why": why}))
    show.err.print(f"stored; try it: trunkline dlq retry {letter}")


def _pretty(text: str) -> str:
    try:
        return json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except ValueError:
        return text


def _edited(text: str) -> str:
    """The text after the operator's editor had it."""
    with tempfile.NamedTemporaryFile("w+", suffix=".json", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        subprocess.run([*shlex.split(os.environ.get("EDITOR") or "vi"), file.name], check=True)
        return Path(file.name).read_text(encoding="utf-8")


@app.command()
def plan(  # long: every parameter is an option of the command
    action: Annotated[str, typer.Argument(help="retry or drop.")],
    consumer: Annotated[str, typer.Option(help="The consumer group whose letters they are.")],
    service: Annotated[str, typer.Option(help="The service that has them.")],
    group: Group = None,
    key: Key = None,
    tenant: Tenant = None,
    rate: Annotated[float, typer.Option(min=0.1, help="At most so many letters a second.")] = 10.0,
    why: MaybeWhy = "",
    url: Urls = None,
    as_json: Json = False,
) -> None:
    """Plan a bulk action: counts and freezes which letters. Changes nothing."""
    services = work(lambda: services_of(service, url or []))
    body = work(lambda: _body(group, key, tenant, consumer, why=why, action=action, rate=rate))
    job = work(lambda: services.ask(service, "POST", "/jobs", body=body))
    if as_json:
        _json(job)
        return
    show.jobs([job])
    seconds = job["letters"] / job["rate"]
    show.err.print(f"It takes {seconds:.0f} s. Do it: trunkline dlq apply {job['id']} --hash {job['plan_hash']} "
                   f"--service {service}")  # fmt: skip


@app.command()
def apply(
    job: Annotated[UUID, typer.Argument(help="The plan's id.")],
    service: Annotated[str, typer.Option(help="The service that has it.")],
    plan_hash: Annotated[str, typer.Option("--hash", help="The hash that `dlq plan` showed.")],
    url: Urls = None,
    as_json: Json = False,
) -> None:
    """Begin a planned bulk action; the running service goes through it at the planned rate."""
    services = work(lambda: services_of(service, url or []))
    told = work(lambda: services.ask(service, "POST", f"/jobs/{job}/apply", body={"plan_hash": plan_hash}))
    if as_json:
        _json(told)
        return
    show.err.print(f"begun; look: trunkline dlq status   end it: trunkline dlq cancel {job} --service {service}")


@app.command()
def cancel(
    job: Annotated[UUID, typer.Argument(help="The bulk action's id.")],
    service: Annotated[str, typer.Option(help="The service that has it.")],
    url: Urls = None,
) -> None:
    """End a bulk action. What it has done stays done."""
    services = work(lambda: services_of(service, url or []))
    told = work(lambda: services.ask(service, "POST", f"/jobs/{job}/cancel"))
    show.err.print(f"cancelled after {told['done']} of {told['letters']} letters")


@app.command()
def status(service: Service = None, url: Urls = None, as_json: Json = False) -> None:
    """Bulk actions: how far they are."""
    services = work(lambda: services_of(service, url or []))
    told = services.ask_all("/jobs")
    found = [each for answer in told.answers.values() for each in answer["jobs"]]
    _json({"jobs": found, "unavailable": dict(told.silent)}) if as_json else show.jobs(found)
    show.silent({} if as_json else told.silent)
    if told.silent:
        raise typer.Exit(1)
