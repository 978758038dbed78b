"""ScoresActivation: one learnt weight per feature in front of a network; a ranking that is trained with the task."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
from pydantic import Field, JsonValue

from audit.core.choice import Choice, choices_table
from audit.core.evidence import Metric, Note, Result, Where
from audit.core.method import Context, Inputs, Method, Refusal
from audit.core.model import Ints
from audit.core.network import Mlp
from audit.core.plan import Part
from audit.core.scores_compare import (
    correlated_groups,
    kernel_shap,
    kernel_sizes,
    permutation_importance,
)
from audit.core.scores_inputs import Scored, Split, imputed, standardised
from audit.core.scores_layer import Member, Rows, Scale, Trained, Training, train
from audit.core.scores_summary import Summary, ranking_metrics, ranking_notes, seed_metrics, twin_notes
from audit.core.table import Floats, Table

CORRELATED = 0.9
"""A larger absolute correlation of two features makes the split of their weight arbitrary."""

FEWEST_ROWS = 50
"""With fewer rows, the held-out part says nothing."""

WEIGHTS = ("seed", "value", "permutation", "kernel_shap")

CHOICES = (
    Choice("SA-01", "scores of the whole data or of each row", "whole data", "title and abstract say global"),
    Choice("SA-02", "entropy penalty (lambda)", "0", "no regulariser is documented"),
    Choice("SA-03", "scores at the start", "0", "neutral: the ranking of epoch 0 is a tie"),
    Choice("SA-04", "scale", "none", "the formula as published; `d` undoes the shrinking by 1 / d"),
    Choice("SA-05", "learning rate of the scores", "10 x body", "at the rate of the body the scores stay near uniform"),
    Choice("SA-06", "scaling of the inputs", "standardised", "otherwise the scores measure units"),
    Choice("SA-07", "columns of one feature", "one score", "otherwise the number of levels decides the score"),
    Choice("SA-08", "weight decay of the scores", "never", "only differences of scores mean anything"),
    Choice("SA-09", "architecture", "64-32 relu, 50 epochs at most", "unknown in the paper"),
    Choice("SA-10", "test against noise", "95th percentile of weights from permuted labels", "no test is published"),
    Choice("SA-11", "model agnostic", "any network trained by gradients", "other models: by a surrogate only"),
    Choice("SA-12", "gain of accuracy", "points and per cent", "unknown in the paper"),
    Choice("SA-13", "Kernel SHAP", "50 rows, background 100, 1 network", "the sizes set its cost; no regularisation"),
    Choice("SA-14", "end of training", "10 epochs without a better validation loss", "unknown in the paper"),
    Choice("SA-15", "epochs of a null run", "those of its seed", "a null trained for less would have a narrower band"),
    Choice("SA-16", "least fidelity of a surrogate", "R2 0.7", "our bar: below, the ranking is not of this model"),
)


@dataclass(frozen=True)
class Known:
    """What the networks of one seed learn from.

    Attributes:
        whole: all rows that it was drawn from.
        rows: the n rows.
        Y: probabilities of the K outcomes, shape (n, K): by the audited model, or 1 for the true outcome.
        at_least: where two outcomes are told apart; None: the more probable one.
    """

    whole: Table
    rows: Table
    Y: Floats
    at_least: float | None

    def outcome(self, P: Floats) -> Ints:
        """The number of the outcome of each row of probabilities, shape (n,)."""
        chosen = P.argmax(axis=1) if self.at_least is None else P[:, 1] >= self.at_least
        return np.asarray(chosen, dtype=np.int64)


class ScoresActivation(Method):
    """Weights that a network learns for its inputs while it learns the task; they sum to 1 over the features.

    Attributes:
        mode: `surrogate`: the network learns the scores of the audited model; `train`: it learns the true classes, and
            says nothing of the audited model.
        scale: `none`, the published formula, or `d`, which multiplies by the number of features.
        seeds: networks with the layer; each has a twin without it, of the same start and the same batches.
        null_permutations: networks trained on permuted labels.
        rows: rows at most, drawn for each seed.
        groups: columns that code one source column, by its name; one score.
        min_fidelity: R2 of the scores of the surrogate on held-out rows, below which no ranking is given.
        shap_seeds: networks that Kernel SHAP explains; shap_rows, shap_background: on how many rows.
        truth: features known to matter, where the data are made; recovery is then reported.

    Assumes:
        Weights belong to the networks trained here. The layer can be absorbed into the first dense layer without
        changing the function, so that they mean something through the bias of gradient training only. Features that
        say the same share their weight arbitrarily. Weights are no causes.

    Tables:
        scores_global: feature, value (mean w, share), low, high (95 %, over seeds), n (rows trained on), rank, status
        (ok, noise, no_ranking, single, constant), sd, rank_stability (share of resamples of the seeds), network.
        scores_compared: feature, value, kernel_shap (mean absolute, score), permutation (loss of accuracy).
        scores_agreement: comparator, tau_b, spearman, features, networks, rows, background, nsamples.
        scores_seeds: seed, status, epochs, kept (epoch), n_train, n_validation, n_test (rows), accuracy, accuracy_twin
        (share), delta (points), delta_relative (per cent), fidelity (R2). scores_null: seed, run, feature, value.
        scores_trajectory: seed, epoch, feature, value. scores_pairs: first, second, correlation. choices.

    Reference:
        Covaci, Galis, Balan, Zaharie, Onchis: ScoresActivation, arXiv 2511.13809; the formula is known from a
        third-party review only.
    """

    kind: Literal["scores_activation"] = "scores_activation"
    mode: Literal["surrogate", "train"] = "surrogate"
    body: Mlp = Mlp(hidden=(64, 32), init="torch")
    scale: Scale = "none"
    lr: float = Field(default=1e-3, gt=0, le=1)
    lr_scores: float = Field(default=1e-2, gt=0, le=1)
    epochs: int = Field(default=50, ge=1, le=10_000)
    batch: int = Field(default=64, ge=1)
    patience: int = Field(default=10, ge=0)
    entropy: float = Field(default=0.0, ge=0)
    decay: float = Field(default=0.0, ge=0)
    seeds: int = Field(default=5, ge=1, le=100)
    null_permutations: int = Field(default=5, ge=0, le=1000)
    rows: int = Field(default=10_000, ge=FEWEST_ROWS)
    groups: dict[str, tuple[str, ...]] = {}
    min_fidelity: float = Field(default=0.7, le=1)
    shap_seeds: int = Field(default=1, ge=0)
    shap_rows: int = Field(default=50, ge=1)
    shap_background: int = Field(default=100, ge=1, le=1000)
    permutation_repeats: int = Field(default=5, ge=1)
    truth: tuple[str, ...] = ()

    uses: ClassVar[tuple[str, ...]] = ("numpy", "scipy", "shap", "torch")
    cites: ClassVar[tuple[str, ...]] = (
        "Covaci, Galis, Balan, Zaharie, Onchis: ScoresActivation, arXiv:2511.13809",
        "Lundberg, Lee: A unified approach to interpreting model predictions, NeurIPS (2017)",
        "Breiman: Random forests, Machine Learning 45 (2001)",
    )

    @property
    def training(self) -> Training:
        """How the networks are trained."""
        return Training(**{name: getattr(self, name) for name in Training.model_fields})

    def parts(self, inputs: Inputs, part_rows: int) -> list[Part]:
        """One for each seed."""
        return [Part(index=i, seed=i) for i in range(self.seeds)]

    def run(self, ctx: Context, part: Part) -> Result:
        """The networks of one seed: with the layer, its twin, and its share of those on permuted labels.

        Raises:
            Refusal: there is nothing to learn from, or no feature varies.
        """
        schema = ctx.inputs.schema
        ctx = replace(ctx, rng=np.random.default_rng([int(ctx.rng.integers(2**63)), part.index]))
        self._refuse_names(schema.names)
        known = self._known(ctx)
        scored = Scored.of(schema, known.whole.codes, self.groups)
        if not scored.names:
            raise Refusal("no feature varies, so there is nothing to score", "not_applicable")
        split = Split.draw(len(known.rows), ctx.rng, early_stop=self.patience > 0)
        codes = imputed(schema, known.rows.codes, split.fit)
        X, groups = standardised(schema, codes, split.fit, scored.owner)
        rows = Rows(X, groups, split.fit, split.valid, tuple(scored.names[g] for g in groups))
        members = self._members(known.Y, split, part.index, ctx.rng)
        with_layer, twin, *null = train(rows, members, self.training, ctx.rng, ctx.tick)
        weights = pd.DataFrame({name: pd.Series(dtype="float64") for name in WEIGHTS})
        if not with_layer.failed:
            weights = self._compared(part.index, known, rows, split, with_layer, ctx)
        named = weights.assign(feature=list(scored.names)[: len(weights)])
        pairs = [(scored.names[a], scored.names[b], r) for a, b, r in correlated_groups(X, groups, CORRELATED)]
        tables = {
            "scores_seeds": pd.DataFrame([_seed_row(part.index, known, (with_layer, twin), X, split)]),
            "scores_trajectory": _trajectory(part.index, scored.names, with_layer),
            "scores_null": _null(part.index, scored.names, null),
            "scores_weights": named,
            "scores_pairs": pd.DataFrame(pairs, columns=["first", "second", "correlation"]),
            "scores_constant": pd.DataFrame({"feature": scored.constant}),
        }
        return Result(tables=tables, notes=tuple(_gap_notes(known.whole)))

    def merge(self, inputs: Inputs, partials: Sequence[Result]) -> Result:
        """The ranking over all seeds; none where the surrogate is too unlike the model, or no seed could be trained."""
        tables = {
            name: pd.concat([p.tables[name] for p in partials], ignore_index=True)
            for name in ("scores_seeds", "scores_trajectory", "scores_null", "scores_weights")
        }
        weights, seeds = tables.pop("scores_weights"), tables["scores_seeds"]
        if self.mode == "train":
            seeds["fidelity"] = np.nan  # true classes are not followed
        tables["choices"] = choices_table(CHOICES, self._chosen())
        trained = seeds[seeds["status"] == "ok"]
        metrics = tuple(seed_metrics(trained, Where(data=self._data(inputs)), surrogate=self.mode == "surrogate"))
        fidelity = next((m.value for m in metrics if m.name == "fidelity"), None)
        refused = self._refused(len(trained), len(seeds), fidelity)
        if refused:
            kept = {name: tables[name] for name in ("scores_seeds", "choices")}
            return Result(metrics, kept, status="refused", message=refused)
        summary = Summary.of(weights, tables["scores_null"])
        tables["scores_pairs"] = partials[0].tables["scores_pairs"]
        constant = list(partials[0].tables["scores_constant"]["feature"])
        tables["scores_global"] = summary.global_table(int(trained["n_train"].min()), constant, self._network(fidelity))
        tables["scores_compared"] = summary.compared_table()
        tables["scores_agreement"] = self._agreement(summary, trained)
        notes = [*partials[0].notes, *self._notes(summary, metrics, tables, constant)]
        metrics = (*metrics, *ranking_metrics(summary, tables["scores_agreement"], self.truth))
        return Result(metrics=metrics, tables=tables, notes=tuple(notes))

    def _refuse_names(self, names: Sequence[str]) -> None:
        """Raises Refusal where `groups` or `truth` name what is not there, or a group cannot be told from a feature."""
        members = [member for group in self.groups.values() for member in group]
        left = set(names) - set(members)
        for problem, found in (
            ("`groups` names no feature", set(members) - set(names)),
            ("`groups` lists twice", {member for member in members if members.count(member) > 1}),
            ("`groups` takes the name of another feature", set(self.groups) & left),
            ("`truth` names nothing that is scored", set(self.truth) - left - set(self.groups)),
        ):
            if found:
                raise Refusal(f"{problem}: {', '.join(sorted(found))}; the features are {', '.join(names)}")

    def _data(self, inputs: Inputs) -> Literal["train", "evaluate"]:
        """Which rows are learnt from: training rows where there are any that can be scored or have a class."""
        scorable = inputs.model is not None or self.mode == "train"
        return "train" if inputs.train is not None and scorable else "evaluate"

    def _known(self, ctx: Context) -> Known:
        """Rows with what is to be learnt of them, at most `rows` of them.

        Raises:
            Refusal: no class is known, only one of them occurs, or there are too few rows.
        """
        inputs, data = ctx.inputs, self._data(ctx.inputs)
        table = inputs.train if inputs.train is not None and data == "train" else inputs.evaluate
        if self.mode == "train":
            table, Y = _labelled(inputs, table)
        chosen = np.sort(ctx.rng.permutation(len(table))[: self.rows])
        if len(chosen) < FEWEST_ROWS:
            raise Refusal(f"{len(chosen)} rows to learn from; at least {FEWEST_ROWS} are needed", "not_applicable")
        rows = table.take(chosen)
        if self.mode == "train":
            return Known(table, rows, Y[chosen], None)
        P = inputs.scores[chosen] if data == "evaluate" else ctx.model.probabilities(rows.codes)
        if not inputs.decision.favourable:
            return Known(table, rows, P, None)
        score = inputs.decision.score(P)
        return Known(table, rows, np.column_stack([1 - score, score]), inputs.decision.at_least)

    def _members(self, Y: Floats, split: Split, seed: int, rng: np.random.Generator) -> list[Member]:
        """The network with the layer, its twin, and those on permuted labels that go with this seed."""
        starts = [int(start) for start in rng.integers(2**31, size=2)]
        members = [Member(Y, starts[0]), Member(Y, starts[0], layer=False)]
        known = np.concatenate([split.fit, split.valid])
        for _ in range(seed, self.null_permutations, self.seeds):
            shuffled = Y.copy()
            shuffled[known] = Y[rng.permutation(known)]
            members.append(Member(shuffled, int(rng.integers(2**31)), follows=0))
        return members

    def _compared(self, seed: int, known: Known, rows: Rows, split: Split, run: Trained, ctx: Context) -> pd.DataFrame:
        """Weights of a network beside the importance that the comparators give its inputs."""
        test, actual = rows.X[split.test], known.outcome(known.Y[split.test])

        def right(X: Floats) -> float:
            return float((known.outcome(run.predict(X)) == actual).mean())

        frame = pd.DataFrame({"seed": seed, "value": run.w})
        frame["permutation"] = permutation_importance(right, test, rows.groups, self.permutation_repeats, ctx.rng)
        frame["kernel_shap"] = np.nan
        if seed < self.shap_seeds and rows.size > 1:
            start = int(ctx.rng.integers(2**31))
            behind = rows.X[split.fit[: self.shap_background]]
            # Of two outcomes, one probability says it all.
            columns = slice(1, None) if known.Y.shape[1] == 2 else slice(None)
            frame["kernel_shap"] = kernel_shap(
                lambda X: run.predict(X)[:, columns], test[: self.shap_rows], behind, rows.groups, start
            )
        return frame

    def _refused(self, trained: int, seeds: int, fidelity: float | None) -> str:
        """Why there is no ranking; empty if there is one."""
        if not trained:
            return f"the loss was not finite in any of the {seeds} seeds; lower `lr` or `lr_scores`"
        if self.mode == "train" or (fidelity is not None and fidelity >= self.min_fidelity):
            return ""
        found = "not defined, because the scores of the model do not vary" if fidelity is None else f"{fidelity:.2f}"
        return (
            "the surrogate is too unlike the audited model: its fidelity (R2 of the scores on held-out rows) is "
            f"{found}, and at least {self.min_fidelity:g} is needed, so that no ranking is shown; give more rows, a "
            "larger `body` or more `epochs`"
        )

    def _network(self, fidelity: float | None) -> str:
        """What the weights are of."""
        return "trained on true classes" if self.mode == "train" else f"surrogate, fidelity {fidelity:.2f}"

    def _agreement(self, summary: Summary, trained: pd.DataFrame) -> pd.DataFrame:
        rows = min(self.shap_rows, int(trained["n_test"].min()))
        sizes = kernel_sizes(rows, min(self.shap_background, int(trained["n_train"].min())), len(summary.names))
        frames = []
        for name, (tau, rho, networks) in summary.agreements().items():
            row = {"comparator": name, "tau_b": tau, "spearman": rho, "features": len(summary.names)}
            held_out = {"rows": int(trained["n_test"].min()), "background": None, "nsamples": None}
            frames.append(row | {"networks": networks} | (sizes._asdict() if name == "kernel_shap" else held_out))
        table = pd.DataFrame(frames)
        numbers = ["tau_b", "spearman", "background", "nsamples"]
        return table.astype(dict.fromkeys(numbers, "float64"))

    def _chosen(self) -> dict[str, str]:
        """What this run did, by choice."""
        shape = "-".join(map(str, self.body.hidden)) or "linear"
        values = {
            "SA-02": f"{self.entropy:g}",
            "SA-04": self.scale,
            "SA-05": f"{self.lr_scores / self.lr:g} x body",
            "SA-09": f"{shape} {self.body.activation}, {self.epochs} epochs at most",
            "SA-13": f"{self.shap_rows} rows, background {self.shap_background}, {self.shap_seeds} network",
            "SA-14": f"{self.patience} epochs without a better validation loss" if self.patience else "all epochs",
            "SA-16": f"R2 {self.min_fidelity:g}",
        }
        return values if self.null_permutations else values | {"SA-10": "none"}

    def _notes(
        self, summary: Summary, metrics: Sequence[Metric], tables: Mapping[str, pd.DataFrame], constant: Sequence[str]
    ) -> Iterator[Note]:
        """What must be said with every ranking, then what is odd about this one."""
        value = {metric.name: metric.value for metric in metrics}
        seeds, pairs = tables["scores_seeds"], tables["scores_pairs"]
        trained = seeds[seeds["status"] == "ok"]
        rows = {"rows": int(trained["n_train"].min()), "held_out": int(trained["n_test"].min())}
        if self.mode == "surrogate":
            args = {"fidelity": value["fidelity"], "agreement": value["accuracy"], "bar": self.min_fidelity}
            yield Note(code="surrogate", args={**args, **rows, "seeds": len(trained)})
        else:
            yield Note(code="own_network", args={"accuracy": value["accuracy"], **rows, "seeds": len(trained)})
        yield Note(code="identifiability")
        yield Note(code="standardised")
        yield Note(code="scale", args={"scale": self.scale})
        yield Note(code="source")
        failed = [str(seed) for seed in seeds.loc[seeds["status"] != "ok", "seed"]]
        if failed:
            said: dict[str, JsonValue] = {"seeds": ", ".join(failed), "count": len(failed), "of": len(seeds)}
            yield Note(code="failed_seeds", severity="minor", args=said)
        if constant:
            yield Note(code="constant_features", args={"features": ", ".join(constant), "count": len(constant)})
        if len(pairs):
            shown = "; ".join(f"{a} and {b} ({r:.2f})" for a, b, r in pairs.head(5).itertuples(index=False, name=None))
            yield Note(
                code="correlated", severity="minor", args={"pairs": shown, "count": len(pairs), "bar": CORRELATED}
            )
        yield from twin_notes(metrics)
        yield from ranking_notes(summary)


def _gap_notes(table: Table) -> Iterator[Note]:
    """Which features were imputed."""
    gaps = np.isnan(table.codes)
    missing = [name for j, name in enumerate(table.schema.names) if gaps[:, j].any()]
    if missing:
        yield Note(code="imputed", args={"features": ", ".join(missing), "count": len(missing)})


def _labelled(inputs: Inputs, table: Table) -> tuple[Table, Floats]:
    """The rows whose true class is known, and 1 for their outcome, shape (n, K).

    Raises:
        Refusal: no class is given, or only one outcome occurs.
    """
    if inputs.target is None:
        raise Refusal("mode `train` needs true classes, and the spec gives none (`data.target`)", "not_applicable")
    labels = table.extra[inputs.target]
    known = labels.notna() & (labels.isin(inputs.decision.classes) if not inputs.decision.favourable else True)
    actual = inputs.decision.actual(labels[known])
    if len(np.unique(actual)) < 2:
        raise Refusal(
            "fewer than two outcomes occur among the true classes, so nothing can be learnt", "not_applicable"
        )
    Y = np.eye(len(inputs.decision.outcomes))[actual]
    return table.take(np.flatnonzero(known.to_numpy())), Y


def _seed_row(seed: int, known: Known, pair: tuple[Trained, Trained], X: Floats, split: Split) -> dict[str, Any]:
    """How the network of a seed and its twin do on held-out rows."""
    layer = pair[0]
    Y, actual = known.Y[split.test], known.outcome(known.Y[split.test])
    row: dict[str, Any] = {"seed": seed, "status": "failed" if layer.failed else "ok"}
    row |= {"epochs": len(layer.path) - 1, "kept": layer.kept}
    row |= {"n_train": len(split.fit), "n_validation": len(split.valid), "n_test": len(split.test)}
    accuracy, plain = (
        np.nan if run.failed else float((known.outcome(run.predict(X[split.test])) == actual).mean()) for run in pair
    )
    row |= {"accuracy": accuracy, "accuracy_twin": plain, "delta": 100 * (accuracy - plain)}
    row["delta_relative"] = 100 * (accuracy / plain - 1) if plain else np.nan
    spread = ((Y - Y.mean(axis=0)) ** 2).sum()
    missed = np.nan if layer.failed else ((Y - layer.predict(X[split.test])) ** 2).sum()
    return row | {"fidelity": float(1 - missed / spread) if spread else np.nan}


def _trajectory(seed: int, names: Sequence[str], run: Trained) -> pd.DataFrame:
    """w after each epoch."""
    epochs, G = run.path.shape
    columns = {"seed": seed, "epoch": np.repeat(np.arange(epochs), G), "feature": list(names) * epochs}
    return pd.DataFrame({**columns, "value": run.path.ravel()})


def _null(seed: int, names: Sequence[str], runs: Sequence[Trained]) -> pd.DataFrame:
    """Weights of the networks on permuted labels."""
    there = [(i, run) for i, run in enumerate(runs) if not run.failed]
    values = np.array([run.w for _, run in there]).reshape(-1)
    number = np.repeat(np.array([i for i, _ in there], dtype=np.int64), len(names))
    return pd.DataFrame({"seed": seed, "run": number, "feature": list(names) * len(there), "value": values})
