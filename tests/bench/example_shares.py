"""What each task of the German-credit audit costs, beside the counterfactual searches that it reads."""

import shutil
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
REPEATS = 3
SEARCHES = ("counterfactuals.flips", "counterfactuals.recourse")
"""The searches that the report is built on; the others are there to judge them."""
NEW = ("reasons", "recourse", "fairness", "data", "robustness", "regions_found", "plausibility", "search_gap")
"""Methods that may not cost more than a search."""
HEAD = """
## Where the time goes: German credit

The worked example (`examples/german_credit`, 300 audited rows, 19 features): CPU seconds of each task in one process,
the smallest of {repeats} runs, and the same over those of the cheaper of the two searches that the report is built on.
None of {new} may cost more than that.

| task | CPU s | share of all tasks | over the cheaper search |
|---|---|---|---|
"""


class Clock:
    """Keeps the CPU seconds of this process between the start and the end of each task; tasks run one by one."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = {}
        self._begun: dict[str, float] = {}

    def start(self, task: str, parts: int) -> None:
        """A task begins."""
        self._begun[task] = time.process_time()

    def tick(self, task: str, done: int, total: int) -> None:
        """A part has come this far."""

    def part(self, task: str) -> None:
        """A part is done."""

    def end(self, task: str, status: str, note: str = "") -> None:
        """A task is done."""
        if status != "ok":
            raise RuntimeError(f"{task} is {status}; its cost says nothing")
        self.spent[task] = time.process_time() - self._begun.get(task, time.process_time())


def measured(folder: Path) -> dict[str, float]:
    """CPU seconds of each task, the smallest of `REPEATS` runs."""
    from audit.engine.run import run

    example = folder / "german_credit"
    shutil.copytree(ROOT / "examples" / "german_credit", example)
    best: dict[str, float] = {}
    for repeat in range(REPEATS):
        clock = Clock()
        run(example / "spec.yaml", folder / f"out-{repeat}", progress=clock)
        best = {task: min(spent, best.get(task, spent)) for task, spent in clock.spent.items()}
    return best


def section() -> str:
    """The table as Markdown.

    Raises:
        SystemExit: a new method costs more than a search.
    """
    with tempfile.TemporaryDirectory() as folder:
        spent = measured(Path(folder))
    total, search = sum(spent.values()), min(spent[name] for name in SEARCHES)
    rows = [
        f"| `{task}` | {cpu:.2f} | {cpu / total:.1%} | {cpu / search:.2f} |\n"
        for task, cpu in sorted(spent.items(), key=lambda item: -item[1])
        if cpu >= 0.005 or task in NEW
    ]
    dear = [task for task in NEW if spent[task] > search]
    text = HEAD.format(repeats=REPEATS, new=", ".join(f"`{name}`" for name in NEW)) + "".join(rows)
    if dear:
        sys.stderr.write(text)
        raise SystemExit(f"cost more than the counterfactual search: {', '.join(dear)}")
    return text


if __name__ == "__main__":
    sys.stdout.write(section())
