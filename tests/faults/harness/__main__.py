"""One run by seed and duration. Exit code 1 when an invariant did not hold, 2 when the run was too poor to tell."""

from __future__ import annotations

import argparse
import faulthandler
import sys
import time

from tests.faults.harness.judge import HEAL_SECONDS
from tests.faults.harness.options import KINDS, expand
from tests.faults.harness.report import Progress, table
from tests.faults.harness.run import run
from tests.faults.harness.stack import FaultLayout

from runtime.logs import configure_logging


def main() -> int:
    parser = argparse.ArgumentParser(prog="make faults", description=__doc__)
    parser.add_argument("--seed", type=int, default=None, help="the same seed gives the same schedule; else a new one")
    parser.add_argument("--seconds", type=float, default=180.0, help="how long faults happen")
    parser.add_argument("--only", default="", help=f"kinds of faults, separated by commas: {', '.join(KINDS)}")
    parser.add_argument("--tenants", type=int, default=3)
    parser.add_argument("--settle", type=float, default=HEAL_SECONDS, help="seconds that may pass after the heal")
    parser.add_argument("--run-dir", default=".run/faults")
    parser.add_argument("--port-base", type=int, default=32000)
    parser.add_argument("--dry-run", action="store_true", help="print the expanded options and stop")
    given = parser.parse_args()
    seed = given.seed if given.seed is not None else int(time.time()) % 1_000_000
    only = [name for name in given.only.split(",") if name]
    unknown = set(only) - KINDS.keys()
    if unknown:
        parser.error(f"there is no fault named {', '.join(sorted(unknown))}")
    options = expand(seed, given.seconds, only=only, tenants=given.tenants)
    sys.stdout.write(options.to_json() + "\n")
    sys.stdout.flush()
    if given.dry_run:
        return 0
    faulthandler.enable()
    configure_logging("fault-harness", "ERROR")
    outcome = run(options, FaultLayout.of(given.run_dir, given.port_base), Progress(), settle_seconds=given.settle)
    sys.stdout.write(table(outcome) + "\n")
    if outcome.missing and not only and not outcome.violations:
        sys.stdout.write(f"this run proves nothing, it had no: {', '.join(outcome.missing)}\n")
        return 2
    return 1 if outcome.violations else 2 if outcome.untold else 0


if __name__ == "__main__":
    raise SystemExit(main())
