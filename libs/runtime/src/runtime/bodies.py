"""How much a request may send: nothing that comes from outside is read without a bound."""

from __future__ import annotations

import contextlib

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["BodyLimit"]


class BodyLimit:
    """Refuses longer bodies: at once when their length is declared, else when they have grown too long."""

    def __init__(self, app: ASGIApp, *, longest: int, refusal: ASGIApp | None = None) -> None:
        self._app = app
        self._longest = longest
        detail = {"detail": f"the body is longer than {longest} bytes"}
        self._refuse = refusal or JSONResponse(detail, 413, {"Connection": "close"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if not declared.isdigit() or int(declared) > self._longest:
            await self._refuse(scope, receive, send)
            return
        seen, begun, too_long = 0, False, False

        async def counted() -> Message:
            nonlocal seen, too_long
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self._longest:
                too_long = True
                raise _TooLong
            return message

        async def watched(message: Message) -> None:
            nonlocal begun
            if too_long and not begun:
                return
            begun = True
            await send(message)

        with contextlib.suppress(_TooLong):
            await self._app(scope, counted, watched)
        if too_long and not begun:
            await self._refuse(scope, receive, send)


class _TooLong(Exception):
    pass
