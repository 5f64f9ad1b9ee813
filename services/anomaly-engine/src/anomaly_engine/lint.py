"""The first fence round a rule's query: only what is known to be harmless may be in it.

Everything is an allow-list: of kinds of statement, of nodes of the syntax tree (so of functions too), of types, of
tables. What is executed is written from the tree that was checked, never the text that was given, so that there
is nothing that Postgres could read otherwise than we did.

A syntax tree is no sandbox. The others fences are the role (reads this schema's projections of one tenant only),
the read-only transaction, the time-out and the row cap; see ``store.RuleReader``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

__all__ = ["PROJECTIONS", "executable"]

PROJECTIONS = frozenset({"archive", "call", "fact", "tenant"})
"""What rules may read."""

MAX_CHARACTERS = 8_000
_ROOTS = (exp.Select, exp.SetOperation)

_SHAPE: tuple[type[exp.Expression], ...] = (
    exp.Alias, exp.Column, exp.CTE, exp.Except, exp.From, exp.Group, exp.Having, exp.Identifier, exp.Intersect,
    exp.Join, exp.Limit, exp.Order, exp.Ordered, exp.Paren, exp.Select, exp.Star, exp.Subquery, exp.Table,
    exp.TableAlias, exp.Tuple, exp.Union, exp.Var, exp.Where, exp.With,
)  # fmt: skip
_VALUES: tuple[type[exp.Expression], ...] = (
    exp.Boolean, exp.Cast, exp.DataType, exp.Interval, exp.Literal, exp.Null, exp.Placeholder,
)  # fmt: skip
_OPERATORS: tuple[type[exp.Expression], ...] = (
    exp.Add, exp.And, exp.AtTimeZone, exp.Between, exp.Case, exp.Distinct, exp.Div, exp.DPipe, exp.EQ, exp.Exists,
    exp.Filter, exp.GT, exp.GTE, exp.If, exp.ILike, exp.In, exp.Is, exp.Like, exp.LT, exp.LTE, exp.Mod, exp.Mul,
    exp.Neg, exp.NEQ, exp.Not, exp.NullSafeEQ, exp.NullSafeNEQ, exp.Or, exp.Sub, exp.Window, exp.WindowSpec,
)  # fmt: skip
_FUNCTIONS: tuple[type[exp.Expression], ...] = (
    exp.Abs, exp.Avg, exp.Ceil, exp.Coalesce, exp.Count, exp.DenseRank, exp.Extract, exp.Floor, exp.Greatest,
    exp.GroupConcat, exp.Lag, exp.Lead, exp.Least, exp.Length, exp.LogicalAnd, exp.LogicalOr, exp.Lower, exp.Max,
    exp.Min, exp.Nullif, exp.Rank, exp.Round, exp.RowNumber, exp.Sum, exp.TimestampTrunc, exp.Trim, exp.Upper,
)  # fmt: skip
_ALLOWED = frozenset((*_SHAPE, *_VALUES, *_OPERATORS, *_FUNCTIONS))
_TYPES = frozenset(
    exp.DataType.Type[name]
    for name in ("BIGINT", "BOOLEAN", "DATE", "DECIMAL", "DOUBLE", "INT", "INTERVAL", "TEXT", "TIMESTAMPTZ", "UUID")
)
_CLOCKS = (exp.CurrentTimestamp, exp.CurrentDate, exp.CurrentTime, exp.Localtime, exp.Localtimestamp)
# Postgres reads these words as the time of the query wherever it expects a time.
_CLOCK_WORDS = frozenset({"now", "today", "tomorrow", "yesterday"})


def executable(sql: str, *, requires: Iterable[str]) -> tuple[str, list[str]]:
    """Check a query; return what may be executed, with ``$1`` for ``:as_of``, and what is wrong with it.

    With anything wrong there is nothing to execute.
    """
    if len(sql) > MAX_CHARACTERS:
        return "", [f"the query is longer than {MAX_CHARACTERS} characters"]
    try:
        trees = [tree for tree in sqlglot.parse(sql, read="postgres") if tree is not None]
    except (SqlglotError, RecursionError, ValueError) as error:
        return "", [f"the query cannot be read ({type(error).__name__})"]
    if len(trees) != 1:
        return "", [f"a rule is one statement; this is {len(trees)}"]
    root = trees[0]
    if not isinstance(root, _ROOTS):
        return "", [f"a rule is a SELECT; this is {_say(root)}"]
    allowed = frozenset(requires)
    problems = [f"{name} is not a projection that rules may read" for name in sorted(allowed - PROJECTIONS)]
    problems += _nodes(root)
    problems += _tables(root, allowed)
    if problems:
        return "", list(dict.fromkeys(problems))
    return _written(root), []


def _nodes(root: exp.Expression) -> Iterator[str]:
    asks_for_time = False
    for node in root.walk():
        if isinstance(node, _CLOCKS):
            yield "the clock is not read by a rule; use :as_of"
        elif type(node) not in _ALLOWED:
            yield f"{_say(node)} is not allowed in a rule"
        elif isinstance(node, exp.DataType) and (node.this not in _TYPES or node.args.get("expressions")):
            yield f"the type {node.sql('postgres')} is not allowed in a rule"
        elif isinstance(node, exp.Literal) and node.is_string and _is_clock_word(node.this):
            yield "the clock is not read by a rule, also not as a word; use :as_of"
        elif isinstance(node, exp.Placeholder):
            asks_for_time = asks_for_time or node.this == "as_of"
            if node.this != "as_of":
                yield "the only parameter of a rule is :as_of"
        elif isinstance(node, exp.With) and (node.args.get("recursive") or node.parent is not root):
            yield "WITH stands at the beginning of a rule, once, and without RECURSIVE"
    if not asks_for_time:
        yield "the query does not use :as_of, so it could not be asked for another day"


def _tables(root: exp.Expression, allowed: frozenset[str]) -> Iterator[str]:
    """Names are resolved as Postgres does it: a WITH query is known to those after it, else a name is a table."""
    known = set(allowed)
    with_ = root.args.get("with_")
    for query in with_.expressions if with_ is not None else ():
        yield from _named(query.this, known)
        if query.alias in PROJECTIONS:
            yield f"a WITH query is named {query.alias}, like a projection; give it a name of its own"
        known.add(query.alias)
    inner = root.copy()
    inner.set("with_", None)
    yield from _named(inner, known)


def _named(tree: exp.Expression, known: set[str]) -> Iterator[str]:
    for table in tree.find_all(exp.Table):
        if table.args.get("db") or table.args.get("catalog"):
            yield "tables are named without a schema"
        elif not isinstance(table.this, exp.Identifier) or table.this.args.get("quoted"):
            yield "tables are named plainly, without quotes or parentheses"
        elif table.name.lower() not in known:
            yield f"{table.name.lower()} is read but not in requires"


def _is_clock_word(text: str) -> bool:
    return bool(set(re.findall(r"[a-z]+", text.lower())) & _CLOCK_WORDS) and len(text) < 40


def _written(root: exp.Expression) -> str:
    def bind(node: exp.Expression) -> exp.Expression:
        if isinstance(node, exp.Placeholder):
            return exp.cast(exp.Parameter(this=exp.Literal.number(1)), exp.DataType.Type.TIMESTAMPTZ)
        return node

    return root.transform(bind).sql(dialect="postgres", comments=False)


def _say(node: exp.Expr) -> str:
    if isinstance(node, exp.Anonymous):
        return f"the function {node.name.lower()}"
    return type(node).__name__.upper()
