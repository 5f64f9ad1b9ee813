"""How the story looks in a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

__all__ = ["Teller"]


class Teller:
    """Numbers the scenes and writes them one below the other."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._number = 0

    def scene(self, title: str, lines: Sequence[str]) -> None:
        self._number += 1
        self._console.print(f"\n[bold cyan]{self._number:>2}  {escape(title)}[/]")
        for line in lines:
            self.more(line)

    def more(self, line: str) -> None:
        self._console.print(f"    [green]✓[/] {escape(line)}", highlight=True, soft_wrap=True)

    def places(self, title: str, rows: Sequence[tuple[str, str]]) -> None:
        table = Table(title=title, title_justify="left", show_header=False, box=None, padding=(0, 2))
        for name, where in rows:
            table.add_row(f"[bold]{escape(name)}[/]", escape(where))
        self._console.print()
        self._console.print(table)
