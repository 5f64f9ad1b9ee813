"""``trunkline dlq``: what an operator does with records that could not be handled."""

from __future__ import annotations

import difflib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from uuid import UUID

import typer

from trunkline.dlq import edit as value_of
from trunkline.dlq import show
from trunkline.dlq.ask import Refused, Services, Unavailable, services_of

__all__ = ["app"]

T = TypeVar("T")
app = typer.Typer(
    no_args_is_help=True, rich_markup_mode="rich",
    help="Records that could not be handled: list, show, retry, edit, drop.\n\n"
    "While a record is parked, later ones of its key wait behind it, so nothing is handled out of order. Mend the "
    "cause, then [bold]retry[/]: the running service tries the letters of each key in their order. Many letters are "
    "worked by [bold]plan[/] and [bold]apply[/], at a rate, until [bold]cancel[/]. Everything is audited. "
    "What failed in a replay is meant only with its --consumer NAME@REPLAY.\n\n"
    "Exit codes: 0 done, 1 a service did not answer or not all was done, 2 refused or misused.",
)  # fmt: skip

Service = Annotated[str | None, typer.Option(help="Only this service; all of them by default.")]
Urls = Annotated[list[str] | None, typer.Option("--url", help="name=url of a service that is not on this machine.")]
Group = Annotated[str | None, typer.Option(help="The letters of one cause: a group's name, as `dlq list` shows it.")]
Key = Annotated[str | None, typer.Option(help="The letters of one key, in their order: tenant:entity.")]
KeyOf = Annotated[
    UUID | None, typer.Option(metavar="LETTER", help="The letters of the key that this letter has: keys are not shown.")
]
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
        show.say(str(refused), "red")
        raise typer.Exit(2) from None
    except Unavailable as unavailable:
        show.say(str(unavailable), "yellow")
        raise typer.Exit(1) from None


def _json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, default=str, ensure_ascii=False) + "\n")


@app.command(name="list")
def list_(  # long: every parameter is an option of the command
    group: Group = None,
    key: Key = None,
    key_of: KeyOf = None,
    tenant: Tenant = None,
    consumer: Consumer = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many letters of a service.")] = 100,
    service: Service = None,
    url: Urls = None,
    as_json: Json = False,
) -> None:
    """What failed, by cause; with --group, --key, --key-of or --tenant the letters themselves."""
    services = _services(service, url, key_of)
    one_by_one = any(each is not None for each in (group, key, key_of, tenant))
    chosen = _chosen(group, key, key_of, tenant, consumer)
    name, params = ("letters", {**chosen, "limit": limit}) if one_by_one else ("groups", {"consumer": consumer})
    told = services.ask_all(f"/{name}", params=params)
    found = [each for answer in told.answers.values() for each in answer[name]]
    if as_json:
        _json({name: found, "unavailable": told.missing})
    elif one_by_one:
        show.letters(found, all_answered=not told.missing, limit=limit)
    else:
        show.groups(found, all_answered=not told.missing)
    _end(told.missing, as_json)


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


def _services(service: str | None, urls: list[str] | None, key_of: UUID | None = None) -> Services:
    """Whom to ask; of a letter's key only the service that has the letter."""
    services = work(lambda: services_of(service, urls or []))
    if key_of is None:
        return services
    holder = work(lambda: services.holding(str(key_of)))
    return Services(urls={holder: services.urls[holder]}, token=services.token)


def _chosen(
    group: str | None, key: str | None, key_of: UUID | None, tenant: UUID | None, consumer: str | None
) -> dict[str, Any]:
    given = {"fingerprint": group, "lane": key, "key_of": key_of, "tenant": tenant, "consumer": consumer}
    return {name: str(value) for name, value in given.items() if value not in (None, "")}


def _end(missing: dict[str, str], as_json: bool) -> None:
    """Name who gave no answer; then not all was done."""
    if missing:
        show.missing({} if as_json else missing)
        raise typer.Exit(1)


def _act(services: Services, path: str, letter: UUID | None, chosen: dict[str, Any], why: str) -> tuple[Any, ...]:
    """Have every service do it; return how many letters it did and left, and what went wrong where.

    One that does not answer keeps none of the others from it. Ends the command when nobody did anything.
    """
    if letter is not None:
        if chosen:
            raise Refused("one letter, or --group, --key, --key-of, --tenant, --consumer: not both")
        holder = services.holding(str(letter))
        services = Services(urls={holder: services.urls[holder]}, token=services.token)
        chosen = {"ids": [str(letter)]}
    if not chosen:
        raise Refused("say which letters: one by its id, or --group, --key, --key-of, --tenant or --consumer")
    told = services.ask_all(path, "POST", body={**chosen, "why": why})
    word = "asked" if path == "/retry" else "dropped"
    done = {name: answer[word] for name, answer in told.answers.items()}
    left = sum(answer["left"] for answer in told.answers.values())
    if told.refused and not told.silent and not sum(done.values()):
        raise Refused("\n".join(told.refused.values()))
    return done, left, told.missing


@app.command()
def retry(  # long: every parameter is an option of the command
    letter: Annotated[UUID | None, typer.Argument(help="One letter's id.")] = None,
    group: Group = None,
    key: Key = None,
    key_of: KeyOf = None,
    tenant: Tenant = None,
    consumer: Consumer = None,
    why: MaybeWhy = "",
    service: Service = None,
    url: Urls = None,
    as_json: Json = False,
) -> None:
    """Have letters tried again by the running service, the letters of each key in their order."""
    services = _services(service, url, key_of)
    chosen = _chosen(group, key, key_of, tenant, consumer)
    done, left, missing = work(lambda: _act(services, "/retry", letter, chosen, why))
    asked = sum(done.values())
    if as_json:
        _json({"asked": asked, "left": left, "by_service": done, "unavailable": missing})
    elif asked:
        show.say(
            f"{show.number(asked, 'letter', 'letters')} will be tried again within seconds; look: trunkline dlq list"
        )
    else:
        show.say("No such letters wait.")
    _tell_left(left, as_json)
    _end(missing, as_json)


@app.command()
def drop(  # long: every parameter is an option of the command
    why: Why,
    letter: Annotated[UUID | None, typer.Argument(help="One letter's id.")] = None,
    group: Group = None,
    key: Key = None,
    key_of: KeyOf = None,
    tenant: Tenant = None,
    consumer: Consumer = None,
    yes: Yes = False,
    service: Service = None,
    url: Urls = None,
    as_json: Json = False,
) -> None:
    """Give letters up. What waits behind them goes on, without them. Dropped letters can be restored for 30 days."""
    services = _services(service, url, key_of)
    chosen = _chosen(group, key, key_of, tenant, consumer)
    if not yes:
        show.say("These records will never take effect; what waits behind them goes on without them.")
        typer.confirm("Drop them?", abort=True, err=True)
    done, left, missing = work(lambda: _act(services, "/drop", letter, chosen, why))
    dropped = sum(done.values())
    if as_json:
        _json({"dropped": dropped, "left": left, "by_service": done, "unavailable": missing})
    elif dropped:
        show.say(f"{show.number(dropped, 'letter', 'letters')} dropped; take one back: trunkline dlq restore LETTER")
    else:
        show.say("No such letters are there to drop.")
    _tell_left(left, as_json)
    _end(missing, as_json)


def _tell_left(left: int, as_json: bool) -> None:
    if left and not as_json:
        show.say(f"Left alone, since just being tried: {left}. Look again in a moment.", "yellow")


@app.command()
def restore(letter: Letter, why: MaybeWhy = "", service: Service = None, url: Urls = None) -> None:
    """Take a dropped letter back. What came after it has gone by; its key waits again from now on."""
    services = _services(service, url)
    holder = work(lambda: services.holding(str(letter)))
    work(lambda: services.ask(holder, "POST", f"/letters/{letter}/restore", params={"why": why}))
    show.say(f"it waits again; try it: trunkline dlq retry {letter}")


@app.command()
def edit(  # long: every parameter is an option of the command
    letter: Letter,
    why: Why,
    value_file: Annotated[
        Path | None,
        typer.Option(help="The new value; without it, $EDITOR opens with what is tried at present (audited)."),
    ] = None,
    original: Annotated[bool, typer.Option("--original", help="Back to the value that was parked.")] = False,
    yes: Yes = False,
    service: Service = None,
    url: Urls = None,
) -> None:
    """Repair a record's value. Shows the difference before it is stored; the original is kept."""
    if original and value_file is not None:
        work(lambda: _refuse("--original or --value-file: not both"))
    services = _services(service, url)
    file = work(lambda: value_of.from_file(value_file)) if value_file is not None else None
    holder = work(lambda: services.holding(str(letter)))
    one = work(lambda: services.ask(holder, "GET", f"/letters/{letter}", params={"reveal": True}))
    # A value that is no text can be replaced as a whole, and gone back to; only an editor would break it.
    now = one["edited"] if one["is_edited"] else one["value"]
    if original:
        new = one["value"]
    else:
        new = file if file is not None else work(lambda: value_of.edited(value_of.pretty(value_of.present(one))))
    if not new.strip() and not original:
        work(lambda: _refuse("an empty value is not stored; to give the letter up: trunkline dlq drop"))
    if value_of.pretty(new) == value_of.pretty(now):
        work(lambda: _refuse("Nothing was changed."))
    before, after = value_of.pretty(now).splitlines(), value_of.pretty(new).splitlines()
    show.difference("\n".join(difflib.unified_diff(before, after, "now", "then", lineterm="")))
    back = original or value_of.pretty(new) == value_of.pretty(one["value"])
    if back:
        show.say("That is the original; the letter will be no longer edited.")
    elif not value_of.is_json(new):
        show.say("This is not JSON: it will fail again.", "yellow")
    if not yes:
        typer.confirm("Have this tried in its place?", abort=True, err=True)
    body = {"value": None if back else new.strip(), "why": why}
    work(lambda: services.ask(holder, "PUT", f"/letters/{letter}/value", body=body))
    show.say(f"stored; try it: trunkline dlq retry {letter}")


def _refuse(sentence: str) -> None:
    raise Refused(sentence)


@app.command()
def plan(  # long: every parameter is an option of the command
    action: Annotated[Literal["retry", "drop"], typer.Argument(help="What to do with them.")],
    consumer: Annotated[str, typer.Option(help="The consumer group whose letters they are.")],
    service: Annotated[str, typer.Option(help="The service that has them.")],
    group: Group = None,
    key: Key = None,
    key_of: KeyOf = None,
    tenant: Tenant = None,
    rate: Annotated[float, typer.Option(min=0.01, max=10_000, help="At most so many letters a second.")] = 10.0,
    why: MaybeWhy = "",
    url: Urls = None,
    as_json: Json = False,
) -> None:
    """Plan a bulk action: counts and freezes which letters. Changes nothing."""
    services = _services(service, url)
    body = {**_chosen(group, key, key_of, tenant, consumer), "why": why, "action": action, "rate": rate}
    job = work(lambda: services.ask(service, "POST", "/jobs", body=body))
    if as_json:
        _json(job)
        return
    show.jobs([job], all_answered=True)
    show.job_ids(job, service)


@app.command()
def apply(
    job: Annotated[UUID, typer.Argument(help="The plan's id.")],
    service: Annotated[str, typer.Option(help="The service that has it.")],
    plan_hash: Annotated[str, typer.Option("--hash", help="The hash that `dlq plan` showed.")],
    why: MaybeWhy = "",
    url: Urls = None,
    as_json: Json = False,
) -> None:
    """Begin a planned bulk action; the running service goes through it at the planned rate."""
    services = _services(service, url)
    body = {"plan_hash": plan_hash, "why": why}
    told = work(lambda: services.ask(service, "POST", f"/jobs/{job}/apply", body=body))
    if as_json:
        _json(told)
        return
    show.say(f"begun; look: trunkline dlq status   end it: trunkline dlq cancel {job} --service {service}")


@app.command()
def cancel(
    job: Annotated[UUID, typer.Argument(help="The bulk action's id.")],
    service: Annotated[str, typer.Option(help="The service that has it.")],
    why: MaybeWhy = "",
    url: Urls = None,
) -> None:
    """End a bulk action. What it has done stays done."""
    services = _services(service, url)
    told = work(lambda: services.ask(service, "POST", f"/jobs/{job}/cancel", params={"why": why}))
    show.say(f"cancelled after {told['done']} of {told['letters']} letters")


@app.command()
def status(service: Service = None, url: Urls = None, as_json: Json = False) -> None:
    """Bulk actions: how far they are, what came of their letters, who did what to them."""
    services = _services(service, url)
    told = services.ask_all("/jobs")
    found = [each for answer in told.answers.values() for each in answer["jobs"]]
    if as_json:
        _json({"jobs": found, "unavailable": told.missing})
    else:
        show.jobs(found, all_answered=not told.missing)
    _end(told.missing, as_json)
