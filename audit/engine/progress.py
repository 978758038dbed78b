"""Progress for people who wait. Nothing here is recorded."""

import sys
import time
from types import TracebackType
from typing import Protocol, Self


class Progress(Protocol):
    """What the run tells of its progress."""

    def start(self, task: str, parts: int) -> None: ...

    def tick(self, task: str, done: int, total: int) -> None: ...

    def part(self, task: str) -> None: ...

    def end(self, task: str, status: str, note: str = "") -> None: ...


class Quiet:
    """Says nothing."""

    def start(self, task: str, parts: int) -> None:
        """A task begins."""

    def tick(self, task: str, done: int, total: int) -> None:
        """A part has come this far."""

    def part(self, task: str) -> None:
        """A part is done."""

    def end(self, task: str, status: str, note: str = "") -> None:
        """A task is done."""


class Lines(Quiet):
    """One line per finished task on standard error, for logs."""

    def __init__(self) -> None:
        self._begun: dict[str, float] = {}

    def start(self, task: str, parts: int) -> None:
        """Notes the time."""
        self._begun[task] = time.perf_counter()

    def end(self, task: str, status: str, note: str = "") -> None:
        """Prints the task, its status and how long it took."""
        spent = time.perf_counter() - self._begun.get(task, time.perf_counter())
        sys.stderr.write(f"{task:<32} {status:<15} {spent:6.1f} s{'  ' + note if note else ''}\n")


class Bars(Quiet):
    """A bar per task on a terminal."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as RichProgress

        self._rich = RichProgress(
            TextColumn("{task.description:<32}"),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[status]}"),
            console=Console(stderr=True),
        )
        self._bars: dict[str, tuple[object, int, int]] = {}

    def __enter__(self) -> Self:
        self._rich.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._rich.stop()

    def start(self, task: str, parts: int) -> None:
        """A bar of so many parts."""
        self._bars[task] = (self._rich.add_task(task, total=parts, status=""), parts, 0)

    def tick(self, task: str, done: int, total: int) -> None:
        """Moves the bar within a part."""
        bar, _, finished = self._bars[task]
        self._rich.update(bar, completed=finished + done / max(total, 1))  # type: ignore[arg-type]

    def part(self, task: str) -> None:
        """Moves the bar by a part."""
        bar, parts, finished = self._bars[task]
        self._bars[task] = (bar, parts, finished + 1)
        self._rich.update(bar, completed=finished + 1)  # type: ignore[arg-type]

    def end(self, task: str, status: str, note: str = "") -> None:
        """Fills the bar and says how it ended."""
        if task not in self._bars:
            self.start(task, 1)
        bar, parts, _ = self._bars[task]
        self._rich.update(bar, completed=parts, status=note or status)  # type: ignore[arg-type]
