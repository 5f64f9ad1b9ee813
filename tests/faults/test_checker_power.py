"""The checks of the harness catch what they are for: each deliberate bug by the invariant that it breaks, and none of
them finds anything wrong with our own code in the same scenario."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import pytest
from tests.faults.harness.bugs import BUGS, Bug
from tests.faults.harness.checks import Violation
from tests.faults.harness.pipeline import pipeline
from tests.faults.harness.scenarios import SCENARIOS
from tests.faults.harness.service_scenarios import SERVICE_SCENARIOS

from kit.testing import Servers

pytestmark = [pytest.mark.real, pytest.mark.slow]

CLEAN = {bug.scenario: bug.circumstance for bug in BUGS}


async def violations_of(
    scenario: str, servers: Servers, *, grace: float, then: Callable[[], None] = lambda: None
) -> list[Violation]:
    """Run a scenario. ``then`` comes before anything is stopped: a bug may be in the way of an orderly stop."""
    if scenario in SERVICE_SCENARIOS:
        return await SERVICE_SCENARIOS[scenario](servers.postgres_dsn)
    async with pipeline(servers.postgres_dsn, servers.kafka_bootstrap) as pipe:
        pipe.grace = grace
        found = await SCENARIOS[scenario](pipe)
        then()
        return found


@pytest.mark.parametrize("scenario", CLEAN)
async def test_our_own_code_passes(servers: Servers, scenario: str, monkeypatch: pytest.MonkeyPatch) -> None:
    CLEAN[scenario](monkeypatch)
    assert [str(each) for each in await violations_of(scenario, servers, grace=20.0)] == []


@pytest.mark.parametrize("bug", BUGS, ids=[bug.name for bug in BUGS])
async def test_a_deliberate_bug_is_caught(
    servers: Servers, bug: Bug, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bug.circumstance(monkeypatch)
    bug.apply(monkeypatch)
    began = time.monotonic()
    violations = await violations_of(bug.scenario, servers, grace=4.0, then=monkeypatch.undo)
    seconds = time.monotonic() - began
    caught = [violation for violation in violations if violation.check.startswith(f"{bug.check} ")]
    with capsys.disabled():
        sys.stdout.write(f"\n  {bug.name}: {seconds:.1f} s, {'; '.join(map(str, caught)) or 'NOT CAUGHT'} ")
    assert caught, f"{bug.check} did not see it; violated was: {[str(violation) for violation in violations]}"


def test_every_invariant_has_a_bug_that_only_it_is_there_for() -> None:
    assert {bug.check for bug in BUGS} == {f"I{number}" for number in range(1, 10)}
    assert len(BUGS) >= 12
