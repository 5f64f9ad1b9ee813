"""What the run led to: the event of each call, as a downstream service gets it from Kafka."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable

from trunkline.demo.events import Tail

__all__ = ["Effects"]


class Effects:
    """Listens from before the first ring. Only calls whose id begins with ``run`` are looked at."""

    def __init__(self, kafka: str, run: str) -> None:
        self._tail = Tail(kafka)
        self._run = run
        self._ended = threading.Event()
        self.seen: dict[str, float] = {}
        """When each call's ``call.inbound`` was published, seconds since the epoch."""
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        while not self._ended.is_set():
            self._tail.poll(0.2)
            for each in self._tail.seen:
                call_id = str(each.data.get("vendor_call_id", ""))
                if each.topic == "call.inbound" and call_id.startswith(self._run):
                    self.seen.setdefault(call_id, each.published.timestamp())
            self._tail.seen.clear()

    def wait(self, call_ids: Iterable[str], within: float) -> None:
        """Until all of these calls were seen, or the time is up."""
        wanted, deadline = set(call_ids), time.monotonic() + within
        while time.monotonic() < deadline and not wanted <= self.seen.keys():
            time.sleep(0.1)

    def close(self) -> None:
        self._ended.set()
        self._thread.join(5)
        self._tail.close()
