"""One part of one task, in whatever process."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from threadpoolctl import threadpool_limits

from audit.core.base import canonical_json
from audit.core.evidence import Metric, Result, Where
from audit.core.method import GENERATORS, METHODS, Context, Generator, Inputs, Method, Runnable
from audit.core.plan import Part, Task
from audit.search.verify import summarise, verify

EVALUATED = "evaluated_rows"


def runnable(task: Task) -> Runnable:
    """The method or generator that a task is made of."""
    if task.family == "counterfactuals":
        return GENERATORS.classes()[task.kind].model_validate_json(_json(task))
    return METHODS.classes()[task.kind].model_validate_json(_json(task))


def _json(task: Task) -> bytes:
    return canonical_json(task.settings)


def unmet(task: Task, inputs: Inputs) -> str:
    """Why the task cannot be asked of this model and data; empty if it can."""
    work = runnable(task)
    capabilities = inputs.model.model.capabilities if inputs.model else frozenset()
    unfavourable = isinstance(work, Generator) and work.for_ == "unfavourable"
    reasons = (
        (
            "model" in work.needs and inputs.model is None,
            "the spec gives stored scores and no model, and this needs scores for rows that are not in the data",
        ),
        (
            "native" in work.needs and "native" not in capabilities,
            "this needs to look inside the model, and the model does not allow it",
        ),
        (
            "gradient" in work.needs and "gradient" not in capabilities,
            "this needs the gradient of the model, which this kind of model does not give",
        ),
        ("train" in work.needs and inputs.train is None, "the spec gives no training data (`data.train`)"),
        (
            unfavourable and not inputs.decision.favourable,
            "no class is favourable (`data.target.favourable`), so no row is unfavourable",
        ),
        ("target" in work.needs and inputs.target is None, "the spec gives no true classes (`data.target`)"),
    )
    return next((reason for applies, reason in reasons if applies), "")


def task_rng(task: Task, part: Part) -> np.random.Generator:
    """A generator from the run's seed, the task's key and the part, so that order cannot matter."""
    return np.random.default_rng([task.seed, int(task.key[:16], 16), part.index])


def run_part(task: Task, part: Part, inputs: Inputs, tick: Callable[[int, int], None]) -> Result:
    """The result of one part, with the model-evaluated rows as a metric; computed on one thread."""
    work = runnable(task)
    before = inputs.model.rows if inputs.model else 0
    ctx = Context(inputs, task_rng(task, part), tick)
    with threadpool_limits(1):
        if isinstance(work, Generator):
            result = _search(work, ctx, part)
        elif isinstance(work, Method):
            result = work.run(ctx, part)
        else:
            raise TypeError(f"{task.id} is neither a method nor a generator")
    spent = (inputs.model.rows - before) if inputs.model else 0
    return replace(result, metrics=(*result.metrics, evaluated_rows(spent)))


def merge_parts(task: Task, inputs: Inputs, partials: Sequence[Result]) -> Result:
    """The result of a task from those of its parts, in order; model-evaluated rows are added up."""
    spent = sum(int(m.value or 0) for p in partials for m in p.metrics if m.name == EVALUATED)
    bare = [replace(p, metrics=tuple(m for m in p.metrics if m.name != EVALUATED)) for p in partials]
    work = runnable(task)
    result = summarise(inputs, work, bare) if isinstance(work, Generator) else work.merge(inputs, bare)
    if result.status != "ok" or not spent:
        return result
    return replace(result, metrics=(*result.metrics, evaluated_rows(spent)))


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
