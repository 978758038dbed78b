"""Where parts are computed: in this process, or in a local pool of processes."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from dataclasses import replace
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from audit.bundle import Bundle
from audit.core.evidence import Evidence, Result
from audit.core.method import METHODS, Inputs
from audit.core.model import Allow
from audit.core.plan import Part, Plan, Task
from audit.core.sample import sampled
from audit.draft import Draft
from audit.engine.execute import run_part
from audit.engine.load import load_inputs, remedied
from audit.engine.provenance import package_version
from audit.engine.pseudonyms import PseudonymKey
from audit.spec.compile import compile_plan
from audit.spec.load import Loaded, load_spec


class Here(Executor):
    """An executor that computes at once, in this process."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """The future of a call that is already done."""
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 - as every executor: the error belongs to the future
            future.set_exception(error)
        return future


class _Pool(ProcessPoolExecutor):
    """Processes that never hear Ctrl-C: the main process hears it too, and ends them."""

    def __init__(self, workers: int, initializer: Callable[..., object], initargs: tuple[object, ...]) -> None:
        context = multiprocessing.get_context("spawn")
        super().__init__(workers, mp_context=context, initializer=initializer, initargs=initargs)
        # All start before the thread that watches them: where one dies it goes through all, and failed with a traceback
        # if one was added meanwhile.
        self._safe_to_dynamically_spawn_children = False

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """The future of a call; the first starts the processes, which inherit the blocked signal."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            return super().submit(fn, *args, **kwargs)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def kill(self) -> None:
        """Ends its own processes; libraries may have others."""
        for process in list((self._processes or {}).values()):
            process.kill()


def pool(workers: int, loaded: Loaded, allow: Allow, out: Path, key: PseudonymKey | None = None) -> Executor:
    """A pool of fresh processes, each of which reads the inputs for itself.

    What they are given is small: were it more than a pipe holds, and one of them killed before it has read all, this
    process would wait for ever.
    """
    return _Pool(workers, _prepare, (loaded.path, loaded.overrides, loaded.text, allow, key, out))


_worker: dict[str, Any] = {}
"""What a worker process keeps between parts; empty in the main process."""


def stop(executor: Executor) -> None:
    """Ends a pool at once, with whatever its processes are at; what is cached in the bundle stays."""
    if isinstance(executor, _Pool):
        executor.kill()  # before their queues close, or they complain of it
    executor.shutdown(cancel_futures=True)


def _end_with_parent() -> None:
    """Ends this process when the main one ends, however that ends: a pool would wait for its word for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _prepare(
    path: Path,
    overrides: tuple[str, ...],
    text: str,
    allow: Allow,
    key: PseudonymKey | None,
    out: Path,
) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    loaded = load_spec(path, overrides, text.encode("utf-8"))
    loading = load_inputs(loaded, allow, alone=True, key=key)
    _worker["inputs"] = loading.inputs
    _worker["bundle"] = Draft(out)
    _worker["plan"] = compile_plan(loaded.spec, loading.contents, package_version)


def run_remote(task_id: str, part: Part) -> Result:
    """The result of a part, in a worker process: what it reads comes from the bundle."""
    plan: Plan = _worker["plan"]
    task = plan[task_id]
    if _worker.get("task") != task_id:
        bound = with_results(_worker["inputs"], task, plan, _worker["bundle"])
        _worker.update(task=task_id, bound=bound)
    return run_part(task, part, _worker["bound"], lambda done, total: None)


def with_results(inputs: Inputs, task: Task, plan: Plan, bundle: Bundle) -> Inputs:
    """The inputs with the sample, and with what the tasks found that this one reads."""
    results: dict[str, Result] = {}
    for name, ref in task.reads.items():
        if ref.source != "task":
            continue
        record = bundle.evidence(plan[ref.name].key)
        if record is None:
            raise RuntimeError(f"{task.id} reads {ref.name}, which is not in the bundle")
        results[name] = bundle.result(record)
        if name == "model":
            inputs = _with_model(inputs, plan[ref.name].kind, record, bundle)
    if "sample" in results:
        inputs = sampled(inputs, results["sample"])
    return replace(inputs, results=results)


def _with_model(inputs: Inputs, remedy: str, record: Evidence, bundle: Bundle) -> Inputs:
    """The inputs with the model that a remedy left in the bundle."""
    wanted = METHODS.classes()[remedy].remedy
    (artefact,) = (artefact for artefact in record.artefacts if artefact.name == wanted)
    return remedied(inputs, bundle.found(artefact.path), artefact.media_type)
