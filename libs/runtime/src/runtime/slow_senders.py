"""Whoever opens a connection and then sends a byte now and then must not hold it for ever.

uvicorn waits without end for a request to become complete, and takes a head of any length. Here a head has to be there
in :data:`HEAD_SECONDS` and :data:`HEAD_MAX` bytes, and a body has to come on, :data:`BODY_BYTES` in each
:data:`BODY_SECONDS`; else the connection is closed, which the app sees as a sender that went away. A request that
arrives in one piece, as nearly all do, costs no timer.
"""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from kit.metrics import counter

__all__ = ["BODY_BYTES", "BODY_SECONDS", "HEAD_MAX", "HEAD_SECONDS", "TimedProtocol"]

HEAD_SECONDS, HEAD_MAX = 10.0, 64 * 1024
BODY_SECONDS, BODY_BYTES = 10.0, 10 * 1024

CUT_OFF = counter(
    "trunkline_http_cut_off",
    "1",
    "Connections closed whose request did not become complete in time or was too long, by part: head, body, size",
    ["part"],
)
for _part in ("head", "body", "size"):
    CUT_OFF.labels(_part)


class TimedProtocol(HttpToolsProtocol):
    """HTTP as uvicorn speaks it, with an end to its patience."""

    _timer: asyncio.TimerHandle | None = None
    _in_head = True
    _in_body = False
    _size = 0
    """Of the head so far, or of the body since the last look."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._timer = self.loop.call_later(HEAD_SECONDS, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if not self._in_head and not self._in_body:
            self._stop()
            return
        self._size += len(data)
        if self._in_head and self._size > HEAD_MAX:
            self._cut_off("size")
        elif self._timer is None:
            self._timer = self.loop.call_later(HEAD_SECONDS if self._in_head else BODY_SECONDS, self._look)

    def on_message_begin(self) -> None:
        self._in_head, self._in_body, self._size = True, False, 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_head, self._in_body, self._size = False, True, 0
        self._stop()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._in_body = False
        super().on_message_complete()

    def _look(self) -> None:
        self._timer = None
        if self._in_head:
            self._cut_off("head")
        elif self._in_body:
            # A body that we ourselves do not take yet is not late.
            if self._size < BODY_BYTES and not self.flow.read_paused:
                self._cut_off("body")
                return
            self._size = 0
            self._timer = self.loop.call_later(BODY_SECONDS, self._look)

    def _cut_off(self, part: str) -> None:
        CUT_OFF.labels(part).inc()
        self._stop()
        # Not a close, which would wait for a reader who never reads.
        self.transport.abort()

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
