"""The gap to the proved optimum, by hand, and what contradicts a proof."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from audit.core.counterfactuals import OPTIMAL
from audit.core.evidence import Note, Result
from audit.core.method import Refusal
from audit.core.plan import Part
from audit.methods.search_gap import SearchGap
from audit.testing import toy_context, toy_inputs

N = 6


def searched(distances, status, reason=None, **settings):
    """A set of one or more distances for each instance; None: not found."""
    rows = [(str(i), d) for i, own in enumerate(distances) for d in own]
    found = pd.DataFrame(rows, columns=["instance", "distance"])
    states = pd.DataFrame({"instance": list(map(str, range(N))), "status": status, "reason": reason or [""] * N})
    note = Note(code="search", args={"constraints": "policy", "for": "each", **settings})
    return Result(tables={"counterfactuals": found, "instance_status": states}, notes=(note,))


def gap(judged, proved, drawn=N):
    frame = pd.DataFrame({"a": np.arange(float(N))})
    inputs = replace(toy_inputs(frame, lambda f: np.full(len(f), 0.2)), results={"judged": judged, "proved": proved})
    if drawn < N:
        inputs = replace(inputs, sample=replace(inputs.sample, drawn=np.arange(N) < drawn))
    method = SearchGap.model_validate({"from": "recourse", "proof": "best", "bootstrap": 200})
    return method.run(toy_context(inputs), Part(index=0))


PROVED = searched(
    [[1.0], [2.0], [1.0], [4.0], [], []],
    ["found", "found", "found", "found", "infeasible", "not_found"],
    [OPTIMAL, OPTIMAL, OPTIMAL, "", "every allowed combination was tried", "no proof"],
)


def metrics(result):
    return {metric.name: metric for metric in result.metrics}


def test_by_hand():
    judged = searched(
        [[1.5, 1.0], [2.5], [], [9.0], [], [1.0]], ["found", "found", "not_found", "found", "not_found", "found"]
    )
    result = gap(judged, PROVED)
    got = metrics(result)
    assert got["proved"].value == 4
    assert (got["found_share"].value, got["found_share"].n) == (2 / 3, 3)
    assert got["gap"].value == pytest.approx((1.0 + 2.5) / 3.0 - 1)
    assert got["gap"].low <= got["gap"].value <= got["gap"].high
    assert got["close_share"].value == 0.5
    assert list(result.tables["search_gap"]["instance"]) == ["0", "1"]
    assert result.tables["search_gap"]["gap"].tolist() == pytest.approx([0.0, 0.25])
    assert result.tables["search_gap_status"]["rows"].sum() == N
    assert [note.code for note in result.notes] == ["gap"]


def test_rows_that_were_not_asked_about_count_nowhere():
    """They have the outcome that is wanted; the state of each other row is said in words."""
    proved = searched(
        [[1.0], [], [], [], [], []], ["found", "infeasible", "not_found", *["not_applicable"] * 3], [OPTIMAL, *[""] * 5]
    )
    judged = searched([[2.0], [], [3.0], [], [], []], ["found", "not_found", "found", *["not_applicable"] * 3])
    result = gap(judged, proved)
    assert (metrics(result)["proved"].value, metrics(result)["proved"].n) == (2, 3)
    assert (result.notes[0].args["proved"], result.notes[0].args["rows"]) == (2, 3)
    assert result.tables["search_gap_status"].to_numpy().tolist() == [
        ["no proof", "found", 1],
        ["that there is none is proved", "not found", 1],
        ["the nearest is proved", "found", 1],
    ]


def test_rows_that_joined_for_a_region_do_not_count():
    judged = searched([[1.0], [2.0], [3.0], [9.0], [], []], ["found"] * 4 + ["not_found"] * 2)
    assert metrics(gap(judged, PROVED, drawn=2))["gap"].value == 0


def test_a_proof_that_is_contradicted_is_a_critical_finding():
    judged = searched([[0.9], [2.0], [1.0], [4.0], [1.0], []], ["found"] * 5 + ["not_found"])
    notes = {note.code: note for note in gap(judged, PROVED).notes}
    assert notes["optimum_beaten"].severity == "critical"
    assert notes["optimum_beaten"].args["ids"] == ["0"]
    assert notes["infeasible_found"].args["ids"] == ["4"]


def test_a_hair_nearer_is_the_rounding_that_proofs_keep_clear_of():
    judged = searched([[0.9995], [2.0], [1.0], [4.0], [], []], ["found"] * 4 + ["not_found"] * 2)
    assert [note.code for note in gap(judged, PROVED).notes] == ["gap"]


def test_sets_of_different_questions_are_refused():
    judged = searched([[1.0]] * N, ["found"] * N, constraints="domain")
    with pytest.raises(
        Refusal, match="'recourse' was searched with `constraints: domain` and 'best' with `constraints: p"
    ):
        gap(judged, PROVED)


def test_without_any_proof_nothing_is_said():
    nothing = searched([[1.0]] * N, ["found"] * N)
    with pytest.raises(Refusal, match="no row of 'best' has a proof"):
        gap(nothing, nothing)
