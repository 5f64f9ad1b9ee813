"""A rule: one question to the database whose rows are what is wrong, with what to say about it.

A rule is one ``.sql`` file. It opens with its front matter, one ``-- key: value`` a line, then asks one ``SELECT``
over ``:as_of``, the time that the question is asked for. No rows mean that all is well.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, cast, get_args

from anomaly_engine.lint import executable

__all__ = ["Rule", "RuleMistake", "Severity", "parse_rule"]

Severity = Literal["info", "warning", "critical"]

FIELDS = ("id", "title", "description", "learning", "severity", "version", "requires", "key")
MAX_LINE = {"title": 60, "description": 160, "learning": 300}
_LINE = re.compile(r"^--\s*([a-z_]+):\s*(.*?)\s*$")
_NAME = re.compile(r"^[a-z][a-z0-9_]*$")


class RuleMistake(Exception):
    """A rule's file is not a rule; the message names the file and says what to change."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    id: str
    title: str
    """What is red, in a few words."""
    description: str
    """One line: which rows the query finds."""
    learning: str
    """What the owner can do about it or learn from it."""
    severity: Severity
    version: str
    requires: tuple[str, ...]
    """The projections that the query may read; it may read no other."""
    key: tuple[str, ...]
    """The columns that say which thing is wrong: the fingerprint is made of them."""
    sql: str
    """What is executed: the checked query, with the time as its only parameter."""


def parse_rule(name: str, text: str) -> Rule:
    """Read a rule's file. Raises :class:`RuleMistake` naming every problem at once."""
    values, problems = _front_matter(text)
    problems += [f"the front matter lacks {field}" for field in FIELDS if not values.get(field)]
    if problems:
        raise _mistake(name, problems)
    requires, key = _names(values["requires"]), _names(values["key"])
    problems += _check(name, values, requires, key)
    sql, wrong = executable(text, requires=requires)
    problems += wrong
    if problems:
        raise _mistake(name, problems)
    return Rule(
        id=name,
        title=values["title"],
        description=values["description"],
        learning=values["learning"],
        severity=cast(Severity, values["severity"]),
        version=values["version"],
        requires=requires,
        key=key,
        sql=sql,
    )


def _front_matter(text: str) -> tuple[dict[str, str], list[str]]:
    """The comment lines that open the file; it ends at the first line that is not one."""
    values: dict[str, str] = {}
    problems: list[str] = []
    for line in text.splitlines():
        if not line.startswith("--"):
            break
        match = _LINE.match(line)
        if match is None:
            problems.append("a line of the front matter is not '-- key: value'")
        elif match[1] not in FIELDS:
            problems.append(f"{match[1]} is not a key of the front matter; it knows {', '.join(FIELDS)}")
        elif match[1] in values:
            problems.append(f"{match[1]} is given twice")
        else:
            values[match[1]] = match[2]
    return values, problems


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.strip("[]").split(",") if part.strip())


def _check(name: str, values: dict[str, str], requires: tuple[str, ...], key: tuple[str, ...]) -> list[str]:
    problems = []
    if values["id"] != name or not _NAME.match(name):
        problems.append(f"the id is {values['id']}, the file is {name}.sql; both are one name in snake_case")
    if values["severity"] not in get_args(Severity):
        problems.append(f"severity is one of {', '.join(get_args(Severity))}")
    if not values["version"].isdecimal():
        problems.append("version is a whole number that grows when the query changes")
    for field, most in MAX_LINE.items():
        if len(values[field]) > most:
            problems.append(f"{field} has {len(values[field])} characters; {most} are what people read")
    problems += [f"{each} is not a name" for each in (*requires, *key) if not _NAME.match(each)]
    return problems


def _mistake(name: str, problems: list[str]) -> RuleMistake:
    return RuleMistake(f"{name}.sql: " + "; ".join(problems))
