"""A decision in words, for whoever asks why a call went where it went."""

from __future__ import annotations

from telephony_router.routing import Decision, Exclusion, Step, Target

__all__ = [
    "OUTCOME_WORDS",
    "REASON_WORDS",
    "REFUSAL_WORDS",
    "RULE_WORDS",
    "STEP_WORDS",
    "UNCONFIRMED",
    "in_full",
    "sentence",
]

UNCONFIRMED = "What the PBX reported of this call is not confirmed: its sender is known by a secret address alone."

RULE_WORDS = {
    "emergency": "takes all calls during the emergency",
    "spam": "takes calls that look like spam",
    "last_agent": "talked to this caller last",
    "owner": "owns this customer",
    "vip": "takes the calls of VIPs",
    "menu": "takes what the caller chose in the menu",
    "after_hours": "takes calls while the dialled number is closed",
    "did_default": "is a default of the dialled number",
    "did_group": "is in the group of the dialled number",
    "overflow": "takes calls that nobody else can take",
    "did_fallback": "is the fallback of the dialled number",
    "tenant_fallback": "is the last resort of the business",
}
REFUSAL_WORDS = {
    "loop": "the call was going in a circle",
    "blocked": "the caller is blocked",
    "spam": "the caller looks like spam and is nobody we know",
    "nobody": "no one is set up for this number",
}
REASON_WORDS = {
    "unknown_staff": "is not in the directory",
    "unknown_group": "is not among the groups",
    "inactive": "is not active",
    "no_number": "has no number",
    "is_caller": "is the caller",
    "is_did": "would ring the dialled number itself",
    "is_line": "would ring another number of the business",
    "same_number": "has a number that rings already",
    "on_leave": "is on leave",
    "closed": "is not rung while the number is closed",
    "outside_hours": "is outside working hours",
    "too_long_ago": "talked to the caller too long ago",
    "lacks_skill": "lacks a skill that the number asks for",
    "busy": "is on a call",
    "claimed": "is kept free for another call",
    "wrap_up": "is finishing up after a call",
    "loop": "leads back to a number that was tried already",
}
STEP_WORDS = {
    "hops": "how often the call was passed on",
    "blocked": "the blocklist",
    "calendar": "the calendar",
    "emergency": "the emergency",
    "spam": "the spam score",
    "last_agent": "who talked to the caller last",
    "owner": "who owns the customer",
    "vip": "who takes VIPs",
    "menu": "the menu",
    "after_hours": "who takes calls after hours",
    "did_default": "the number's own people",
    "did_group": "the number's group",
    "overflow": "the overflow",
    "did_fallback": "the number's fallback",
    "tenant_fallback": "the business's fallback",
}
OUTCOME_WORDS = {
    "rang": "gave whom to ring",
    "refused": "refused the call",
    "nobody": "had nobody who can take it",
    "open": "is open",
    "closed": "is closed",
    "passed": "had no say",
}


def sentence(decision: Decision) -> str:
    """One or two sentences, with names and without numbers."""
    excluded = "; ".join(_left_out(each) for each in decision.excluded)
    if not decision.destinations:
        if decision.rule == "nobody" and excluded:
            return f"Nobody was rung: {excluded}."
        why = f"Nobody was rung: {REFUSAL_WORDS.get(decision.rule, decision.rule)}."
        return f"{why} Left out: {excluded}." if excluded else why
    first, *others = decision.destinations
    joined = "at once with" if decision.parallel else "then"
    then = f" ({joined} {', '.join(_name(each) for each in others)})" if others else ""
    why = f"this {'person' if first.staff_id or first.name else 'number'} {RULE_WORDS.get(first.reason, first.reason)}"
    rung = f"{_name(first)} was rung{then} because {why}"
    return f"{rung}. Left out: {excluded}." if excluded else f"{rung}."


def in_full(decision: Decision) -> list[str]:
    """The rules that had something to say, in their order, each with whom it could not ring."""
    told = [f"{_step(each)}{_of_rule(each.rule, decision.excluded)}" for each in decision.steps]
    if decision.claimed:
        told.append("Whoever was named was kept free for this call.")
    return told


def _step(step: Step) -> str:
    words = STEP_WORDS.get(step.rule, step.rule)
    return f"{words[0].upper()}{words[1:]} {OUTCOME_WORDS.get(step.outcome, step.outcome)}"


def _of_rule(rule: str, excluded: tuple[Exclusion, ...]) -> str:
    left_out = [f"{_who(each)} {REASON_WORDS.get(each.reason, each.reason)}" for each in excluded if each.rule == rule]
    return f" ({'; '.join(left_out)})." if left_out else "."


def _name(target: Target) -> str:
    if target.name or target.staff_id:
        return target.name or f"Staff {target.staff_id}"
    return "The fallback number" if target.reason.endswith("fallback") else "The number set for such calls"


def _who(each: Exclusion) -> str:
    return each.name or (f"staff {each.staff_id}" if each.staff_id else "the number")


def _left_out(each: Exclusion) -> str:
    number = "the fallback number" if each.rule.endswith("fallback") else "the number"
    who = each.name or (f"staff {each.staff_id}" if each.staff_id else number)
    return f"{who} ({each.rule.replace('_', ' ')}) {REASON_WORDS.get(each.reason, each.reason)}"
