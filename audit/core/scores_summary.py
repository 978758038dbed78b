"""What the networks of all seeds say together: mean weights, ranks, the null band, agreement with other rankings."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import JsonValue

from audit.core.evidence import Metric, Note, Where
from audit.core.scores_compare import rank_stability, seed_agreement, t_interval
from audit.core.stats import average_ranks, kendall, spearman
from audit.core.table import Floats

TIED = 1e-3
"""Mean weights that span less than this rank nothing."""

UNSTABLE = 0.7
"""A smaller mean rank correlation of the seeds is said to be unstable."""

NULL_LEVEL = 0.95


@dataclass(frozen=True)
class Summary:
    """Weights and what they are compared with.

    Attributes:
        names: of the G features.
        w: weights of the networks, shape (S, G).
        null: weights of the networks on permuted labels, shape (R, G); R may be 0.
        permutation: permutation importance, shape (S, G).
        phi: mean absolute Kernel SHAP values, shape (S, G); NaN for the networks that were not explained.
    """

    names: tuple[str, ...]
    w: Floats
    null: Floats
    permutation: Floats
    phi: Floats

    @classmethod
    def of(cls, weights: pd.DataFrame, null: pd.DataFrame) -> "Summary":
        """From the tables of all seeds.

        Args:
            weights: seed, feature, value, permutation, kernel_shap.
            null: seed, run, feature, value.
        """
        names = tuple(dict.fromkeys(weights["feature"]))
        G = len(names)

        def wide(frame: pd.DataFrame, column: str) -> Floats:
            return frame[column].to_numpy(dtype=np.float64).reshape(-1, G)

        return cls(
            names,
            wide(weights, "value"),
            wide(null, "value"),
            wide(weights, "permutation"),
            wide(weights, "kernel_shap"),
        )

    @property
    def mean(self) -> Floats:
        """Mean weight of each feature, shape (G,)."""
        return np.asarray(self.w.mean(axis=0))

    @property
    def learned(self) -> bool:
        """Whether the weights rank anything."""
        return len(self.names) > 1 and float(np.ptp(self.mean)) >= TIED

    @property
    def null_95(self) -> float | None:
        """The 95th percentile of all null weights."""
        return float(np.quantile(self.null, NULL_LEVEL)) if self.null.size else None

    @property
    def null_max(self) -> float | None:
        """The largest null weight."""
        return float(self.null.max()) if self.null.size else None

    @property
    def above_noise(self) -> NDArray[np.bool_]:
        """Whether the mean weight exceeds the null band, shape (G,); nowhere, if there is none of the two."""
        bar = self.null_95
        if bar is None or not self.learned:
            return np.zeros(len(self.names), dtype=bool)
        return np.asarray(self.mean > bar)

    @property
    def ranks(self) -> Floats:
        """Average ranks, shape (G,); NaN where nothing was learnt."""
        return average_ranks(self.mean) if self.learned else np.full(len(self.names), np.nan)

    @property
    def seed_agreement(self) -> float | None:
        """Mean Spearman correlation of pairs of seeds; None for one seed or where nothing was learnt."""
        value = seed_agreement(self.w) if self.learned else float("nan")
        return None if np.isnan(value) else value

    def first(self, count: int) -> set[str]:
        """The names of the features with the largest mean weights."""
        order = np.argsort(-self.mean, kind="stable")[:count]
        return {self.names[g] for g in order}

    def statuses(self) -> list[str]:
        """One word for each feature: ok, noise, untested (no null band), no_ranking, single."""
        if len(self.names) == 1:
            return ["single"]
        if not self.learned:
            return ["no_ranking"] * len(self.names)
        if self.null_95 is None:
            return ["untested"] * len(self.names)
        return ["ok" if above else "noise" for above in self.above_noise]

    def global_table(self, rows: int, constant: Sequence[str], network: str) -> pd.DataFrame:
        """The features by rank, those without a score last.

        Args:
            rows: that each network was trained on.
            network: what the weights are of; it goes where the table goes.
        """
        low, high = t_interval(self.w)
        nothing = np.full(len(self.names), np.nan)
        several = len(self.w) > 1
        table = pd.DataFrame(
            {
                "feature": self.names,
                "value": self.mean,
                "low": np.clip(low, 0.0, 1.0),
                "high": np.clip(high, 0.0, 1.0),
                "n": rows,
                "rank": self.ranks,
                "status": self.statuses(),
                "sd": self.w.std(axis=0, ddof=1) if several else nothing,
                "rank_stability": rank_stability(self.w) if several and self.learned else nothing,
            }
        )
        table = table.sort_values(["value", "feature"], ascending=[False, True], kind="stable")
        left = pd.DataFrame({"feature": list(constant), "n": rows, "status": "constant"})
        return (
            (pd.concat([table, left], ignore_index=True) if len(left) else table)
            .assign(network=network)
            .reset_index(drop=True)
        )

    def compared_table(self) -> pd.DataFrame:
        """Each feature with its mean weight and its mean importance by the comparators."""
        explained = self.explained
        phi = self.phi[explained].mean(axis=0) if explained.any() else np.full(len(self.names), np.nan)
        return pd.DataFrame(
            {
                "feature": self.names,
                "value": self.mean,
                "kernel_shap": phi,
                "permutation": self.permutation.mean(axis=0),
            }
        )

    @property
    def explained(self) -> NDArray[np.bool_]:
        """Which networks Kernel SHAP explained, shape (S,)."""
        return np.asarray(~np.isnan(self.phi).any(axis=1))

    def agreements(self) -> dict[str, tuple[float | None, float | None, int]]:
        """Kendall tau-b, Spearman rho and the number of networks, by comparator.

        Mean w and mean importance are of the same networks. A coefficient is None where one of the two does not rank.
        """
        pairs = {"permutation": (self.w, self.permutation)}
        if self.explained.any():
            pairs["kernel_shap"] = (self.w[self.explained], self.phi[self.explained])
        answer = {}
        for name, (w, other) in pairs.items():
            a, b = w.mean(axis=0), other.mean(axis=0)
            known = self.learned
            values = [float(f(a, b)) if known else float("nan") for f in (kendall, spearman)]
            tau, rho = (None if np.isnan(v) else v for v in values)
            answer[name] = (tau, rho, len(w))
        return answer


SEED_METRICS = (
    ("accuracy", "accuracy", "share"),
    ("accuracy_twin", "accuracy_twin", "share"),
    ("delta", "delta", "points"),
    ("delta_relative", "delta_relative", "per cent"),
    ("fidelity", "fidelity", ""),
)


def seed_metrics(trained: pd.DataFrame, where: Where, *, surrogate: bool) -> Iterator[Metric]:
    """Means over the seeds with Student intervals; the fidelity belongs to a surrogate only."""
    for name, column, unit in SEED_METRICS:
        values = trained[column].dropna().to_numpy(dtype=np.float64)
        if name == "fidelity" and not surrogate:
            continue
        value = float(values.mean()) if len(values) else None
        yield _over_seeds(name, value, values, unit, where)


def _over_seeds(name: str, value: float | None, values: Floats, unit: str, where: Where) -> Metric:
    """A mean over seeds with its interval."""
    low, high = (float(end) for end in t_interval(values))
    ends: dict[str, Any] = {} if np.isnan(low) else {"low": low, "high": high}
    if ends and unit == "share":
        ends = {"low": max(low, 0.0), "high": min(high, 1.0)}
    covers = f"Student, over {len(values)} seeds" if ends else ""
    return Metric(name=name, value=value, **ends, interval=covers, unit=unit, n=len(values), where=where)


def ranking_metrics(summary: Summary, agreement: pd.DataFrame, truth: Sequence[str]) -> Iterator[Metric]:
    """The null band, the agreements, and the weight of each feature."""
    G, S = len(summary.names), len(summary.w)
    yield Metric(name="null_95", value=summary.null_95, unit="share", n=len(summary.null))
    yield Metric(name="null_max", value=summary.null_max, unit="share", n=len(summary.null))
    above = float(summary.above_noise.sum()) if summary.null_95 is not None and summary.learned else None
    yield Metric(name="features_above_noise", value=above, unit="count", n=G)
    yield Metric(name="seed_agreement", value=summary.seed_agreement, n=S)
    for row in agreement.to_dict("records"):
        for name, column in (("kendall_tau_b", "tau_b"), ("spearman_rho", "spearman")):
            value = None if pd.isna(row[column]) else float(row[column])
            yield Metric(name=name, value=value, n=G, where=Where(variant=str(row["comparator"])))
    if truth and summary.learned:
        found = len(summary.first(len(truth)) & set(truth)) / len(truth)
        yield Metric(name="recovery", value=found, unit="share", n=len(truth))
    for g, name in enumerate(summary.names):
        yield _over_seeds("weight", float(summary.mean[g]), summary.w[:, g], "share", Where(feature=name))


def twin_notes(metrics: Sequence[Metric]) -> Iterator[Note]:
    """What the layer costs or gains; a loss that the interval bears out is a finding."""
    found = {metric.name: metric for metric in metrics}
    delta, relative = found["delta"], found["delta_relative"]
    args: dict[str, JsonValue] = {
        "delta": delta.value,
        "low": delta.low,
        "high": delta.high,
        "relative": relative.value,
    }
    if delta.high is not None and delta.high < 0:
        yield Note(code="below_twin", severity="minor", args=args)
    elif delta.value is not None:
        yield Note(code="twin", args=args)


def ranking_notes(summary: Summary) -> Iterator[Note]:
    """Whether there is a ranking, how sure it is, and what may be said of the first feature."""
    if len(summary.names) == 1:
        yield Note(code="single_feature", args={"feature": summary.names[0]})
        return
    if not summary.learned:
        yield Note(code="no_ranking", severity="minor", args={"span": float(np.ptp(summary.mean)), "bar": TIED})
        return
    agreement = summary.seed_agreement
    if agreement is not None and agreement < UNSTABLE:
        yield Note(code="unstable", severity="minor", args={"agreement": agreement, "bar": UNSTABLE})
    if summary.null_95 is None:
        yield Note(code="no_null")
        return
    inside = [name for name, above in zip(summary.names, summary.above_noise, strict=True) if not above]
    if inside:
        args: dict[str, JsonValue] = {"features": ", ".join(inside), "count": len(inside), "null_95": summary.null_95}
        yield Note(code="noise", args=args)
    first = int(summary.mean.argmax())
    if summary.above_noise[first]:
        weight = float(summary.mean[first])
        yield Note(
            code="top_feature", args={"feature": summary.names[first], "weight": weight, "null_95": summary.null_95}
        )
