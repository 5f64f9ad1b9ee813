"""Just enough of PromQL to check queries as data: what they select, what Grafana puts in, comparisons as values."""

from __future__ import annotations

import re
from collections.abc import Mapping

__all__ = ["always", "grouped", "metrics_of", "selectors", "substituted"]

_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')
_GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)")
_KEEPING = re.compile(r"\b(?:by|on)\s*\(([^)]*)\)")
_SELECTOR = re.compile(r"(?<![\w:$.])([a-zA-Z_:][\w:]*)\s*(\{[^}]*\})?(?!\s*\(|[\w:])")
_WORDS = frozenset(
    ("and", "or", "unless", "bool", "offset", "inf", "nan", "by", "on", "without", "ignoring", "start", "end")
)
_COMPARISON = re.compile(r"(==|!=|>=|<=|>|<)(?!\s*bool)")
_BRACES = re.compile(r"\{[^}]*\}")
_TEMPLATED = re.compile(r"\$\{?\w+(?::\w+)?\}?")
_RANGE = re.compile(r"\[[^\]]*\]")


def substituted(expr: str, values: Mapping[str, str]) -> str:
    """``expr`` with ``$name`` and ``${name}`` replaced, as Grafana does before it asks Prometheus."""
    return re.sub(r"\$(?:\{(\w+)(?::\w+)?\}|(\w+))", lambda m: values.get(m[1] or m[2], m[0]), expr)


def selectors(expr: str) -> list[str]:
    """Every vector selector of an expression: ``name`` or ``name{matchers}``, without ranges, each once."""
    held: list[str] = []

    def hold(match: re.Match[str]) -> str:
        held.append(match.group())
        return f'"{len(held) - 1}"'

    # Strings are put away first: a brace or a word in one is not syntax.
    plain = _TEMPLATED.sub("1", _RANGE.sub("", _GROUPING.sub("", _QUOTED.sub(hold, expr))))
    found = []
    for match in _SELECTOR.finditer(_without_numbers(plain)):
        name, matchers = match.group(1), match.group(2) or ""
        if name.lower() in _WORDS:
            continue
        found.append(name + re.sub(r'"(\d+)"', lambda m: held[int(m.group(1))], matchers))
    return list(dict.fromkeys(found))


def _without_numbers(expr: str) -> str:
    return re.sub(r"(?<![\w:])\d+(?:\.\d+)?(?:e[+-]?\d+|[smhdwy])?(?![\w:\"])", " ", expr)


def metrics_of(expr: str) -> set[str]:
    """The names of the metrics that an expression reads."""
    return {selector.partition("{")[0] for selector in selectors(expr)}


def grouped(expr: str) -> set[str]:
    """The labels by which an expression groups or matches."""
    clauses = _KEEPING.findall(_QUOTED.sub("", expr))
    return {label for clause in clauses for label in re.findall(r"\w+", clause)}


def always(expr: str) -> str:
    """``expr`` with each comparison giving 0 or 1 instead of dropping series.

    An alert's expression is empty while all is well; this one is not, unless its metrics are gone or its sides do
    not match, which is what has to be found out.
    """
    held: list[str] = []

    def hold(match: re.Match[str]) -> str:
        held.append(match.group())
        return f"\x00{len(held) - 1}\x00"

    masked = _COMPARISON.sub(r"\1 bool", _BRACES.sub(hold, _QUOTED.sub(hold, expr)))
    while "\x00" in masked:
        masked = re.sub(r"\x00(\d+)\x00", lambda m: held[int(m.group(1))], masked)
    return masked
