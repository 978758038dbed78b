"""200 wrong specs through the command line, on real data and a real model: clear messages, never a traceback."""
# ruff: noqa: E501 - cases read best as one line each

import copy
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from typing import Any

import credit_case
import numpy as np
import pandas as pd
import pytest
import yaml

from audit.cli.main import main

Path = tuple[Any, ...]
FREE = {("mutability", "features"), ("counterfactuals",)}
LINE = re.compile(r"spec\.yaml:\d+: \S+")


def nodes(data: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in items:
        yield (*path, key), value
        yield from nodes(value, (*path, key))


def inside(spec: Any, path: Path) -> Any:
    for step in path:
        spec = spec[step]
    return spec


def misspelt(path: Path) -> Callable[[Any], None]:
    def edit(spec: Any) -> None:
        parent = inside(spec, path[:-1])
        entries = [(key + "e" if key == path[-1] else key, value) for key, value in parent.items()]
        parent.clear()
        parent.update(entries)

    return edit


def replaced(path: Path, value: Any) -> Callable[[Any], None]:
    return lambda spec: inside(spec, path[:-1]).__setitem__(path[-1], value)


def spec_mutations() -> Iterator[tuple[str, Callable[[Any], None]]]:
    """Every key misspelt, and every value replaced by a mapping and by a list of mappings."""
    for path, _ in nodes(credit_case.SPEC):
        shown = ".".join(map(str, path))
        if isinstance(path[-1], str) and path[:-1] not in FREE:
            yield f"misspelt {shown}", misspelt(path)
        yield f"mapping for {shown}", replaced(path, {"strange": [1]})
        yield f"list for {shown}", replaced(path, [{"strange": 1}])


FEATURE = ("mutability", "features", "income")
POLICY = {
    "min above max": replaced(FEATURE, {"change": "any", "min": 10.0, "max": 1.0}),
    "step of zero": replaced(FEATURE, {"change": "any", "step": 0}),
    "negative step": replaced(FEATURE, {"change": "any", "step": -5}),
    "bounds of what is immutable": replaced(FEATURE, {"change": "immutable", "min": 3}),
    "transitions of a number": replaced(FEATURE, {"change": "any", "transitions": {"1": [2]}}),
    "bounds of a category": replaced(("mutability", "features", "housing"), {"change": "any", "min": 3}),
    "unknown level": replaced(("mutability", "features", "housing"), {"change": "any", "transitions": {"own": ["boat"]}}),
    "level left out of the order": replaced(("mutability", "features", "housing"), {"change": "any", "order": ["own"]}),
    "level twice": replaced(("mutability", "features", "housing"), {"change": "any", "order": ["own", "own", "rent", "free"]}),
    "rule that all rows break": replaced(("mutability", "rules"), ["income < 0"]),
    "rule on an unknown column": replaced(("mutability", "rules"), ["incom > 0"]),
    "rule that runs code": replaced(("mutability", "rules"), ["__import__('os').system('id')"]),
    "rule that is no condition": replaced(("mutability", "rules"), ["income + 1"]),
    "rule that compares a text with a number": replaced(("mutability", "rules"), ["housing > 3"]),
    "rule that is not closed": replaced(("mutability", "rules"), ["(income > 3"]),
}  # fmt: skip
COLUMNS = {
    "unknown id": replaced(("data", "id"), "idd"),
    "unknown target": replaced(("data", "target", "column"), "result"),
    "unknown protected": replaced(("data", "protected"), ["sex"]),
    "unknown score": replaced(("data", "production_score"), "score"),
    "unknown feature": replaced(("model", "features", 0), "agee"),
    "unknown policy feature": replaced(("mutability", "features", "salary"), {"change": "any"}),
    "unknown region column": replaced(("regions", 0, "where"), "agee < 30"),
    "unknown id of a region": replaced(("regions", 1, "around"), "nobody"),
    "unknown favourable class": replaced(("data", "target", "favourable"), ["great"]),
    "all classes favourable": replaced(("data", "target", "favourable"), ["good", "bad"]),
    "threshold above 1": replaced(("model", "decision", "at_least"), 1.5),
    "missing evaluation file": replaced(("data", "evaluate"), "holdut.csv"),
    "missing training file": replaced(("data", "train"), "nothing.parquet"),
    "missing model": replaced(("model", "path"), "modell.skops"),
    "folder for a file": replaced(("data", "train"), "."),
    "file of another kind": replaced(("data", "train"), "model.skops"),
    "pickle without leave": replaced(("model", "path"), "model.pkl"),
    "wrong digest": replaced(("model", "sha256"), "0" * 64),
    "code without leave": replaced(("model",), {"kind": "function", "function": "os:getcwd", "classes": ["bad", "good"]}),
    "set that is not there": replaced(("methods", 1, "from"), "flip"),
    "method that is not there": replaced(("methods", 3, "of"), ["flex", "shapp"]),
    "gate on nothing": replaced(("gates", 0, "metric"), "performanc.auc"),
    "opinion without its file": replaced(("report", "opinion"), {"word": "qualified", "by": "A", "text": "none.md"}),
}  # fmt: skip


def nan_targets(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(outcome=frame["outcome"].where(np.arange(len(frame)) % 7 > 0))


DATA = {
    "NaN targets": nan_targets,
    "one class": lambda frame: frame.assign(outcome="good"),
    "unknown class": lambda frame: frame.assign(outcome="maybe"),
    "same id twice": lambda frame: frame.assign(id=3),
    "no rows": lambda frame: frame.iloc[:0],
    "column left out": lambda frame: frame.drop(columns="income"),
    "text among numbers": lambda frame: frame.assign(income=frame["income"].astype(str).where(frame.index > 3, "much")),
    "infinity": lambda frame: frame.assign(income=frame["income"].where(frame.index > 3, np.inf)),
    "dates": lambda frame: frame.assign(age="2020-01-01"),
}
MUTATIONS = [*spec_mutations(), *POLICY.items(), *COLUMNS.items()]


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    return credit_case.make(tmp_path_factory.mktemp("case")).parent


@pytest.fixture
def ask(case, tmp_path, monkeypatch, capsys):
    """What the command line says of a changed case: its exit code and the lines of its message."""

    def run(edit: Callable[[Any], None], folder: Any = None) -> tuple[int, list[str]]:
        spec = yaml.safe_load((case / "spec.yaml").read_text())
        edit(spec)
        path = (folder or case) / "spec.yaml"
        kept = path.read_text()
        path.write_text(yaml.safe_dump(spec, sort_keys=False))
        monkeypatch.setattr(sys, "argv", ["audit", "run", str(path), "-o", str(tmp_path / "out"), "-q"])
        try:
            with pytest.raises(SystemExit) as ended:
                main()
        finally:
            path.write_text(kept)
        out, err = capsys.readouterr()
        assert out == ""
        return int(ended.value.code), err.splitlines()

    return run


def check(code: int, lines: list[str]) -> None:
    assert code in {2, 3}
    assert lines
    assert [line for line in lines if not LINE.match(line)] == []
    assert "Traceback" not in "\n".join(lines)
    assert len(lines) == len(set(lines))


def test_there_are_at_least_200(figure):
    assert len(MUTATIONS) + len(DATA) + 2 >= 200
    figure("wrong specs, each with one message, its line and exit code 2 or 3", len(MUTATIONS) + len(DATA) + 2)


@pytest.mark.parametrize("name", [name for name, _ in MUTATIONS])
def test_a_wrong_spec_ends_in_a_message_with_its_line(ask, name):
    check(*ask(copy.deepcopy(dict(MUTATIONS)[name])))


@pytest.mark.parametrize("name", DATA)
def test_wrong_data_end_in_a_message_with_the_line_of_the_spec(ask, case, tmp_path, name):
    folder = shutil.copytree(case, tmp_path / "case")
    DATA[name](pd.read_csv(folder / "holdout.csv")).to_csv(folder / "holdout.csv", index=False)
    check(*ask(lambda spec: None, folder))


@pytest.mark.parametrize("strategy", ["prior", "regressor"])
def test_a_wrong_model_ends_in_a_message_with_the_line_of_the_spec(ask, case, tmp_path, strategy):
    from sklearn.dummy import DummyClassifier, DummyRegressor
    from skops.io import dump

    folder = shutil.copytree(case, tmp_path / "case")
    train = pd.read_csv(folder / "train.csv")
    model = DummyRegressor() if strategy == "regressor" else DummyClassifier(strategy=strategy)
    dump(model.fit(train[credit_case.FEATURES], np.arange(len(train)) % 2), folder / "model.skops")
    check(*ask(lambda spec: None, folder))


def test_a_fault_of_ours_is_shown_whole_and_has_no_exit_code_of_a_verdict(monkeypatch, capsys):
    def fails(*_: Any) -> None:
        raise RuntimeError("never thought of")

    monkeypatch.setattr("audit.cli.main.group", lambda **_: fails())
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 3
    assert "Traceback" in (said := capsys.readouterr().err)
    assert "RuntimeError: never thought of" in said
