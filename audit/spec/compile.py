"""From a spec to the plan: which tasks there are, and what each of them reads."""

from collections.abc import Callable, Mapping, Sequence

from pydantic import JsonValue

from audit.core.base import canonical_json, sha256
from audit.core.errors import SpecError
from audit.core.method import METHODS, Generator, Method
from audit.core.plan import Plan, Ref, Task
from audit.spec.check import COMPARISON
from audit.spec.facts import settings
from audit.spec.model import Spec, column_infos

REMEDIES = "remedies."
"""What the ids of remedies begin with."""

FILE = "file:"
"""What the names of inputs begin with that are files of counterfactuals; their paths follow."""

SAMPLE_REV = 1
"""Raised when the drawing of the sample changes."""


def compile_plan(spec: Spec, contents: Mapping[str, str], versions: Callable[[str], str]) -> Plan:
    """The tasks of a spec, each after those that it reads.

    Args:
        contents: digests of the inputs `model` (file, settings, decision) and `data` (files, section without sample).
        versions: from the name of a library to its installed version.

    Raises:
        SpecError: methods read one another in a circle.
    """
    inputs = {name: Ref(source="input", name=name, content=contents[name]) for name in ("data", "model")}
    inputs["columns"] = Ref(source="input", name="columns", content=_columns_digest(spec))
    sample = _sample(spec, inputs, versions)
    inputs["sample"] = _ref(sample)
    inputs["policy"] = Ref(source="input", name="policy", content=policy_digest(spec))
    files = [name for name in contents if name.startswith(FILE)]
    inputs |= {name: Ref(source="input", name=name, content=contents[name]) for name in files}
    tasks = {sample.id: sample}
    work = runnables(spec)
    comparison = _comparison(work) if spec.remedies else None
    work = {name: runnable for name, runnable in work.items() if runnable is not comparison}
    for task_id in _ordered({name: tuple(runnable.reads().values()) for name, runnable in work.items()}):
        tasks[task_id] = _task(spec, task_id, work[task_id], inputs, tasks, versions)
    given = tuple(tasks.values())
    for remedy in spec.remedies:
        task_id = f"{REMEDIES}{remedy.task_id}"
        tasks[task_id] = _task(spec, task_id, remedy, inputs, tasks, versions)
        again = _again(given, remedy.task_id, tasks[task_id])
        tasks |= again
        if comparison is not None:
            compared = _task(spec, f"{COMPARISON}@{remedy.task_id}", comparison, inputs, tasks, versions)
            tasks[compared.id] = _comparing(compared, given, again, remedy.task_id, tasks[task_id])
    return Plan(tasks=tuple(tasks.values()))


def _comparison(work: Mapping[str, Generator | Method]) -> Generator | Method:
    """The comparison of two models as the spec lists it, or as it is by default."""
    listed = [runnable for runnable in work.values() if isinstance(runnable, Method) and runnable.kind == COMPARISON]
    return listed[0] if listed else METHODS.classes()[COMPARISON].model_validate({"kind": COMPARISON})


def _comparing(compared: Task, given: Sequence[Task], again: Mapping[str, Task], name: str, remedy: Task) -> Task:
    """The task of a comparison, which reads every task of both models and that of the remedy."""
    read = {f"before.{task.id}": _ref(task) for task in given}
    read |= {f"after.{task.id}": _ref(again[f"{task.id}@{name}"]) for task in given}
    reads = {**compared.reads, **read, "remedy": _ref(remedy)}
    return Task(**({f: getattr(compared, f) for f in Task.model_fields} | {"reads": reads}))


def _task(
    spec: Spec,
    task_id: str,
    runnable: Generator | Method,
    inputs: Mapping[str, Ref],
    tasks: Mapping[str, Task],
    versions: Callable[[str], str],
) -> Task:
    """The task of a search, a method or a remedy; what does not ask for the policy does not depend on it."""
    searched = isinstance(runnable, Generator)
    read = {name: _ref(tasks[other]) for name, other in runnable.reads().items()}
    return Task(
        id=task_id,
        family="counterfactuals" if searched else "method",
        kind=runnable.search if isinstance(runnable, Generator) else runnable.kind,
        settings=settings(runnable),
        rev=runnable.rev,
        uses=_versions(spec, runnable.uses, versions),
        reads={**{name: ref for name, ref in inputs.items() if _asked(runnable, name)}, **read},
        seed=spec.run.seed,
        part_rows=spec.run.part_rows,
    )


def _asked(runnable: Generator | Method, name: str) -> bool:
    """Whether a task depends on an input: on the policy and on files only where it asks for them."""
    searched = isinstance(runnable, Generator)
    if name.startswith(FILE):
        return isinstance(runnable, Generator) and name == f"{FILE}{runnable.file}"
    return name != "policy" or searched or "policy" in runnable.needs


def _again(given: Sequence[Task], name: str, remedy: Task) -> dict[str, Task]:
    """The tasks of the given model once more, on the model that a remedy made; the drawn rows stay the same."""
    again: dict[str, Task] = {}
    for task in given:
        reads = {key: _ref(again[ref.name]) if ref.name in again else ref for key, ref in task.reads.items()}
        reads["model"] = _ref(remedy)
        if task.family == "sample":
            reads["rows"] = _ref(task)
        if task.family == "method" and METHODS.classes()[task.kind].as_given:
            reads["given"] = _ref(task)
        fields = {field: getattr(task, field) for field in Task.model_fields}
        again[task.id] = Task(**(fields | {"id": f"{task.id}@{name}", "reads": reads}))
    return {task.id: task for task in again.values()}


def _ref(task: Task) -> Ref:
    return Ref(source="task", name=task.id, content=task.key)


def runnables(spec: Spec) -> dict[str, Generator | Method]:
    """Searches and methods by task id; the searches by name, since the order of keys means nothing."""
    found: dict[str, Generator | Method] = {f"counterfactuals.{n}": g for n, g in sorted(spec.counterfactuals.items())}
    return found | {method.task_id: method for method in spec.methods}


def _sample(spec: Spec, inputs: Mapping[str, Ref], versions: Callable[[str], str]) -> Task:
    """The task that draws the audited rows, which all others share."""
    regions: list[JsonValue] = [region.model_dump(mode="json") for region in spec.regions]
    return Task(
        id="sample",
        family="sample",
        kind="sample",
        settings={"sample": spec.data.sample.model_dump(mode="json"), "regions": regions},
        rev=SAMPLE_REV,
        uses=_versions(spec, (), versions),
        reads=dict(inputs),
        seed=spec.run.seed,
        part_rows=spec.run.part_rows,
    )


def _versions(spec: Spec, uses: Sequence[str], versions: Callable[[str], str]) -> dict[str, str]:
    """Versions of the libraries that the numbers depend on; those of the model's adapter are among them."""
    return {name: versions(name) for name in sorted({*uses, *spec.model.uses})}


def _ordered(waiting: Mapping[str, Sequence[str]]) -> list[str]:
    """The tasks, each after those that it waits for; in the given order where that leaves a choice."""
    order = ["sample"]
    left = dict(waiting)
    while left:
        ready = [name for name, before in left.items() if set(before) <= set(order)]
        if not ready:
            raise SpecError(f"{', '.join(left)}: each of these reads another of them, or what is not there")
        order += ready
        for name in ready:
            del left[name]
    return order[1:]


def policy_digest(spec: Spec) -> str:
    """The digest of what may change and how; who approved it, why, and units leave it as it is."""
    plain = spec.mutability.model_dump(mode="json")
    for rule in plain["features"].values():
        for key in ("why", "owner", "approved", "unit"):
            del rule[key]
    return sha256(canonical_json(plain))


def _columns_digest(spec: Spec) -> str:
    """The digest of kinds and orders of columns, wherever the spec states them."""
    infos = {name: info.model_dump(mode="json", exclude={"unit"}) for name, info in column_infos(spec).items()}
    stated = {name: info for name, info in infos.items() if any(info.values())}
    return sha256(canonical_json(stated))
