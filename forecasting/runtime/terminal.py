"""Progress bars and tables."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

TABLE_WIDTH = 160  # characters


@contextmanager
def progress(label: str, total: int | None, *, unit: str = "forecasts") -> Iterator[Callable[..., None]]:
    """A progress bar on stderr if that is a terminal: what is done, time gone, time left.

    Call what it yields with the number that are newly done and, once it is known, their total.
    """
    if not sys.stderr.isatty():
        yield lambda count, new_total=None: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )  # fmt: skip

    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn(unit),
        TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(),
    )  # fmt: skip
    console = Console(stderr=True)
    # On a terminal, lines of the log go above the bar; elsewhere they stay on stdout.
    with Progress(*columns, console=console, transient=True, redirect_stdout=sys.stdout.isatty()) as bar:
        task = bar.add_task(label, total=total)

        def advance(count: int, new_total: int | None = None) -> None:
            bar.update(task, advance=count, total=new_total)  # None: unchanged

        yield advance


def render(table: "Table") -> str:
    """Text for a terminal or a file. Names stay as they are, even if they look like emoji or markup."""
    from rich.console import Console

    console = Console(width=TABLE_WIDTH, color_system=None, emoji=False, markup=False)
    with console.capture() as capture:
        console.print(table)
    return "\n".join(line.rstrip() for line in capture.get().rstrip().splitlines())
