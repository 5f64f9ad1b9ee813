"""Read by Python at the start of every process of a stack under test: arms crash points, moves clocks,
puts mistakes in where a test asks for them.

It does nothing without ``FAULTS_DIR`` in the environment. Production code knows nothing of it: functions are wrapped
when their module is imported.
"""

import os
from pathlib import Path

if os.environ.get("FAULTS_DIR"):
    import crash_points
    import planted

    crash_points.step_clock(Path(os.environ["FAULTS_DIR"]))
    crash_points.install(Path(os.environ["FAULTS_DIR"]), planted.planted_in(crash_points.process_name()))
