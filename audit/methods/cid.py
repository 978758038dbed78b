"""CID: how differently a feature is distributed in changed rows that flip the decision and in those that keep it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar, Literal, Self

import numpy as np
import pandas as pd
from pydantic import Field, model_validator

from audit.core.choice import Choice, choices_table
from audit.core.cid_drawn import densities_table, repeats_table
from audit.core.cid_tables import Local, global_table, local_table
from audit.core.evidence import Metric, Note, Result, Where
from audit.core.faithfulness import faithfulness_table, ranked, removal_curves, removal_table, stand_ins
from audit.core.method import Context, Inputs, Method, Need, Refusal
from audit.core.model import Decision, Ints
from audit.core.overlap import Compared, Kernel, by_level, mixed, smoothed
from audit.core.plan import Part
from audit.core.policy import Policy
from audit.core.pool import Law, Pool, draw_pools
from audit.core.schema import Feature
from audit.core.stats import wilson
from audit.core.table import Floats

OWN, FREQUENCY, RANDOM = "cid", "change frequency", "random ranking"
ORDERS = 10
"""Random rankings of each instance, whose mean is the line to beat."""

COVERAGE = 0.8
"""A smaller share of instances with both sets is worth a warning."""

INTERVAL = "mean plus and minus 2 sd / sqrt(n), over instances"

CHOICES = (
    Choice("CID-01", "measure", "mixed", "sparse points leave half of the features unchanged; kde is the paper's"),
    Choice("CID-02", "one side constant (kde)", "0 and flagged", "notebook rule; 1 ranks irrelevant features first"),
    Choice("CID-03", "class of C-", "the predicted class", "with any other class the distance is sampling noise"),
    Choice("CID-04", "scale of faithfulness", "divided by L + 1", "the notebooks divide by 2: impossible values"),
    Choice("CID-05", "equal audited rows", "counted once", "a row that is met twice is no second opinion"),
    Choice("CID-06", "levels", "frequency_jaccard", "sets are alike as soon as all levels occur in both"),
    Choice("CID-07", "densities", "gaussian, Scott's bandwidth", "an empirical CDF has no overlap and is not offered"),
    Choice("CID-08", "features changed in C-", "as many as in C+", "otherwise the generator is measured"),
    Choice("CID-09", "fewer than 2 points", "no value, coverage", "nothing to estimate"),
    Choice("CID-10", "chance line k/d", "always printed", "published agreements are near chance"),
    Choice("CID-11", "samples without spread", "a value, shares and a flag", "the library stops with a TypeError"),
    Choice("CID-12", "target column", "never a feature", "the library keeps it among categorical features"),
    Choice("CID-13", "generator", "random", "built in; the paper used the random mode of DiCE"),
    Choice("CID-14", "k in d_k", "1", "as in the paper"),
    Choice("CID-15", "unchanged", "numpy's closeness, in ranges", "free of units; FLEX asks for 1e-9 of the range"),
    Choice("CID-16", "rows drawn for each size", "2000 per repeat", "a label not met in 2000 is not waited for"),
    Choice("CID-17", "values drawn", "other than the present one", "never missing; range and constraints hold"),
    Choice("CID-18", "repeats", "10, dealt from one pool", "the paper uses 100 for its box plots"),
    Choice("CID-19", "ties in rankings", "in random order", "no ranking gains by the order of the columns"),
)  # fmt: skip


class Cid(Method):
    """Counterfactual importance: one minus the overlap of a feature's distributions in C+ and C-.

    C+ holds m random changes of a row that flip its outcome, C- as many that keep it and change as many features.

    Attributes:
        m: points in each of the two sets, for every repeat.
        repeats: times that both sets are drawn for an instance.
        measure: `mixed` gives the unchanged values a mass of their own; `kde` is the paper's.
        kernel: of the densities; other than `gaussian` it needs a bandwidth.
        bandwidth: as a share of the training range; by default Scott's.
        categorical: distance of levels, by how often each occurs or by which occur.
        instances: audited rows that are explained at most; equal rows count once.
        constraints: `domain` keeps types, levels, bounds of the data and coherence rules; `policy` adds mutability.
        towards: the outcome that a flip must reach; by default any other.
        draws: rows drawn for each number of changed features and repeat at most.
        top: k of the Feature Agreement at k.
        against: methods with a value per row and feature, whose rankings are compared on the same rows.

    Assumes:
        Random changes, one feature apart from the other, say something of the model: they need not be realistic.

    Tables:
        cid_global: feature, value (mean distance), sd (over instances), low, high, n (instances), rank,
        unchanged_plus, unchanged_minus (shares of C+ and C- with the present value), status (ok, undefined, constant,
        immutable), flags. cid_local: the same by instance, with repeats, n_plus, n_minus; sd is over repeats.
        cid_faithfulness: attribution, n, comprehensiveness, sufficiency, agreement (with CID), k, chance.
        cid_removal: attribution, features (removed or kept), n, removed, kept_only (loss of probability). choices.
        cid_repeats: feature, repeat, value (mean distance), n (instances with all repeats). cid_densities: outcome
        (that is left), feature, place, at (value), level, plus, minus (density of the changed values over the range, or
        share of the level; means over n instances), unchanged_plus, unchanged_minus, distance, n.

    Reference:
        E. Conti, A. Parafita, A. Brando: CID: Measuring Feature Importance Through Counterfactual Distributions,
        arXiv 2511.15371; PMLR 307 (2026).
    """

    kind: Literal["cid"] = "cid"
    m: int = Field(default=50, ge=2, le=1000)
    repeats: int = Field(default=10, ge=1, le=1000)
    measure: Literal["mixed", "kde"] = "mixed"
    kernel: Kernel = "gaussian"
    bandwidth: float | None = Field(default=None, gt=0, le=1)
    categorical: Literal["frequency_jaccard", "set"] = "frequency_jaccard"
    instances: int = Field(default=30, ge=1, le=10_000)
    constraints: Literal["domain", "policy"] = "domain"
    towards: str | None = None
    draws: int = Field(default=2000, ge=10)
    top: int = Field(default=4, ge=1)
    against: tuple[str, ...] = ()

    needs: ClassVar[frozenset[Need]] = frozenset({"model", "policy"})
    uses: ClassVar[tuple[str, ...]] = ("numpy",)
    cites: ClassVar[tuple[str, ...]] = (
        "Conti, Parafita, Brando: Measuring Feature Importance Through Counterfactual Distributions, arXiv:2511.15371",
    )

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        if self.kernel != "gaussian" and self.bandwidth is None:
            raise ValueError(f"`kernel: {self.kernel}` needs a `bandwidth`, as a share of the training range")
        if len(set(self.against)) < len(self.against):
            raise ValueError("`against` names a method twice")
        return self

    def reads(self) -> dict[str, str]:
        return {name: name for name in self.against}

    def run(self, ctx: Context, part: Part) -> Result:
        """Pools of all instances at once, then arithmetic on them.

        Raises:
            Refusal: no instance can be asked about, or no feature may vary.
        """
        spent = ctx.model.rows
        policy = ctx.inputs.policy if self.constraints == "policy" else ctx.inputs.policy.domain()
        rivals = {name: found for name in self.against if (found := _local_of(ctx.inputs, name)) is not None}
        chosen, drawn = self._chosen(ctx, list(rivals.values()))
        local = self._measure(ctx, policy, chosen)
        notes = [*self._setup_notes(local, ctx.inputs, drawn), *_pool_notes(local, self.repeats)]
        notes += [Note(code="not_comparable", args={"name": name}) for name in self.against if name not in rivals]
        metrics = _counts(local, drawn)
        tables = {"choices": choices_table(CHOICES, self._values())}
        if not local.covered.any():
            message = (
                f"not computable: none of the {len(chosen)} rows asked about has {2} random changes that flip the "
                "decision and as many that keep it"
            )
            return Result(tuple(metrics), tables, notes=tuple(notes), status="refused", message=message)
        overall, outcomes = global_table(local, ctx.inputs.schema), ctx.inputs.decision.outcomes
        faithful, removal, doubts = self._faithfulness(ctx, local, rivals)
        tables = {
            "cid_global": overall,
            "cid_local": local_table(local, ctx.inputs.schema),
            "cid_repeats": repeats_table(local, ctx.inputs.schema),
            "cid_densities": densities_table(local, ctx.inputs.schema, outcomes, self.bandwidth, self.kernel),
            "cid_faithfulness": faithful,
            "cid_removal": removal,
        } | tables
        metrics += [*_distances(overall), *_comparisons(faithful)]
        asked = Note(code="asked", args={"rows": ctx.model.rows - spent, "instances": len(chosen)})
        widest = max(len(pool.movable) for pool in local.pools)
        if not faithful["n"].any():
            doubts.append(Note(code="no_faithfulness"))
        elif widest <= self.top:
            doubts.append(Note(code="agreement_hidden", args={"k": self.top, "features": widest}))
        said = (*notes, asked, *_feature_notes(overall), *doubts)
        return Result(metrics=tuple(metrics), tables=tables, notes=said)

    def _chosen(self, ctx: Context, rivals: Sequence[pd.DataFrame]) -> tuple[Ints, Ints]:
        """The rows of the sample that are explained, and all that were drawn without repeats and may be asked about.

        Rows that every rival explains come first, so that all can be compared on the same rows.
        """
        sample, decision = ctx.sample, ctx.inputs.decision
        rows = np.flatnonzero(sample.drawn)
        if self.towards is not None:
            if self.towards not in decision.outcomes:
                raise Refusal(
                    f"`towards: {self.towards}` is no outcome; there are {', '.join(decision.outcomes)}",
                    "not_applicable",
                )
            reached = decision.outcome(sample.scores[rows]) == decision.outcomes.index(self.towards)
            rows = rows[~reached]
        if not len(rows):
            raise Refusal("no audited row was drawn at random that can be asked about", "not_applicable")
        distinct = rows[np.sort(np.unique(_comparable(sample.table.codes[rows]), axis=0, return_index=True)[1])]
        order = ctx.rng.permutation(distinct)
        known = np.array([all(sample.table.ids[i] in rival.index for rival in rivals) for i in order])
        return np.sort(order[np.argsort(~known, kind="stable")][: self.instances]), rows

    def _measure(self, ctx: Context, policy: Policy, chosen: Ints) -> Local:
        """Distances of all features for the chosen rows of the sample."""
        schema, decision = ctx.inputs.schema, ctx.inputs.decision
        law = self._law(decision)
        table = ctx.sample.table.take(chosen)
        pools = draw_pools(ctx.model, policy, table.codes, law, ctx.rng, ctx.tick)
        constant = np.array([feature.high <= feature.low for feature in schema.features], dtype=bool)
        if not any(len(pool.movable) for pool in pools):
            raise Refusal("no feature is allowed to vary, so there is nothing to compare", "not_applicable")
        n, d = table.codes.shape
        value, sd = np.full((2, n, d), np.nan)
        by_repeat = np.full((n, d, self.repeats), np.nan)
        unchanged, flags = np.full((n, d, 2), np.nan), np.full((n, d), "", dtype=object)
        repeats = np.zeros(n, dtype=np.int64)
        for i, pool in enumerate(pools):
            points = min(len(pool.plus), len(pool.minus))
            if points < 2:
                continue
            repeats[i] = np.clip(points // self.m, 1, self.repeats)
            value[i, constant], unchanged[i, constant] = 0.0, 1.0
            for j in pool.movable:
                found = self._distances(schema.features[j], pool, j, float(table.codes[i, j]), int(repeats[i]))
                by_repeat[i, j, : len(found)] = distances = np.array([one.distance for one in found])
                value[i, j] = distances.mean()
                sd[i, j] = distances.std(ddof=1) if len(found) > 1 else np.nan
                unchanged[i, j] = np.mean([one.unchanged for one in found], axis=0)
                flags[i, j] = ", ".join(sorted({one.flag for one in found} - {""}))
        before = decision.outcome(ctx.sample.scores[chosen])
        return Local(table.ids, table.codes, pools, value, sd, unchanged, flags, repeats, before, constant, by_repeat)

    def _law(self, decision: Decision) -> Law:
        """How much is drawn."""
        towards = None if self.towards is None else decision.outcomes.index(self.towards)
        return Law(self.m * self.repeats, self.draws, self.draws * self.repeats, towards)

    def _distances(self, feature: Feature, pool: Pool, j: int, x: float, repeats: int) -> list[Compared]:
        """The distance of one feature in every repeat; points are dealt, so that all repeats have sizes alike."""
        dealt = [(pool.plus[r::repeats, j], pool.minus[r::repeats, j]) for r in range(repeats)]
        if feature.kind != "numeric":
            return [by_level(plus, minus, x, self.categorical) for plus, minus in dealt]
        compare = mixed if self.measure == "mixed" else smoothed
        low, width = feature.low, feature.scale
        return [
            compare((plus - low) / width, (minus - low) / width, (x - low) / width, self.bandwidth, self.kernel)
            for plus, minus in dealt
        ]

    def _faithfulness(
        self, ctx: Context, local: Local, rivals: Mapping[str, pd.DataFrame]
    ) -> tuple[pd.DataFrame, pd.DataFrame, list[Note]]:
        """Every ranking on the same rows: those that all of them rank, or all covered ones if there are none."""
        names, movable = ctx.inputs.schema.names, local.movable
        wide = {name: _aligned(frame, local.ids, names) for name, frame in rivals.items()}
        doubts = []
        common = local.covered & movable.any(axis=1) & ~np.isnan(np.where(movable, local.value, 0)).any(axis=1)
        for name, sizes in list(wide.items()):
            known = ~np.isnan(np.where(movable, sizes, 0)).any(axis=1)
            if (common & known).any():
                common &= known
            else:
                del wide[name]
                doubts.append(Note(code="no_common_rows", args={"name": name}))
        sizes_of = {OWN: local.value, FREQUENCY: 1 - local.unchanged[:, :, 0], **wide}
        rows = np.flatnonzero(common)
        orders = []
        for i in rows:
            features = local.pools[i].movable
            own = [ranked(sizes[i], features, ctx.rng) for sizes in sizes_of.values()]
            orders.append([*own, *(ctx.rng.permutation(features) for _ in range(ORDERS))])
        before, decision = local.before[rows], ctx.inputs.decision
        curves = removal_curves(
            lambda codes, owner: 1 - decision.away(ctx.model.probabilities(codes), before[owner]),
            local.codes[rows],
            orders,
            stand_ins(ctx.inputs.reference),
        )
        labels = [*sizes_of, *([RANDOM] * ORDERS)]
        return faithfulness_table(labels, orders, curves, self.top), removal_table(labels, curves), doubts

    def _setup_notes(self, local: Local, inputs: Inputs, drawn: Ints) -> Iterator[Note]:
        assert inputs.sample is not None
        yield Note(
            code="setup",
            args={
                "m": self.m,
                "repeats": self.repeats,
                "instances": len(local.ids),
                "measure": self.measure,
                "constraints": self.constraints,
                "outcomes": len(inputs.decision.outcomes),
                "towards": self.towards or "",
            },
        )
        codes = _comparable(inputs.sample.table.codes[drawn])
        after = len(np.unique(codes, axis=0))
        if after < len(codes):
            yield Note(code="duplicates", args={"before": len(codes), "after": after, "removed": len(codes) - after})
        if inputs.train is not None:
            known = {row.tobytes() for row in _comparable(inputs.train.codes)}
            seen = sum(row.tobytes() in known for row in _comparable(local.codes))
            if seen:
                yield Note(code="in_training", severity="info", args={"count": seen, "rows": len(local.ids)})

    def _values(self) -> dict[str, str]:
        scott = "Scott's bandwidth" if self.bandwidth is None else f"bandwidth {self.bandwidth:g} of the range"
        return {
            "CID-01": self.measure,
            "CID-06": self.categorical,
            "CID-07": f"{self.kernel}, {scott}",
            "CID-16": f"{self.draws} per repeat",
            "CID-18": f"{self.repeats}, dealt from one pool",
        }


def _comparable(codes: Floats) -> Floats:
    """Codes of which equal ones have equal bytes; missing becomes infinite."""
    return np.ascontiguousarray(np.where(np.isnan(codes), np.inf, codes + 0.0))


def _local_of(inputs: Inputs, name: str) -> pd.DataFrame | None:
    """Sizes by instance and feature of another method; several of one cell (classes) are averaged."""
    for key, table in inputs.results[name].tables.items():
        column = next((c for c in ("frequency", "value") if c in table.columns), None)
        if key.endswith("_local") and column and "feature" in table.columns:
            sizes = table.assign(size=table[column].abs())
            return sizes.pivot_table(index="instance", columns="feature", values="size", aggfunc="mean")
    return None


def _aligned(frame: pd.DataFrame, ids: Sequence[str], names: Sequence[str]) -> Floats:
    """Sizes as an array, shape (n, d); NaN where there is none."""
    return frame.reindex(index=list(ids), columns=list(names)).to_numpy(dtype=np.float64)


def _counts(local: Local, drawn: Ints) -> list[Metric]:
    where, n, covered = Where(data="sample"), len(local.ids), int(local.covered.sum())
    low, high = (float(end) for end in wilson(covered / n, n))
    points, missed = sum(len(pool.plus) for pool in local.used), sum(pool.mismatched for pool in local.used)
    return [
        Metric(
            name="coverage", value=covered / n, low=low, high=high, interval="Wilson, over instances", unit="share",
            n=n, where=where,
        ),
        Metric(name="instances", value=float(covered), unit="rows", n=n, where=where),
        Metric(name="points", value=float(points), unit="count", n=n, where=where),
        Metric(name="size_mismatch", value=missed / points if points else None, unit="share", n=points, where=where),
    ]  # fmt: skip


def _distances(overall: pd.DataFrame) -> Iterator[Metric]:
    for row in overall.to_dict("records"):
        if row["status"] == "ok":
            where = Where(data="sample", feature=str(row["feature"]))
            yield _estimate("distance", row["value"], row["low"], row["high"], int(row["n"]), where)


def _comparisons(faithful: pd.DataFrame) -> Iterator[Metric]:
    """Faithfulness of every ranking, agreement with CID, and the chance line."""
    for row in faithful.to_dict("records"):
        where = Where(data="sample", variant=str(row["attribution"]))
        for name in ("comprehensiveness", "sufficiency", "agreement"):
            if not np.isnan(row[name]):
                yield _estimate(name, row[name], row[f"{name}_low"], row[f"{name}_high"], int(row["n"]), where)
    chance = float(faithful["chance"].iloc[0])
    if not np.isnan(chance):
        yield Metric(name="chance", value=chance, n=int(faithful["n"].iloc[0]), where=Where(data="sample"))


def _estimate(name: str, value: float, low: float, high: float, n: int, where: Where) -> Metric:
    if np.isnan(low):
        return Metric(name=name, value=value, n=n, where=where)
    return Metric(name=name, value=value, low=low, high=high, interval=INTERVAL, n=n, where=where)


def _pool_notes(local: Local, repeats: int) -> Iterator[Note]:
    n, covered = len(local.ids), int(local.covered.sum())
    if covered / n < COVERAGE:
        args = {"coverage": covered / n, "covered": covered, "rows": n, "bar": COVERAGE}
        yield Note(code="low_coverage", severity="minor", args=dict(args))
    few = int((local.covered & (local.repeats < repeats)).sum())
    if few:
        yield Note(code="fewer_repeats", args={"count": few, "rows": n, "repeats": repeats})
    missed = [pool.mismatched for pool in local.used]
    if any(missed):
        points = sum(len(pool.plus) for pool in local.used)
        args = {"points": sum(missed), "of": points, "rows": sum(m > 0 for m in missed), "share": sum(missed) / points}
        yield Note(code="size_mismatch", severity="info", args=dict(args))


def _feature_notes(overall: pd.DataFrame) -> Iterator[Note]:
    for code, status in (("constant_features", "constant"), ("immutable_features", "immutable")):
        names = overall.loc[overall["status"] == status, "feature"]
        if len(names):
            yield Note(code=code, args={"features": ", ".join(names), "count": len(names)})
    ok = overall[overall["status"] == "ok"]
    shares = {"plus": float(ok["unchanged_plus"].mean()), "minus": float(ok["unchanged_minus"].mean())}
    yield Note(code="unchanged", args=dict(shares))
    flagged = ok.loc[ok["flags"].str.contains("constant|few changed|missing"), "feature"]
    if len(flagged):
        yield Note(code="flagged_features", args={"features": ", ".join(flagged), "count": len(flagged)})
    yield Note(code="masking")
