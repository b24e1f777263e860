"""Print sentences, progress bars and tables on standard error."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

console = Console(stderr=True, highlight=False, soft_wrap=True)


def heading(text: str) -> None:
    """Print the heading of a step."""
    console.print(f"\n[bold cyan]{text}[/]")


def say(text: str) -> None:
    """Print a sentence or two."""
    console.print(text)


def failure(text: str) -> None:
    """Print why the demo ends."""
    console.print(text, style="bold red", markup=False)


def verdict(text: str, *, held: bool) -> None:
    """Print a claim and whether it is true."""
    console.print(f"[bold green]✔[/] {text}" if held else f"[bold red]✘ {text}[/]")


@contextmanager
def bars(unit: str, totals: Mapping[str, int]) -> Iterator[Callable[[str, int], None]]:
    """Show a progress bar for each name. Yield a function that sets its progress."""
    progress = Progress(
        TextColumn("  {task.description:<10}"),
        BarColumn(bar_width=36),
        TextColumn("{task.completed:>9,.0f} of {task.total:,.0f} " + unit),
        TimeElapsedColumn(),
        console=console,
        refresh_per_second=10,
    )
    with progress:
        rows = {name: progress.add_task(name, total=total) for name, total in totals.items()}
        yield lambda name, done: progress.update(rows[name], completed=done)


def table(columns: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    """Print a table; numbers are right-aligned, with thousands separators."""
    lines = [list(row) for row in rows]
    shown = Table(pad_edge=True, header_style="bold")
    for position, name in enumerate(columns):
        number = any(isinstance(line[position], int | float) for line in lines)
        shown.add_column(name, justify="right" if number else "left")
    for line in lines:
        shown.add_row(*map(_cell, line))
    console.print(shown)


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.1f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
