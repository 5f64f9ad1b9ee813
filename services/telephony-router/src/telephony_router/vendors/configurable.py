"""A ring's question and answer under names that an account sets: for PBXs whose own contract is not published."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic_core import to_json

from telephony_router.routing import Decision
from telephony_router.signals import CallSignal
from telephony_router.vendors.base import HOPS_HEADER, RECORD, RawRequest, Response, hops_of, moment
from telephony_router.vendors.reading import at_path, call_id_of, given, unquoted

__all__ = ["OPTIONS", "Question", "answer", "ask"]

NESTED = (dict, list)
IN = {
    "call_id": "the id of the call",
    "from": "the caller's number",
    "to": "the number that was dialled",
    "at": "the time",
    "digits": "what the caller typed",
    "hops": "how often the call was passed on before",
}
OUT = {
    "call_id": "the id of the call",
    "action": "what to do",
    "destinations": "whom to ring",
    "number": "a destination's number, within it",
    "name": "a destination's name, within it",
    "reason": "why a destination was chosen, within it",
    "ring_seconds": "how long each rings",
    "parallel": "whether they ring at once",
    "hops": "how often the call was passed on by now, to be sent along when it is passed on again",
    "record": "whether to record",
    "excluded": "who was left out, and why",
}
ADDED = frozenset({"parallel", "hops"})
OPTIONS: Mapping[str, str] = {
    "record": RECORD,
    **{f"in.{name}": f"the question's field with {what}; dots lead into objects" for name, what in IN.items()},
    **{
        f"out.{name}": f"the answer's field for {what}; dots make objects, - leaves it out"
        for name, what in OUT.items()
    },
    "out.style": "objects (default), numbers (a list of numbers) or text (numbers with commas)",
    "out.dial": "the word for an answer with destinations; dial by default",
    "out.reject": "the word for an answer with none; reject by default",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """Where a vendor's question has what, unless the account says otherwise. Several names: the first that is there."""

    call_id: tuple[str, ...] = ("call_id",)
    caller: tuple[str, ...] = ("from",)
    did: tuple[str, ...] = ("to",)
    at: tuple[str, ...] = ("at",)
    digits: tuple[str, ...] = ("digits",)
    hops: tuple[str, ...] = ("hops",)


def ask(fields: Mapping[str, Any], request: RawRequest, vendor: str, question: Question) -> CallSignal:
    """The ring that a question stands for."""
    options = request.options
    digits = _value(fields, options.get("in.digits"), question.digits)
    return CallSignal(
        kind="ring",
        vendor=vendor,
        call_id=call_id_of({"call_id": _value(fields, options.get("in.call_id"), question.call_id)}, "call_id"),
        caller_raw=given(_value(fields, options.get("in.from"), question.caller)),
        did_raw=given(_value(fields, options.get("in.to"), question.did)),
        at=moment(_value(fields, options.get("in.at"), question.at)),
        digits=unquoted(digits) if digits is not None else "",
        hops=hops_of(_value(fields, options.get("in.hops"), question.hops) or request.headers.get(HOPS_HEADER)),
    )


def _value(fields: Mapping[str, Any], own: str | None, defaults: tuple[str, ...]) -> Any:
    """The field that the account names, else the first of the defaults that says something."""
    if own:
        return at_path(fields, own)
    for name in defaults:
        value = fields.get(name)
        if value is not None and (isinstance(value, NESTED) or given(value)):
            return value
    return None


def answer(decision: Decision, signal: CallSignal, request: RawRequest) -> Response:
    """The decision as a JSON object. Without options it is the router's own dialect."""
    options = request.options
    if not any(name.startswith("out.") for name in options):
        return Response(body=to_json(_own(decision, signal, options)), content_type="application/json")
    # What was added since accounts named their fields is left out until they name it.
    names = {name: options.get(f"out.{name}", "-" if name in ADDED else name) for name in OUT}
    word = options.get("out.dial", "dial") if decision.destinations else options.get("out.reject", "reject")
    values = _own(decision, signal, options)
    values["action"] = word
    values["destinations"] = _destinations(decision, names, options.get("out.style", "objects"))
    answered: dict[str, Any] = {}
    for name, value in values.items():
        _put(answered, names[name], value)
    return Response(body=to_json(answered), content_type="application/json")


def _own(decision: Decision, signal: CallSignal, options: Mapping[str, str]) -> dict[str, Any]:
    values: dict[str, Any] = {
        "call_id": signal.call_id,
        "action": decision.action if decision.destinations else "reject",
        "destinations": [
            {"number": target.number, "name": target.name, "reason": target.reason} for target in decision.destinations
        ],
        "ring_seconds": decision.ring_seconds,
        "parallel": decision.parallel,
        "hops": signal.hops + 1,
        "excluded": [
            {"staff_id": each.staff_id, "name": each.name, "rule": each.rule, "reason": each.reason}
            for each in decision.excluded
        ],
    }
    if options.get("record") == "true":
        values["record"] = True
    return values


def _destinations(decision: Decision, names: Mapping[str, str], style: str) -> Any:
    numbers = [target.number for target in decision.destinations]
    if style == "numbers":
        return numbers
    if style == "text":
        return ",".join(numbers)
    found = []
    for target in decision.destinations:
        one: dict[str, Any] = {}
        for name, value in (("number", target.number), ("name", target.name), ("reason", target.reason)):
            _put(one, names[name], value)
        found.append(one)
    return found


def _put(into: dict[str, Any], path: str, value: Any) -> None:
    if path in ("", "-"):
        return
    *way, last = path.split(".")
    for name in way:
        inner = into.get(name)
        if not isinstance(inner, dict):
            inner = into[name] = {}
        into = inner
    into[last] = value
