"""The bar that a person at a terminal watches: messages, rate and time left."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bar
from rich.text import Text

from vault_importer.load_backup import Progress

__all__ = ["progress_bar"]


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:,.0f}/s" if task.speed else "")


@contextmanager
def progress_bar(
    console: Console | None = None, now: Callable[[], float] | None = None
) -> Iterator[Callable[[Progress], None]]:
    """A bar for as long as the block lasts; the function tells it how far the work is."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=console or Console(stderr=True), transient=True, get_time=now) as bar:
        task = bar.add_task("opening", total=None)
        begun = False

        def show(progress: Progress) -> None:
            nonlocal begun
            if begun:
                bar.update(task, completed=progress.done)
            else:
                # What was there before, from an import that was interrupted or from the last backup, tells no rate.
                bar.reset(task, description="messages", total=progress.total, completed=progress.done)
            begun = True

        yield show
