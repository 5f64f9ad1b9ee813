"""Who may call an account by network address, directly and through proxies."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from telephony_router.peers import networks, peer_address, within

PROXIES = networks(["10.0.0.0/8", "::1"])


@pytest.mark.parametrize(
    ("client", "forwarded", "wanted"),
    [
        ("203.0.113.7", "", "203.0.113.7"),
        # Nobody but a proxy of ours says for whom it speaks.
        ("203.0.113.7", "198.51.100.1", "203.0.113.7"),
        ("10.0.0.1", "198.51.100.1", "198.51.100.1"),
        # The sender wrote the first; our proxy added whom it saw.
        ("10.0.0.1", "192.0.2.9, 198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "198.51.100.1, 10.0.0.2", "198.51.100.1"),
        ("10.0.0.1", "198.51.100.1, garbage", None),
        ("10.0.0.1", "", "10.0.0.1"),
        ("::1", "2001:db8::7", "2001:db8::7"),
        ("::ffff:203.0.113.7", "", "203.0.113.7"),
        ("testclient", "198.51.100.1", None),
        (None, "198.51.100.1", None),
    ],
)
def test_the_sender_is_who_called_or_whom_a_proxy_of_ours_saw(
    client: str | None, forwarded: str, wanted: str | None
) -> None:
    scope = {"client": (client, 4711) if client else None}
    found = peer_address(scope, {"x-forwarded-for": forwarded} if forwarded else {}, PROXIES)
    assert found == (ip_address(wanted) if wanted else None)


def test_an_address_is_within_its_blocks_and_nobody_is_within_none() -> None:
    blocks = networks(["103.21.77.0/24", "2001:db8::/32", "198.51.100.1"])
    assert within(ip_address("103.21.77.9"), blocks)
    assert within(ip_address("198.51.100.1"), blocks)
    assert not within(ip_address("103.21.78.9"), blocks)
    assert not within(None, blocks)


@pytest.mark.parametrize("text", ["103.21.77.1/24", "example.com", "1.2.3", "10.0.0.0/33"])
def test_what_is_no_block_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        networks([text])
