"""The console's pages, who may see them (the one place where roles mean something), and what their addresses name."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from starlette.exceptions import HTTPException

from front_desk.credentials import Role
from front_desk.panels import PANELS
from front_desk.panels.base import Panel

__all__ = ["MAY_ROUTE", "PAGES", "TILES", "Page", "Tile", "addressed", "pages_of", "panels_of", "tiles_of"]

EVERYBODY: frozenset[Role] = frozenset({"owner", "desk", "ops", "admin"})
MAY_ROUTE: frozenset[Role] = frozenset({"owner", "admin"})
"""Who may change how calls are routed; everybody may read it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    name: str
    title: str
    roles: frozenset[Role]

    @property
    def panels(self) -> tuple[Panel, ...]:
        return tuple(panel for panel in PANELS.values() if panel.page == self.name)


PAGES: dict[str, Page] = {
    page.name: page
    for page in (
        Page(name="today", title="Today", roles=EVERYBODY),
        Page(name="calls", title="Calls", roles=EVERYBODY),
        Page(name="missed", title="Missed calls", roles=EVERYBODY),
        Page(name="facts", title="Facts", roles=frozenset({"owner", "desk", "admin"})),
        Page(name="anomalies", title="Anomalies", roles=frozenset({"owner", "ops", "admin"})),
        Page(name="mails", title="Mails", roles=frozenset({"owner", "ops", "admin"})),
        Page(name="archive", title="Archive", roles=EVERYBODY),
        Page(name="routing", title="Routing", roles=EVERYBODY),
        Page(name="letters", title="Dead letters", roles=frozenset({"owner", "ops", "admin"})),
    )
}


def pages_of(role: Role) -> tuple[Page, ...]:
    """The pages a role may see, in the order of the menu."""
    return tuple(page for page in PAGES.values() if role in page.roles)


def panels_of(role: Role) -> tuple[Panel, ...]:
    """The panels a role may see: those of its pages."""
    return tuple(panel for page in pages_of(role) for panel in page.panels)


@dataclass(frozen=True, kw_only=True, slots=True)
class Tile:
    """One figure of the overview, by its name in the query ``board_counts``."""

    name: str
    label: str
    page: str
    facet: str | None = None
    """The filter of the page behind it."""
    alarming: bool = False
    """Anything but zero should be looked at."""


TILES = (
    Tile(name="calls", label="Calls", page="calls"),
    Tile(name="answered", label="Answered", page="calls"),
    Tile(name="missed", label="Missed", page="calls", facet="missed", alarming=True),
    Tile(name="to_call_back", label="To call back", page="missed", alarming=True),
    Tile(name="anomalies", label="Anomalies", page="anomalies", alarming=True),
    Tile(name="conflicts", label="Conflicts", page="facts", facet="conflicting", alarming=True),
    Tile(name="facts", label="Facts", page="facts"),
    Tile(name="mails", label="Mails", page="mails"),
    Tile(name="messages", label="Archived", page="archive"),
)


def tiles_of(role: Role) -> tuple[Tile, ...]:
    return tuple(tile for tile in TILES if role in PAGES[tile.page].roles)


def addressed(text: str) -> UUID:
    """The id in a page's address or form. What is none leads nowhere: 404."""
    try:
        return UUID(text)
    except ValueError:
        raise HTTPException(404) from None
