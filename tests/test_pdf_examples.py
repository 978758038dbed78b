"""The reports of the worked examples, and of a model with a thousand columns, under veraPDF."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import page
import pandas as pd
import pytest
import yaml
from conformance_case import failed_rules
from credit_case import command

from audit.bundle import Bundle
from audit.report import pdf as writer

pytestmark = pytest.mark.skipif(
    not os.environ.get("AUDIT_ACCEPT"), reason="runs every example: AUDIT_ACCEPT asks for it"
)
EXAMPLES = ("german_credit", "breast_cancer", "remedy", "digits", "dogs")


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_report_of_an_example(
    name: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    figure: Callable[..., None],
) -> None:
    out = request.getfixturevalue(name).out
    older, newer = tmp_path / "older.pdf", tmp_path / "newer.pdf"
    older.write_bytes(writer.pdf(Bundle(out)))  # an example may ask for HTML alone
    monkeypatch.setattr(writer, "variant_of", lambda _: "a-4f")
    newer.write_bytes(writer.pdf(Bundle(out)))
    found = failed_rules([older], "3a,ua1") | failed_rules([newer], "4f,ua2")
    figure(f"failed rules of 3a, ua1, 4f and ua2, report of {name}", sum(map(len, found.values())), "veraPDF 1.31")
    assert {key: rules for key, rules in found.items() if rules} == {}


@pytest.fixture(scope="module")
def thousand(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of a real audit of a linear model of 1,000 columns."""
    return thousand_columns(tmp_path_factory.mktemp("thousand"))


def thousand_columns(folder: Path, columns: int = 1000) -> Path:
    """Fits, describes and audits the model; the folder of the bundle."""
    import skops.io
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(7)
    names = [f"column_{i}" for i in range(columns)]
    frames = {
        name: pd.DataFrame(rng.normal(size=(n, columns)), columns=names).round(3)
        for name, n in (("train", 200), ("holdout", 60))
    }
    for frame in frames.values():
        frame["outcome"] = np.where(frame["column_0"] + frame["column_1"] > 0, "good", "bad")
    model = LogisticRegression(max_iter=500).fit(frames["train"][names], frames["train"]["outcome"])
    skops.io.dump(model, folder / "model.skops")
    for name, frame in frames.items():
        frame.to_csv(folder / f"{name}.csv", index=False)
    spec = {
        "spec_version": 1,
        "audit": {"id": "thousand", "title": "A thousand columns", "as_of": "2026-11-01"},
        "model": {
            "kind": "sklearn",
            "path": "model.skops",
            "features": names,
            "decision": {"score": "p(favourable)", "at_least": 0.5},
        },
        "data": {
            "train": "train.csv",
            "evaluate": "holdout.csv",
            "target": {"column": "outcome", "favourable": ["good"]},
            "sample": {"rows": 12, "stratify": "decision"},
        },
        "mutability": {"default": "any", "features": {}},
        "counterfactuals": {"flips": {"search": "nearest", "per_row": 2, "for": "each", "constraints": "domain"}},
        "methods": [{"kind": "performance"}, {"kind": "flex", "from": "flips"}],
        "report": {"formats": ["pdf"], "pdf": "a-4f"},
    }
    (folder / "spec.yaml").write_text(yaml.safe_dump(spec), encoding="utf-8")
    done = command("run", folder / "spec.yaml", "-o", folder / "out")
    assert done.returncode == 0, done.stderr
    return folder / "out"


def test_a_thousand_columns(thousand: Path, figure: Callable[..., None]) -> None:
    newer = thousand / "report.pdf"
    assert failed_rules([newer], "4f,ua2") == {("report.pdf", "4f"): [], ("report.pdf", "ua2"): []}
    older = thousand / "older.pdf"
    bundle = Bundle(thousand)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writer, "variant_of", lambda _: "a-3a")
        older.write_bytes(writer.pdf(bundle))
    assert failed_rules([older], "3a,ua1") == {("older.pdf", "3a"): [], ("older.pdf", "ua1"): []}
    found = page.validate_pdf_bytes(older.read_bytes(), profile=page.ValidationProfile.PDF_UA_1).failures
    assert [str(f) for f in found] == []
    figure("size of the report of 1,000 columns, KB", older.stat().st_size // 1024, "12 rows audited")
