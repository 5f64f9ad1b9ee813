"""Vendors that name a recording and do not say where it is: asked by that name, their API gives an address for a while.

MyOperator's webhooks tell a file's name, and at best the address of a page for people who are signed in. Its API takes
the account's token and the name in the query, and answers with an address that is good for a day.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from urllib.parse import urlencode, urlsplit

from pydantic_core import from_json

from telephony_router.recording_source import Access, RecordingSource, Refused

__all__ = ["LINK_APIS", "address_of", "named_file"]

LINK_APIS: Mapping[str, str] = {"myoperator": "https://developers.myoperator.co/recordings/link"}
"""By vendor; nobody else's API is asked, and no webhook chooses it."""


def named_file(key: str, url: str) -> str:
    """The vendor's name of a recording; empty when it has none and goes by its address."""
    return "" if url and key == hashlib.sha256(url.encode()).hexdigest()[:32] else key


async def address_of(source: RecordingSource, api: str, token: str, name: str) -> str:
    """Where a recording is now. Raises :class:`Refused`: ``no_link`` when the vendor has no address for it (yet)."""
    asked = f"{api}?{urlencode({'token': token, 'file': name})}"
    # The token is in the address: it goes to this host, and no redirect leads it away.
    answer = await source.read(asked, Access(hosts=(urlsplit(api).hostname or "",), listed_only=True))
    try:
        told = from_json(answer)
    except ValueError:
        raise Refused("no_link", again=True) from None
    link = told.get("url") if isinstance(told, dict) and told.get("status") == "success" else None
    if not isinstance(link, str) or not link:
        raise Refused("no_link", again=True)
    return link
