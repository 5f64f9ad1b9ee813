"""What part a conversation plays. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["ROLES", "Facts", "Role", "Told", "role_of"]

Role = Literal["client", "lead", "vendor", "internal", "personal", "unknown"]
ROLES: tuple[Role, ...] = ("client", "lead", "vendor", "internal", "personal", "unknown")


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """What is known of a chat: how many people are in it beside the account, and who of them is what.

    In a direct chat that is one. ``vendors`` and ``personal`` are people whose direct chat a person called so."""

    direct: bool
    people: int
    ours: int = 0
    """With a number of staff, or of an account of the archive."""
    customers: int = 0
    leads: int = 0
    vendors: int = 0
    personal: int = 0
    said: str | None = None
    """What a person decided of this chat."""
    said_by: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    role: Role
    by_person: bool
    reason: str


def role_of(facts: Facts) -> Told:
    """The first rule that holds: a person's word, only staff, a customer, a lead, a vendor, only personal ones."""
    if facts.said in ROLES:
        said: Role = next(role for role in ROLES if role == facts.said)
        return Told(role=said, by_person=True, reason=f"decided by {facts.said_by}")
    others = facts.people - facts.ours
    if facts.people and not others:
        return _told("internal", "the number is one of ours" if facts.direct else "everybody in it is staff")
    if facts.customers:
        return _told("client", "linked to a customer" if facts.direct else _of(facts.customers, "linked to a customer"))
    if facts.leads:
        return _told("lead", "linked to a lead" if facts.direct else _of(facts.leads, "linked to a lead"))
    if not facts.direct and facts.vendors:
        return _told("vendor", _of(facts.vendors, "somebody's own chat with whom is a vendor's"))
    if not facts.direct and others and facts.personal == others:
        return _told("personal", "everybody in it who is not staff is personal")
    return _told("unknown", "linked to nobody" if facts.direct else "nobody in it is linked")


def _of(count: int, what: str) -> str:
    return f"{count} in it: {what}"


def _told(role: Role, reason: str) -> Told:
    return Told(role=role, by_person=False, reason=reason)
