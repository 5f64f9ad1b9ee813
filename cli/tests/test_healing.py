"""Real servers under the supervisor: started once, healed when killed, started anew after anything."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from trunkline.stack import control, kafka, postgres, redis
from trunkline.stack.layout import Layout
from trunkline.stack.processes import read_table

pytestmark = [pytest.mark.real, pytest.mark.slow]

# Beside the others, not in a temporary folder: those are closed to Postgres's account.
# A name that is awkward for shells, property files and classpaths alike.
RUN_DIR = Path(os.environ.get("TRUNKLINE_TEST_ROOT", ".run")) / "healing, 'hèr' → ¡ഇവിടെ!"
PORT_BASE = int(os.environ.get("TRUNKLINE_TEST_HEALING_PORT_BASE", "24000"))
SERVERS = ("kafka", "postgres", "redis", "smtp-sink")


def up(layout: Layout) -> None:
    control.up(layout, with_services=False, tell=lambda _: None)


def pids(layout: Layout) -> dict[str, int]:
    return {name: entry["pid"] for name, entry in control.state(layout).items()}


def wait_for(condition: Callable[[], Any], within: float = 120.0) -> None:
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, "did not come true in time"
        time.sleep(0.1)


def all_answer(layout: Layout) -> bool:
    mails = control.probe(f"{layout.url('mail-page')}/livez")[0] == 200
    return mails and redis.is_up(layout) and postgres.is_up(layout) and kafka.is_up(layout)


def start_and_kill(layout: Layout, when: Callable[[Layout], bool]) -> None:
    """Begin a start, and kill it at a sign of how far it has come: before its end, on however slow a machine."""
    command = [sys.executable, "-m", "trunkline", "up", "--only", "servers", "--run-dir", str(layout.run_dir)]
    with subprocess.Popen([*command, "--port-base", str(PORT_BASE)], stderr=subprocess.DEVNULL) as start:
        deadline = time.monotonic() + 60
        while not when(layout):
            assert start.poll() is None, "the start was over before the sign was there"
            assert time.monotonic() < deadline, "the sign did not come"
            time.sleep(0.005)
        start.kill()
        assert start.wait() == -signal.SIGKILL, "the start was over before it was killed"


def begins_to_write(layout: Layout) -> bool:
    return (layout.run_dir / "secrets.json").exists()


def formats_kafka(layout: Layout) -> bool:
    return (kafka.home(layout) / "server.properties").exists()


def makes_a_cluster(layout: Layout) -> bool:
    return any((layout.run_dir / "postgres").glob("data.*/PG_VERSION"))


def has_a_supervisor(layout: Layout) -> bool:
    return control.supervisor_pid(layout) is not None


def waits_for_servers(layout: Layout) -> bool:
    return set(SERVERS) <= {name for name, entry in control.state(layout).items() if entry["state"] == "running"}


@pytest.fixture(scope="module")
def layout() -> Iterator[Layout]:
    layout = Layout(RUN_DIR.resolve(), PORT_BASE)
    control.clean(layout)
    # Nothing is there yet: each of these is killed further on the way, the next goes on from what it left.
    for sign in (begins_to_write, formats_kafka, makes_a_cluster, has_a_supervisor):
        start_and_kill(layout, sign)
    up(layout)
    yield layout
    control.clean(layout)
    assert not [entry.name for entry in layout.run_dir.iterdir() if entry.name != "kafka"]


def test_every_process_can_be_recognised_when_its_supervisor_is_gone(layout: Layout) -> None:
    found = dict(control._processes(layout))
    for process in read_table(layout):
        assert found.get(pids(layout)[process.name]) == process.argv, process.name


def test_starting_again_leaves_what_runs_alone(layout: Layout) -> None:
    before = pids(layout)
    up(layout)
    assert pids(layout) == before
    assert set(before) == set(SERVERS)


@pytest.mark.parametrize("name", SERVERS)
def test_a_killed_server_is_back_by_itself(layout: Layout, name: str) -> None:
    before = pids(layout)[name]
    os.kill(before, signal.SIGKILL)
    wait_for(lambda: pids(layout).get(name) not in (before, None))
    wait_for(lambda: all_answer(layout))


def test_after_a_killed_supervisor_the_next_start_has_everything_back(layout: Layout) -> None:
    supervisor = control.supervisor_pid(layout)
    assert supervisor is not None
    os.kill(supervisor, signal.SIGKILL)
    wait_for(lambda: control.supervisor_pid(layout) is None)
    up(layout)
    assert control.supervisor_pid(layout) not in (supervisor, None)
    assert all_answer(layout)


@pytest.mark.parametrize("sign", [has_a_supervisor, waits_for_servers])
def test_a_start_that_was_killed_half_way_can_simply_be_run_again(
    layout: Layout, sign: Callable[[Layout], bool]
) -> None:
    control.down(layout)
    start_and_kill(layout, sign)
    up(layout)
    assert all_answer(layout)


def test_a_process_that_is_stopped_stays_stopped_until_it_is_started(layout: Layout) -> None:
    control.stop_one(layout, "redis")
    assert not redis.is_up(layout)
    control.start_one(layout, "redis")
    wait_for(lambda: redis.is_up(layout))


def test_stopping_leaves_no_process_and_a_second_stop_nothing_to_do(layout: Layout) -> None:
    running = pids(layout)
    assert control.down(layout) is True
    assert [name for name, pid in running.items() if Path(f"/proc/{pid}").exists()] == []
    assert control.down(layout) is False
    up(layout)
