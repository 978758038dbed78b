"""What will be run: tasks, and what each of them reads."""

from functools import cached_property
from typing import Literal

from pydantic import JsonValue

from audit.core.base import Frozen


class Ref(Frozen):
    """What a task reads: an input of the run by its digest, or another task by its key."""

    source: Literal["input", "task"]
    name: str
    content: str


class Part(Frozen):
    """A piece of a task that is computed and cached on its own.

    Attributes:
        start, stop: the half-open range of sample rows, where the task is split by rows.
        seed: the seed, where it is split by seeds.
        variant: the variant, where it is split by variants.
    """

    index: int
    start: int = 0
    stop: int = 0
    seed: int | None = None
    variant: str | None = None


class Task(Frozen):
    """One computation. Its key is the digest of everything that its result depends on.

    Attributes:
        id: unique in the plan; evidence and gates are found by it.
        family: which door it goes through.
        kind: which member of the family.
        settings: the fields of the method or generator.
        rev: raised when the numbers of the kind change.
        uses: versions of the libraries that the numbers depend on.
        reads: what it reads, by the name under which it asks for it.
    """

    id: str
    family: Literal["sample", "counterfactuals", "method"]
    kind: str
    settings: dict[str, JsonValue]
    rev: int
    uses: dict[str, str]
    reads: dict[str, Ref]
    seed: int
    part_rows: int

    @cached_property
    def key(self) -> str:
        """The content key: 32 hexadecimal digits."""
        return self.digest()[:32]

    @property
    def remedy(self) -> str:
        """The id of the remedy whose model this task audits; empty for the given model."""
        return self.id.partition("@")[2]

    def after(self) -> tuple[str, ...]:
        """The ids of the tasks that must be done before."""
        return tuple(ref.name for ref in self.reads.values() if ref.source == "task")


class Plan(Frozen):
    """The tasks of an audit, each after those that it reads."""

    tasks: tuple[Task, ...]

    def __getitem__(self, task_id: str) -> Task:
        for task in self.tasks:
            if task.id == task_id:
                return task
        raise KeyError(task_id)
