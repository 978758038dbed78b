"""Cross-checks of a spec: what its sections say of one another. None of them needs the data."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

import yaml

from audit.core.expression import ExpressionError, parse
from audit.core.method import METHODS, Method, Runnable
from audit.core.region import Region
from audit.resources import folder
from audit.spec.check_policy import check_columns, check_mutability
from audit.spec.contradiction import check_data
from audit.spec.messages import Path, Problem, unknown
from audit.spec.model import Spec

COMPARISON = "before_after"
"""The method that compares the given model with that of a remedy: planned as `before_after@<id>`, listed or not."""

RESERVED = ("sample", "spec")
"""Ids of evidence that the audit itself makes."""

Check = Callable[[Spec, Any], Iterator[Problem]]


def check(spec: Spec, data: Mapping[str, Any], broken: AbstractSet[str]) -> list[Problem]:
    """Everything in a spec that cannot be meant, in the order of the sections.

    Args:
        data: the same as plain values, to find the key that a value was written under.
        broken: sections that failed validation; what depends on them is left out.
    """
    found: list[Problem] = []
    for needs, one in CHECKS:
        if not broken & set(needs):
            found += one(spec, data)
    return found


def _model(spec: Spec, data: Any) -> Iterator[Problem]:
    """Features and threshold of the model."""
    features = spec.model.features
    if features is not None:
        if not features:
            yield Problem(("model", "features"), "an empty list; name columns, or leave the key out for all of them")
        yield from _twice(features, ("model", "features"), "feature")
    rule = spec.model.decision
    if rule is not None and not 0 <= rule.at_least <= 1:
        yield Problem(
            ("model", "decision", "at_least"),
            f"found {rule.at_least:g}; a threshold on a probability lies between 0 and 1",
        )


def _decision(spec: Spec, data: Any) -> Iterator[Problem]:
    """A threshold needs favourable classes; what the model may be given."""
    target = spec.data.target
    if spec.model.decision is not None and (target is None or target.favourable is None):
        yield Problem(
            ("model", "decision"),
            "a threshold on p(favourable) needs to know what is favourable; add `data.target.favourable`",
        )
    apart: dict[str, Path] = {}
    if target is not None:
        apart[target.column] = ("data", "target", "column")
    for key in ("id", "production_score"):
        if getattr(spec.data, key) is not None:
            apart[getattr(spec.data, key)] = ("data", key)
    for i, name in enumerate(spec.model.features or ()):
        if name in apart:
            where = ".".join(map(str, apart[name]))
            text = f"{name!r} is also `{where}`, which the model must not see; remove one"
            yield Problem(("model", "features", i), text)


def _data(spec: Spec, data: Any) -> Iterator[Problem]:
    """Columns with two roles, and lists that repeat themselves."""
    section = spec.data
    roles: list[tuple[Path, str | None]] = [
        (("data", key), getattr(section, key)) for key in ("id", "production_score")
    ]
    if section.target is None and section.sample.stratify == "target":
        yield Problem(
            ("data", "sample", "stratify"), "found 'target', but `data.target` is absent; add it, or change this"
        )
    if section.target is not None:
        roles.insert(0, (("data", "target", "column"), section.target.column))
        yield from _twice(section.target.favourable or (), ("data", "target", "favourable"), "class")
    seen: dict[str, Path] = {}
    for path, column in roles:
        if column is not None and column in seen:
            yield Problem(path, f"{column!r} is already `{'.'.join(map(str, seen[column]))}`; name another column")
        elif column is not None:
            seen[column] = path
    yield from _twice(section.protected, ("data", "protected"), "column")


def _images(spec: Spec, data: Any) -> Iterator[Problem]:
    """Pictures have no features that could be named, or moved."""
    if spec.data.images is None:
        return
    least = len(spec.data.images.mean), len(spec.data.images.std)
    channels = 3 if spec.data.images.channels == "rgb" else 1
    for key, count in zip(("mean", "std"), least, strict=True):
        if count not in {1, channels}:
            yield Problem(
                ("data", "images", key), f"found {count} numbers; one for each of {channels} channels, or one"
            )
    if any(value <= 0 for value in spec.data.images.std):
        yield Problem(("data", "images", "std"), "a standard deviation is above 0")
    said = "the audit is of images (`data.images`), which have no features; remove it"
    given = {
        ("model", "features"): spec.model.features,
        ("data", "columns"): spec.data.columns,
        ("mutability", "features"): spec.mutability.features,
        ("mutability", "rules"): spec.mutability.rules,
        ("counterfactuals",): spec.counterfactuals,
        ("remedies",): spec.remedies,
    }
    for path, value in given.items():
        if value:
            yield Problem(path, said)
    for i, region in enumerate(spec.regions):
        if region.where is None:
            yield Problem(("regions", i), "images have no distance here; give a condition on a column (`where`)")


def _regions(spec: Spec, data: Any) -> Iterator[Problem]:
    """Names, conditions and sizes of regions."""
    yield from _twice([r.name for r in spec.regions], ("regions",), "region", key="name")
    for i, region in enumerate(spec.regions):
        if not region.name.strip() or region.name == "all":
            yield Problem(("regions", i, "name"), f"found {region.name!r}; a region needs a name, other than `all`")
        for key, text in _region(region):
            yield Problem(("regions", i, key), text)


def _region(region: Region) -> Iterator[tuple[str, str]]:
    """What is wrong with one region, by key."""
    if region.where is not None:
        try:
            if not parse(region.where).names:
                yield "where", f"{region.where!r} names no column; a condition such as `age` < 26 is needed"
        except ExpressionError as error:
            yield "where", str(error)
    least = {"nearest": 1, "clusters": 2}
    for key, bound in least.items():
        value = getattr(region, key)
        if value is not None and value < bound:
            yield key, f"found {value}; at least {bound} is needed"
    for key in ("radius", "bandwidth"):
        value = getattr(region, key)
        if value is not None and value <= 0:
            yield key, f"found {value:g}; a distance above 0 is needed"
    yield from _weights(region)


def _weights(region: Region) -> Iterator[tuple[str, str]]:
    """Whether the weights of a region say all that they need and no more."""
    gaussian = region.weights == "gaussian"
    if gaussian and region.around is None:
        yield "weights", "gaussian weights fall with the distance to a centre, so they need `around`; remove them"
    if gaussian and region.bandwidth is None:
        yield "weights", "gaussian weights need a `bandwidth` (a Gower distance); add it"
    if not gaussian and region.bandwidth is not None:
        yield "bandwidth", "it belongs to `weights: gaussian`; add that, or remove it"


def _counterfactuals(spec: Spec, data: Any) -> Iterator[Problem]:
    """Sizes of the searches."""
    for name, generator in spec.counterfactuals.items():
        if generator.per_row < 1:
            yield Problem(("counterfactuals", name, "per_row"), f"found {generator.per_row}; at least 1 is needed")


def _methods(spec: Spec, data: Any) -> Iterator[Problem]:
    """Ids of methods."""
    kinds = Counter(method.kind for method in spec.methods)
    seen: dict[str, int] = {}
    for i, method in enumerate(spec.methods):
        path: Path = ("methods", i, "id") if method.id is not None else ("methods", i)
        if method.id is None and kinds[method.kind] > 1:
            yield Problem(path, f"there are {kinds[method.kind]} methods of kind {method.kind!r}; give each an `id`")
        elif not method.task_id.replace("_", "").replace("-", "").isalnum():
            yield Problem(path, f"the id {method.task_id!r} holds more than letters, digits, - and _; rename it")
        elif method.task_id in RESERVED:
            yield Problem(path, f"{method.task_id!r} is the id of what the audit itself makes; choose another `id`")
        elif method.task_id in seen:
            yield Problem(path, f"{method.task_id!r} is already the id of entry {seen[method.task_id] + 1}; change one")
        seen.setdefault(method.task_id, i)


def _remedies(spec: Spec, data: Any) -> Iterator[Problem]:
    """Remedies make a model, and read nothing but the data."""
    able = sorted(kind for kind, cls in METHODS.classes().items() if cls.remedy)
    seen: dict[str, int] = {}
    for i, remedy in enumerate(spec.remedies):
        if not remedy.remedy:
            yield Problem(("remedies", i, "kind"), f"{remedy.kind!r} makes no model; allowed: {', '.join(able)}")
        if remedy.reads():
            yield Problem(("remedies", i), "a remedy reads no other task; move it to `methods`")
        if remedy.task_id in seen:
            yield Problem(("remedies", i), f"{remedy.task_id!r} is the id of entry {seen[remedy.task_id] + 1} as well")
        seen.setdefault(remedy.task_id, i)


def given_ids(spec: Spec) -> list[str]:
    """The ids of what is asked of the given model, but those of what the audit itself makes."""
    return [f"counterfactuals.{name}" for name in spec.counterfactuals] + [m.task_id for m in spec.methods]


def task_ids(spec: Spec) -> list[str]:
    """The ids of all evidence of a spec, remedies and the audits of their models included."""
    given = given_ids(spec)
    names = [remedy.task_id for remedy in spec.remedies]
    again = [f"{task}@{name}" for name in names for task in ("sample", *given, COMPARISON)]
    return [*given, *(f"remedies.{name}" for name in names), *again]


def _references(spec: Spec, data: Any) -> Iterator[Problem]:
    """What searches and methods read is there."""
    sets = spec.counterfactuals.items()
    readers: list[tuple[Path, str, Runnable]] = [(("counterfactuals", n), f"counterfactuals.{n}", g) for n, g in sets]
    readers += [(("methods", i), m.task_id, m) for i, m in enumerate(spec.methods)]
    known = ["sample", *given_ids(spec)]
    for path, _, runnable in readers:
        written = data[path[0]][path[1]]
        for name, task in runnable.reads().items():
            if task not in known:
                prefix = "counterfactuals."
                is_set = task.startswith(prefix)
                names = [k.removeprefix(prefix) for k in known if k.startswith(prefix) == is_set and k != "sample"]
                noun = "counterfactual set" if is_set else "method"
                place = (*path, *_written_at(written, name, task))
                yield Problem(place, unknown(noun, task.removeprefix(prefix), names))
    yield from _cycles(readers)


def _written_at(written: Mapping[str, Any], name: str, task: str) -> Path:
    """The key of an entry under which a reference stands."""
    short = task.removeprefix("counterfactuals.")
    for key, value in written.items():
        if value in {task, short} if isinstance(value, str) else False:
            return (key,)
        if isinstance(value, list) and (short in value or task in value):
            return key, value.index(short if short in value else task)
    return (name,) if name in written else ()


def _cycles(readers: Sequence[tuple[Path, str, Runnable]]) -> Iterator[Problem]:
    """Searches and methods that wait for one another."""
    reads = {task: set(runnable.reads().values()) for _, task, runnable in readers}
    waiting = {name: tasks & set(reads) for name, tasks in reads.items()}
    while ready := [name for name, tasks in waiting.items() if not tasks & set(waiting)]:
        for name in ready:
            del waiting[name]
    if waiting:
        path = next(path for path, task, _ in readers if task in waiting)
        yield Problem(path, f"reads itself, by way of {', '.join(sorted(waiting))}; take one reference out")


def _region_names(spec: Spec, data: Any) -> Iterator[Problem]:
    """Regions that methods and gates name are there."""
    known = region_names(spec.regions)
    for i, method in enumerate(spec.methods):
        asked = getattr(method, "regions", None)
        for j, name in enumerate(asked if isinstance(asked, tuple | list) else ()):
            if isinstance(name, str) and name not in {*known, *(r.name for r in spec.regions)}:
                yield Problem(("methods", i, "regions", j), unknown("region", name, known))
    for i, gate in enumerate(spec.gates):
        if gate.region is not None and gate.region not in known:
            yield Problem(("gates", i, "region"), unknown("region", gate.region, known))


def region_names(regions: Iterable[Region]) -> list[str]:
    """The names under which results of regions are found."""
    names: list[str] = []
    for region in regions:
        names += [f"{region.name} {k + 1}" for k in range(region.clusters or 0)] if region.clusters else [region.name]
    return names


def _gates(spec: Spec, data: Any) -> Iterator[Problem]:
    """Gates ask something that the spec measures, once each, and can be met."""
    known = ["sample", *task_ids(spec)]
    seen: dict[str, int] = {}
    for i, gate in enumerate(spec.gates):
        source, _, name = gate.metric.rpartition(".")
        if source not in known or not name:
            yield Problem(("gates", i, "metric"), f"{gate.metric!r}: {unknown('method', source, known)}")
        if gate.gap_at_most is not None and gate.gap_at_most < 0:
            yield Problem(("gates", i, "gap_at_most"), f"found {gate.gap_at_most:g}; a gap is never below 0")
        if gate.min_n < 1:
            yield Problem(("gates", i, "min_n"), f"found {gate.min_n}; at least 1 is needed")
        if gate.group is not None and gate.by is not None:
            yield Problem(("gates", i, "group"), "a gap is taken over all groups of `by`; remove `group`")
        if gate.id in seen:
            yield Problem(("gates", i), f"asks the same as entry {seen[gate.id] + 1}; remove one")
        seen.setdefault(gate.id, i)


def _waivers(spec: Spec, data: Any) -> Iterator[Problem]:
    """One waiver for each finding."""
    yield from _twice([w.finding for w in spec.waivers], ("waivers",), "finding", key="finding")


def _report(spec: Spec, data: Any) -> Iterator[Problem]:
    yield from _twice(spec.report.formats, ("report", "formats"), "format")
    told = [name for name in report_sections() if name.startswith("S")]
    for name in spec.report.narrative:
        if name not in told:
            yield Problem(("report", "narrative", name), unknown("section", name, told))
    known = sorted(path.stem for path in (folder("templates") / "crosswalk").glob("*.yaml"))
    asked = spec.report.crosswalk or ()
    yield from _twice(asked, ("report", "crosswalk"), "instrument")
    for i, name in enumerate(asked):
        if name not in known:
            yield Problem(("report", "crosswalk", i), unknown("instrument", name, known))


def report_sections() -> list[str]:
    """The ids of the sections of the report, in reading order."""
    content = yaml.safe_load((folder("templates") / "report" / "sections.yaml").read_text("utf-8"))
    return [section["id"] for portion in content for section in portion["sections"]]


def _twice(values: Iterable[Any], path: Path, noun: str, key: str = "") -> Iterator[Problem]:
    """Values that stand twice in a list."""
    seen: list[Any] = []
    for i, value in enumerate(values):
        if (type(value), value) in seen:
            text = f"{noun} {value!r} stands here for the second time; remove it"
            yield Problem((*path, i, *([key] if key else [])), text)
        seen.append((type(value), value))


CHECKS: tuple[tuple[tuple[str, ...], Check], ...] = (
    (("model",), _model),
    (("model", "data"), _decision),
    (("data",), _data),
    (("model", "data", "mutability", "counterfactuals", "remedies", "regions"), _images),
    (("data", "mutability"), check_columns),
    (("model", "data", "mutability"), check_mutability),
    (("regions",), _regions),
    (("counterfactuals",), _counterfactuals),
    (("methods",), _methods),
    (("counterfactuals", "methods"), _references),
    (("regions", "methods", "gates"), _region_names),
    (("remedies",), _remedies),
    (("counterfactuals", "methods", "remedies", "gates"), _gates),
    (("waivers",), _waivers),
    (("report",), _report),
)
"""What each check reads, and the check."""

__all__ = ["Method", "check", "check_data", "region_names", "task_ids"]
