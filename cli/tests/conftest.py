"""What the tests of the command line share: programs in Node, installed from their locks outside the tree."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from trunkline.stack import control

# For whole stacks, on a machine that does other things as well.
control.START_SECONDS = 300.0
NodeProject = Callable[[Path], Path]
INSTALL_SECONDS = 900


@pytest.fixture(scope="session")
def node_project() -> NodeProject:
    """``node_project(folder)`` is a copy of it with its locked packages beside it; installed once per lock."""

    def install(folder: Path) -> Path:
        npm = shutil.which("npm")
        if npm is None or shutil.which("node") is None:
            pytest.fail("this test needs node and npm: deploy/native/bootstrap --for-tests installs them")
        lock = hashlib.sha256((folder / "package-lock.json").read_bytes()).hexdigest()[:16]
        root = Path(os.environ.get("TRUNKLINE_TEST_ROOT", ".run")).resolve() / "node"
        target = root / f"{folder.name}-{lock}"
        target.mkdir(parents=True, exist_ok=True)
        for name in ("package.json", "package-lock.json", ".npmrc"):
            shutil.copy(folder / name, target)
        if not (target / "complete").is_file():
            command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
            done = subprocess.run(
                command, cwd=target, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False
            )
            assert done.returncode == 0, done.stderr
            (target / "complete").touch()
        for program in folder.glob("*.mjs"):
            shutil.copy(program, target)
        return target

    return install
