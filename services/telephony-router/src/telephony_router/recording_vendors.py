"""Where vendors keep recordings, how they let their customers in, and which channel is whose."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

__all__ = ["HOSTS", "agent_channel", "own_credential"]

HOSTS: Mapping[str, Sequence[str]] = {
    "bonvoice": ("*.bonvoice.com",),
    "exotel": ("*.exotel.com", "*.exotel.in"),
    "knowlarity": ("*.knowlarity.com",),
    "myoperator": ("*.myoperator.com", "*.myoperator.co"),
    "plivo": ("*.plivo.com",),
    "smartflo": ("*.tatatelebusiness.com", "*.tatateleservices.com"),
    "telnyx": ("*.telnyx.com",),
    "twilio": ("api.twilio.com",),
    "vonage": ("*.nexmo.com", "*.vonage.com"),
}
"""Whom an account's credentials may be shown, and from where a sender that proves nothing may have us fetch. What else
an account has is added with ``trunkline recordings access``."""

_TWILIO_ACCOUNT = re.compile(r"/Accounts/(AC[0-9a-fA-F]{32})/")


def own_credential(vendor: str, url: str, tokens: Sequence[str], attempt: int) -> str:
    """What opens a recording when nothing was set for the account; empty for nothing.

    Twilio's is the account that its address names, with the token that also signs its webhooks. Two tokens may live
    at once: attempts take turns.
    """
    named = _TWILIO_ACCOUNT.search(urlsplit(url).path) if vendor == "twilio" and tokens else None
    return f"{named[1]}:{tokens[(attempt - 1) % len(tokens)]}" if named else ""


def agent_channel(chosen: int | None, direction: str) -> int:
    """1 or 2. Where nothing was chosen: vendors put the leg that a call began with on the first channel, so the agent
    of an inbound call is on the second, and of an outbound one on the first.
    """
    return chosen or (2 if direction == "inbound" else 1)
