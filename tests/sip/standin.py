"""Between Kamailio and the router: passes everything on, until it is told to be slow, silent, foolish or gone."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

__all__ = ["Standin"]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128


class Standin:
    """What it did with rings is in ``rings``, call id by call id."""

    def __init__(self, port: int, router: str) -> None:
        self.port = port
        self._router = urlsplit(router)
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self.rings: list[dict[str, Any]] = []
        self.ring_headers: list[dict[str, str]] = []
        self.statuses: list[dict[str, Any]] = []
        self._mood = "pass"
        self._body = b""
        self._delay = 0.0
        self._over = threading.Event()
        self._connections: set[socket.socket] = set()
        self._server: _Server | None = None
        self.start()

    def start(self) -> None:
        standin = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                standin._connections.add(self.connection)

            def finish(self) -> None:
                standin._connections.discard(self.connection)
                super().finish()

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", "0")))
                try:
                    status, answer = standin.answer(self.path, dict(self.headers), body)
                    self.send_response(status)
                    self.send_header("content-type", "application/json")
                    self.send_header("content-length", str(len(answer)))
                    self.end_headers()
                    self.wfile.write(answer)
                except OSError:
                    self.close_connection = True

            def log_message(self, *_: Any) -> None:
                pass

        self._server = _Server(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        """As killed: nobody listens, and what was open is reset."""
        if self._server is not None:
            self._over.set()
            self._server.shutdown()
            self._server.server_close()
            self._server = None
            for connection in list(self._connections):
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue

    @contextmanager
    def killed(self) -> Iterator[None]:
        self.stop()
        try:
            yield
        finally:
            self._over.clear()
            self.start()

    @contextmanager
    def mood(self, mood: str, *, body: bytes = b"", seconds: float = 0.0) -> Iterator[None]:
        """For rings: ``slow``, ``hang``, ``say`` this body; statuses are always passed on."""
        self._mood, self._body, self._delay = mood, body, seconds
        try:
            yield
        finally:
            self._over.set()
            self._mood = "pass"
            self._over = threading.Event()

    def answer(self, path: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        ring = path.endswith("/ring")
        with self._changed:
            (self.rings if ring else self.statuses).append(json.loads(body))
            if ring:
                self.ring_headers.append(headers)
            self._changed.notify_all()
        mood, over = self._mood, self._over
        if ring and mood == "say":
            return 200, self._body
        if ring and mood == "error":
            return 503, b'{"error":"unavailable"}'
        if ring and mood == "hang":
            over.wait(60)
            return 503, b"{}"
        if ring and mood == "slow":
            over.wait(self._delay)
        upstream = http.client.HTTPConnection(self._router.hostname or "", self._router.port, timeout=30)
        try:
            upstream.request("POST", path, body, {"content-type": headers.get("Content-Type", "")})
            response = upstream.getresponse()
            return response.status, response.read()
        finally:
            upstream.close()

    def asked(self, call_id: str) -> int:
        with self._lock:
            return sum(ring["call_id"] == call_id for ring in self.rings)

    def told(self, call_id: str, within: float = 30.0, until: str = "end") -> list[tuple[str, ...]]:
        """What was told of a call: event, agent's number, code; waits until ``until`` was."""

        def found() -> list[tuple[str, ...]]:
            return [
                (each["event"], str(each.get("agent", "")), str(each.get("code", "")))
                for each in self.statuses
                if each["call_id"] == call_id
            ]

        with self._changed:
            self._changed.wait_for(lambda: any(each[0] == until for each in found()), within)
            return found()
