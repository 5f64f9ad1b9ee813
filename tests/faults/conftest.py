"""Fixtures of the tests of the fault harness."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.faults.made_up import Run, made_up


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    with made_up(tmp_path) as made:
        yield made
