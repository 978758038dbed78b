"""Every wrong spec ends in one clear sentence per mistake, with its line: peers.md G4."""
# long: a table of cases, one line each
# ruff: noqa: E501 - cases read best as one line each

import copy
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from design_spec import EXAMPLE

from audit.core.errors import SpecError
from audit.spec.messages import _cleaned

pytestmark = pytest.mark.usefixtures("toys")

JARGON = ("Traceback", "Input should", "ydantic", "validation error", "NoneType", "<class", "dict", "tuple[", "[type=",
          "literal[", "Value error", "Extra inputs", "Field required", "None", "True", "False", "__")  # fmt: skip

Path = tuple[Any, ...]


class _Plain(yaml.SafeLoader):
    """Dates as text, so that a dump gives them back."""


_Plain.yaml_implicit_resolvers = {
    key: [(tag, pattern) for tag, pattern in resolvers if "timestamp" not in tag]
    for key, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
BASE = yaml.load(EXAMPLE, _Plain)
BASE["data"]["columns"] = {"duration": {"kind": "numeric", "unit": "months"}}
BASE["mutability"]["features"]["housing"] = {"change": "any", "transitions": {"rent": ["own"]}}
BASE["regions"].append({"name": "cluster", "clusters": 3})
BASE["gates"].append({"metric": "flex.coverage", "at_least": 0.8, "min_n": 30, "on_unsure": "fail", "text": "a"})

FREE = (("mutability", "features"), ("counterfactuals",), ("data", "columns"),
        ("mutability", "features", "housing", "transitions"))  # fmt: skip
"""Mappings whose keys are names of the user's choice."""

ANY_SCALAR = re.compile(r"favourable|order|transitions|around")
"""Values that may be texts, numbers or truth values."""


def dump(data: Any) -> str:
    """Block style: one key a line."""
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=1000)


def line_of(text: str, path: Path) -> int:
    """The line of a key, read off PyYAML's own tree: an oracle apart from the code under test."""
    node, line = yaml.compose(text, yaml.SafeLoader), 1
    for step in path:
        if isinstance(node, yaml.MappingNode):
            key, node = next((k, v) for k, v in node.value if k.value == str(step))
            line = key.start_mark.line + 1
        else:
            node = node.value[step]
            line = node.start_mark.line + 1
    return line


def mappings(data: Any, path: Path = ()) -> Iterator[Path]:
    if isinstance(data, dict):
        yield path
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in items:
        yield from mappings(value, (*path, key))


def leaves(data: Any, path: Path = ()) -> Iterator[Path]:
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else None
    if items is None:
        yield path
        return
    for key, value in items:
        yield from leaves(value, (*path, key))


def at(data: Any, path: Path) -> Any:
    for step in path:
        data = data[step]
    return data


def changed(path: Path, value: Any) -> dict[str, Any]:
    data = copy.deepcopy(BASE)
    at(data, path[:-1])[path[-1]] = value
    return data


def renamed(path: Path, new: str) -> dict[str, Any]:
    """The key at `path` under another name, in its place."""
    data = copy.deepcopy(BASE)
    inside = at(data, path[:-1])
    items = [(new if key == path[-1] else key, value) for key, value in inside.items()]
    inside.clear()
    inside.update(items)
    return data


def misspelt(key: str) -> str:
    """A letter left out of the middle, or doubled where the key is short."""
    middle = len(key) // 2
    return key[:middle] + key[middle + 1 :] if len(key) > 3 else key + key[-1]


def shown(path: Path) -> str:
    return ".".join(map(str, path))


KEYS = [(*path, key) for path in mappings(BASE) for key in at(BASE, path) if path not in FREE]
ADDED = [path for path in mappings(BASE) if path not in FREE]
LEAVES = list(leaves(BASE))
REQUIRED = [
    ("spec_version",), ("audit",), ("audit", "id"), ("audit", "title"), ("model",), ("model", "kind"),
    ("model", "path"), ("model", "decision", "at_least"), ("data",), ("data", "evaluate"), ("data", "target", "column"),
    ("mutability", "features", "amount", "change"), ("regions", 0, "name"), ("counterfactuals", "flips", "search"),
    ("methods",), ("methods", 1, "kind"), ("methods", 1, "from"), ("methods", 3, "of"), ("gates", 0, "metric"),
    ("report", "opinion", "word"), ("report", "opinion", "by"),
]  # fmt: skip


def refused(load: Any, text: str | bytes, *overrides: str) -> tuple[str, ...]:
    """The problems of a spec, each checked for its form."""
    with pytest.raises(SpecError) as caught:
        load(text, *overrides)
    problems = caught.value.problems
    assert problems
    for problem in problems:
        assert re.match(r"^(spec\.yaml:[1-9]\d*|--set [^\n]+?): \S", problem), problem
        assert "\n" not in problem
        assert len(problem) < 500, problem
        assert not [word for word in JARGON if word in problem], problem
    assert len(set(problems)) == len(problems)
    return problems


def on_line(problems: tuple[str, ...], line: int) -> list[str]:
    return [problem for problem in problems if problem.startswith(f"spec.yaml:{line}: ")]


def test_the_base_is_valid_so_that_each_mutation_is_the_only_mistake(load):
    load(dump(BASE))


def test_there_are_enough_mutations():
    assert len(KEYS) + len(ADDED) + 2 * len(LEAVES) + len(REQUIRED) > 300


@pytest.mark.parametrize("path", KEYS, ids=shown)
def test_misspelt_key(load, path):
    wrong = misspelt(path[-1])
    text = dump(renamed(path, wrong))
    problems = refused(load, text)
    tag = path[-1] in {"kind", "search"} and path[-2:-1] != ("duration",)
    line = line_of(text, path[:-1] if tag else (*path[:-1], wrong))  # an entry without its kind has no other line
    meant = [problem for problem in on_line(problems, line) if repr(wrong if tag else path[-1]) in problem]
    assert meant, problems


@pytest.mark.parametrize("path", ADDED, ids=shown)
def test_unknown_key(load, path):
    data = copy.deepcopy(BASE)
    at(data, path)["zzzz_qqqq"] = 1
    text = dump(data)
    (problem,) = refused(load, text)
    assert problem.startswith(f"spec.yaml:{line_of(text, (*path, 'zzzz_qqqq'))}: ")
    assert "unknown key; allowed are " in problem


@pytest.mark.parametrize("path", REQUIRED, ids=shown)
def test_missing_key(load, path):
    data = copy.deepcopy(BASE)
    del at(data, path[:-1])[path[-1]]
    text = dump(data)
    (problem,) = on_line(refused(load, text), line_of(text, path[:-1]))
    assert "missing" in problem
    assert str(path[-1]) in problem


@pytest.mark.parametrize("path", LEAVES, ids=shown)
def test_mapping_in_place_of_a_value(load, path):
    text = dump(changed(path, {"unexpected": 1}))
    assert on_line(refused(load, text), line_of(text, path))


@pytest.mark.parametrize("path", [path for path in LEAVES if path[-1] != "around"], ids=shown)
def test_value_of_another_type(load, path):
    value = at(BASE, path)
    other: Any = "3" if isinstance(value, int | float) else 3
    if ANY_SCALAR.search(shown(path)):
        other = None
    text = dump(changed(path, other))
    problems = on_line(refused(load, text), line_of(text, path))
    assert problems
    assert any("found " in problem or "allowed are" in problem or "there are" in problem for problem in problems)


@pytest.mark.parametrize("path", [path for path in LEAVES if isinstance(path[-1], str)], ids=shown)
def test_nothing_in_place_of_a_value_is_no_crash(load, path):
    """An optional key may be left empty; a required one may not. Either way there is no traceback."""
    text = dump(changed(path, None))
    try:
        loaded = load(text)
    except SpecError as error:
        problems = error.problems
    else:
        assert loaded.text == text
        return
    assert all(re.match(r"^spec\.yaml:[1-9]\d*: \S", problem) for problem in problems)
    assert not [word for word in JARGON for problem in problems if word in problem]


POLICY = {
    "min above max": ("duration: {change: any, min: 80, max: 72}", "min 80 is above max 72"),
    "step of 0": ("duration: {change: any, step: 0}", "a step is above 0"),
    "negative step": ("duration: {change: any, step: -1}", "a step is above 0"),
    "step wider than bounds": ("duration: {change: any, min: 4, max: 10, step: 7}", "wider"),
    "step not whole": ("duration: {change: any, integer: true, step: 0.5}", "not whole"),
    "no whole number": ("duration: {change: any, integer: true, min: 4.2, max: 4.8}", "no whole number"),
    "immutable with min": ("duration: {change: immutable, min: 4}", "immutable"),
    "immutable with max": ("duration: {change: immutable, max: 4}", "immutable"),
    "immutable with step": ("duration: {change: immutable, step: 4}", "immutable"),
    "immutable with transitions": ("duration: {change: immutable, transitions: {a: [b]}}", "immutable"),
    "order of one": ("savings: {change: any, order: [a]}", "at least 2"),
    "order twice": ("savings: {change: any, order: [a, b, a]}", "second time"),
    "order twice as text and number": ("savings: {change: any, order: [1, 2, '1']}", "second time"),
    "min beside order": ("savings: {change: any, order: [a, b], min: 1}", "for levels"),
    "step beside transitions": ("savings: {change: any, transitions: {a: [b]}, step: 1}", "for levels"),
    "transition to unknown level": ("savings: {change: any, order: [low, high], transitions: {low: [hihg]}}", "'high'"),
    "transition from unknown level": ("savings: {change: any, order: [low, high], transitions: {lo: [high]}}", "'low'"),
    "transition against direction": (
        "savings: {change: increase, order: [low, high], transitions: {high: [low]}}", "no increase"),
    "direction without order": ("savings: {change: increase, transitions: {a: [b]}}", "needs an `order`"),
    "transitions that lead nowhere": ("savings: {change: any, transitions: {a: []}}", "nothing can change"),
    "transitions to itself": ("savings: {change: any, transitions: {a: [a]}}", "nothing can change"),
    "unknown feature": ("svaings: {change: any}", "did you mean 'savings'?"),
    "unknown direction": ("savings: {change: up}", "'increase'"),
    "unreal date": ("savings: {change: any, approved: 2026-02-30}", "a date such as"),
}  # fmt: skip


@pytest.mark.parametrize("name", POLICY)
def test_contradictory_policy(load, example, name):
    rule, expected = POLICY[name]
    lines = example.splitlines()
    feature = "duration" if rule.startswith("duration") else "savings"
    line = next(i for i, text in enumerate(lines) if text.startswith(f"    {feature}:")) + 1
    lines[line - 1] = f"    {rule}"
    found = on_line(refused(load, "\n".join(lines)), line)
    assert [problem for problem in found if expected in problem], found


RULES = {
    "duration <=": "expected",
    "duration <= 72 -": "expected",
    "duration = 3": "not part of the language",
    "duraton <= 72": "did you mean 'duration'?",
    "score_in_system > 1": "no column",
    "__import__('os')": "no column",
    "1 < 2": "names no feature",
    "duration <= (72": "expected",
    "duration in [1, 2": "expected",
    "duration <= 72 and": "expected",
}


@pytest.mark.parametrize("rule", RULES)
def test_wrong_rule(load, example, rule):
    text = example.replace("duration <= 72 - 2 * existing_credits", rule)
    (problem,) = refused_any(load, text)
    assert problem.startswith("spec.yaml:23: mutability.rules.1: ")
    assert RULES[rule] in problem


def refused_any(load: Any, text: str) -> tuple[str, ...]:
    """As `refused`, for texts that quote the user's own words."""
    with pytest.raises(SpecError) as caught:
        load(text)
    return caught.value.problems


REFERENCES = [
    ("from: flips, min_change", "from: flps, min_change", 32, "methods.flex.from: unknown counterfactual set 'flps'; did you mean 'flips'?"),
    ("of: [flex, shap]", "of: [flex, shp]", 34, "unknown method 'shp'; did you mean 'shap'?"),
    ("of: [flex, shap]", "of: [flex, agreement]", 34, "reads itself"),
    ("of: [flex, shap]", "of: [flex]", 34, "at least one entry"),
    ("regions: all", "regions: [young aplicants]", 32, "did you mean 'young applicants'?"),
    ("regions: all", "regions: al", 32, "did you mean 'all'?"),
    ("metric: performance.auc", "metric: performnce.auc", 38, "did you mean 'performance'?"),
    ("metric: performance.auc", "metric: auc", 38, "is not `<method id>.<metric>`"),
    ("metric: performance.auc, at_least: 0.75", "metric: performance.auc", 38, "exactly one of"),
    ("metric: performance.auc, at_least: 0.75", "metric: performance.auc, at_least: 0.75, at_most: 0.9", 38, "exactly one of"),
    ("gap_at_most: 0.05", "gap_at_most: -0.05", 39, "never below 0"),
    ("by: sex, gap", "gap", 39, "`by` names the groups"),
    ("metric: recourse.feasible_rate, by: sex, gap_at_most: 0.05", "metric: performance.auc, at_least: 0.75", 39, "asks the same as entry 1"),
    ("metric: performance.auc,", "metric: performance.auc, region: young,", 38, "unknown region"),
    ("- {kind: shap}", "- {kind: flex, from: flips}", 32, "give each an `id`"),
    ("- {kind: shap}", "- {kind: shap, id: flex}", 33, "already the id"),
    ("- {kind: shap}", "- {kind: shap, id: sample}", 33, "what the audit itself makes"),
    ("- {kind: shap}", "- {kind: shap, id: a.b}", 33, "rename it"),
    ("kind: shap", "kind: shapp", 33, "did you mean 'shap'?"),
    ("kind: shap", "kind: fairness", 33, "not in this version"),
    ("search: cheapest", "search: cheepest", 29, "did you mean 'cheapest'?"),
    ("search: cheapest", "search: exact", 29, "not in this version"),
    ("kind: sklearn", "kind: xgboost", 4, "not in this version"),
    ("kind: sklearn", "kind: sklern", 4, "did you mean 'sklearn'?"),
    ("per_row: 10", "per_row: 0", 28, "at least 1"),
    ("at_least: 0.5}", "at_least: 1.5}", 8, "between 0 and 1"),
    (", favourable: [good]", "", 8, "add `data.target.favourable`"),
    ("favourable: [good]", "favourable: []", 13, "at least one entry"),
    ("favourable: [good]", "favourable: [good, good]", 13, "second time"),
    ("features: [age, sex,", "features: [age, age,", 7, "second time"),
    ("features: [age, sex,", "features: [age, outcome,", 7, "the model must not see"),
    ("features: [age, sex,", "features: [applicant_id, sex,", 7, "the model must not see"),
    ("id: applicant_id", "id: outcome", 12, "already `data.target.column`"),
    ("protected: [sex, age_group]", "protected: [sex, sex]", 14, "second time"),
    ("rows: 300", "rows: 0", 16, "at least 1"),
    ("stratify: decision", "stratify: random", 16, "'decision' or 'target' or 'none'"),
    ("nearest: 50", "nearest: 0", 26, "at least 1"),
    (", nearest: 50", "", 26, "`around` needs either"),
    ("around: 17, nearest: 50", "nearest: 50", 26, "exactly one of"),
    ("around: 17, nearest: 50", "clusters: 1", 26, "at least 2"),
    ("nearest: 50", "nearest: 50, weights: gaussian", 26, "`bandwidth`"),
    ("nearest: 50", "nearest: 50, bandwidth: 0.1", 26, "weights: gaussian"),
    ("nearest: 50", "radius: 0", 26, "above 0"),
    ("name: like applicant 17", "name: young applicants", 26, "second time"),
    ("name: young applicants", "name: all", 25, "needs a name"),
    ('where: "age < 26"', 'where: "age <"', 25, "expected"),
    ('where: "age < 26"', 'where: "1 < 26"', 25, "names no column"),
    ("formats: [html, pdf]", "formats: [html, html]", 40, "second time"),
    ("formats: [html, pdf]", "formats: [docx]", 40, "'html' or 'pdf'"),
    ("formats: [html, pdf]", "formats: html", 40, "write it in [ ]"),
    ("template: standard", "template: [fancy]", 40, "text"),
    ("word: qualified", "word: compliant", 40, "'unqualified'"),
    ("seed: 7", "seed: 7.5", 41, "whole number"),
    ("seed: 7", "seed: -1", 41, "at least 0"),
    ("workers: 2", "workers: 0", 41, "at least 1"),
    ("workers: 2", "engine: dask", 41, "not in this version"),
    ("workers: 2", "workers: yes", 41, "whole number"),
    ("integer: true", "integer: yes", 21, "true or false"),
    ("at_least: 0.75", "at_least: .nan", 38, "no finite number"),
    ("at_least: 0.75", "at_least: .inf", 38, "no finite number"),
    ("default: immutable", "default: regression", 18, "'immutable' or 'any'"),
    ("as_of: 2026-11-01", "as_of: 2026-11-01T12:00:00", 2, "a date such as"),
    ("as_of: 2026-11-01", "as_of: 1.11.2026", 2, "a date such as"),
    ("  default: immutable", "  default: immutable\n  task: regression", 19, "regression is not in this version"),
    ("run: {", "remedies: {}\nrun: {", 41, "allowed: a list"),
    ("run: {", "extends: base.yaml\nrun: {", 41, "not in this version"),
    ("run: {", "protected: [sex]\nrun: {", 41, "it belongs to `data`"),
    ("spec_version: 1", "spec_version: 2", 1, "too new"),
    ("spec_version: 1", "spec_version: -1", 1, "not known"),
    ("spec_version: 1", "spec_version: '1'", 1, "allowed: 1"),
    ("spec_version: 1", "spec_version: true", 1, "allowed: 1"),
    ("  flips:", "  1flips:", 28, "does not start with a letter"),
    ("  evaluate: holdout.parquet", "  evaluate: holdout.parquet\n  columns: {savings: {kind: numeric}}", 23, "makes it ordinal"),
    ("  evaluate: holdout.parquet", "  evaluate: holdout.parquet\n  columns: {savings: {order: [a, b]}}", 23, "differs from"),
    ("  evaluate: holdout.parquet", "  evaluate: holdout.parquet\n  columns: {amount: {unit: EUR}}", 21, "differs from"),
    ("  evaluate: holdout.parquet", "  evaluate: holdout.parquet\n  columns: {amount: {kind: categorical}}", 21, "gives it levels"),
    ("  evaluate: holdout.parquet", "  evaluate: holdout.parquet\n  columns: {age: {kind: ordinal}}", 12, "needs `order`"),
    ("  evaluate: holdout.parquet", "  evaluate: holdout.parquet\n  columns: {age: {kind: numeric, order: [1, 2]}}", 12, "makes it ordinal"),
    ("  train: train.parquet", "  score_tolerance: 0", 10, "above 0"),
    ("target: {column: outcome, favourable: [good]}\n", "sample: {stratify: target}\n", 13, ""),
]  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new", "line", "expected"), REFERENCES, ids=[f"{new[:40]!r}" for _, new, _, _ in REFERENCES]
)
def test_wrong_value(load, example, old, new, line, expected):
    assert old in example
    found = [p for p in refused_any(load, example.replace(old, new, 1)) if p.startswith(f"spec.yaml:{line}: ")]
    assert [problem for problem in found if expected in problem], found


TEXTS = {
    "empty": (b"", 1, "found nothing"),
    "only comments": (b"# nothing\n", 1, "found nothing"),
    "a list": (b"- 1\n", 1, "no mapping"),
    "a text": (b"hello\n", 1, "no mapping"),
    "unbalanced": (b"spec_version: 1\naudit: {id: a\n", 3, "not YAML"),
    "tab": (b"spec_version: 1\naudit:\n\tid: a\n", 3, "not YAML"),
    "two documents": (b"spec_version: 1\n---\nspec_version: 1\n", 2, "not YAML"),
    "undefined alias": (b"spec_version: 1\naudit: *a\n", 2, "not YAML"),
    "latin-1": ("spec_version: 1\naudit: {title: Prüfung}\n".encode("latin-1"), 2, "UTF-8"),
    "control character": (b"spec_version: 1\naudit: {title: \x01}\n", 2, "not YAML"),
    "nul": (b"spec_version: 1\n\x00", 2, "not YAML"),
    "python tag": (b"spec_version: 1\naudit: !!python/object/apply:os.system [echo]\n", 2, "tag"),
    "own tag": (b"spec_version: 1\naudit: !secret x\n", 2, "tag"),
    "binary tag": (b"spec_version: 1\naudit: {title: !!binary aGk=}\n", 2, "tag"),
    "tag of a set": (b"spec_version: 1\naudit: !!set {a, b}\n", 2, "tag"),
    "wrong tag": (b"spec_version: !!int abc\n", 1, "tag"),
    "key is a list": (b"spec_version: 1\n? [a]\n: b\n", 2, "where a key is needed"),
    "merge": (b"a: &a {b: 1}\nspec_version: 1\naudit:\n  <<: *a\n", 4, "merge key"),
    "duplicate at the top": (b"spec_version: 1\nspec_version: 1\n", 2, "second time, first in line 1"),
    "huge": (b"# " + b"x" * 600_000, 1, "at most"),
    "deep": (b"spec_version: 1\na: " + b"[" * 5000 + b"]" * 5000, 2, "nested deeper"),
    "deep mapping": (b"spec_version: 1\na: " + b"{a: " * 5000 + b"}" * 5000, 2, "nested deeper"),
    "alias bomb": (
        b"a: &a [x,x,x,x,x,x,x,x,x]\n" + b"".join(
            f"{chr(98 + i)}: &{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 9)}]\n".encode() for i in range(9)), 1, "aliases"),
    "alias of itself": (b"a: &a [*a]\n", 1, "aliases"),
}  # fmt: skip


@pytest.mark.parametrize("name", TEXTS)
def test_text_that_is_no_spec(load, name):
    content, line, expected = TEXTS[name]
    found = on_line(refused_any(load, content), line)
    assert [problem for problem in found if expected in problem], refused_any(load, content)


@pytest.mark.parametrize(
    "path", [("audit", "title"), ("data", "evaluate"), ("run", "seed"), ("mutability", "features", "amount")], ids=shown
)
def test_duplicate_key(load, path):
    lines = dump(BASE).splitlines()
    number = line_of(dump(BASE), path)
    indent = len(lines[number - 1]) - len(lines[number - 1].lstrip())
    lines.insert(number - 1, f"{' ' * indent}{path[-1]}: 1")
    found = on_line(refused(load, "\n".join(lines)), number + 1)
    assert [problem for problem in found if f"second time, first in line {number}" in problem], found


def test_every_mistake_is_shown_at_once_in_the_order_of_the_lines(load, example):
    text = example.replace("owner: Model Risk", "ownr: Model Risk").replace("seed: 7", "seed: x")
    text = text.replace("min: 4, max: 72", "min: 73, max: 72").replace("from: flips, top", "from: flips, tpo")
    text = text.replace("age < 26", "age <").replace("path: model.skops\n", "path: model.skops\n  path: twice\n")
    problems = refused_any(load, text)
    lines = [int(re.match(r"spec\.yaml:(\d+): ", problem)[1]) for problem in problems]
    assert lines == [2, 6, 22, 26, 36, 42]


def test_a_misspelt_key_of_the_design_reads_as_the_readme_says(load, example):
    text = example.replace("    savings: ", "    savigns: ")
    assert refused_any(load, text) == (
        "spec.yaml:22: mutability.features.savigns: unknown feature 'savigns'; did you mean 'savings'?",
    )
    text = example.replace("min_change: 0.0", "min_chnge: 0.0")
    assert refused_any(load, text) == ("spec.yaml:32: methods.flex.min_chnge: unknown key; did you mean 'min_change'?",)


def test_file_that_is_not_there(tmp_path):
    from audit.spec.load import load_spec

    for path, expected in ((tmp_path / "none.yaml", "none.yaml:1: cannot be read"), (tmp_path, "is a folder")):
        with pytest.raises(SpecError) as caught:
            load_spec(path)
        assert expected in str(caught.value)
        assert str(tmp_path.parent) not in str(caught.value)


def test_a_kind_that_is_also_the_name_of_a_key_does_not_mislead():
    data = {"model": {"kind": "function", "function": "a:b", "features": ["x", 3]}}
    assert _cleaned(("model", "function", "features", 1), data, keep_last=False) == ("model", "features", 1)
    assert _cleaned(("model", "function", "function"), data, keep_last=False) == ("model", "function")
