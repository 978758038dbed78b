"""The nearest counterfactual there is, with its proof: linear models, trees, and whatever has few combinations."""

from typing import ClassVar, Literal, Protocol

import numpy as np
import pandas as pd
from pydantic import Field

from audit.core.choice import Choice, choices_table
from audit.core.counterfactuals import Found
from audit.core.evidence import Note
from audit.core.method import Context, Generator, Inputs, Need
from audit.core.model import Ints, Native
from audit.core.neighbours import Asked, Queries, chosen_rows
from audit.core.policy import Policy
from audit.core.table import Floats, Table
from audit.search.exact.linear import linear
from audit.search.exact.steps import UnreadableError
from audit.search.exact.target import Answer, Goal, goal_of
from audit.search.exact.trees import trees

CHOICES = (
    Choice("EXACT-01", "cost", "Gower distance", "that of the other searches; no cost for each feature changed"),
    Choice("EXACT-02", "nodes of trees for one row", "2000000", "a count, for seconds differ by machine"),
    Choice("EXACT-03", "combinations tried in full", "5000", "where neither formula nor solver comes to an end"),
    Choice("EXACT-04", "rules across features", "left out, then checked", "if none breaks, the answer is the best"),
    Choice("EXACT-05", "rounding of the model", "kept clear of", "a proof must hold for the model, not for a reading"),
    Choice("EXACT-06", "relaxations of a linear model for one row", "20000", "as above; few rows need a hundred"),
)

CHECKED_ROWS = 1000
"""Rows of the reference on which a reading of the model is compared with the model."""


class Solver(Protocol):
    """What finds the cheapest change of a row, apart from rules across features."""

    def solve(self, x: Floats, goal: Goal) -> Answer:
        """The answer for one row."""
        ...


class Exact(Generator):
    """One counterfactual for each row, with a proof that none is cheaper, or a proof that there is none.

    A linear model gives log-odds that are a sum over features: the cheapest changes are found by branch and bound over
    them, numbers moving by any share. The trees of LightGBM, XGBoost and scikit-learn are searched by treecf. Where
    the answer breaks a rule across features, or there is none, and the allowed combinations of values are few, all of
    them are tried. What is left is not found: no proof is claimed for it.

    Assumes: a model with two classes whose inside can be read. Cost is Gower distance, by which values that the model
    does not tell apart are the same. Each proof keeps clear of the rounding of the model.

    Reference: `methods/flex` 3.2; D. Wlazlo, treecf 0.3.2, doi 10.5281/zenodo.22069503.

    Attributes:
        nodes: nodes that the solver of trees looks at for one row; what is not settled by then is not proved.
        relaxations: the same for a linear model.
        combinations: allowed combinations of values of a row that are tried in full where there is no other proof.
    """

    search: Literal["exact"] = "exact"
    per_row: int = Field(default=1, ge=1)
    nodes: int = Field(default=2_000_000, ge=1)
    relaxations: int = Field(default=20_000, ge=1)
    combinations: int = Field(default=5_000, ge=0)

    needs: ClassVar[frozenset[Need]] = frozenset({"model", "native"})
    uses: ClassVar[tuple[str, ...]] = ("treecf",)
    proves: ClassVar[bool] = True
    cites: ClassVar[tuple[str, ...]] = ("treecf, doi 10.5281/zenodo.22069503",)

    def choices(self) -> pd.DataFrame:
        return choices_table(
            CHOICES,
            {"EXACT-02": str(self.nodes), "EXACT-03": str(self.combinations), "EXACT-06": str(self.relaxations)},
        )

    def notes(self, inputs: Inputs) -> tuple[Note, ...]:
        """Why there is no solver, if there is none; the model is not asked again."""
        found = self._solver(inputs, self.constraint(inputs.policy), ask=False)
        return (Note(code="unreadable", severity="minor", args={"reason": found}),) if isinstance(found, str) else ()

    def generate(self, ctx: Context, rows: Table, before: Ints) -> Found:
        inputs, policy = ctx.inputs, self.constraint(ctx.inputs.policy)
        asked = Asked(ctx.model, np.zeros(len(rows), dtype=np.int64))
        queries = Queries(rows.codes, before, policy, inputs.decision, asked)
        spent = ctx.model.rows
        solver = self._solver(inputs, policy, ask=True)
        shared = ctx.model.rows - spent
        answers = []
        for i in range(len(rows)):
            answers.append(self._answer(solver, queries, i))
            ctx.tick(i + 1, len(rows))
        hit = [i for i, answer in enumerate(answers) if answer.codes is not None]
        return Found(
            row=np.array(hit, dtype=np.int64),
            codes=np.array([answers[i].codes for i in hit]).reshape(-1, len(rows.schema)),
            proven=np.array([answer.infeasible for answer in answers], dtype=bool),
            reasons=[answer.reason for answer in answers],
            evaluated=asked.rows,
            shared=shared,
            optimal=np.array([answer.optimal for answer in answers], dtype=bool),
        )

    def _solver(self, inputs: Inputs, policy: Policy, *, ask: bool) -> Solver | str:
        """What can solve for the model, or the reason why nothing can; where it may ask, it compares with the model."""
        native: Native | None = None if inputs.model is None else inputs.model.model.native()
        if inputs.model is None or native is None:
            return "the inside of the model cannot be read"
        if len(inputs.decision.classes) != 2:
            return f"the model has {len(inputs.decision.classes)} classes, and proofs are for two"
        rows = inputs.reference.codes[chosen_rows(len(inputs.reference), CHECKED_ROWS, 0)]
        P = inputs.model.probabilities(rows)[:, 1] if ask else None
        try:
            if native.form == "linear":
                return linear(native, policy, rows, P, self.relaxations)
            return trees(native, policy, rows, P, self.nodes)
        except UnreadableError as error:
            return str(error)

    def _answer(self, solver: Solver | str, queries: Queries, i: int) -> Answer:
        """The answer for one row, checked."""
        if queries.policy.frozen():
            return Answer(None, infeasible=True, reason="the constraints leave nothing to change")
        first = Answer(None, reason=solver) if isinstance(solver, str) else self._solved(solver, queries, i)
        if first.infeasible or first.optimal:
            return first
        trial = queries.try_all(i, self.combinations)
        if len(trial.flips):
            return Answer(trial.flips[0], optimal=True)
        if trial.proof is not None:
            return Answer(None, infeasible=True, reason=trial.proof)
        return first

    def _solved(self, solver: Solver, queries: Queries, i: int) -> Answer:
        """What the solver says, where it holds for the model and every constraint; its proof that there is none."""
        x = queries.rows[i]
        goal = goal_of(queries.decision, int(queries.before[i]))
        if not goal.reachable():
            return Answer(None, reason="the threshold is a probability of 0 or 1, which no log-odds reach")
        try:
            answer = solver.solve(x, goal)
        except UnreadableError as error:
            return Answer(None, reason=str(error))
        if answer.codes is None:
            said = "no allowed change of any feature reaches another outcome" if answer.infeasible else answer.reason
            return answer._replace(reason=said or "there is none beyond the rounding of the model, nor a proof")
        codes = answer.codes[None]
        if not queries.policy.allowed(x[None], codes)[0]:
            broken = ", ".join(sorted({v.subject for v in queries.policy.violations(x[None], codes)}))
            return Answer(None, reason=f"the cheapest change breaks what the solver cannot take in: {broken}")
        owner = np.array([i])
        P = queries.asked.probabilities(owner, codes)
        if not queries.decision.flipped(P, queries.before[owner])[0]:
            return Answer(None, reason="the cheapest change that the solver found does not flip the model")
        return answer
