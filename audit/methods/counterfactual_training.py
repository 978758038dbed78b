"""Counterfactual training: a network trained so that its counterfactuals are plausible and keep to the policy."""

from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import pandas as pd
from pydantic import Field, JsonValue

from audit.core import ct_summary as summary
from audit.core.base import Frozen
from audit.core.choice import choices_table
from audit.core.ct_attacks import fgsm_rs, pgd
from audit.core.ct_evaluation import (
    Evaluation,
    attributions,
    individuals,
    measure,
    normalised,
    over_energies,
    robustness,
)
from audit.core.ct_inputs import Case, case_of, given_of
from audit.core.ct_notes import CHOICES, case_notes, result_notes, seed_notes, training_notes
from audit.core.ct_summary import GIVEN, REMEDIED, TWIN
from audit.core.ct_training import (
    Attack,
    Paths,
    Trained,
    Training,
    accuracy,
    attack_ratio,
    compute_ratio,
    train,
    train_on_attacks,
)
from audit.core.evidence import Artefact, Note, Result
from audit.core.method import Context, Inputs, Method, Refusal
from audit.core.network import Architecture, Mlp, Network, one_thread
from audit.core.plan import Part
from audit.search.gradient.descent import OneHot, descend

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module


class Descending(Frozen):
    """The search of training.

    Attributes:
        tau: probability of the target at which a search stops and counts as mature.
        steps: most steps (T); rate: their size (eta).
        distance, energy: weights of the L1 distance (lambda 1) and of the energy (lambda 2); energy 0: generic search.
        eps: bound on the largest change of a nascent point, in scaled units.
        spread: standard deviations around the mean that the domain has at least.
    """

    tau: float = Field(default=0.5, gt=0, lt=1)
    steps: int = Field(default=30, ge=1)
    rate: float = Field(default=0.1, gt=0)
    distance: float = Field(default=0.001, ge=0)
    energy: float = Field(default=5.0, ge=0)
    eps: float = Field(default=0.3, gt=0)
    spread: float = Field(default=2.0, ge=0)


@dataclass(frozen=True)
class _Seed:
    """What one seed trains and judges."""

    case: Case
    seed: int
    module: "Module"
    architecture: Architecture


class CounterfactualTraining(Method):
    """Implausibility, cost, validity, robustness and accuracy of a network trained on its counterfactuals, and a twin.

    Each seed is a part: it trains a network conventionally (the twin) and with the objective, from the same weights
    and with the same draws, and judges both on the evaluation rows.

    Attributes:
        network: of a fresh training.
        start: `given` trains the audited network further, with its own preparation of inputs.
        training, search, evaluation: see there.
        compare: adversarial trainings of about the same number of floating-point operations.
        attack_eps: bounds of the attacks, in scaled units.
        attribution_rounds, attribution_rows: draws of the integrated gradients.
        seeds: trainings; first_seed: the first of consecutive numbers.

    Assumes:
        True classes and training rows; scaled inputs; at least one feature that may change. Rows with missing values
        are left out. Rules across features, steps and transitions of the policy are not enforced in the search. Values
        over valid counterfactuals favour a network whose hard cases fail: read them beside the validity. Seconds are
        not measured here: `run.json` has them.

    Tables:
        ct_evaluation: quantity, variant, twin, remedied, difference, each with low and high (95 %), seeds.
        ct_seeds: seed, model, quantity, variant, value. ct_epochs: seed, model, epoch, train_loss, div, reg, adv,
        searched, mature_share, mean_steps (steps per search), at_once, nan_steps, accuracy, held_out_accuracy,
        skipped_updates. ct_robustness: training, attack, eps, accuracy, low, high, seeds. ct_attributions: model
        (given, where it is a network; twin; remedied), feature, share (of the sum of absolute attributions), low, high,
        seeds. choices.

    Reference:
        Altmeyer, Buszydlik, van Deursen, Liem: Counterfactual Training, arXiv 2601.16205.
    """

    kind: Literal["counterfactual_training"] = "counterfactual_training"
    network: Mlp = Mlp()
    start: Literal["fresh", "given"] = "fresh"
    training: Training = Training()
    search: Descending = Descending()
    evaluation: Evaluation = Evaluation()
    compare: tuple[Literal["pgd7", "fgsm_rs"], ...] = ("pgd7", "fgsm_rs")
    attack_eps: tuple[float, ...] = (0.0, 0.02, 0.04, 0.06, 0.08, 0.1)
    attribution_rounds: int = Field(default=20, ge=1)
    attribution_rows: int = Field(default=500, ge=1)
    seeds: int = Field(default=5, ge=1, le=100)
    first_seed: int = Field(default=2025, ge=0)

    remedy: ClassVar[str] = "remedied_model.safetensors"
    needs: ClassVar[frozenset[Any]] = frozenset({"train", "target", "policy"})
    uses: ClassVar[tuple[str, ...]] = ("torch", "safetensors")
    cites: ClassVar[tuple[str, ...]] = (
        "Altmeyer, Buszydlik, van Deursen, Liem: Counterfactual Training, arXiv:2601.16205, IEEE SaTML 2026",
    )

    def parts(self, inputs: Inputs, part_rows: int) -> list[Part]:
        return [Part(index=i, seed=self.first_seed + i) for i in range(self.seeds)]

    def run(self, ctx: Context, part: Part) -> Result:
        """One seed.

        Raises:
            Refusal: the model has no gradient to train on, nothing may change, the inputs are not scaled, or the
                loss stays infinite.
            DataError: a class has no training row.
        """
        with one_thread():
            return self._run(self._seed(ctx.inputs, self.first_seed if part.seed is None else part.seed), ctx, part)

    def _run(self, seed: _Seed, ctx: Context, part: Part) -> Result:
        twin, remedied, others = self._train(seed, ctx.tick)
        values = [
            *self._judge(seed, twin.module, remedied.module),
            *summary.course(seed.seed, remedied, compute_ratio(remedied, self.training, len(seed.case.rows.x))),
        ]
        models = {TWIN: twin.module, REMEDIED: remedied.module} | {n: t.module for n, t in others.items()}
        attacked = [
            robustness(m, seed.case.x, seed.case.y, len(seed.case.classes), self.attack_eps, seed.seed).assign(
                training=n
            )
            for n, m in models.items()
        ]
        shares = self._attributions(seed, {TWIN: twin.module, REMEDIED: remedied.module}, given_of(ctx.inputs))
        logs = [
            pd.DataFrame(t.log).assign(model=n, seed=seed.seed)
            for n, t in {TWIN: twin, REMEDIED: remedied, **others}.items()
        ]
        tables = {
            "ct_seeds": pd.DataFrame([*values, *summary.protected(seed.seed, shares)]),
            "ct_epochs": summary.log_table(logs),
            "ct_robustness": pd.concat(attacked, ignore_index=True).assign(seed=seed.seed),
            "ct_attributions": shares.assign(seed=seed.seed),
        }
        artefacts = {}
        if part.index == 0:
            network = Network(remedied.module, seed.architecture, seed.case.prepare, seed.case.classes)
            artefacts[self.remedy] = Artefact(network.packed(), "application/vnd.safetensors")
        return Result(tables=tables, artefacts=artefacts)

    def merge(self, inputs: Inputs, partials: Sequence[Result]) -> Result:
        from scipy.stats import t

        names = ("ct_seeds", "ct_epochs", "ct_robustness", "ct_attributions")
        whole = {name: pd.concat([p.tables[name] for p in partials], ignore_index=True) for name in names}
        critical = {n: float(t.ppf(0.975, n)) for n in range(1, max(2, len(partials)))}
        values, attacks = whole["ct_seeds"], whole["ct_robustness"]
        largest = attacks[attacks["eps"] == max(self.attack_eps)]
        robust = pd.DataFrame(
            [
                summary.value(
                    r["seed"], r["training"], "robust_accuracy", r["accuracy"], f"{r['attack']}, eps {r['eps']:g}"
                )
                for r in largest[largest["training"].isin([TWIN, REMEDIED])].to_dict("records")
            ]
        )
        values = pd.concat([values, robust], ignore_index=True)
        case = case_of(inputs, self._prepare(inputs), self.search.spread)
        tables = {
            "ct_evaluation": summary.compared(values, critical),
            "ct_seeds": values,
            "ct_epochs": whole["ct_epochs"],
            "ct_robustness": summary.averaged(attacks, ["training", "attack", "eps"], "accuracy", critical),
            "ct_attributions": summary.averaged(whole["ct_attributions"], ["model", "feature"], "share", critical),
            "choices": choices_table(CHOICES, self._chosen()),
        }
        return Result(
            metrics=tuple(summary.metrics(values, critical)),
            tables=tables,
            artefacts=dict(partials[0].artefacts),
            notes=(
                Note(code="training", args=self._said(len(case.rows.x))),
                *seed_notes(self.seeds),
                *case_notes(case, inputs.policy),
                *training_notes(
                    self.training, self.search.tau, self.search.steps, len(case.rows.x), whole["ct_epochs"]
                ),
                *result_notes(values),
            ),
        )

    def _prepare(self, inputs: Inputs) -> Any:
        """The preparation of the audited network where that is trained further; None: a fresh one."""
        if self.start == "fresh":
            return None
        model = inputs.model.model if inputs.model is not None else None
        if model is None or "gradient" not in model.capabilities or not isinstance(model, Network):
            raise Refusal(
                "the audited model cannot be trained further: it is no network with weights and a gradient (trees, "
                "functions and stored scores have none; TorchScript and exported programs can be asked, not trained: "
                "give their weights as safetensors with `architecture`). Say `start: fresh` to train a network on the "
                "same data."
            )
        return model.prepare

    def _seed(self, inputs: Inputs, seed: int) -> _Seed:
        case = case_of(inputs, self._prepare(inputs), self.search.spread)
        if self.start == "given" and inputs.model is not None and isinstance(inputs.model.model, Network):
            network = inputs.model.model
            return _Seed(case, seed, deepcopy(network.module), network.architecture)
        module = self.network.build(case.rows.x.shape[1], len(case.classes), seed)
        return _Seed(case, seed, module, self.network)

    def _train(self, seed: _Seed, tick: Callable[[int, int], None]) -> tuple[Trained, Trained, dict[str, Trained]]:
        """The twin, the network, and the adversarial ones, each from the same weights."""
        how, rows = self.training, seed.case.rows
        total = how.epochs * (2 + len(self.compare))

        def epochs_of(turn: int) -> Callable[[int, int], None]:
            return lambda done, epochs: tick(how.epochs * turn + done * how.epochs // epochs, total)

        plain = how.model_copy(update={"objective": "vanilla"})
        twin = train(deepcopy(seed.module), rows, plain, self._searching(seed.case), seed.seed, epochs_of(0))
        remedied = train(deepcopy(seed.module), rows, how, self._searching(seed.case), seed.seed, epochs_of(1))
        budget = how.epochs * compute_ratio(remedied, how, len(rows.x))
        attacks: dict[str, tuple[Attack, int]] = {
            "pgd7": (pgd(self.search.eps, 7), 7),
            "fgsm_rs": (fgsm_rs(self.search.eps), 1),
        }
        others: dict[str, Trained] = {}
        for turn, name in enumerate(self.compare, start=2):
            attack, steps = attacks[name]
            epochs = max(1, round(budget / attack_ratio(steps)))
            module = deepcopy(seed.module)
            others[name] = train_on_attacks(module, rows, how, attack, epochs, seed.seed, epochs_of(turn))
        return twin, remedied, others

    def _searching(self, case: Case) -> Callable[["Module", "Tensor", "Tensor"], Paths]:
        how = self.search
        return lambda module, start, target: descend(
            module,
            start,
            target,
            tau=how.tau,
            steps=how.steps,
            rate=how.rate,
            lam1=how.distance,
            lam2=how.energy,
            down=case.rows.down,
            up=case.rows.up,
            low=case.low,
            high=case.high,
            eps=how.eps,
        )

    def _judge(self, seed: _Seed, twin: "Module", remedied: "Module") -> Iterator[dict[str, object]]:
        """Values of both networks, and what changes from one to the other."""
        case = seed.case
        who = individuals(case.x, case.y, len(case.classes), self.evaluation, np.random.default_rng(seed.seed))
        for model, module in ((TWIN, twin), (REMEDIED, remedied)):
            yield summary.value(seed.seed, model, "accuracy", accuracy(module, case.x, case.y))
        for mode in self._modes(case):
            for plausible in (True, False):
                tau = self.evaluation.tau if plausible else self.evaluation.tau_cost
                search = self._judging(case, mode, tau, constrained=not plausible)
                a, b = (
                    over_energies(measure(m, who, self.evaluation, search, tau, plausible=plausible))
                    for m in (twin, remedied)
                )
                yield from summary.judged(seed.seed, a, b, summary.variant(mode, constrained=not plausible))

    def _judging(
        self, case: Case, mode: OneHot, tau: float, *, constrained: bool
    ) -> Callable[["Module", "Tensor", "Tensor", float], Paths]:
        import torch

        free = torch.ones_like(case.rows.down)
        return lambda module, start, target, energy: descend(
            module,
            start,
            target,
            tau=tau,
            steps=self.evaluation.steps,
            rate=self.evaluation.rate,
            lam1=0.0,
            lam2=energy,
            down=case.rows.down if constrained else free,
            up=case.rows.up if constrained else free,
            low=case.low,
            high=case.high,
            groups=case.groups,
            one_hot=mode,
        )

    def _modes(self, case: Case) -> tuple[OneHot, ...]:
        return ("snap_at_end", "snap_each_step") if case.groups else ("relaxed",)

    def _attributions(
        self, seed: _Seed, models: dict[str, "Module"], given: "tuple[Module, Tensor] | None"
    ) -> pd.DataFrame:
        """Shares of the attributions by feature: model, feature, share, published, immutable."""
        case, frames = seed.case, []
        groups, names = case.prepare.groups, case.prepare.features.names
        asked = {model: (module, case.x) for model, module in models.items()}
        if given is not None and given[1].shape[1] == len(groups):
            asked = {GIVEN: given, **asked}
        for model, (module, x) in asked.items():
            g = attributions(module, x, self.attribution_rounds, self.attribution_rows, seed.seed)
            share = normalised(g, published=False).mean(axis=0)
            published = np.median(normalised(g), axis=0)
            frames.append(
                pd.DataFrame(
                    {
                        "model": model,
                        "feature": names,
                        "share": np.bincount(groups, share, len(names)),
                        "published": np.bincount(groups, published, len(names)) / np.bincount(groups),
                        "immutable": np.bincount(groups, case.immutable, len(names)) > 0,
                    }
                )
            )
        return pd.concat(frames, ignore_index=True)

    def _said(self, n: int) -> dict[str, JsonValue]:
        """What the report says of the training in one sentence."""
        return {
            "objective": self.training.objective,
            "start": self.start,
            "seeds": self.seeds,
            "first_seed": self.first_seed,
            "epochs": self.training.epochs,
            "rows": n,
            "rate": self.search.rate,
            "eps": self.search.eps,
            "searched": self.training.counterfactuals_for(n),
        }

    def _chosen(self) -> dict[str, str]:
        lengths = ", ".join(f"{length:g}" for length in self.evaluation.lengths)
        rates = {self.search.rate, self.evaluation.rate}
        return {
            "CT-01": ", ".join(f"{rate:g}" for rate in sorted(rates)),
            "CT-02": f"{lengths}, median",
            "CT-03": f"{self.search.spread:g}",
            "CT-04": f"{self.search.eps:g}",
            "CT-12": self.training.immature,
            "CT-16": "yes" if self.training.shuffle else "no",
            "CT-19": str(self.seeds),
        }
