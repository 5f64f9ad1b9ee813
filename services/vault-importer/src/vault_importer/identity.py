"""Who is who in WhatsApp's addresses: one canonical address per person, group or list.

``<user>[.<agent>][:<device>]@<server>`` is one person on one device. ``s.whatsapp.net`` addresses are numbers;
``lid`` addresses are the hidden identities that replace them, so the same person can appear under both.
"""

from __future__ import annotations

from collections.abc import Mapping

from vault_importer.formats.base import ChatKind

__all__ = ["LID", "NUMBERED", "canonical", "kind_of_chat", "number_digits"]

NUMBERED = "s.whatsapp.net"
LID = "lid"
_KINDS: dict[str, ChatKind] = {
    NUMBERED: "direct",
    LID: "direct",
    "g.us": "group",
    "broadcast": "broadcast",
    "newsletter": "newsletter",
}


def canonical(user: str, server: str, aliases: Mapping[str, str]) -> str:
    """The address without its device, and the numbered one where an alias is known. Pure."""
    if server in (NUMBERED, LID):
        user = user.partition(":")[0].partition(".")[0]
    address = f"{user}@{server}"
    return aliases.get(address, address)


def kind_of_chat(jid: str) -> ChatKind:
    return _KINDS.get(jid.rpartition("@")[2], "other")


def number_digits(jid: str) -> str | None:
    """The digits of the number that an address is made of: E.164 without its plus."""
    user, _, server = jid.rpartition("@")
    return user if server == NUMBERED and user.isascii() and user.isdigit() else None
