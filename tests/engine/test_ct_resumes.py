"""Counterfactual training that was interrupted in its third of five seeds goes on there."""

import copy

import credit_case
import pytest

pytest.importorskip("torch", reason="torch is an optional package")

from audit.bundle import Bundle
from audit.core.base import sha256
from audit.engine.run import Options, run
from audit.methods.counterfactual_training import CounterfactualTraining

REMEDY = {
    "kind": "counterfactual_training",
    "id": "ct",
    "seeds": 5,
    "training": {"epochs": 12, "counterfactuals": 40},
    "evaluation": {"runs": 2, "rows": 10, "energy": [1.0], "steps": 5},
    "compare": [],
    "attack_eps": [0.0],
    "attribution_rounds": 1,
}
SPEC = copy.deepcopy(credit_case.SPEC) | {"remedies": [REMEDY], "methods": [{"kind": "performance"}], "gates": []}
ONLY = Options(only=("remedies.ct",))


@pytest.fixture
def seeds(monkeypatch):
    """The seeds whose training was begun; a seed in `stops` is interrupted once it began."""
    begun, stops, train = [], set(), CounterfactualTraining.run

    def watched(self, ctx, part):
        begun.append(part.seed)
        if part.seed in stops:
            raise KeyboardInterrupt
        return train(self, ctx, part)

    monkeypatch.setattr(CounterfactualTraining, "run", watched)
    return begun, stops


def test_the_first_two_seeds_are_not_trained_again(tmp_path, seeds):
    begun, stops = seeds
    path = credit_case.make(tmp_path / "case", n=120, spec=SPEC)
    stops.add(2027)
    with pytest.raises(KeyboardInterrupt):
        run(path, tmp_path / "out", ONLY)
    assert begun == [2025, 2026, 2027]
    begun.clear(), stops.clear()
    outcome = run(path, tmp_path / "out", ONLY)
    assert begun == [2027, 2028, 2029]
    # As if nothing had happened: the same bytes as in one go.
    assert credit_case.contents(run(path, tmp_path / "once", ONLY).out) == credit_case.contents(outcome.out)


def test_the_new_model_is_an_artefact_with_its_digest(tmp_path):
    path = credit_case.make(tmp_path / "case", n=120, spec=SPEC | {"remedies": [REMEDY | {"seeds": 1}]})
    outcome = run(path, tmp_path / "out", ONLY)
    (record,) = (r for r in outcome.evidence if r.id == "remedies.ct")
    (artefact,) = record.artefacts
    data = (outcome.out / artefact.path).read_bytes()
    assert artefact.name == "remedied_model.safetensors"
    assert Bundle(outcome.out).manifest().files[artefact.path] == sha256(data)
    assert sha256(data) in (outcome.out / "report.html").read_text("utf-8")
