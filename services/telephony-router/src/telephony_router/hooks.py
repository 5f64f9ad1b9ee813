"""The webhooks: a small ASGI app of its own, since the framework beside it costs more than the answer."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from pydantic_core import to_json

from kit.metrics import child
from kit.telemetry import exemplar, get_logger
from telephony_router.answer_ring import RingAnswerer, intake_of
from telephony_router.metrics import METRICS
from telephony_router.peers import Network, peer_address, within
from telephony_router.record import NotRecorded, Recorder
from telephony_router.signals import CallSignal, mark_unconfirmed
from telephony_router.vendors.base import Account, BadRequest, Forbidden, RawRequest, Response, Vendor, is_proven

__all__ = ["PREFIX", "Accounts", "AccountsUnknown", "Hooks"]

log = get_logger(__name__)

PREFIX = "/v1/hooks/"
BODY_MAX = 64 * 1024
QUERY_MAX = 8 * 1024
OUTCOMES = {2: "taken", 4: "refused", 5: "failed"}
Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class AccountsUnknown(Exception):
    """Whether this secret is an account's cannot be told right now."""


class Accounts(Protocol):
    async def find(self, secret: str) -> Account | None:
        """The account behind a path's secret. Raises :class:`AccountsUnknown`."""


class _Refused(Exception):
    def __init__(self, status: int, error: str, detail: str, headers: tuple[tuple[bytes, bytes], ...] = ()) -> None:
        super().__init__(error)
        self.status = status
        self.body = to_json({"error": error, "detail": detail})
        self.headers = headers


class Hooks:
    """``/v1/hooks/{vendor}/{secret}/{hook}``: size, secret, signature, meaning, durability, answer, in this order."""

    def __init__(
        self,
        *,
        vendors: Mapping[str, Vendor],
        accounts: Accounts,
        answerer: RingAnswerer,
        recorder: Recorder,
        clock: Callable[[], datetime],
        public_base_url: str = "",
        trusted_proxies: Sequence[Network] = (),
        note: Callable[[Vendor, Account, RawRequest], None] = lambda *_: None,
    ) -> None:
        self._vendors = vendors
        self._accounts = accounts
        self._answerer = answerer
        self._recorder = recorder
        self._clock = clock
        self._public_base_url = public_base_url.rstrip("/")
        self._trusted_proxies = trusted_proxies
        self._note = note
        # A counter that is born with the first failure gives no rate of a burst: it begins at zero.
        for vendor in (*vendors, "unknown"):
            for outcome in OUTCOMES.values():
                child(METRICS.webhook_answers, vendor, outcome)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = time.monotonic()
        parts = scope["path"][len(PREFIX) :].split("/")
        name, secret, hook = parts if len(parts) == 3 else ("", "", "")
        vendor = self._vendors.get(name)
        label = (vendor.name, hook) if vendor is not None and hook in vendor.hooks else ("unknown", "unknown")
        scope["trunkline.route"] = f"{PREFIX}{label[0]}/*/{label[1]}"
        headers: tuple[tuple[bytes, bytes], ...] = ()
        try:
            response = await self._handle(scope, receive, vendor, secret, hook, began)
        except _Refused as refused:
            response = Response(body=refused.body, content_type="application/json", status=refused.status)
            headers = refused.headers
        except Exception:
            log.exception("webhook_failed", vendor=label[0], hook=label[1])
            response = Response(body=b'{"error":"internal"}', content_type="application/json", status=500)
        child(METRICS.webhooks, *label, str(response.status)).inc()
        child(METRICS.webhook_answers, label[0], OUTCOMES.get(response.status // 100, "taken")).inc()
        await _send(send, response, headers, with_body=scope["method"] != "HEAD")

    async def _handle(
        self, scope: Scope, receive: Receive, vendor: Vendor | None, secret: str, hook: str, began: float
    ) -> Response:
        if vendor is None or hook not in vendor.hooks:
            raise _Refused(404, "not_found", "there is no such webhook")
        method = scope["method"]
        if method != "HEAD" and method not in vendor.methods:
            allowed = ", ".join(sorted(vendor.methods)).encode()
            raise _Refused(405, "method_not_allowed", "this webhook is not called so", ((b"allow", allowed),))
        headers = _headers(scope)
        body = await _body(receive, headers)
        account = await self._account(vendor, secret)
        if account.allow_sources and not within(
            peer_address(scope, headers, self._trusted_proxies), account.allow_sources
        ):
            raise _Refused(403, "forbidden", "this account is not called from there")
        if method == "HEAD":
            return Response(body=b"", content_type="application/json")
        request = self._request(scope, headers, body, hook, account)
        try:
            proof = vendor.authenticate(request, account, self._clock())
            self._note(vendor, account, request)
            signal = vendor.parse(request, vendor.hooks[hook])
        except Forbidden as error:
            raise _Refused(403, "forbidden", str(error)) from None
        except BadRequest as error:
            raise _Refused(400, "bad_request", str(error)) from None
        child(METRICS.proofs, vendor.name, proof).inc()
        if not is_proven(proof):
            mark_unconfirmed(signal)
        return await self._answer(vendor, account, request, signal, began)

    async def _answer(
        self, vendor: Vendor, account: Account, request: RawRequest, signal: CallSignal, began: float
    ) -> Response:
        raw = request.body or request.query.encode("utf-8", "replace")
        if signal.kind == "ring":
            decision = await self._answerer.answer(account, signal, raw, began)
            answer = vendor.render(decision, signal, request)
            child(METRICS.answer_seconds, vendor.name).observe(time.monotonic() - began, exemplar())
            return answer
        try:
            await self._recorder.record(intake_of(account, signal, raw, self._clock()))
        except NotRecorded:
            detail = "it could not be stored; send it again"
            raise _Refused(503, "unavailable", detail, ((b"retry-after", b"5"),)) from None
        return vendor.acknowledge(signal, request)

    async def _account(self, vendor: Vendor, secret: str) -> Account:
        try:
            account = await self._accounts.find(secret)
        except AccountsUnknown:
            detail = "accounts cannot be looked up right now; send it again"
            raise _Refused(503, "unavailable", detail, ((b"retry-after", b"5"),)) from None
        if account is None or account.vendor != vendor.name:
            raise _Refused(404, "not_found", "there is no such webhook")
        return account

    def _request(self, scope: Scope, headers: dict[str, str], body: bytes, hook: str, account: Account) -> RawRequest:
        query: bytes = scope["query_string"]
        if len(query) > QUERY_MAX:
            raise _Refused(414, "uri_too_long", f"the query is longer than {QUERY_MAX} bytes")
        raw_path: bytes = scope.get("raw_path") or scope["path"].encode()
        return RawRequest(
            method=scope["method"],
            url_path=raw_path.partition(b"?")[0].decode("latin-1"),
            query=query.decode("latin-1"),
            headers=headers,
            body=body,
            bases=self._bases(scope, headers),
            hook=hook,
            options=account.options,
        )

    def _bases(self, scope: Scope, headers: dict[str, str]) -> tuple[str, ...]:
        """Where the sender may have called us: as configured, else as the proxy or the request itself says."""
        if self._public_base_url:
            return (self._public_base_url,)
        host = headers.get("x-forwarded-host") or headers.get("host") or "localhost"
        scheme = headers.get("x-forwarded-proto", scope["scheme"])
        other = "http" if scheme == "https" else "https"
        return f"{scheme}://{host}", f"{other}://{host}"


def _headers(scope: Scope) -> dict[str, str]:
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}


async def _body(receive: Receive, headers: dict[str, str]) -> bytes:
    announced = headers.get("content-length", "0")
    if not announced.isdigit() or int(announced) > BODY_MAX:
        raise _Refused(413, "too_large", f"the body is larger than {BODY_MAX} bytes")
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _Refused(400, "bad_request", "the body is not complete")
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > BODY_MAX:
            raise _Refused(413, "too_large", f"the body is larger than {BODY_MAX} bytes")
        chunks.append(chunk)
        if not message.get("more_body"):
            return b"".join(chunks) if len(chunks) > 1 else chunk


async def _send(send: Send, response: Response, headers: tuple[tuple[bytes, bytes], ...], *, with_body: bool) -> None:
    all_headers = [
        (b"content-type", response.content_type.encode()),
        (b"content-length", str(len(response.body)).encode()),
        *headers,
    ]
    await send({"type": "http.response.start", "status": response.status, "headers": all_headers})
    await send({"type": "http.response.body", "body": response.body if with_body else b""})
