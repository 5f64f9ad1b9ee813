"""From rows to HTML: the templates, what they may use, and one card by itself for live updates."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from importlib.resources import files
from typing import Any
from zoneinfo import ZoneInfo

from jinja2 import Environment, PackageLoader, StrictUndefined

from front_desk.panels import PANELS
from front_desk.panels.base import Panel
from front_desk.present import clock, duration, phone, plain_count, wording

__all__ = ["STATIC", "Asset", "Card", "Renderer"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Asset:
    """A static file, served under an address that changes with its content."""

    content: bytes
    media_type: str
    version: str


def _asset(name: str, media_type: str) -> Asset:
    content = files("front_desk").joinpath("static", name).read_bytes()
    return Asset(content=content, media_type=media_type, version=hashlib.sha256(content).hexdigest()[:12])


STATIC = {
    "console.css": _asset("console.css", "text/css; charset=utf-8"),
    "console.js": _asset("console.js", "text/javascript; charset=utf-8"),
    "missed.js": _asset("missed.js", "text/javascript; charset=utf-8"),
    "mark.svg": _asset("mark.svg", "image/svg+xml"),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Card:
    """One card as the page has it and as the stream sends it."""

    id: str
    html: str
    facet: str
    at_ms: int
    place: str
    """Where the next page begins."""


class Renderer:
    """Renders pages and cards. Everything is escaped; times are the tenant's."""

    def __init__(self) -> None:
        self._environment = Environment(
            loader=PackageLoader("front_desk"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters.update(wording=wording, duration=duration, phone=phone, grouped=plain_count)
        self._environment.globals["static"] = lambda name: f"/static/{name}?v={STATIC[name].version}"
        self._cards = {name: self._environment.get_template(f"cards/{name}.html") for name in PANELS}

    def page(self, template: str, **values: Any) -> str:
        return self._environment.get_template(template).render(**values)

    def card(self, panel: Panel, row: Mapping[str, Any], zone: ZoneInfo, now: datetime) -> Card:
        at: datetime = row["at"]
        today = now.astimezone(zone).date()
        html = self._cards[panel.name].render(
            card=panel.card(row),
            element=f"{panel.name}-{row['id']}",
            at_ms=int(at.timestamp() * 1000),
            clock=lambda value: clock(value, zone, today),
        )
        return Card(
            id=f"{panel.name}-{row['id']}",
            html=html,
            facet=row["facet"],
            at_ms=int(at.timestamp() * 1000),
            place=f"{at.isoformat()}~{row['id']}",
        )
