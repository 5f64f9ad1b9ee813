"""Who is taken along into real time, who is not, and what is said when it may not be."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from configuration import ConfigurationError
from telephony_router import realtime
from telephony_router.settings import Settings

OURS = b"postgres: main: telephony_router_system trunkline 127.0.0.1(40123) INSERT\0"


class Connection:
    def __init__(self, process: int, port: int | None) -> None:
        self.row = {"process": process, "port": port}

    async def fetch(self, statement: str) -> list[dict[str, int | None]]:
        return [self.row]


@pytest.fixture
def first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Who was made to go first, on a machine with one process of Postgres' and one that is not."""
    for process, title in ((7, OURS), (8, b"vi\0postgres: notes 127.0.0.1(40123)\0")):
        (tmp_path / str(process)).mkdir()
        (tmp_path / str(process) / "cmdline").write_bytes(title)
    went = list[int]()
    monkeypatch.setattr(realtime, "PROCESSES", tmp_path)
    monkeypatch.setattr(realtime, "go_first", went.append)
    return went


async def test_the_process_that_serves_the_connection_is_taken_along(first: list[int]) -> None:
    await realtime.take_along(Connection(7, 40123))
    assert first == [7]


@pytest.mark.parametrize(
    ("process", "port"),
    [(7, 40124), (7, 4012), (7, None), (8, 40123), (9, 40123)],
    ids=["another client's", "part of a port", "by a socket", "not of Postgres", "on another machine"],
)
async def test_nobody_else_is(first: list[int], process: int, port: int | None) -> None:
    await realtime.take_along(Connection(process, port))
    assert first == []


@pytest.mark.parametrize("failure", [PermissionError, ProcessLookupError])
async def test_a_connection_is_used_as_it_is_when_that_fails(
    first: list[int], monkeypatch: pytest.MonkeyPatch, failure: type[OSError]
) -> None:
    def fail(process: int) -> None:
        raise failure

    monkeypatch.setattr(realtime, "go_first", fail)
    await realtime.take_along(Connection(7, 40123))


def test_a_router_that_may_not_says_what_it_needs_and_goes_on() -> None:
    program = """
import os, resource
from types import SimpleNamespace
from runtime.logs import configure_logging
from telephony_router import realtime
configure_logging("telephony-router", "INFO")
if os.geteuid() == 0:
    resource.setrlimit(resource.RLIMIT_RTPRIO, (0, 0))
    os.setuid(65534)
realtime.begin(SimpleNamespace(realtime=True))
print("on it goes")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "not_in_real_time" in done.stderr + done.stdout
    assert "CAP_SYS_NICE" in done.stderr + done.stdout
    assert done.stdout.endswith("on it goes\n")


def test_only_a_router_that_answers_only_may() -> None:
    environment = {
        "TRUNKLINE_DEMO": "true",
        "TRUNKLINE_TELEPHONY_ROUTER_SECRET_KEY": "A" * 43 + "=",
        "TRUNKLINE_TELEPHONY_ROUTER_REALTIME": "true",
    }
    with pytest.raises(ConfigurationError, match=r"TRUNKLINE_TELEPHONY_ROUTER_REALTIME: .*ANSWERS_ONLY=true"):
        Settings.load(environment)
    assert Settings.load(environment | {"TRUNKLINE_TELEPHONY_ROUTER_ANSWERS_ONLY": "true"}).realtime
