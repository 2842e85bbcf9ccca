"""How the demo prints: bars of progress, tables, the paths of the plots."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich import box
from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bars
from rich.table import Table

from .model import Progress


class Terminal:
    """Prints to standard output; `quiet` leaves out all but the results."""

    def __init__(self, quiet: bool = False) -> None:
        self.console = Console(highlight=False)
        self.quiet = quiet

    @contextmanager
    def progress(self) -> Iterator[Progress]:
        """A bar for each training; on a terminal they grow, elsewhere they are printed when all is done."""
        bars = Bars(
            TextColumn("{task.description:<20}"),
            BarColumn(bar_width=24),
            TextColumn("{task.completed:>4}/{task.total:<4} loss {task.fields[loss]:.3f}"),
            console=self.console,
            disable=self.quiet,
        )
        tasks = {}

        def update(name: str, done: int, total: int, loss: float) -> None:
            if name not in tasks:
                tasks[name] = bars.add_task(name, total=total, loss=loss)
            bars.update(tasks[name], completed=done, loss=loss)

        with bars:
            yield update
        if not self.quiet:
            self.console.print()

    def plots(self, paths: Sequence[Path]) -> None:
        """Where the plots are, one path a line, never broken over lines."""
        self.console.print("Plots:")
        for path in paths:
            self.console.print(f"  {path}", soft_wrap=True, markup=False)

    def results(self, table: Table) -> None:
        """A table, and a line below it."""
        self.console.print(table)
        self.console.print()


def new_table(title: str, caption: str) -> Table:
    return Table(
        title=title,
        title_justify="left",
        title_style="bold",
        caption=caption,
        caption_justify="left",
        box=box.SIMPLE_HEAD,
    )


def add_numbers(table: Table, *headings: str) -> None:
    for heading in headings:
        table.add_column(heading, justify="right", vertical="bottom")
