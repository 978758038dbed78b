"""The generator `given`: a file is read by the engine, bound to its rows, and checked as any other search."""

from pathlib import Path
from typing import Any

import credit_case
import numpy as np
import pandas as pd
import pytest
import yaml

from audit.bundle import Bundle
from audit.core.errors import DataError, SpecError
from audit.engine.run import Options, Outcome, run

SPEC = {
    **{key: credit_case.SPEC[key] for key in ("spec_version", "audit", "model", "data", "mutability", "report")},
    "counterfactuals": {"flips": {"search": "nearest", "per_row": 2, "for": "unfavourable", "constraints": "policy"}},
    "methods": [{"kind": "flex", "from": "flips"}],
    "run": {"seed": 3, "workers": 1, "part_rows": 25},
}


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome]:
    """A case, and the run of it whose counterfactuals become a file."""
    path = credit_case.make(tmp_path_factory.mktemp("given"), spec=SPEC)
    return path, run(path, path.parent / "out", Options())


def tables(outcome: Outcome, task: str = "counterfactuals.flips") -> dict[str, pd.DataFrame]:
    (record,) = (record for record in outcome.evidence if record.id == task)
    return Bundle(outcome.out).result(record).tables


def given(case: tuple[Path, Outcome], frame: pd.DataFrame, name: str, **settings: Any) -> Path:
    """A spec in the folder of the case that takes its counterfactuals from a file with these rows."""
    path, _ = case
    file = path.parent / name
    frame.to_parquet(file) if file.suffix == ".parquet" else frame.to_csv(file, index=False)
    search = {"search": "given", "path": name, "per_row": 2, "for": "unfavourable", "constraints": "policy"}
    spec = {**yaml.safe_load(path.read_text()), "counterfactuals": {"flips": search | settings}}
    again = path.parent / f"{file.stem}.yaml"
    again.write_text(yaml.safe_dump(spec, sort_keys=False))
    return again


@pytest.mark.parametrize("name", ["one.csv", "two.parquet"])
def test_the_file_of_a_bundle_gives_the_same_set(case, name: str, tmp_path: Path) -> None:
    """Shuffled, for `k` says which is the best."""
    mine = tables(case[1])
    shuffled = mine["counterfactuals"].sample(frac=1, random_state=0)
    outcome = run(given(case, shuffled, name), tmp_path / "out", Options())
    again = tables(outcome)
    pd.testing.assert_frame_equal(again["counterfactuals"], mine["counterfactuals"])
    assert again["instance_status"]["status"].tolist() == mine["instance_status"]["status"].tolist()
    scores = [tables(each, "flex")["flex_global"]["frequency"] for each in (outcome, case[1])]
    pd.testing.assert_series_equal(*scores)
    (record,) = (record for record in Bundle(outcome.out).manifest().inputs if record.name == name)
    assert (record.role, record.rows) == ("counterfactuals of flips", len(shuffled))


def test_every_row_is_checked(case, tmp_path: Path) -> None:
    """A row that does not flip, one that breaks a constraint, a repeated one, one of nobody; the rest stays."""
    path, before = case
    good = tables(before)["counterfactuals"]
    data = pd.read_csv(path.parent / "holdout.csv", dtype={"id": str}).set_index("id")
    lazy, bound, twice, nobody = (good.iloc[[i]].copy() for i in range(4))
    own = data.loc[lazy["instance"].iloc[0]]
    for name in credit_case.FEATURES:
        lazy[name] = own[name]
    lazy["income"] += 0.01
    bound["age"] += 1
    nobody["instance"] = "nobody"
    file = pd.concat([good, lazy, bound, twice, nobody])
    outcome = run(given(case, file, "checked.csv", per_row=9), tmp_path / "out", Options())
    found = tables(outcome)
    discarded = found["discarded"].set_index("reason")["count"]
    assert discarded[discarded > 0].to_dict() == {"not_flipped": 1, "immutable": 1, "duplicate": 1}
    pd.testing.assert_frame_equal(found["counterfactuals"], good)
    (record,) = (record for record in outcome.evidence if record.id == "counterfactuals.flips")
    (strange,) = (note for note in record.notes if note.code == "strange")
    assert strange.args == {"file": "checked.csv", "rows": len(file), "strange": 1}
    report = (outcome.out / "report.html").read_text()
    assert "1 of the" in report
    assert "checked.csv belong to instances that the evaluation data do" in " ".join(report.split())


def test_rows_without_one_are_not_found(case, tmp_path: Path) -> None:
    good = tables(case[1])["counterfactuals"]
    some = good["instance"].iloc[0]
    outcome = run(given(case, good[good["instance"] == some], "few.csv"), tmp_path / "out", Options())
    status = tables(outcome)["instance_status"].set_index("instance")
    assert status.loc[some, "status"] == "found"
    rest = status.drop(index=some)
    rest = rest[rest["status"] != "not_applicable"]
    assert set(rest["status"]) == {"not_found"}
    assert set(rest["reason"]) == {"few.csv holds none for this row"}


def test_another_file_changes_what_rests_on_it_and_nothing_else(case, tmp_path: Path) -> None:
    good = tables(case[1])["counterfactuals"]
    one = run(given(case, good, "same.csv"), tmp_path / "out", Options())
    other = run(given(case, good.iloc[2:], "same.csv"), tmp_path / "out", Options())
    keys = [{record.id: record.key for record in outcome.evidence} for outcome in (one, other)]
    changed = {name for name, key in keys[0].items() if keys[1][name] != key}
    assert changed == {"counterfactuals.flips", "flex"}


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda f: f.drop(columns="age"), r"given.*yaml:\d+.*counterfactuals.flips.path.*the file has no column 'age'"),
        (lambda f: f.rename(columns={"instance": "id"}), r"no column 'instance'; it needs `instance` with the id"),
        (lambda f: f.assign(housing="castle"), r"column 'housing' holds 'castle', not among its 3 levels"),
        (lambda f: f.assign(age="old"), r"Unable to parse string"),
        (lambda f: f.assign(instance=np.nan), r"column 'instance' is empty in some rows"),
        (lambda f: f.iloc[:0], r"has no rows"),
    ],
)
def test_files_that_cannot_be_used(case, spoil: Any, says: str, tmp_path: Path) -> None:
    frame = spoil(tables(case[1])["counterfactuals"])
    with pytest.raises(DataError, match=says):
        run(given(case, frame, "given_wrong.csv"), tmp_path / "out", Options())


def test_a_file_that_is_not_there(case, tmp_path: Path) -> None:
    path = given(case, tables(case[1])["counterfactuals"], "there.csv", path="their.csv")
    with pytest.raises(SpecError, match=r"counterfactuals.flips.path.*no file 'their.csv'; did you mean 'there.csv'"):
        run(path, tmp_path / "out", Options())
