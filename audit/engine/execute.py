"""One part of one task, in whatever process."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from pydantic import TypeAdapter
from threadpoolctl import threadpool_limits

from audit.core.base import canonical_json
from audit.core.evidence import Metric, Result, Where
from audit.core.method import GENERATORS, METHODS, Context, Generator, Inputs, Method, Need, Runnable
from audit.core.model import Capability
from audit.core.plan import Part, Task
from audit.core.region import Region
from audit.core.sample import SampleSettings, draw
from audit.search.verify import summarise, verify

EVALUATED = "evaluated_rows"


def runnable(task: Task) -> Runnable:
    """The method or generator that a task is made of."""
    if task.family == "counterfactuals":
        return GENERATORS.classes()[task.kind].model_validate_json(_json(task))
    return METHODS.classes()[task.kind].model_validate_json(_json(task))


def _json(task: Task) -> bytes:
    return canonical_json(task.settings)


NO_MODEL = "the spec gives stored scores and no model, and this needs scores for rows that are not in the data"
OF_FEATURES: frozenset[Need] = frozenset({"model", "native", "gradient", "train", "policy"})
"""What has no meaning where the model looks at pictures."""

UNMET: dict[Need, tuple[Callable[[Inputs], bool], str]] = {
    "model": (lambda inputs: inputs.model is not None, NO_MODEL),
    "native": (lambda inputs: _can(inputs, "native"), "this needs to look inside the model, which does not allow it"),
    "gradient": (lambda inputs: _can(inputs, "gradient"), "this needs the gradient of the model, which gives none"),
    "train": (lambda inputs: inputs.train is not None, "the spec gives no training data (`data.train`)"),
    "target": (lambda inputs: inputs.target is not None, "the spec gives no true classes (`data.target`)"),
    "images": (lambda inputs: inputs.images is not None, "this looks at images, and the audit is of features"),
}
"""What a task may need: whether the inputs have it, and what is said where they do not."""


def unmet(task: Task, inputs: Inputs) -> str:
    """Why the task cannot be asked of this model and data; empty if it can."""
    if task.family == "sample":
        return ""
    work = runnable(task)
    if isinstance(work, Generator) and work.for_ == "unfavourable" and not inputs.decision.favourable:
        return "no class is favourable (`data.target.favourable`), so no row is unfavourable"
    if inputs.images is not None and work.needs & OF_FEATURES:
        return "this looks at features, and the audit is of images"
    return next((said for need, (has, said) in UNMET.items() if need in work.needs and not has(inputs)), "")


def bears_failures(task: Task) -> bool:
    """Whether the task runs although one that it reads has no result."""
    return task.family == "method" and METHODS.classes()[task.kind].bears_failures


def _can(inputs: Inputs, capability: Capability) -> bool:
    return inputs.model is not None and capability in inputs.model.model.capabilities


def task_rng(task: Task, part: Part) -> np.random.Generator:
    """A generator from the run's seed, the task's key and the part, so that order cannot matter."""
    return np.random.default_rng([task.seed, int(task.key[:16], 16), part.index])


def run_part(task: Task, part: Part, inputs: Inputs, tick: Callable[[int, int], None]) -> Result:
    """The result of one part, with the model-evaluated rows as a metric; computed on one thread."""
    before = _answered(inputs)
    with threadpool_limits(1):
        result = _result(task, part, inputs, tick)
    return replace(result, metrics=(*result.metrics, evaluated_rows(_answered(inputs) - before)))


def _answered(inputs: Inputs) -> int:
    """Rows, or pictures, that the model has answered for."""
    counted = inputs.images.model if inputs.images is not None else inputs.model
    return 0 if counted is None else counted.rows


def _result(task: Task, part: Part, inputs: Inputs, tick: Callable[[int, int], None]) -> Result:
    rng = task_rng(task, part)
    if task.family == "sample":
        return _sample_again(task, inputs, rng)
    work, ctx = runnable(task), Context(inputs, rng, tick)
    if isinstance(work, Generator):
        return _search(work, ctx, part)
    if isinstance(work, Method):
        return work.run(ctx, part)
    raise TypeError(f"{task.id} is neither a method nor a generator")


def _sample_again(task: Task, inputs: Inputs, rng: np.random.Generator) -> Result:
    """The rows that were drawn for the given model, under the model that a remedy made."""
    if inputs.model is None:
        raise TypeError(f"{task.id} has no model")
    settings = SampleSettings.model_validate_json(canonical_json(task.settings["sample"]))
    regions = TypeAdapter(tuple[Region, ...]).validate_json(canonical_json(task.settings["regions"]))
    scored = replace(inputs, scores=inputs.model.probabilities(inputs.evaluate.codes))
    return draw(scored, settings, regions, rng, like=inputs.results["rows"].tables["sample"])


def merge_parts(task: Task, inputs: Inputs, partials: Sequence[Result]) -> Result:
    """The result of a task from those of its parts, in order; model-evaluated rows are added up."""
    spent = sum(int(m.value or 0) for p in partials for m in p.metrics if m.name == EVALUATED)
    bare = [replace(p, metrics=tuple(m for m in p.metrics if m.name != EVALUATED)) for p in partials]
    result = _merged(task, inputs, bare)
    if result.status != "ok" or not spent:
        return result
    return replace(result, metrics=(*result.metrics, evaluated_rows(spent)))


def _merged(task: Task, inputs: Inputs, partials: Sequence[Result]) -> Result:
    if task.family == "sample":
        return partials[0]
    work = runnable(task)
    return summarise(inputs, work, partials) if isinstance(work, Generator) else work.merge(inputs, partials)


def task_parts(task: Task, inputs: Inputs) -> list[Part]:
    """The parts of a task."""
    return [Part(index=0)] if task.family == "sample" else runnable(task).parts(inputs, task.part_rows)


def evaluated_rows(rows: int) -> Metric:
    """How many rows the model answered for: the unit of cost."""
    return Metric(name=EVALUATED, value=float(rows), unit="rows", where=Where(model="given"))


def _search(generator: Generator, ctx: Context, part: Part) -> Result:
    """Counterfactuals of the rows of a part: generated for those that are to be searched, then verified."""
    sample, decision = ctx.sample, ctx.inputs.decision
    positions = np.arange(part.start, part.stop)
    outcomes = decision.outcome(sample.scores[positions])
    wanted = outcomes == 0 if generator.for_ == "unfavourable" else np.ones(len(positions), dtype=bool)
    searched = positions[wanted]
    rows = sample.table.take(searched)
    found = generator.generate(ctx, rows, outcomes[wanted])
    return verify(ctx, generator, rows, searched, outcomes[wanted], found)
