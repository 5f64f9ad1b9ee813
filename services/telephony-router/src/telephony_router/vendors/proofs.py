"""What senders are proven by: the address that a signature is made over, and secrets shown in a header."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Iterator
from urllib.parse import urlsplit

from telephony_router.vendors.base import Account, Forbidden, RawRequest

__all__ = ["same", "shared_secret", "urls"]

DEFAULT_PORTS = {"https": 443, "http": 80}


def same(given: str, wanted: str) -> bool:
    """In a time that does not tell where they differ."""
    return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), wanted.encode("utf-8", "surrogateescape"))


def shared_secret(request: RawRequest, account: Account, *headers: str) -> str:
    """The proof of an account without tokens is its secret path. With tokens, one of them must be shown.

    It is shown in ``Authorization`` (Bearer, Token, or Basic with ``user:password`` as the token), or as the whole of
    one of ``headers``. Raises :class:`Forbidden`.
    """
    if not account.auth_tokens:
        return "path"
    proof = ""
    for form, given in _shown(request, headers):
        for token in account.auth_tokens:
            # No early return: how long it takes must not tell which guess was close.
            if same(given, token):
                proof = proof or form
    if not proof:
        raise Forbidden("the account's secret is missing or wrong")
    return proof


def _shown(request: RawRequest, headers: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() in ("bearer", "token"):
        yield scheme.lower(), value.strip()
    elif scheme.lower() == "basic":
        try:
            yield "basic", base64.b64decode(value.strip(), validate=True).decode("utf-8", "surrogateescape")
        except (binascii.Error, ValueError):
            raise Forbidden("the Basic authorization is broken") from None
    for name in headers:
        if name in request.headers:
            yield "header", request.headers[name]


def urls(request: RawRequest) -> Iterator[str]:
    """The addresses that the sender may have called, with and without the default port; it signed one of them."""
    tail = request.url_path + (f"?{request.query}" if request.query else "")
    for base in request.bases:
        yield from _with_and_without_port(base, tail)


def _with_and_without_port(base: str, tail: str) -> Iterator[str]:
    parts = urlsplit(base)
    yield f"{parts.scheme}://{parts.netloc}{tail}"
    host, colon, port = parts.netloc.rpartition(":")
    if colon and port.isdigit():
        yield f"{parts.scheme}://{host}{tail}"
    elif parts.scheme in DEFAULT_PORTS:
        yield f"{parts.scheme}://{parts.netloc}:{DEFAULT_PORTS[parts.scheme]}{tail}"
