"""The harness itself: the schedule is decided by the seed, the proxy does what it says, every crash point exists, and
the ledger never unlearns an acknowledgement. Whether its checks see anything is told in ``test_checker_power.py``."""

from __future__ import annotations

import functools
import importlib
import json
import os
import signal
import socket
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.faults.harness import checks
from tests.faults.harness.faults import FAULTS
from tests.faults.harness.ledger import Ledger, read_ledger
from tests.faults.harness.options import KINDS, expand
from tests.faults.harness.outside import Seen
from tests.faults.harness.proxy import Proxies, Proxy, Toxics
from tests.faults.harness.saboteur.crash_points import POINTS

SABOTEUR = Path(__file__).parent / "harness" / "saboteur"


def test_the_same_seed_gives_the_same_schedule_and_another_seed_another() -> None:
    assert expand(7, 180).to_json() == expand(7, 180).to_json()
    assert expand(7, 180).faults != expand(8, 180).faults


def test_every_kind_of_fault_can_be_made_and_comes_in_a_long_run() -> None:
    assert FAULTS.keys() == KINDS.keys()
    assert {fault.kind for fault in expand(1, 3600).faults} == KINDS.keys()


def test_faults_that_stand_alone_are_alone() -> None:
    faults = expand(5, 3600).faults
    alone = [fault for fault in faults if KINDS[fault.kind].alone]
    assert alone
    for one in alone:
        beside = [f for f in faults if f is not one and f.at < one.at + one.seconds and f.at + f.seconds > one.at]
        assert beside == [], f"{one} has company"


@pytest.mark.parametrize("point", POINTS.values(), ids=list(POINTS))
def test_a_crash_point_is_a_place_in_the_code(point: Any) -> None:
    module = importlib.import_module(point.module)
    assert callable(functools.reduce(getattr, point.attribute.split("."), module))


def test_a_process_dies_at_its_point_and_leaves_word(tmp_path: Path) -> None:
    (tmp_path / "armed").mkdir()
    (tmp_path / "armed" / "notifier.after_claim_before_handler").write_text("1")
    program = """
import asyncio
from kit.delivery import claim_many

class Nothing:
    tenant = None
    async def fetchval(self, *_):
        return []

async def main():
    for number in range(3):
        await claim_many(Nothing(), "c", [])
        print(number, flush=True)

asyncio.run(main())
"""
    environment = {**os.environ, "FAULTS_DIR": str(tmp_path), "FAULTS_PROCESS": "notifier", "PYTHONPATH": str(SABOTEUR)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, "0\n"), done.stderr
    fired = json.loads((tmp_path / "fired").read_text())
    assert (fired["process"], fired["point"]) == ("notifier", "after_claim_before_handler")
    assert list((tmp_path / "armed").iterdir()) == []


def test_an_acknowledgement_is_never_unlearned(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl")
    for state in ("invoke", "info", "invoke", "ok", "invoke", "info"):
        ledger.enter("ring", "c1", state)  # type: ignore[arg-type]
    ledger.close()
    [operation] = ledger.of("ring")
    assert (operation.state, operation.attempts) == ("ok", 3)
    assert [entry["state"] for entry in read_ledger(ledger.path)] == [
        "invoke",
        "info",
        "invoke",
        "ok",
        "invoke",
        "info",
    ]


class Echo(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        while data := self.request.recv(65536):
            self.request.sendall(data)


@pytest.fixture
def proxies() -> Iterator[Proxies]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Echo) as echo, socket.socket() as free:
        threading.Thread(target=echo.serve_forever, daemon=True).start()
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        made = Proxies(Proxy("echo", listen=port, target=echo.server_address[1]))
        made.start()
        yield made
        made.stop()
        echo.shutdown()


def connect(proxies: Proxies) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxies.by_name["echo"].listen), 5)


def ask(connection: socket.socket, data: bytes) -> bytes:
    connection.sendall(data)
    got = b""
    while len(got) < len(data):
        piece = connection.recv(65536)
        if not piece:
            break
        got += piece
    return got


@pytest.mark.parametrize(
    "toxics", [{}, {"latency": 0.01, "jitter": 0.01}, {"slice_bytes": 7}, {"bytes_per_second": 10**6}]
)
def test_a_slow_link_delivers_everything_in_order(proxies: Proxies, toxics: dict[str, Any]) -> None:
    proxies.poison("echo", **toxics)
    data = bytes(range(256)) * 8
    with connect(proxies) as connection:
        assert ask(connection, data) == data


@pytest.mark.parametrize("toxics", [{"swallow_up": True}, {"swallow_down": True}])
def test_a_black_hole_keeps_the_connection_and_the_heal_breaks_it(proxies: Proxies, toxics: dict[str, Any]) -> None:
    with connect(proxies) as connection:
        assert ask(connection, b"before") == b"before"
        proxies.poison("echo", **toxics)
        connection.settimeout(0.5)
        with pytest.raises(TimeoutError):
            ask(connection, b"lost")
        proxies.heal("echo")
        connection.settimeout(5)
        with pytest.raises(ConnectionResetError):
            ask(connection, b"never again")
    with connect(proxies) as connection:
        assert ask(connection, b"after") == b"after"


def test_a_black_hole_that_outlives_another_toxic_is_broken_by_its_own_heal(proxies: Proxies) -> None:
    hole = proxies.poison("echo", swallow_up=True, swallow_down=True)
    with connect(proxies) as connection:
        slow = proxies.poison("echo", latency=0.001)
        connection.settimeout(0.5)
        with pytest.raises(TimeoutError):
            ask(connection, b"lost")
        proxies.heal("echo", hole)
        connection.settimeout(5)
        with pytest.raises(ConnectionResetError):
            ask(connection, b"never again")
        assert proxies.by_name["echo"].toxics == Toxics(latency=0.001)
        proxies.heal("echo", slow)


def test_what_one_of_two_black_holes_swallowed_waits_for_the_other(proxies: Proxies) -> None:
    first, second = (proxies.poison("echo", swallow_down=True) for _ in range(2))
    with connect(proxies) as connection:
        connection.settimeout(0.5)
        for heal in (first, None):
            with pytest.raises(TimeoutError):
                ask(connection, b"lost")
            proxies.heal("echo", heal)
        assert second not in proxies.by_name["echo"].given
        connection.settimeout(5)
        with pytest.raises(ConnectionResetError):
            ask(connection, b"never again")


def test_a_connection_that_lost_nothing_survives_a_black_hole(proxies: Proxies) -> None:
    with connect(proxies) as connection:
        assert ask(connection, b"before") == b"before"
        proxies.heal("echo", proxies.poison("echo", swallow_up=True, swallow_down=True))
        connection.settimeout(5)
        assert ask(connection, b"after") == b"after"


def test_a_server_learns_at_the_heal_that_its_client_left_during_a_black_hole() -> None:
    """Else a session of nobody's would keep its locks."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
        free.close()
        made = Proxies(Proxy("server", listen=port, target=server.getsockname()[1]))
        made.start()
        try:
            client = socket.create_connection(("127.0.0.1", port), 5)
            session, _ = server.accept()
            with session:
                session.settimeout(0.5)
                made.poison("server", swallow_up=True)
                client.close()
                with pytest.raises(TimeoutError):
                    session.recv(1)
                made.heal("server")
                session.settimeout(5)
                with pytest.raises(ConnectionResetError):
                    session.recv(1)
        finally:
            made.stop()


def test_toxics_of_one_link_come_together() -> None:
    every = [Toxics(latency=0.1, bytes_per_second=900), Toxics(latency=0.2, slice_bytes=7), Toxics(bytes_per_second=50)]
    assert Toxics.together([*every, Toxics(swallow_up=True)]) == Toxics(
        latency=pytest.approx(0.3), bytes_per_second=50, slice_bytes=7, swallow_up=True
    )
    assert Toxics.together([]) == Toxics()


def test_a_reset_reaches_both_ends_and_a_refusal_every_new_one(proxies: Proxies) -> None:
    with connect(proxies) as connection:
        assert ask(connection, b"before") == b"before"
        proxies.reset("echo")
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            ask(connection, b"gone")
    proxies.poison("echo", refuse=True)
    # Taken and reset at once: connecting itself may already meet the reset.
    with pytest.raises((ConnectionResetError, BrokenPipeError)), connect(proxies) as connection:
        ask(connection, b"never")


def record(offset: int, event_id: str, version: int, *, partition: int = 0, epoch: int = 0) -> Seen:
    return Seen(
        topic="call.state", partition=partition, offset=offset, at=0.0, key="k", event_id=event_id, tenant="t",
        effect=f"call 1 v{version}", entity="call 1", version=version, fields={}, epoch=epoch,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("records", "sentences"),
    [
        ([record(0, "a", 1), record(1, "b", 2), record(2, "a", 1), record(3, "b", 2)], 0),
        ([record(0, "a", 2), record(1, "b", 1)], 1),
        ([record(0, "a", 1), record(1, "b", 1)], 1),
        ([record(0, "a", 1), record(0, "b", 2, partition=1)], 1),
        ([record(5, "a", 1), record(6, "b", 2), record(0, "a", 1, epoch=1), record(1, "b", 2, epoch=1)], 0),
    ],
    ids=["repeated by a relay", "backwards", "one version twice", "two partitions", "published anew"],
)
def test_order_is_judged_by_first_appearances(records: list[Seen], sentences: int) -> None:
    assert len(checks.order_per_key(records)) == sentences


def test_what_was_acknowledged_must_come_to_a_right_end() -> None:
    wanted = {"c1": {"completed"}, "c2": {"completed"}, "c3": {"missed", "busy"}}
    found = checks.all_done(wanted, {"c1": "completed", "c3": "failed", "stranger": "busy"})
    assert [(v.check, v.examples) for v in found] == [("I1 no loss", ("c2",)), ("I1 no loss", ("c3 is failed",))]


def test_conservation_is_to_the_unit() -> None:
    found = checks.conserved({"a"}, {"a", "b"}, {"messages": (300, 299), "calls": (2, 2)})
    assert [v.examples for v in found] == [("b",), ("messages: 299 of 300",)]
