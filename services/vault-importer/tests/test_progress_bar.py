"""What a person at a terminal sees of an import: how much of how much, how fast, how much longer."""

from __future__ import annotations

from io import StringIO

from rich.console import Console

from vault_importer.load_backup import Progress
from vault_importer.progress_bar import progress_bar


def _shown(*steps: tuple[float, int], total: int) -> str:
    """The bar as it stood at the end."""
    console, clock = Console(file=StringIO(), force_terminal=True, width=160), [0.0]
    with progress_bar(console, lambda: clock[0]) as show:
        for at, done in steps:
            clock[0] = at
            show(Progress(done=done, total=total))
    output = console.file
    assert isinstance(output, StringIO)
    return output.getvalue()


def test_rate_and_time_left_are_those_of_the_work() -> None:
    shown = _shown((1, 1_000), (2, 2_000), (3, 3_000), (4, 4_000), total=24_000)
    assert "4000/24000" in shown
    assert "1,000/s" in shown
    assert "0:00:20" in shown


def test_what_was_done_before_makes_the_rest_no_faster() -> None:
    shown = _shown((1, 900_000), (2, 901_000), (3, 902_000), total=932_000)
    assert "1,000/s" in shown
    assert "0:00:30" in shown
