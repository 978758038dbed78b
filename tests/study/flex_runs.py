"""What the study of FLEX measures, and how it writes it down."""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tests"))

import flex_case as fc  # noqa: E402 - the folder of the tests is no package

from audit.core.evidence import Result  # noqa: E402
from audit.core.method import Inputs  # noqa: E402
from audit.core.stats import kendall, spearman  # noqa: E402

KERNEL_QUERIES, KERNEL_BACKGROUND = 20, 100
TOP = 3


@dataclass(frozen=True)
class Run:
    """A case, its search and its scores.

    Attributes:
        rows: model-evaluated rows of the search.
        seconds: CPU seconds of search and FLEX.
    """

    case: fc.Case
    inputs: Inputs
    result: Result
    rows: int
    seconds: float

    @property
    def scores(self) -> "pd.Series[float]":
        """Global frequencies, the largest first."""
        return fc.frequencies(self.result).sort_values(ascending=False, kind="stable")


def run(case: fc.Case, inputs: Inputs | None = None, flex: dict[str, Any] | None = None, **search: Any) -> Run:
    """Searches counterfactuals and scores them."""
    inputs = case.inputs if inputs is None else inputs
    assert inputs.model is not None
    start, before = time.process_time(), inputs.model.rows
    found = fc.searched(inputs, **search)
    result = fc.flex(found, **(flex or {}))
    return Run(case, found, result, inputs.model.rows - before, time.process_time() - start)


def agree(a: "pd.Series[float]", b: "pd.Series[float]") -> tuple[float, float]:
    """Kendall tau-b and Spearman rho of two sets of scores, by feature."""
    x, y = a.to_numpy(dtype=float), b[a.index].to_numpy(dtype=float)
    return float(kendall(x, y)), float(spearman(x, y))


def kernel_shap(case: fc.Case) -> tuple["pd.Series[float]", float]:
    """Mean absolute Kernel SHAP values of the first queries, and CPU seconds per query."""
    import shap

    assert case.inputs.sample is not None
    reference = case.inputs.reference.codes
    background = reference[np.random.default_rng(0).choice(len(reference), KERNEL_BACKGROUND, replace=False)]
    explainer = shap.KernelExplainer(lambda X: case.estimator.predict_proba(X)[:, 1], background)
    queries = case.inputs.sample.table.codes[:KERNEL_QUERIES]
    np.random.seed(0)  # noqa: NPY002 - the explainer draws from the global generator and takes no other
    start = time.process_time()
    values = explainer.shap_values(queries, silent=True)
    seconds = (time.process_time() - start) / len(queries)
    return pd.Series(np.abs(values).mean(axis=0), index=list(case.inputs.schema.names)), seconds


def n(value: float, digits: int = 3) -> str:
    """A share without its leading zero, as in the description of the method."""
    return f"{value:.{digits}f}".replace("0.", ".", 1) if abs(value) < 1 else f"{value:.{digits}f}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return [*lines, *("| " + " | ".join(row) + " |" for row in rows), ""]


def top(run: Run, count: int = TOP) -> str:
    """The first features with their frequencies and intervals."""
    whole = run.result.tables["flex_global"]
    whole = (
        whole[whole["prediction"].isna()].set_index("feature").sort_values("frequency", ascending=False, kind="stable")
    )
    return ", ".join(
        f"{name} {n(row['frequency'])} [{n(row['low'])}, {n(row['high'])}]"
        for name, row in whole.head(count).iterrows()
    )


def coverage(run: Run) -> str:
    """Covered queries of all."""
    row = run.result.tables["flex_coverage"].iloc[0]
    return f"{int(row['covered'])} of {int(row['n'])}"


def place(run: Run, feature: str) -> str:
    """The frequency and the rank of a feature."""
    return f"{feature} {n(run.scores[feature])} (rank {list(run.scores.index).index(feature) + 1} of {len(run.scores)})"


def against(run: Run, *, kernel: bool) -> tuple[str, dict[str, float], dict[str, float]]:
    """Agreement with TreeSHAP and Kernel SHAP in words, their CPU seconds per query, and tau-b by explainer."""
    start = time.process_time()
    tree = fc.tree_shap(run.case)
    seconds = {"TreeSHAP": (time.process_time() - start) / len(run.inputs.sample or [])}
    tau, rho = agree(run.scores, tree)
    taus = {"TreeSHAP": tau}
    text = f"TreeSHAP {n(tau)}/{n(rho)}"
    if kernel:
        values, seconds["Kernel SHAP"] = kernel_shap(run.case)
        tau, rho = agree(run.scores, values)
        taus["Kernel SHAP"] = tau
        text += f"; Kernel SHAP {n(tau)}/{n(rho)} (first {KERNEL_QUERIES} queries, background {KERNEL_BACKGROUND})"
    return text, seconds, taus


def ours(run: Run, agreement: str) -> str:
    """One cell: what we found."""
    changed = run.result.tables["flex_coverage"]["mean_changed"].iloc[0]
    return (
        f"{top(run)}; accuracy {n(run.case.accuracy)}, balanced {n(run.case.balanced)}; {agreement}; "
        f"coverage {coverage(run)}; {changed:.2f} features changed; {run.rows:,} model-evaluated rows"
    )


def band(text: str, *, met: bool) -> str:
    """What was asked and whether it was reached."""
    return f"{text}: {'met' if met else '**not met**'}"


def loan_band(run: Run) -> str:
    """The band of the loan runs."""
    score, (tau, _) = run.scores, agree(run.scores, fc.tree_shap(run.case))
    met = (
        score.index[0] == "cibil_score"
        and 0.8 <= score.iloc[0] <= 0.95
        and score.iloc[0] >= 5 * score.iloc[1]
        and tau >= 0.75
    )
    ratio = score.iloc[0] / score.iloc[1]
    return band(f"cibil first, .80-.95, 5 times the next ({ratio:.1f}), tau-b .75 ({n(tau)})", met=bool(met))
