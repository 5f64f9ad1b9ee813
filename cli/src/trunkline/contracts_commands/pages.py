"""The documents that are made from the contracts, as text: the page for people and the AsyncAPI document."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml  # type: ignore[import-untyped]  # it only writes what we give it

from contracts import asyncapi, catalogue
from contracts.archive import Archive
from contracts.registry import Registry
from contracts.topics import Topic

__all__ = ["pages"]

_MADE = "# Made by `trunkline contracts generate` from libs/contracts; do not edit it.\n"


class _Dumper(yaml.SafeDumper):  # type: ignore[misc]  # untyped, as the import
    def ignore_aliases(self, data: Any) -> bool:
        """Every mapping is written out where it stands: anchors are an obstacle to readers."""
        return True


def _text(dumper: _Dumper, text: str) -> Any:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def pages(registry: Registry, topics: Mapping[str, Topic], committed: Archive) -> dict[str, str]:
    """Each generated document by its path in the checkout. The same contracts give the same bytes."""
    document = asyncapi.document(registry, topics, committed)
    dumped = yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
    return {"docs/events.md": catalogue.page(registry, topics, committed), "docs/asyncapi.yaml": _MADE + dumped}
