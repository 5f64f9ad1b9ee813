"""What changed between two versions of a routing, field by field, as people read it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from front_desk.hours import Stretch, write_hours

__all__ = ["Difference", "differences"]

_NAMED = {"groups": "name", "calendars": "name", "holidays": "date"}
"""Lists of values with a name of their own: they are compared by it and not by their place."""
_DERIVED = {"staff_ids"}
"""Said by another field as well, in words that people use."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """One field. Nothing before is new, nothing after is gone."""

    field: str
    before: str | None
    after: str | None

    @property
    def sentence(self) -> str:
        if self.before is None:
            return f"{self.field}: {self.after} (new)"
        if self.after is None:
            return f"{self.field}: {self.before} (gone)"
        return f"{self.field}: {self.before} → {self.after}"


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Difference]:
    """In the order of field names; values in words."""
    old, new = _flat(before), _flat(after)
    return [
        Difference(field=field, before=old.get(field), after=new.get(field))
        for field in sorted(old.keys() | new.keys())
        if old.get(field) != new.get(field)
    ]


def _flat(body: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in body.items():
        field = f"{prefix}{name}"
        if name in _DERIVED or value is None:
            continue
        if name in _NAMED:
            key = _NAMED[name]
            for each in value:
                rest = {inner: of for inner, of in each.items() if inner != key}
                found |= _flat(rest, f"{field}.{each[key]}.") or {f"{field}.{each[key]}": "closed"}
        elif isinstance(value, Mapping):
            found |= _flat(value, f"{field}.")
        elif (words := _words(name, value)) or name == "hours":
            found[field] = words or "always"
    return found


def _words(name: str, value: Any) -> str:
    if name == "hours":
        return write_hours(Stretch(**each) for each in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(str(each) for each in value)
    return str(value)
