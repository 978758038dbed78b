"""Columns and features that methods name are looked up before anything is computed, with their lines."""

import sys

import pytest
import yaml
from credit_case import SPEC, make

from audit.cli.main import main

METHODS = [
    {"kind": "performance"},
    {"kind": "fairness", "by": ["gender", "housing"], "intersections": [["gender", "housing"]]},
    {"kind": "data", "by": ["gender"]},
    {"kind": "recourse", "from": "recourse", "by": ["gender"], "weights": {"income": 2}},
    {"kind": "robustness", "keep": ["age"], "round": {"debt": 10}},
]


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    return make(tmp_path_factory.mktemp("columns"), n=120, spec=SPEC | {"methods": METHODS})


@pytest.fixture
def told(case, monkeypatch, capsys):
    """What `audit validate` says of a case with other methods: exit code, message, lines of the spec."""

    def ask(methods):
        spec = yaml.safe_load(case.read_text())
        path = case.with_name("changed.yaml")
        path.write_text(yaml.safe_dump(spec | {"methods": methods}, sort_keys=False))
        monkeypatch.setattr(sys, "argv", ["audit", "validate", str(path)])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0), capsys.readouterr().err, path.read_text().splitlines()

    return ask


@pytest.mark.parametrize(
    ("place", "setting", "value", "wrong", "key", "said"),
    [
        (
            0,
            "by",
            ["gendr"],
            "gendr",
            "methods.fairness.by.1",
            "holdout.csv has no column 'gendr'; did you mean 'gender'?",
        ),
        (
            0,
            "intersections",
            [["gender", "housin"]],
            "housin",
            "methods.fairness.intersections.1.2",
            "holdout.csv has no column 'housin'; did you mean 'housing'?",
        ),
        (1, "by", ["xyz"], "xyz", "methods.data.by.1", "holdout.csv has no column 'xyz'; its columns are id, age"),
        (2, "by", ["gander"], "gander", "methods.recourse.by.1", "did you mean 'gender'?"),
        (
            2,
            "weights",
            {"incom": 2},
            "incom",
            "methods.recourse.weights.incom",
            "the model has no feature 'incom'; did you mean",
        ),
        (3, "keep", ["outcome"], "outcome", "methods.robustness.keep.1", "the model has no feature 'outcome'"),
        (3, "round", {"debts": 10}, "debts", "methods.robustness.round.debts", "did you mean 'debt'?"),
    ],
)
def test_a_name_that_is_not_there_is_refused_with_its_line(told, place, setting, value, wrong, key, said):
    methods = [dict(method) for method in METHODS]
    methods[place + 1][setting] = value
    code, err, lines = told(methods)
    assert code == 2
    (line,) = err.strip().splitlines()
    assert key in line
    assert said in line
    assert wrong in lines[int(line.split(":")[1]) - 1]


def test_names_that_are_there_pass(told):
    assert told(METHODS)[:2] == (0, "")
