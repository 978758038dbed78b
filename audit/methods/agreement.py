"""Agreement: whether two attributions put the features in the same order."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, ClassVar, Literal, Self

import numpy as np
import pandas as pd
from pydantic import Field, model_validator

from audit.core.evidence import Metric, Note, Result, Where
from audit.core.method import Context, Inputs, Method, Refusal
from audit.core.plan import Part
from audit.core.stats import average_ranks, bootstrap_means, kendall, percentile_interval, spearman
from audit.core.table import Floats

GLOBAL_VALUES = ("frequency", "mean_abs", "value")
LOCAL_VALUES = ("frequency", "value")
SPLITS = ("prediction", "outcome", "class", "region")

FEWEST_FEATURES = 3
"""With two features, a rank correlation is a coin."""

FEWEST_INSTANCES = 5
"""Regions with fewer common instances are left out, as in the replication of FLEX."""


@dataclass(frozen=True)
class Attribution:
    """What a task says of the features.

    Attributes:
        sizes: its global value of each feature.
        local: one row per instance and one column per feature, not negative; None where it has no local table.
        n: instances that the global values rest on, if known.
    """

    id: str
    sizes: "pd.Series[Any]"
    local: pd.DataFrame | None
    n: int | None


class Agreement(Method):
    """Rank correlation of the global values of two or more attributions, and inside each region.

    Any result with a table `<kind>_global` (feature, and `frequency`, `mean_abs` or `value`) takes part, unless its
    column `rank` is empty; rows for one outcome or region are passed over. Intervals need a table `<kind>_local`
    (instance, feature, and `frequency` or `value`) of both.

    Attributes:
        of: ids of two or more methods; two of one kind show how far a generator or an explainer moves the ranking.
        bootstrap: resamples of common instances; 0: no intervals.

    Assumes:
        Features that are constant or may not vary are left out. Two methods may agree and both be wrong.

    Tables:
        agreement: first, second, region, features, n_first, n_second, n_common (instances), tau_b, tau_b_low,
        tau_b_high, spearman, spearman_low, spearman_high. agreement_ranks: feature, method, value, rank.

    Reference:
        M. G. Kendall, Biometrika 33 (1945), 239-251 (tau-b). C. Spearman, Am. J. Psychology 15 (1904), 72-101.
    """

    kind: Literal["agreement"] = "agreement"
    of: tuple[str, ...] = Field(min_length=2)
    bootstrap: int = Field(default=1000, ge=0)

    cites: ClassVar[tuple[str, ...]] = (
        "Kendall, M. G.: The treatment of ties in ranking problems, Biometrika 33 (1945)",
    )

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        if len(set(self.of)) < len(self.of):
            raise ValueError("`of` names a method twice; agreement needs different ones")
        return self

    def reads(self) -> dict[str, str]:
        return {name: name for name in self.of}

    def run(self, ctx: Context, part: Part) -> Result:
        """Every pair, in the order of `of`.

        Raises:
            Refusal: a result ranks no features, or fewer than three features can be compared.
        """
        sources = [_attribution(name, ctx.inputs) for name in self.of]
        rows: list[dict[str, Any]] = []
        metrics: list[Metric] = []
        notes: list[Note] = []
        for first, second in combinations(sources, 2):
            features = _common_features(first, second, ctx.inputs)
            row = self._compared(first, second, features, ctx)
            rows.append(row)
            metrics += _metrics(row, self.bootstrap, only=len(sources) == 2)
            if row["tau_b_low"] is None:
                notes.append(Note(code="no_interval", args={"first": first.id, "second": second.id}))
            if first.n != second.n:
                args = {"first": first.id, "second": second.id, "n_first": first.n, "n_second": second.n}
                notes.append(Note(code="different_instances", args=dict(args)))
            rows += list(self._regional(first, second, features, ctx.inputs))
        tables = {"agreement": pd.DataFrame(rows), "agreement_ranks": _ranks(sources)}
        return Result(metrics=tuple(metrics), tables=tables, notes=tuple(notes))

    def _compared(self, first: Attribution, second: Attribution, features: list[str], ctx: Context) -> dict[str, Any]:
        """The row of a pair; the interval, from common instances, is widened to hold the value from all of them."""
        a, b = (s.sizes[features].to_numpy(dtype=np.float64) for s in (first, second))
        tau, rho = _number(kendall(a, b)), _number(spearman(a, b))
        drawn = frozenset(ctx.sample.drawn_ids)
        common = [i for i in _common_instances(first, second, features) if i in drawn]
        ends: list[float | None] = [None] * 4
        if self.bootstrap and len(common) > 1 and first.local is not None and second.local is not None:
            both = np.hstack([s.loc[common, features].to_numpy(dtype=np.float64) for s in (first.local, second.local)])
            means = bootstrap_means(both, np.ones(len(both)), self.bootstrap, ctx.rng)
            left, right = means[:, : len(features)], means[:, len(features) :]
            ends = [*_interval(kendall(left, right), tau), *_interval(spearman(left, right), rho)]
        counts = (first.n, second.n, len(common))
        return _row(first, second, None, features, counts, (tau, ends[0], ends[1]), (rho, ends[2], ends[3]))

    def _regional(
        self, first: Attribution, second: Attribution, features: list[str], inputs: Inputs
    ) -> Iterator[dict[str, Any]]:
        """Agreement of weighted mean local values of the common members of each region, without intervals."""
        if first.local is None or second.local is None or not len(inputs.regions):
            return
        known = _common_instances(first, second, features)
        seen = [_complete(source, features) for source in (first, second)]
        for name, group in inputs.regions.groupby("region", sort=False):
            weight = group.set_index("instance")["weight"]
            counts = [int(weight.index.isin(own).sum()) for own in seen]
            weight = weight[weight.index.isin(known)]
            if len(weight) < FEWEST_INSTANCES or not weight.sum():
                continue
            a, b = (
                weight.to_numpy(dtype=np.float64) @ s.loc[weight.index, features].to_numpy(dtype=np.float64)
                for s in (first.local, second.local)
            )
            tau, rho = _number(kendall(a, b)), _number(spearman(a, b))
            numbers = (counts[0], counts[1], len(weight))
            yield _row(first, second, str(name), features, numbers, (tau, None, None), (rho, None, None))


def _attribution(name: str, inputs: Inputs) -> Attribution:
    """The attribution of a task; global rows and, where there are any, the local ones of drawn instances.

    Raises:
        Refusal: the task has no table that ranks features.
    """
    tables = inputs.results[name].tables
    table = next((t for key, t in tables.items() if key.endswith("_global") and _value_column(t, GLOBAL_VALUES)), None)
    if table is None:
        raise Refusal(f"{name!r} ranks no features, so there is nothing to compare", "not_applicable")
    for split in SPLITS:
        if split in table.columns:
            table = table[table[split].isna()]
    if "rank" in table.columns and table["rank"].isna().all():
        raise Refusal(f"{name!r} ranks no features, so there is nothing to compare", "not_applicable")
    values = table.set_index("feature")[_value_column(table, GLOBAL_VALUES)]
    if "status" in table.columns:
        values = values[table.set_index("feature")["status"] != "constant"]
    local = next((t for key, t in tables.items() if key.endswith("_local") and _value_column(t, LOCAL_VALUES)), None)
    n = int(table["n"].max()) if "n" in table.columns and len(table) else None
    return Attribution(name, values.dropna(), None if local is None else _wide(local), n)


def _value_column(table: pd.DataFrame, names: Sequence[str]) -> str | None:
    return next((name for name in names if name in table.columns), None) if "feature" in table.columns else None


def _wide(local: pd.DataFrame) -> pd.DataFrame:
    """Absolute values by instance and feature; several of one cell (classes) are averaged."""
    column = _value_column(local, LOCAL_VALUES)
    sizes = local.assign(size=local[column].abs())
    return sizes.pivot_table(index="instance", columns="feature", values="size", aggfunc="mean", observed=True)


def _common_features(first: Attribution, second: Attribution, inputs: Inputs) -> list[str]:
    constant = {feature.name for feature in inputs.schema.features if feature.constant}
    common = [name for name in first.sizes.index if name in second.sizes.index and name not in constant]
    if len(common) < FEWEST_FEATURES:
        raise Refusal(
            f"{first.id!r} and {second.id!r} have {len(common)} features in common that can vary; "
            f"{FEWEST_FEATURES} are needed to compare orders",
            "not_applicable",
        )
    return common


def _common_instances(first: Attribution, second: Attribution, features: Sequence[str]) -> list[str]:
    """Instances for which both have a value of every feature, in alphabetical order."""
    return sorted(set(_complete(first, features)) & set(_complete(second, features)))


def _complete(source: Attribution, features: Sequence[str]) -> list[str]:
    """Instances for which an attribution has a value of every feature."""
    return [] if source.local is None else list(source.local.reindex(columns=list(features)).dropna().index)


def _interval(replicates: Floats, value: float | None) -> tuple[float | None, float | None]:
    if value is None or np.isnan(replicates).all():
        return None, None
    low, high = percentile_interval(replicates[:, None])
    return min(float(low[0]), value), max(float(high[0]), value)


def _number(value: Floats) -> float | None:
    return None if np.isnan(value) else float(value)


def _row(
    first: Attribution,
    second: Attribution,
    region: str | None,
    features: Sequence[str],
    instances: tuple[int | None, int | None, int],
    tau: tuple[float | None, float | None, float | None],
    rho: tuple[float | None, float | None, float | None],
) -> dict[str, Any]:
    return {
        "first": first.id,
        "second": second.id,
        "region": region,
        "features": len(features),
        "n_first": instances[0],
        "n_second": instances[1],
        "n_common": instances[2],
        **dict(zip(("tau_b", "tau_b_low", "tau_b_high"), tau, strict=True)),
        **dict(zip(("spearman", "spearman_low", "spearman_high"), rho, strict=True)),
    }


def _metrics(row: dict[str, Any], repeats: int, *, only: bool) -> Iterator[Metric]:
    """Both coefficients of a pair, which is named where there are several."""
    where = Where(data="sample", variant=None if only else f"{row['first']} / {row['second']}")
    covers = f"bootstrap over common instances, {repeats} resamples" if row["tau_b_low"] is not None else ""
    for name, column in (("kendall_tau_b", "tau_b"), ("spearman_rho", "spearman")):
        value, low, high = (row[column + end] for end in ("", "_low", "_high"))
        yield Metric(name=name, value=value, low=low, high=high, interval=covers, n=row["features"], where=where)


def _ranks(sources: Sequence[Attribution]) -> pd.DataFrame:
    """The ranks of the features that all of the attributions know."""
    shared = [name for name in sources[0].sizes.index if all(name in other.sizes.index for other in sources[1:])]
    frames = []
    for source in sources:
        values = source.sizes[shared].to_numpy(dtype=np.float64)
        frame = {"feature": shared, "method": source.id, "value": values, "rank": average_ranks(values)}
        frames.append(pd.DataFrame(frame))
    return pd.concat(frames, ignore_index=True)
