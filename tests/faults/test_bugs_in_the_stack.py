"""A short run of the whole stack with four mistakes in it, one in each of four processes: each is caught by name."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from tests.faults.harness.checks import Violation
from tests.faults.harness.options import Options
from tests.faults.harness.run import run
from tests.faults.harness.saboteur.planted import PLANTED
from tests.faults.harness.stack import FaultLayout

pytestmark = [pytest.mark.real, pytest.mark.slow]

PORT_BASE = "23000"
CAUGHT = {
    "claims_and_does_nothing": ("I6 conservation", "the numbers do not agree", "tax numbers of import-"),
    "claims_in_another_transaction": ("I1 no loss", "was published, and its consumer does not show it", "front-desk "),
    "publishes_without_key": ("I3 order", "a key lies in several partitions", "call."),
    "audits_without_link": ("I4 audit chain", "the chain does not verify", "record "),
}
OPTIONS = Options(
    seed=3, seconds=8, tenants=1, calls_per_second=8, duplicate_ratio=0, reorder_ratio=0, poison_ratio=0,
    import_every=5, import_messages=400, mail_every=8, faults=(),
)  # fmt: skip


def test_each_of_four_mistakes_in_a_running_stack_is_caught(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert CAUGHT.keys() == PLANTED.keys()
    monkeypatch.setenv("FAULTS_BUGS", ",".join(PLANTED))
    root = Path(os.environ.get("TRUNKLINE_TEST_ROOT", ".run"))
    port_base = int(os.environ.get("TRUNKLINE_TEST_FAULTS_PORT_BASE", PORT_BASE))
    layout = FaultLayout.of(str(root / "faults-bugs"), port_base)
    outcome = run(OPTIONS, layout, lambda _: None, settle_seconds=20)
    found = {name: [each for each in outcome.violations if _is(each, *CAUGHT[name])] for name in CAUGHT}
    with capsys.disabled():
        for name, violations in found.items():
            sys.stdout.write(f"\n  {name}: {'; '.join(map(str, violations)) or 'NOT CAUGHT'}")
    missed = [name for name, violations in found.items() if not violations]
    assert missed == [], [*map(str, outcome.violations), *outcome.untold]


def _is(violation: Violation, check: str, sentence: str, example: str) -> bool:
    told = any(each.startswith(example) for each in violation.examples)
    return (violation.check, violation.sentence) == (check, sentence) and told
