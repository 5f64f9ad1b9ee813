"""A panel: one live list of cards. Which query feeds it follows from its name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Facet", "Panel"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Facet:
    """A filter of a panel: cards whose ``facet`` is ``value``."""

    value: str
    label: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Panel:
    name: str
    """Also its queries, ``recent_<name>`` and ``changed_<name>``, and its template, ``cards/<name>.html``."""
    title: str
    page: str
    """The page that shows all of it; a role that may not see the page does not see the panel."""
    empty: str
    """What stands there while there is nothing: what will appear, and because of what."""
    facets: tuple[Facet, ...] = ()
    card: Callable[[Mapping[str, Any]], dict[str, Any]]
    """From a row of the panel's query to what its template shows. Pure."""
    whole: bool = False
    """No change of it may be left out: when more has changed than is sent, its browsers load the page anew."""
