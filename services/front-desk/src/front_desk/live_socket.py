"""The live board over a WebSocket: the same changes as the stream of server-sent events, at once and both ways alive.

A browser sends its session's cookie with the handshake whoever asked it to connect, so the page must be one of ours
(``Origin``). Nothing that a browser says over the socket has an effect: what people do is posted, with its token.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.websockets import WebSocket, WebSocketDisconnect

from front_desk.access_store import Session
from front_desk.live import Follower, LiveBoard
from front_desk.problems import UNAVAILABLE
from kit.metrics import counter
from kit.telemetry import get_logger

__all__ = ["ENDED", "SLOW", "LiveSocket", "same_origin", "socket_text"]

log = get_logger(__name__)
HEARTBEAT_SECONDS = 15.0
"""Also how soon it is noticed that a session was ended elsewhere."""
SEND_SECONDS = 10.0
ENDED = 4401
"""The session is over: sign in again."""
SLOW = 4408
"""The browser did not keep up. It may come back with its cursor."""
AWAY = 1012
"""This process stops or cannot read; another one may serve."""
CHATTY = 1008

CLOSED = counter(
    "trunkline_console_sockets_closed",
    "1",
    "WebSockets of the console closed by us: ended, slow, away, chatty",
    ["why"],
)
_WHY = {ENDED: "ended", SLOW: "slow", AWAY: "away", CHATTY: "chatty"}
for _each in _WHY.values():
    CLOSED.labels(_each)


def same_origin(connection: HTTPConnection) -> bool:
    """Whether the page that connects was served by the host it connects to."""
    origin, host = connection.headers.get("origin", ""), connection.headers.get("host", "")
    return bool(host) and urlsplit(origin).scheme in ("http", "https") and urlsplit(origin).netloc == host


def socket_text(event: str) -> str:
    """A server-sent event as one message: ``{"kind": …, "data": …}``. The data is JSON already."""
    head, _, data = event.partition("\ndata: ")
    return f'{{"kind":{json.dumps(head.rpartition("event: ")[2])},"data":{data.strip()}}}'


class LiveSocket:
    """Serves one WebSocket after the other; ``session_of`` finds who a connection belongs to."""

    def __init__(self, live: LiveBoard, session_of: Callable[[HTTPConnection], Awaitable[Session | None]]) -> None:
        self._live = live
        self._session_of = session_of

    async def serve(self, socket: WebSocket) -> None:
        found = await self._admitted(socket)
        if isinstance(found, int):
            await socket.send_denial_response(Response(status_code=found))
            return
        await socket.accept()
        code: int | None = AWAY
        try:
            since = int(socket.query_params["since"])
            async with self._live.follow(found, since, patient=False) as follower:
                code = await self._tell(socket, found, follower)
        except UNAVAILABLE:
            log.info("live_socket_without_database")
        if code is not None:
            CLOSED.labels(_WHY[code]).inc()
            # A browser that does not read gets no farewell either.
            with contextlib.suppress(TimeoutError, RuntimeError, WebSocketDisconnect):
                await asyncio.wait_for(socket.close(code), 1)

    async def _admitted(self, socket: WebSocket) -> Session | int:
        """Who connects, or the status they are refused with."""
        since = socket.query_params.get("since", "")
        if not same_origin(socket):
            return 403
        try:
            session = await self._session_of(socket)
        except UNAVAILABLE:
            return 503
        if session is None:
            return 401
        if not since.isdecimal() or len(since) > 18:
            return 400
        return 503 if self._live.is_full() else session

    async def _tell(self, socket: WebSocket, session: Session, follower: Follower) -> int | None:
        """Send what there is to tell until one side ends it; the code to close with, or nothing when it is gone."""
        gone = asyncio.create_task(_listen(socket))
        text: asyncio.Task[str | None] = asyncio.create_task(follower.queue.get())
        try:
            while True:
                left = (session.expires_at - datetime.now(UTC)).total_seconds()
                if left <= 0:
                    return ENDED
                await asyncio.wait({gone, text}, timeout=min(HEARTBEAT_SECONDS, left), return_when="FIRST_COMPLETED")
                if gone.done():
                    return gone.result()
                if text.done():
                    event = text.result()
                    if event is None:
                        return SLOW if follower.dropped else AWAY
                    message = socket_text(event)
                    text = asyncio.create_task(follower.queue.get())
                elif await self._session_of(socket) is None:
                    return ENDED
                else:
                    message = '{"kind":"beat","data":{}}'
                await asyncio.wait_for(socket.send_text(message), SEND_SECONDS)
        except TimeoutError:
            return SLOW
        except (WebSocketDisconnect, RuntimeError):
            return None
        finally:
            for task in (gone, text):
                task.cancel()


async def _listen(socket: WebSocket) -> int | None:
    """Until the browser is gone, or says something: it has nothing to say here."""
    message = await socket.receive()
    return None if message["type"] == "websocket.disconnect" else CHATTY
