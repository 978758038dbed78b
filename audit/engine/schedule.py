"""Runs a plan: each task after those that it reads, part by part, from the bundle where it is already there."""

import sys
import traceback
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from dataclasses import dataclass, field, replace

from audit.bundle import Bundle
from audit.core.errors import AuditError, WriteError
from audit.core.evidence import Evidence, Result, Status
from audit.core.method import Inputs, Refusal
from audit.core.plan import Part, Plan, Task
from audit.engine.execute import bears_failures, merge_parts, task_parts, unmet
from audit.engine.progress import Progress
from audit.engine.workers import with_results

REMEDIED = "remedied"
"""What metrics of a model that a remedy made say under `where.model`."""

STOPPING = (WriteError, BrokenExecutor)
"""What is no fault of a method, and ends the run: the disk refuses, or a worker was killed."""

Compute = Callable[[Task, Part, Inputs], Future[Result]]


@dataclass
class _Running:
    """A task some of whose parts are under way."""

    task: Task
    inputs: Inputs
    missing: int
    partials: dict[int, Result] = field(default_factory=dict)


class Schedule:
    """The state of a plan while it runs; `run` gives the evidence of every task of it."""

    def __init__(self, plan: Plan, inputs: Inputs, bundle: Bundle, progress: Progress, compute: Compute) -> None:
        self.plan = plan
        self.inputs = inputs
        self.bundle = bundle
        self.progress = progress
        self.compute = compute
        self.done: dict[str, Evidence] = {}
        self.running: dict[str, _Running] = {}
        self.futures: dict[Future[Result], tuple[str, Part]] = {}

    def run(self, wanted: Iterable[str]) -> dict[str, Evidence]:
        """Evidence by task id; tasks that are not wanted are taken from the bundle or are `incomplete`."""
        chosen = set(wanted)
        for task in self.plan.tasks:
            if task.id != "sample" and task.id not in chosen:
                kept = self.bundle.evidence(task.key)
                self.done[task.id] = kept or self._keep(task, Result(status="incomplete", message="left out by --only"))
        while len(self.done) < len(self.plan.tasks):
            begun = self._begin_ready()
            if self.futures:
                self._collect()
            elif not begun:
                raise RuntimeError("the plan has a cycle")
        return {task.id: self.done[task.id] for task in self.plan.tasks}

    def _begin_ready(self) -> bool:
        """Begins every task whose inputs are there; whether any could be begun or settled."""
        begun = False
        for task in self.plan.tasks:
            if task.id in self.done or task.id in self.running:
                continue
            if all(name in self.done for name in task.after()):
                begun = True
                self._begin(task)
        return begun

    def _begin(self, task: Task) -> None:
        kept = self.bundle.evidence(task.key)
        if kept is not None and kept.status != "incomplete":
            self.progress.end(task.id, kept.status, "kept from an earlier run")
            self.done[task.id] = kept
            return
        failed = [self.done[name] for name in task.after() if self.done[name].status != "ok"]
        if failed and not bears_failures(task):
            why = f"it reads {failed[0].id}, which is {failed[0].status.replace('_', ' ')}: {failed[0].message}"
            status: Status = "incomplete" if failed[0].status == "incomplete" else "not_applicable"
            self._end(task, Result(status=status, message=why))
            return
        try:
            inputs = with_results(self.inputs, task, self.plan, self.bundle)
            reason = unmet(task, inputs)
            if reason:
                self._end(task, Result(status="not_applicable", message=reason))
            else:
                self._submit(task, inputs)
        except STOPPING:
            raise
        except Exception as error:  # noqa: BLE001 - a method that cannot even be split is a failing method
            self._end(task, _failure(error))

    def _submit(self, task: Task, inputs: Inputs) -> None:
        parts = task_parts(task, inputs)
        self.progress.start(task.id, len(parts))
        running = _Running(task, inputs, len(parts))
        self.running[task.id] = running
        for part in parts:
            kept = self.bundle.part(task.key, part.index)
            if kept is not None:
                self._add(running, part, kept)
                continue
            future = self.compute(task, part, inputs)
            self.futures[future] = (task.id, part)
            if future.done():  # in this process; were it taken in later, an interruption would lose it
                self._take(future)
            if task.id in self.done:
                break
        if not parts:
            self._merge(running)

    def _collect(self) -> None:
        """Takes in the parts that are done; a task whose part failed ends in an error."""
        for future in wait(self.futures, return_when=FIRST_COMPLETED).done:
            self._take(future)

    def _take(self, future: Future[Result]) -> None:
        """Takes in one part that is done."""
        task_id, part = self.futures.pop(future)
        running = self.running.get(task_id)
        if running is None:
            return
        try:
            partial = future.result()
        except STOPPING:
            raise
        except Exception as error:  # noqa: BLE001 - a failing method becomes evidence, and the run goes on
            self._end(running.task, _failure(error))
            return
        if running.missing > 1:
            self.bundle.put_part(running.task.key, part.index, partial)
        self._add(running, part, partial)

    def _add(self, running: _Running, part: Part, partial: Result) -> None:
        running.partials[part.index] = partial
        running.missing -= 1
        self.progress.part(running.task.id)
        if not running.missing:
            self._merge(running)

    def _merge(self, running: _Running) -> None:
        partials = [running.partials[i] for i in sorted(running.partials)]
        try:
            result = merge_parts(running.task, running.inputs, partials)
        except Exception as error:  # noqa: BLE001 - as above
            result = _failure(error)
        self._end(running.task, result)

    def _end(self, task: Task, result: Result) -> None:
        self.running.pop(task.id, None)
        self.done[task.id] = self._keep(task, result)
        self.bundle.drop_parts(task.key)
        self.progress.end(task.id, result.status)

    def _keep(self, task: Task, result: Result) -> Evidence:
        if task.remedy:
            metrics = [
                m.model_copy(update={"where": m.where.model_copy(update={"model": REMEDIED})}) for m in result.metrics
            ]
            result = replace(result, metrics=tuple(metrics))
        return self.bundle.put(task.id, task.kind, task.key, result)


def _failure(error: Exception) -> Result:
    """A refusal keeps its status; a fault of ours shows its traceback and becomes an error."""
    if isinstance(error, Refusal):
        return Result(status=error.status, message=str(error))
    if isinstance(error, AuditError):
        return Result(status="error", message="; ".join(error.problems))
    sys.stderr.write("".join(traceback.format_exception(error)))
    return Result(status="error", message=f"{type(error).__name__}: {error}")


def submit_to(executor: Executor, remote: Callable[[str, Part], Result] | None, progress: Progress) -> Compute:
    """How parts are computed: by `remote` in a worker process, or right here."""
    from audit.engine.execute import run_part

    def compute(task: Task, part: Part, inputs: Inputs) -> Future[Result]:
        if remote is not None:
            return executor.submit(remote, task.id, part)
        return executor.submit(run_part, task, part, inputs, lambda done, total: progress.tick(task.id, done, total))

    return compute
