"""Recording and alert rules as values, and their rendering to the files that Prometheus reads.

A rule's windows are named (``$long``) and given in seconds, so that the very same rule renders for production and,
scaled down, for a test that cannot wait for an hour. Thresholds, labels and logic are never scaled.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from string import Template
from typing import Any, Literal

__all__ = ["AS_WRITTEN", "RUNBOOKS", "Alert", "Group", "Recording", "Rule", "Scale", "duration", "render"]

Severity = Literal["page", "ticket", "none"]
RUNBOOKS = "docs/runbooks/alerts"
UNITS = ((86400, "d"), (3600, "h"), (60, "m"), (1, "s"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Recording:
    """A query whose answer is kept under a name of its own."""

    name: str
    expr: str
    windows: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Alert:
    """What somebody is told, when, and where it says what to do.

    ``expr`` holds ``$name`` for a window in PromQL's notation and ``${name_seconds}`` for its number of seconds.
    ``page`` wakes somebody, ``ticket`` waits for the morning, ``none`` is for machines.
    """

    name: str
    expr: str
    wait: float
    """Seconds for which it must hold: Prometheus's ``for``."""
    severity: Severity
    summary: str
    runbook: str
    """The page in docs/runbooks/alerts, without its ending."""
    windows: Mapping[str, float] = field(default_factory=dict)
    keep: float = 0
    """Seconds for which it goes on after its cause is gone."""


Rule = Recording | Alert


@dataclass(frozen=True, slots=True)
class Group:
    """Rules that are evaluated together, in order."""

    name: str
    rules: Sequence[Rule]

    @property
    def alerts(self) -> list[Alert]:
        return [rule for rule in self.rules if isinstance(rule, Alert)]


@dataclass(frozen=True, slots=True)
class Scale:
    """How windows shrink: divided by ``by``, but never below ``floor`` seconds, which a rate needs for two samples.

    Ages in seconds shrink with them, but never below ``least``, which is how long nothing need happen at all; and what
    has to hold for a while does so for ``hold`` seconds.
    """

    by: float = 1
    floor: float = 0
    least: float = 0
    hold: float = 1

    def window(self, seconds: float) -> float:
        return seconds if self.by == 1 else max(seconds / self.by, self.floor)

    def age(self, seconds: float) -> float:
        return seconds if self.by == 1 else max(seconds / self.by, self.least)

    def wait(self, seconds: float) -> float:
        return seconds if self.by == 1 else max(seconds / self.by, self.hold)


AS_WRITTEN = Scale()


def duration(seconds: float) -> str:
    """``3600`` as ``1h``: the shortest notation in whole units."""
    whole = max(1, round(seconds))
    for size, unit in UNITS:
        if whole % size == 0:
            return f"{whole // size}{unit}"
    return f"{whole}s"


def expression(rule: Rule, scale: Scale = AS_WRITTEN) -> str:
    """The PromQL of a rule with its windows put in, on as few lines as it was written."""
    values = {name: duration(scale.window(seconds)) for name, seconds in rule.windows.items()}
    values |= {f"{name}_seconds": f"{scale.age(seconds):g}" for name, seconds in rule.windows.items()}
    return Template(rule.expr.strip()).substitute(values)


def render(group: Group, scale: Scale = AS_WRITTEN) -> str:
    """A rules file of one group, in YAML. Strings are written as JSON, which YAML is a superset of."""
    lines = [
        "# Made by `trunkline dashboards generate` from cli/src/trunkline/observability; do not edit it.",
        "groups:",
        f"  - name: {group.name}",
        "    rules:",
    ]
    for rule in group.rules:
        for place, (key, value) in enumerate(_fields(rule, scale).items()):
            lead = "      - " if place == 0 else "        "
            if key == "expr":
                lines.append(f"{lead}expr: |-")
                lines += [f"          {line}".rstrip() for line in str(value).splitlines()]
            elif isinstance(value, dict):
                lines.append(f"{lead}{key}:")
                lines += [f"          {name}: {json.dumps(each, ensure_ascii=False)}" for name, each in value.items()]
            else:
                lines.append(f"{lead}{key}: {value}")
    return "\n".join(lines) + "\n"


def _fields(rule: Rule, scale: Scale) -> dict[str, Any]:
    if isinstance(rule, Recording):
        return {"record": rule.name, "expr": expression(rule, scale)}
    fields: dict[str, Any] = {"alert": rule.name, "expr": expression(rule, scale)}
    if rule.wait:
        fields["for"] = duration(scale.wait(rule.wait))
    if rule.keep:
        fields["keep_firing_for"] = duration(scale.wait(rule.keep))
    fields["labels"] = {"severity": rule.severity}
    fields["annotations"] = {"summary": rule.summary, "runbook_url": f"{RUNBOOKS}/{rule.runbook}.md"}
    return fields
