"""A decision in words, for whoever asks why a call went where it went."""

from __future__ import annotations

from telephony_router.routing import Decision, Exclusion

__all__ = ["UNCONFIRMED", "sentence"]

UNCONFIRMED = "What the PBX reported of this call is not confirmed: its sender is known by a secret address alone."

RULES = {
    "last_agent": "talked to this caller last",
    "owner": "owns this customer",
    "did_default": "is a default of the dialled number",
    "did_fallback": "is the fallback of the dialled number",
    "tenant_fallback": "is the last resort of the business",
}
REASONS = {
    "on_leave": "is on leave",
    "outside_hours": "is outside working hours",
    "inactive": "is not active",
    "no_number": "has no number",
    "is_caller": "is the caller",
    "is_did": "would ring the dialled number itself",
    "unknown_staff": "is not in the directory",
    "too_long_ago": "talked to the caller too long ago",
}


def sentence(decision: Decision) -> str:
    """One or two sentences, with names and without numbers."""
    if decision.rule == "blocked":
        return "Nobody was rung: the caller is blocked."
    excluded = "; ".join(_left_out(each) for each in decision.excluded)
    if not decision.destinations:
        return f"Nobody was rung: {excluded}." if excluded else "Nobody was rung: no one is set up for this number."
    first, *others = decision.destinations
    then = f" (then {', '.join(_name(each.name) for each in others)})" if others else ""
    why = f"this {'person' if first.name else 'number'} {RULES.get(first.reason, first.reason)}"
    rung = f"{_name(first.name)} was rung{then} because {why}"
    return f"{rung}. Left out: {excluded}." if excluded else f"{rung}."


def _name(name: str) -> str:
    return name or "The fallback number"


def _left_out(each: Exclusion) -> str:
    who = each.name or (f"staff {each.staff_id}" if each.staff_id else "the fallback number")
    return f"{who} ({each.rule.replace('_', ' ')}) {REASONS.get(each.reason, each.reason)}"
