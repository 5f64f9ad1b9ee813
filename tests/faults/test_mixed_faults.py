"""A minute of mixed faults against the whole stack, by a fixed seed: the invariants hold. ``make faults`` is longer."""

from __future__ import annotations

import os
import sys

import pytest
from tests.faults.harness.options import expand
from tests.faults.harness.report import Progress, table
from tests.faults.harness.run import run
from tests.faults.harness.stack import FaultLayout

pytestmark = [pytest.mark.real, pytest.mark.slow]

SEED, SECONDS, PORT_BASE = 20, 60.0, 23000
# Speed is not what is tested here: the promised minute is for machines that do nothing else.
BUSY_SECONDS = 300.0


def test_a_minute_of_mixed_faults_breaks_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    layout = FaultLayout.of(
        os.environ.get("TRUNKLINE_TEST_ROOT", ".run") + "/faults",
        int(os.environ.get("TRUNKLINE_TEST_FAULTS_PORT_BASE", PORT_BASE)),
    )
    options = expand(int(os.environ.get("FAULTS_SEED", SEED)), SECONDS, tenants=2)
    with capsys.disabled():
        sys.stderr.write(f"\n{options.to_json()}\n")
        outcome = run(options, layout, Progress(), settle_seconds=BUSY_SECONDS)
        sys.stderr.write(f"{table(outcome)}\n")
    assert [str(violation) for violation in outcome.violations] == []
    assert outcome.kills > 0
    assert outcome.figures.acknowledged["status"] > 0
    assert outcome.figures.acknowledged["import"] > 0
    assert outcome.figures.acknowledged["mail"] > 0
