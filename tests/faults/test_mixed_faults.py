"""Some minutes of mixed faults against the whole stack, by a fixed seed that has every kind: the invariants hold."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.faults.harness.options import KINDS, expand

SEED, SECONDS, TENANTS, PORT_BASE = "1458", "225", "2", "23000"
# Speed is not what is tested here: the promised minute is for machines that do nothing else.
BUSY_SECONDS = "300"


def test_the_seed_has_every_kind_of_fault() -> None:
    faults = expand(int(SEED), float(SECONDS), tenants=int(TENANTS)).faults
    assert {fault.kind for fault in faults} == KINDS.keys(), "the schedule is drawn otherwise: look for another seed"


@pytest.mark.real
@pytest.mark.slow
def test_mixed_faults_break_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    run_dir = os.environ.get("TRUNKLINE_TEST_ROOT", ".run") + "/faults"
    options = {
        "--seed": os.environ.get("FAULTS_SEED", SEED), "--seconds": SECONDS, "--settle": BUSY_SECONDS,
        "--tenants": TENANTS, "--run-dir": run_dir,
        "--port-base": os.environ.get("TRUNKLINE_TEST_FAULTS_PORT_BASE", PORT_BASE),
    }  # fmt: skip
    command = [sys.executable, "-m", "tests.faults.harness", *(part for pair in options.items() for part in pair)]
    with capsys.disabled():
        done = subprocess.run(command, cwd=Path(__file__).parents[2], check=False)
    assert done.returncode == 0, "an invariant did not hold, or the run could not tell; its report is above"
