"""The checks of the harness catch what they are for: each deliberate bug by the invariant that it breaks, and none of
them finds anything wrong with our own code in the same scenario."""

from __future__ import annotations

import sys
import time

import pytest
from tests.faults.harness.bugs import BUGS, Bug
from tests.faults.harness.pipeline import pipeline
from tests.faults.harness.scenarios import SCENARIOS

from kit.testing import Servers

pytestmark = [pytest.mark.real, pytest.mark.slow]

CLEAN = sorted({(bug.scenario, bug.circumstance) for bug in BUGS}, key=lambda pair: pair[0])


@pytest.mark.parametrize(("scenario", "circumstance"), CLEAN, ids=[name for name, _ in CLEAN])
async def test_our_own_code_passes(
    servers: Servers, scenario: str, circumstance: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    circumstance(monkeypatch)  # type: ignore[operator]
    async with pipeline(servers.postgres_dsn, servers.kafka_bootstrap) as pipe:
        pipe.patience = 20.0
        assert [str(violation) for violation in await SCENARIOS[scenario](pipe)] == []


@pytest.mark.parametrize("bug", BUGS, ids=[bug.name for bug in BUGS])
async def test_a_deliberate_bug_is_caught(
    servers: Servers, bug: Bug, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bug.circumstance(monkeypatch)
    bug.apply(monkeypatch)
    began = time.monotonic()
    async with pipeline(servers.postgres_dsn, servers.kafka_bootstrap) as pipe:
        violations = await SCENARIOS[bug.scenario](pipe)
        seconds = time.monotonic() - began
        # Before anything is stopped: a bug may well be in the way of an orderly stop.
        monkeypatch.undo()
    caught = [violation for violation in violations if violation.check.startswith(f"{bug.check} ")]
    with capsys.disabled():
        sys.stdout.write(f"\n  {bug.name}: {seconds:.1f} s, {'; '.join(map(str, caught)) or 'NOT CAUGHT'} ")
    assert caught, f"{bug.check} did not see it; violated was: {[str(violation) for violation in violations]}"
