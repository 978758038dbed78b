"""Principal reasons of adverse decisions, over all scored features, whether or not a person can change them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
from pydantic import Field, JsonValue

from audit.core import frequency
from audit.core.choice import Choice, choices_table
from audit.core.counterfactuals import Counterfactuals
from audit.core.evidence import Metric, Note, Result, Where
from audit.core.layers import FEW
from audit.core.measures import mean_metric, share_metric
from audit.core.method import Context, Inputs, Method, Need, Refusal
from audit.core.model import Ints
from audit.core.plan import Part
from audit.core.stats import average_ranks, wilson
from audit.core.table import Floats, decode_column

MOSTLY = 0.8
"""A reason has a direction where so large a share of its changes go one way."""

OVER = "adverse decisions"

CHOICES = (
    Choice("REASONS-01", "what ranks the reasons", "local change frequency", "as FLEX, over all scored features"),
    Choice("REASONS-02", "reasons named at most", "4", "more are hard to take in; users' policies often say four"),
    Choice("REASONS-03", "equal frequencies", "the nearer counterfactual first", "then the order of the model"),
    Choice("REASONS-04", "min_change (tau)", "0", "as in FLEX"),
    Choice(
        "REASONS-05", "rank by SHAP", "among what lowers the score", "what speaks for a person is no reason against"
    ),
)


@dataclass(frozen=True)
class _Adverse:
    """The adverse decisions and their reasons.

    Attributes:
        rows: shape (n,), positions in the sample.
        share: shape (n, d), local frequencies; NaN where a row has no counterfactual. K: shape (n,), how many it has.
        place: shape (n, d), 1 for the first reason; 0 where a feature is no principal reason.
    """

    rows: Ints
    share: Floats
    K: Ints
    place: Ints

    @property
    def covered(self) -> "np.ndarray[Any, np.dtype[np.bool_]]":
        return np.asarray(self.K > 0)


class Reasons(Method):
    """The features that have to change most often before an adverse decision turns, for each person.

    Read from counterfactuals under the domain alone: nothing is left out because a person cannot change it. A
    protected or an immutable feature among the reasons is a finding. Wording is `reason_text` of `data.columns`.

    Attributes:
        from_: the name of a counterfactual set with `constraints: domain` (`from` in the spec).
        top: reasons for each decision at most.
        beside: the id of a `shap` task; its rank stands beside each reason.
        min_change: tau; a scaled change counts beyond it.

    Assumes:
        A change of a feature in many counterfactuals is a reason of the decision by the model, not a cause in the
        world. Decisions without a counterfactual have no reasons here; their number is shown.

    Tables:
        reasons: instance, rank, feature, text, frequency (share of the counterfactuals), low, high (Wilson, 95 %), n
        (counterfactuals), direction, towards (value most often changed to), tied, protected, changeable, shap_rank.
        reasons_summary: region, feature, text, share (of adverse decisions), low, high, first_share, n (adverse
        decisions with a counterfactual), rank, protected, changeable. choices.

    Reference:
        Own definition, on the local frequencies of FLEX (arXiv 2511.11891).
    """

    kind: Literal["reasons"] = "reasons"
    from_: str = Field(alias="from")
    top: int = Field(default=4, ge=1)
    beside: str | None = None
    min_change: float = Field(default=0.0, ge=0)

    needs: ClassVar[frozenset[Need]] = frozenset({"policy"})
    cites: ClassVar[tuple[str, ...]] = (
        "Keshtmand, Nzoyem, Clark: FLEX: Feature Importance from Layered Counterfactual Explanations, arXiv:2511.11891",
    )

    def reads(self) -> dict[str, str]:
        read = {"counterfactuals": f"counterfactuals.{self.from_}"}
        return read if self.beside is None else {**read, "shap": self.beside}

    def run(self, ctx: Context, part: Part) -> Result:
        """The reasons of every audited row with an unfavourable outcome.

        Raises:
            Refusal: no class is favourable, the set leaves features out, or no adverse decision has a counterfactual.
        """
        inputs, table = ctx.inputs, ctx.sample.table
        self._refuse(inputs)
        source = inputs.results["counterfactuals"].tables
        found = Counterfactuals.from_tables(table, source["counterfactuals"], source["instance_status"])
        scales, _ = frequency.scales(inputs.schema, inputs.reference.codes, "range")
        moves = frequency.changes(inputs.schema, table.codes[found.row], found.codes, scales)
        counted = moves.counted(self.min_change)
        adverse = self._adverse(ctx, found, counted)
        rows = adverse.rows
        shap = self._shap_ranks(inputs, [table.ids[i] for i in rows])
        reasons = self._reasons(ctx, adverse, _directions(inputs, found, counted, table.codes), shap)
        groups = [(None, adverse.covered & ctx.sample.drawn[rows]), *_regions(ctx, adverse)]
        summary = pd.concat([self._summary(inputs, adverse, name, kept) for name, kept in groups], ignore_index=True)
        metrics = [*self._metrics(ctx, adverse, summary), *self._agreement(ctx, reasons, shap)]
        return Result(
            metrics=tuple(metrics),
            tables={"reasons": reasons, "reasons_summary": summary, "choices": choices_table(CHOICES, self._chosen())},
            notes=tuple(self._notes(ctx, adverse, reasons)),
        )

    def _adverse(self, ctx: Context, found: Counterfactuals, counted: frequency.Bools) -> _Adverse:
        """The rows with an unfavourable outcome, and the places of their features."""
        L, K = frequency.local(counted, found.row, len(ctx.sample))
        rows = np.flatnonzero(ctx.inputs.decision.outcome(ctx.sample.scores) == 0)
        if not (K[rows] > 0).any():
            raise Refusal(
                f"none of the {len(rows)} adverse decisions has a counterfactual in {self.from_!r}", "not_applicable"
            )
        nearest = _first_place(counted, found.row, L.shape)
        place = np.stack([_places(L[i], nearest[i], self.top) for i in rows])
        return _Adverse(rows, L[rows], K[rows], place)

    def _refuse(self, inputs: Inputs) -> None:
        if not inputs.decision.favourable:
            raise Refusal(
                "no class is favourable (`data.target.favourable`), so no decision is adverse", "not_applicable"
            )
        said = next((n.args for n in inputs.results["counterfactuals"].notes if n.code == "search"), {})
        if said.get("constraints") == "policy":
            raise Refusal(
                f"{self.from_!r} is searched under the policy, which would hide every reason that a person cannot "
                "change; name a set with `constraints: domain`"
            )

    def _shap_ranks(self, inputs: Inputs, ids: list[str]) -> pd.DataFrame | None:
        """By instance and feature, the rank among what lowers the favourable score; None: SHAP does not say."""
        if self.beside is None:
            return None
        table = inputs.results["shap"].tables.get("shap_local")
        if table is None:
            raise Refusal(f"{self.beside!r} has no Shapley values; let `beside` name a task of kind `shap`")
        own = table[(table["outcome"] == "favourable") & table["instance"].isin(ids)]
        if not len(own):
            return None
        wide = own.pivot_table(index="instance", columns="feature", values="value", aggfunc="first")[
            list(inputs.schema.names)
        ]
        against = np.where(wide.to_numpy() < 0, -wide.to_numpy(), np.nan)
        return pd.DataFrame(average_ranks(against), index=wide.index, columns=wide.columns)

    def _reasons(
        self, ctx: Context, adverse: _Adverse, directions: pd.DataFrame, shap: pd.DataFrame | None
    ) -> pd.DataFrame:
        """One row for each decision and reason, in their order."""
        inputs = ctx.inputs
        i, j = np.nonzero(adverse.place)
        order = np.lexsort((adverse.place[i, j], i))
        i, j = i[order], j[order]
        share, K = adverse.share[i, j], adverse.K[i]
        low, high = wilson(share, K)
        ids = [ctx.sample.table.ids[adverse.rows[k]] for k in i]
        names = [inputs.schema.names[k] for k in j]
        equal = [(np.abs(adverse.share[a] - adverse.share[a, b]) < 1e-9).sum() > 1 for a, b in zip(i, j, strict=True)]
        ways = directions.reindex(pd.MultiIndex.from_arrays([adverse.rows[i], j]))
        ranks = [
            np.nan if shap is None or a not in shap.index else shap.loc[a, f] for a, f in zip(ids, names, strict=True)
        ]
        return pd.DataFrame(
            {
                "instance": pd.Series(ids, dtype=object),
                "rank": adverse.place[i, j],
                "feature": pd.Series(names, dtype=object),
                "text": pd.Series([_text(inputs, int(k)) for k in j], dtype=object),
                "frequency": share,
                "low": low,
                "high": high,
                "n": K,
                "direction": ways["direction"].to_numpy(dtype=object),
                "towards": ways["towards"].to_numpy(dtype=object),
                "tied": np.array(equal, dtype=bool),
                "protected": np.isin(names, inputs.protected),
                "changeable": inputs.policy.movable[j],
                "shap_rank": np.array(ranks, dtype=np.float64),
            }
        )

    def _summary(
        self, inputs: Inputs, adverse: _Adverse, region: str | None, kept: "np.ndarray[Any, np.dtype[np.bool_]]"
    ) -> pd.DataFrame:
        """How often each feature is a principal reason, the most frequent first."""
        place, n = adverse.place[kept], int(kept.sum())
        share = (place > 0).mean(axis=0) if n else np.full(place.shape[1], np.nan)
        low, high = wilson(share, np.full(len(share), n))
        columns = {
            "region": pd.Series([region] * len(share), dtype=object),
            "feature": inputs.schema.names,
            "text": [_text(inputs, j) for j in range(len(share))],
            "share": share,
            "low": low,
            "high": high,
            "first_share": (place == 1).mean(axis=0) if n else share,
            "n": n,
            "rank": average_ranks(share),
            "protected": np.isin(inputs.schema.names, inputs.protected),
            "changeable": inputs.policy.movable,
        }
        return pd.DataFrame(columns).sort_values("rank", kind="stable", ignore_index=True)

    def _metrics(self, ctx: Context, adverse: _Adverse, summary: pd.DataFrame) -> Iterator[Metric]:
        drawn = ctx.sample.drawn[adverse.rows]
        whole = Where(data="sample")
        yield share_metric("coverage", int((adverse.covered & drawn).sum()), int(drawn.sum()), whole, OVER)
        own = adverse.place[adverse.covered & drawn] > 0
        protected = np.isin(ctx.inputs.schema.names, ctx.inputs.protected)
        for name, chosen in (("protected_share", protected), ("immutable_share", ~ctx.inputs.policy.movable)):
            yield share_metric(name, int(own[:, chosen].any(axis=1).sum()), len(own), whole, OVER)
        for row in summary.to_dict("records"):
            place = Where(data="sample", region=row["region"], feature=row["feature"])
            hits = round(row["share"] * row["n"]) if row["n"] else 0
            yield share_metric("reason_share", hits, row["n"], place, OVER)

    def _agreement(self, ctx: Context, reasons: pd.DataFrame, shap: pd.DataFrame | None) -> Iterator[Metric]:
        """The share of the reasons of a decision that are among the first `top` by SHAP too; mean over decisions."""
        if shap is None:
            return
        both = reasons[reasons["instance"].isin(shap.index) & reasons["instance"].isin(ctx.sample.drawn_ids)]
        named = (both["shap_rank"] <= self.top).astype(np.float64)
        shares = np.asarray(named.groupby(both["instance"]).mean(), dtype=np.float64)
        if len(shares) > 1:
            yield mean_metric("shap_overlap", shares, "share", Where(data="sample"), "decisions", (0, 1))

    def _notes(self, ctx: Context, adverse: _Adverse, reasons: pd.DataFrame) -> Iterator[Note]:
        n, covered = len(adverse.rows), int(adverse.covered.sum())
        yield Note(code="read_from", args={"set": self.from_, "decisions": n, "covered": covered, "top": self.top})
        for feature, own in reasons[reasons["protected"]].groupby("feature", sort=True):
            args: dict[str, JsonValue] = {"feature": str(feature), "count": len(own), "decisions": covered}
            yield Note(code="protected_reason", severity="major", args={**args, "first": int((own["rank"] == 1).sum())})
        fixed = reasons[~reasons["changeable"] & ~reasons["protected"]]
        if len(fixed):
            names: list[JsonValue] = [str(name) for name in fixed["feature"].value_counts().index]
            people = fixed["instance"].nunique()
            yield Note(
                code="immutable_reasons", severity="minor",
                args={"features": names, "count": people, "decisions": covered},
            )  # fmt: skip
        few = int(((adverse.K > 0) & (adverse.K < FEW)).sum())
        if few:
            yield Note(code="few", args={"count": few, "decisions": covered, "bar": FEW})
        cut = [_cut_through(share, place) for share, place in zip(adverse.share, adverse.place, strict=True)]
        if any(cut):
            yield Note(code="tied_at_the_end", args={"count": sum(cut), "decisions": covered, "top": self.top})

    def _chosen(self) -> dict[str, str]:
        return {"REASONS-02": str(self.top), "REASONS-04": f"{self.min_change:g}"}


def _text(inputs: Inputs, j: int) -> str:
    """The wording of a feature as a reason: from the spec, or its name as words."""
    feature = inputs.schema.features[j]
    return feature.reason_text or feature.title or feature.name.replace("_", " ")


def _first_place(counted: frequency.Bools, row: Ints, shape: tuple[int, ...]) -> Ints:
    """For each row and feature the place of the nearest counterfactual that changes it, shape (n, d); large if none."""
    nearest = np.full(shape, len(row) + 1, dtype=np.int64)
    place = np.arange(len(row)) - np.searchsorted(row, row, side="left")
    for i in range(len(row)):
        nearest[row[i]] = np.where(counted[i], np.minimum(nearest[row[i]], place[i]), nearest[row[i]])
    return nearest


def _places(share: Floats, nearest: Ints, top: int) -> Ints:
    """The place of each feature among the `top` reasons of one decision, shape (d,); 0 where it is none of them."""
    place = np.zeros(len(share), dtype=np.int64)
    known = np.nan_to_num(share)
    order = [j for j in np.lexsort((np.arange(len(share)), nearest, -np.round(known, 9))) if known[j] > 0]
    place[order[:top]] = np.arange(1, min(top, len(order)) + 1)
    return place


def _cut_through(share: Floats, place: Ints) -> bool:
    """Whether a feature that was left out changes as often as the last reason that is named."""
    if not place.any():
        return False
    return bool((np.abs(share[place == 0] - share[place == place.max()][0]) < 1e-9).any())


def _directions(inputs: Inputs, found: Counterfactuals, counted: frequency.Bools, before: Floats) -> pd.DataFrame:
    """By row and feature: whether the value is too high or too low for the other outcome, and what it changes to."""
    m, j = np.nonzero(counted)
    old, new, rows = before[found.row[m], j], found.codes[m, j], found.row[m]
    places = sorted(set(zip(rows.tolist(), j.tolist(), strict=True)))
    own = [(rows == row) & (j == feature) for row, feature in places]
    answers = [_direction(inputs, f, old[here], new[here]) for (_, f), here in zip(places, own, strict=True)]
    index = pd.MultiIndex.from_tuples(places, names=["row", "feature"])
    return pd.DataFrame(answers, index=index, columns=["direction", "towards"])


def _direction(inputs: Inputs, j: int, old: Floats, new: Floats) -> tuple[str, str]:
    feature = inputs.schema.features[j]
    if feature.ordered:
        known = ~np.isnan(old) & ~np.isnan(new)
        up = float((new[known] > old[known]).mean()) if known.any() else 0.5
        way = "too low" if up >= MOSTLY else "too high" if up <= 1 - MOSTLY else "another value"
        return way if known.any() else "another value", ""
    values, counts = np.unique(new[~np.isnan(new)], return_counts=True)
    if not len(values):
        return "another value", "missing"
    most = decode_column(feature, values[[counts.argmax()]])[0]
    return "another value", str(most)


def _regions(ctx: Context, adverse: _Adverse) -> "Iterator[tuple[str, np.ndarray[Any, np.dtype[np.bool_]]]]":
    """The covered adverse decisions of each region."""
    regions = ctx.inputs.regions
    ids = np.array(ctx.sample.table.ids, dtype=object)[adverse.rows]
    names: Sequence[str] = list(dict.fromkeys(regions["region"])) if len(regions) else []
    for name in names:
        yield name, adverse.covered & np.isin(ids, regions.loc[regions["region"] == name, "instance"])
