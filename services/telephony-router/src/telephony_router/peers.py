"""Who is calling, by network address: for vendors that sign nothing it is part of what lets them in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

__all__ = ["Network", "networks", "peer_address", "within"]

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


def networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """Addresses and CIDR blocks. Raises ``ValueError`` for what is none, and for a block with host bits set."""
    return tuple(ip_network(text.strip()) for text in texts if text.strip())


def within(address: Address | None, blocks: Sequence[Network]) -> bool:
    return address is not None and any(address in block for block in blocks)


def peer_address(scope: Mapping[str, Any], headers: Mapping[str, str], proxies: Sequence[Network]) -> Address | None:
    """The sender's address. What ``X-Forwarded-For`` says counts only as far as trusted proxies wrote it."""
    client = scope.get("client")
    address = _address(client[0]) if client else None
    if not within(address, proxies):
        return address
    for hop in reversed(headers.get("x-forwarded-for", "").split(",")):
        forwarded = _address(hop)
        if forwarded is None:
            # A proxy of ours would have written an address.
            return address if not hop.strip() else None
        address = forwarded
        if not within(address, proxies):
            return address
    return address


def _address(text: str) -> Address | None:
    try:
        address = ip_address(text.strip())
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
