"""Regions found: where drivers, or the cost of recourse, differ most from the rest; one half of the rows searches."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field, JsonValue, model_validator

from audit.core.choice import Choice, choices_table
from audit.core.condition import Cells, is_writable, written
from audit.core.disparity import holm
from audit.core.evidence import Metric, Note, Result, Where
from audit.core.expression import parse
from audit.core.layers import FEW
from audit.core.method import Context, Method, Refusal
from audit.core.model import Ints
from audit.core.plan import Part
from audit.core.stats import bootstrap_means, percentile_interval
from audit.core.table import Floats, Table

FOLDS = 5
CERTAIN = 0.05
"""A difference is confirmed below this p value after Holm's correction."""

FINEST = 2
"""With so many shuffles for each test, the smallest p value passes the correction by this factor."""

FINDINGS = 5
"""Confirmed regions that become findings: those with the largest differences; the table has all."""

BLOCK = 2_000_000
"""Numbers of shuffled membership that are held at once."""

SAME = 1e-9
"""Sums that are nearer are alike: they are of the same numbers in another order."""

Bools = NDArray[np.bool_]

CHOICES = (
    Choice("REGIONS-01", "deepest tree", "3", "a condition of three parts can still be read"),
    Choice("REGIONS-02", "fewest rows of a region", "30", "smaller regions say nothing on the other half"),
    Choice("REGIONS-03", "how far the tree is cut back", "cross-validation, 5 folds", "noise makes no regions"),
    Choice("REGIONS-04", "rows that judge", "the half that the search has not seen", "a search fits its own noise"),
    Choice("REGIONS-05", "compared with", "all other rows of that half", "the whole holds the region itself"),
    Choice(
        "REGIONS-06", "last cut", "must hold by itself", "a part of a region differs from the rest as the region does"
    ),
    Choice("REGIONS-07", "test", "shuffles of who is in the region", "frequencies are far from normal"),
    Choice("REGIONS-08", "many tests", "Holm, over all regions, features and cuts", "assumes no independence"),
)


@dataclass(frozen=True)
class Proposed:
    """A node of the tree.

    Attributes:
        where: its condition; `parent` that of the node that the last cut divides, empty for all rows.
        searched, held: positions of the rows of the two halves for which it holds; `around` those of the judging half
            for which that of the parent does.
    """

    name: str
    where: str
    parent: str
    searched: Ints
    held: Ints
    around: Ints

    @property
    def few(self) -> bool:
        """Whether too few rows judge it, or stand beside it."""
        return min(len(self.held), len(self.around) - len(self.held)) < FEW


class RegionsFound(Method):
    """Regions of the sample in which other features drive the decision, or recourse costs more or less, than elsewhere.

    Half of the rows drawn at random grow a shallow regression tree over the features, cut back by cross-validation;
    its nodes are proposed, of the first two the smaller. The other half alone judges them. Each difference between a
    region and all other rows has a bootstrap interval and a p value from shuffles; so has the last cut of its
    condition, for all scores together. A region is confirmed where a difference and the last cut hold, after one
    correction of all.

    Attributes:
        on: id of a `flex` method, whose local frequencies are compared. Give this or `from`.
        from_: name of a counterfactual set (`from` in the spec), whose mean cost per row is compared.
        depth: conditions that a region has at most.
        min_rows: fewest rows of a region in the searching half.
        bootstrap: resamples of instances for the intervals.
        shuffles: shuffles for the p values; more are made where there are so many tests that they would not do.

    Assumes:
        Rows are independent. A region that is not confirmed may still be real: half of the rows may be too few. A
        difference is no cause, and a region says nothing of its limits: another cut may do as well.

    Tables:
        regions_found: region, where (a condition for `regions:`), parent (what the last cut divides; empty: all rows),
        n_searched, n_judged, share (of the judging half), differences (that hold), p_cut (after Holm), status
        (confirmed, not confirmed, few). regions_found_differences: region, measure (frequency, cost), feature, inside,
        outside (means), difference, low, high (95 %, of each alone), n_inside, n_outside, p, p_holm, holds. choices.

    Reference:
        L. Breiman, J. Friedman, R. Olshen, C. Stone: Classification and Regression Trees (1984), ch. 3 and 8.
        S. Holm, Scand. J. Statistics 6 (1979), 65-70. B. Phipson, G. K. Smyth, SAGMB 9 (2010), no. 39.
    """

    kind: Literal["regions_found"] = "regions_found"
    on: str | None = None
    from_: str | None = Field(default=None, alias="from")
    depth: int = Field(default=3, ge=1, le=3)
    min_rows: int = Field(default=30, ge=FEW)
    bootstrap: int = Field(default=1000, ge=100)
    shuffles: int = Field(default=10_000, ge=1000)

    uses: ClassVar[tuple[str, ...]] = ("numpy", "scikit-learn")
    cites: ClassVar[tuple[str, ...]] = (
        "Breiman, Friedman, Olshen, Stone: Classification and Regression Trees (1984)",
        "Holm: A simple sequentially rejective multiple test procedure, Scand. J. Statist. 6 (1979)",
        "Phipson, Smyth: Permutation P-values should never be zero, SAGMB 9 (2010)",
    )

    @model_validator(mode="after")
    def _one_question(self) -> Self:
        if (self.on is None) == (self.from_ is None):
            raise ValueError(
                "give either `on`, the id of a flex method, or `from`, the name of a counterfactual set whose cost is "
                "to be compared"
            )
        return self

    def reads(self) -> dict[str, str]:
        return {"scores": self.on} if self.on is not None else {"scores": f"counterfactuals.{self.from_}"}

    def run(self, ctx: Context, part: Part) -> Result:
        """Search on one half, judgement on the other.

        Raises:
            Refusal: what is read has no local scores, or there are too few rows for two halves.
        """
        ids, scores, names = self._scores(ctx)
        least = 4 * self.min_rows
        if len(ids) < least:
            raise Refusal(
                f"{len(ids)} rows drawn at random have a score, and two halves with a region of {self.min_rows} rows "
                f"and as many others take {least}; audit more rows or lower `min_rows`",
                "not_applicable",
            )
        position = {instance: i for i, instance in enumerate(ctx.sample.table.ids)}
        table = ctx.sample.table.take(np.array([position[i] for i in ids], dtype=np.int64))
        order = ctx.rng.permutation(len(ids))
        searched, held = np.sort(order[: len(ids) // 2]), np.sort(order[len(ids) // 2 :])
        cuts = _cuts(table.take(searched), scores[searched], self.depth, self.min_rows, ctx.rng)
        regions = _proposed(cuts, table, searched, held)
        differences, found = self._judged(regions, scores[held], names, ctx.rng)
        tables = {
            "regions_found": found,
            "regions_found_differences": differences,
            "choices": choices_table(CHOICES, {"REGIONS-01": str(self.depth), "REGIONS-02": str(self.min_rows)}),
        }
        metrics, notes = self._told(found, differences, (len(searched), len(held)))
        return Result(tuple(metrics), tables, notes=tuple(notes))

    def _told(
        self, found: pd.DataFrame, differences: pd.DataFrame, halves: tuple[int, int]
    ) -> tuple[list[Metric], list[Note]]:
        """Metrics and notes: of confirmed regions, what holds."""
        sure = found[found["status"] == "confirmed"]
        counts = {"searched": halves[0], "judged": halves[1], "proposed": len(found), "confirmed": len(sure)}
        where = Where(data="sample")
        metrics = [
            Metric(name=name, value=float(n), unit="rows" if name in {"searched", "judged"} else "regions", where=where)
            for name, n in counts.items()
        ]
        holding = differences[differences["holds"].astype(bool) & differences["region"].isin(sure["region"])]
        condition = dict(zip(found["region"], found["where"], strict=True))
        metrics += [self._metric(row, condition[row["region"]]) for row in holding.to_dict("records")]
        size = holding["difference"].abs()
        first = holding.loc[size.groupby(holding["region"], sort=False).idxmax()] if len(holding) else holding
        first = first.loc[first["difference"].abs().sort_values(ascending=False, kind="stable").index]
        args: dict[str, JsonValue] = {**counts, "on": self.on or self.from_, "most": FINDINGS}
        notes = [Note(code="search", args=args)]
        others = holding["region"].value_counts() - 1
        for row in first.head(FINDINGS).to_dict("records"):
            name = row["region"]
            notes.append(self._finding(row, {"region": name, "where": condition[name], "others": int(others[name])}))
        return metrics, notes

    def _finding(self, row: dict[Any, Any], said: dict[str, JsonValue]) -> Note:
        """The largest difference of a confirmed region."""
        said |= {key: float(row[key]) for key in ("inside", "outside", "difference", "low", "high", "p_holm")}
        said |= {key: int(row[key]) for key in ("n_inside", "n_outside")} | {"feature": row["feature"]}
        code = "cost_differs" if self.on is None else "drivers_differ"
        return Note(code=code, severity="info", args=said)

    def _scores(self, ctx: Context) -> tuple[list[str], Floats, list[str | None]]:
        """Ids of the drawn rows that have scores, in the order of the sample; their scores (n, t); what these are.

        Raises:
            Refusal: the task that is read gives none.
        """
        tables = ctx.inputs.results["scores"].tables
        drawn = list(ctx.sample.drawn_ids)
        if self.from_ is not None:
            costs = tables["counterfactuals"].groupby("instance")["cost"].mean().reindex(drawn).dropna()
            return list(costs.index), costs.to_numpy(dtype=np.float64)[:, None], [None]
        local = tables.get("flex_local")
        if local is None:
            raise Refusal(f"`on` names {self.on!r}, which has no local change frequencies; name a method of kind flex")
        wide = local.set_index(["instance", "feature"])["frequency"].unstack().reindex(drawn)  # noqa: PD010
        features = [name for name in dict.fromkeys(local["feature"]) if wide[name].notna().any()]
        wide = wide[features].dropna()
        return list(wide.index), wide.to_numpy(dtype=np.float64), list(features)

    def _judged(
        self, regions: Sequence[Proposed], L: Floats, names: Sequence[str | None], rng: np.random.Generator
    ) -> tuple[pd.DataFrame, pd.DataFrame]:
        """The tables `regions_found_differences` and `regions_found`, on the judging half with its scores L (n, t)."""
        large = [region for region in regions if not region.few]
        tests = len(large) * (len(names) + 1)
        repeats = max(self.shuffles, int(np.ceil(FINEST * tests / CERTAIN)))
        every = np.arange(len(L))
        tables: list[pd.DataFrame] = []
        keys: list[tuple[str, bytes]] = []
        cuts: dict[tuple[str, bytes], float] = {}
        for region in large:
            inside = np.isin(every, region.held)
            p, _ = _shuffled(L, inside, repeats, rng)
            table = self._beside(L, inside, rng)
            table.insert(0, "feature", pd.Series(names, dtype=object))
            table.insert(0, "measure", "frequency" if self.on is not None else "cost")
            table.insert(0, "region", region.name)
            tables.append(table.assign(p=p))
            # Both sides of a cut share its test.
            near = np.isin(region.around, region.held)
            key = (region.parent, min(near.tobytes(), (~near).tobytes()))
            if key not in cuts:
                cuts[key] = _shuffled(L[region.around], near, repeats, rng)[1]
            keys.append(key)
        table = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=DIFFERENCES[:-2])
        corrected = holm([*table["p"], *cuts.values()])
        table["p_holm"] = np.array(corrected[: len(table)], dtype=np.float64)
        table["holds"] = (table["p_holm"] < CERTAIN).astype(bool)
        known = dict(zip(cuts, corrected[len(table) :], strict=True))
        held = {r.name: known[key] for r, key in zip(large, keys, strict=True)}
        return table[list(DIFFERENCES)], _summary(regions, table, held, len(L))

    def _beside(self, L: Floats, inside: Bools, rng: np.random.Generator) -> pd.DataFrame:
        """Means of the scores in a region and of all others, and their differences with intervals."""
        sides = [L[inside], L[~inside]]
        here, there = (side.mean(axis=0) for side in sides)
        draws = [bootstrap_means(side, np.ones(len(side)), self.bootstrap, rng) for side in sides]
        low, high = percentile_interval(draws[0] - draws[1])
        columns = {"inside": here, "outside": there, "difference": here - there, "low": low, "high": high}
        return pd.DataFrame(columns).assign(n_inside=len(sides[0]), n_outside=len(sides[1]))

    def _metric(self, row: dict[Any, Any], where: str) -> Metric:
        return Metric(
            name="cost_difference" if row["feature"] is None else "frequency_difference",
            value=row["difference"], low=row["low"], high=row["high"],
            interval=f"bootstrap over instances, {self.bootstrap} resamples, 95 %, of each difference alone",
            unit="scaled changes" if row["feature"] is None else "share",
            n=row["n_inside"] + row["n_outside"],
            where=Where(data="sample", feature=row["feature"], variant=where),
        )  # fmt: skip


DIFFERENCES = (
    *("region", "measure", "feature", "inside", "outside", "difference", "low", "high", "n_inside", "n_outside"),
    *("p", "p_holm", "holds"),
)


def _members(where: str, table: Table, rows: Ints) -> Ints:
    """Which of the rows a condition holds for, as positions among them: the condition as printed, read again."""
    expression = parse(where, table.schema.names)
    own = table.take(rows)
    holds = expression.evaluate({name: own.column(name) for name in expression.names}, len(own)).true
    return np.flatnonzero(holds)


def _proposed(cuts: Sequence[tuple[str, str]], table: Table, searched: Ints, held: Ints) -> list[Proposed]:
    """The nodes of the tree as regions, without the larger of the first two: it is all but the other."""

    def around(parent: str) -> Ints:
        return _members(parent, table, held) if parent else np.arange(len(held))

    nodes = [
        Proposed("", where, parent, _members(where, table, searched), _members(where, table, held), around(parent))
        for where, parent in cuts
    ]
    first = [node for node in nodes if not node.parent]
    kept = [node for node in nodes if node.parent or node is min(first, key=lambda n: len(n.searched))]
    return [replace(node, name=f"found {k}") for k, node in enumerate(kept, start=1)]


def _cuts(table: Table, L: Floats, depth: int, least: int, rng: np.random.Generator) -> list[tuple[str, str]]:
    """The nodes of a tree for the scores L (n, t) of the rows, as (condition, that of the parent), without the root."""
    cells = [
        Cells.of(feature, table.codes[:, j])
        for j, feature in enumerate(table.schema.features)
        if is_writable(feature) and not feature.constant
    ]
    # Each column of the tree is a value for each cell of one feature.
    columns = [(j, option) for j, own in enumerate(cells) for option in own.columns()]
    if not columns:
        return []
    X = np.column_stack([option[cells[j].of_row] for j, option in columns])
    tree = _grown(X, L, depth, least, rng)
    nodes: list[tuple[str, str]] = []

    def walk(node: int, kept: dict[int, Bools]) -> None:
        if tree.children_left[node] < 0:
            return
        j, option = columns[int(tree.feature[node])]
        low = option <= tree.threshold[node]
        had = kept.get(j, np.ones(len(low), dtype=bool))
        for child, side in ((tree.children_left[node], low), (tree.children_right[node], ~low)):
            inner = kept | {j: had & side}
            nodes.append((written(cells, inner), written(cells, kept)))
            walk(int(child), inner)

    walk(0, {})
    return nodes


def _grown(X: Floats, L: Floats, depth: int, least: int, rng: np.random.Generator) -> Any:
    """A regression tree, cut back to the complexity with the smallest error in cross-validation."""
    from sklearn.tree import DecisionTreeRegressor

    def fitted(rows: Ints, leaf: int, alpha: float = 0.0) -> Any:
        tree = DecisionTreeRegressor(max_depth=depth, min_samples_leaf=leaf, ccp_alpha=alpha, random_state=seed)
        return tree.fit(X[rows], L[rows])

    seed = int(rng.integers(2**31))
    every = np.arange(len(X))
    edges = np.unique(fitted(every, least).cost_complexity_pruning_path(X, L).ccp_alphas.clip(min=0))
    alphas = [*np.sqrt(edges[:-1] * edges[1:]), edges[-1] * (1 + 1e-9) + 1e-12]
    fold = rng.permutation(len(X)) % FOLDS
    smaller = max(1, round(least * (1 - 1 / FOLDS)))
    errors = np.zeros(len(alphas))
    for k in range(FOLDS):
        for a, alpha in enumerate(alphas):
            guess = fitted(np.flatnonzero(fold != k), smaller, alpha).predict(X[fold == k])
            errors[a] += ((guess.reshape(-1, L.shape[1]) - L[fold == k]) ** 2).sum()
    # Of equal errors the smallest tree.
    best = len(errors) - 1 - int(np.argmin(np.round(errors, 9)[::-1]))
    return fitted(every, least, alphas[best]).tree_


def _shuffled(L: Floats, inside: Bools, repeats: int, rng: np.random.Generator) -> tuple[Floats, float]:
    """P values, by shuffles, of differences in means between rows inside and the others; L has shape (n, t).

    Two-sided for each score, shape (t,), and one for all of them: of the sum of squares that the parting explains.
    """
    n = len(L)
    centred = L - L.mean(axis=0)
    here = np.abs(centred[inside].sum(axis=0))
    beyond, total = np.zeros(L.shape[1], dtype=np.int64), 0
    block = max(1, BLOCK // n)
    for start in range(0, repeats, block):
        size = min(block, repeats - start)
        drawn = rng.permuted(np.tile(inside.astype(np.float64), (size, 1)), axis=1)
        sums = np.abs(drawn @ centred)
        beyond += (sums >= here - SAME).sum(axis=0)
        total += int(((sums**2).sum(axis=1) >= (here**2).sum() - SAME).sum())
    return np.asarray((beyond + 1) / (repeats + 1)), (total + 1) / (repeats + 1)


def _summary(
    regions: Sequence[Proposed], differences: pd.DataFrame, cuts: dict[str, float], judged: int
) -> pd.DataFrame:
    """The table `regions_found`: one row per proposed region; `cuts` has the corrected p value of its last cut."""
    holding = differences.loc[differences["holds"].astype(bool), "region"].value_counts()
    table = pd.DataFrame(
        {
            "region": [r.name for r in regions],
            "where": [r.where for r in regions],
            "parent": [r.parent for r in regions],
            "n_searched": [len(r.searched) for r in regions],
            "n_judged": [len(r.held) for r in regions],
            "share": [len(r.held) / judged for r in regions],
            "differences": [int(holding.get(r.name, 0)) for r in regions],
            "p_cut": np.array([cuts.get(r.name, np.nan) for r in regions], dtype=np.float64),
        }
    )
    sure = (table["differences"] > 0) & (table["p_cut"] < CERTAIN)
    few = [r.few for r in regions]
    return table.assign(status=np.where(few, "few", np.where(sure, "confirmed", "not confirmed")).astype(object))
