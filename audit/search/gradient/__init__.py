"""Counterfactuals by gradient descent: `generic`, `ecco` and `revise`, for all rows of a part in one tensor.

The published searches end at a point of the network's inputs. Here the point is read as values of the features, moved
to what the constraints allow, and asked for again: only what still flips the outcome is an answer.
"""

from typing import TYPE_CHECKING, ClassVar, Literal

import pandas as pd
from pydantic import Field

from audit.core.choice import Choice, choices_table
from audit.core.counterfactuals import Found
from audit.core.evidence import Note
from audit.core.method import Context, Generator, Inputs, Need
from audit.core.model import Ints
from audit.core.table import Table
from audit.search.gradient.descent import OneHot, descend
from audit.search.gradient.rows import Paths, Search
from audit.search.gradient.space import Space
from audit.search.gradient.vae import VaeSettings, fit_vae

if TYPE_CHECKING:
    from torch import Tensor

COMMON = (
    Choice("GRADIENT-01", "size of a step", "0.1", "the published text says 0.25; the published code ran 0.1"),
    Choice(
        "GRADIENT-02", "when a row stops", "0.0001 beyond the threshold", "tau 0.5 of the paper is that of two classes"
    ),
    Choice("GRADIENT-03", "probability among several outcomes", "0.5", "more than half is the most probable for sure"),
    Choice("GRADIENT-04", "from inputs to features", "projected on the constraints", "an answer must be a real row"),
    Choice("GRADIENT-05", "a point that no longer flips", "again with tau .75, .9, .99", "rounding takes steps back"),
    Choice("GRADIENT-06", "more than one per row", "random starts, the same for all", "the published search gives one"),
    Choice("GRADIENT-07", "several other outcomes", "each, the most probable first", "any other outcome is a flip"),
    Choice("GRADIENT-08", "a row that is out of steps", "kept where the outcome flips", "a flip is all that is asked"),
    Choice("GRADIENT-09", "arithmetic", "float64", "float32 rounds by the number of rows that move together"),
)
BOXED = (
    Choice("GRADIENT-10", "columns of one categorical feature", "relaxed", "snapping at each step blocks groups"),
    Choice("GRADIENT-11", "domain of a number", "2 sd, within the constraints", "the paper says 3, its code has 2"),
)
ENERGY = (Choice("ECCO-01", "energy", "raw logit, no conformal set size", "as in the published training runs"),)
LATENT = (
    Choice("REVISE-01", "latent numbers", "2", "as published"),
    Choice("REVISE-02", "weight of the divergence", "0.01, summed over latent numbers", "the sum is not stated"),
    Choice("REVISE-03", "rows that the autoencoder is fitted on", "5000", "each part fits it again"),
    Choice("REVISE-04", "mutability", "after the search, by projection", "a latent number is no feature"),
)


class Descending(Generator):
    """What the searches by gradient have in common: paths from rows to another outcome, and what becomes of the ends.

    Attributes:
        per_row: the first counterfactual starts at the row itself; each further one at a random shift of it.
        steps: steps of a row at most.
        rate: size of a step, in scaled units.
        tau: probability of the other outcome at which a row stops; absent: what the decision needs.
        lam1: weight of the sum of changes.
        spread: largest random shift of a start, in scaled units.
    """

    per_row: int = Field(default=1, ge=1)
    steps: int = Field(default=50, ge=1)
    rate: float = Field(default=0.1, gt=0)
    tau: float | None = Field(default=None, gt=0, lt=1)
    lam1: float = Field(default=0.001, ge=0)
    spread: float = Field(default=0.5, gt=0)

    needs: ClassVar[frozenset[Need]] = frozenset({"model", "gradient"})
    uses: ClassVar[tuple[str, ...]] = ("torch",)
    cites: ClassVar[tuple[str, ...]] = (
        "Counterfactual Training: Teaching Models Plausible and Actionable Explanations, arXiv 2601.16205",
    )
    stated: ClassVar[tuple[Choice, ...]] = COMMON

    def choices(self) -> pd.DataFrame:
        """The choices of this search, and which of them the settings change."""
        return choices_table(self.stated, self._chosen())

    def _chosen(self) -> dict[str, str]:
        """The choices that are settings, by id."""
        rate = {"GRADIENT-01": f"{self.rate:g}"}
        if self.tau is None:
            return rate
        return rate | {"GRADIENT-02": f"at {self.tau:g}, or 0.0001 beyond the threshold if later"}

    def generate(self, ctx: Context, rows: Table, before: Ints) -> Found:
        policy = self.constraint(ctx.inputs.policy)
        space = Space.of(ctx, policy)
        search = Search(ctx, space, rows.codes, before)
        if policy.frozen():
            return search.nothing("the constraints leave nothing to change")
        if len(rows):
            follow = self.paths(space)
            for target, shift in search.attempts(self.per_row, self.spread):
                search.follow(follow, target, shift, self.tau)
                ctx.tick(search.answered, len(rows) * self.per_row)
        return search.found()

    def paths(self, space: Space) -> Paths:
        """What leads rows of points to their targets."""
        raise NotImplementedError


class Generic(Descending):
    """Gradient descent on the distance to the other outcome, with a small cost for each change.

    Each row follows the gradient of cross-entropy towards another outcome plus `lam1` times the sum of changes, in
    steps of `rate`, until that outcome is as probable as it must be or `steps` are done. Columns that may not change
    never move, others only in the directions allowed, all within the domain. The end is read as values of the
    features, projected on the constraints, and kept where the model, asked again, has another outcome.

    Assumes: a network whose inputs are scaled; a feature that is far from its scale gets steps of the wrong size.

    Reference: `methods/counterfactual_training` 3.3; S. Wachter, B. Mittelstadt and C. Russell, Harvard Journal of
    Law and Technology 31 (2018).

    Attributes:
        domain: numbers stay within so many standard deviations of the mean, or the range of the data if wider, and
            within the constraints.
        one_hot: columns of categorical and boolean features: plain numbers until the end (`relaxed`), one level after
            every step (`snap_each_step`), or one level at the end, without a domain before (`snap_at_end`).
    """

    search: Literal["generic"] = "generic"
    domain: float = Field(default=2.0, gt=0)
    one_hot: OneHot = "relaxed"

    stated: ClassVar[tuple[Choice, ...]] = (*COMMON, *BOXED)

    @property
    def energy(self) -> float:
        """The weight of the energy term (lam2)."""
        return 0.0

    def _chosen(self) -> dict[str, str]:
        boxed = {"GRADIENT-10": self.one_hot, "GRADIENT-11": f"{self.domain:g} sd, within the constraints"}
        return super()._chosen() | boxed

    def paths(self, space: Space) -> Paths:
        """Paths over the inputs of the network."""
        down, up, low, high = space.bounds(self.domain)

        def follow(start: "Tensor", target: "Tensor", tau: float) -> tuple["Tensor", "Tensor", "Tensor"]:
            descent = descend(
                space.logits, start, target,
                tau=tau, steps=self.steps, rate=self.rate, lam1=self.lam1, lam2=self.energy,
                down=down, up=up, low=low, high=high, groups=space.tied, one_hot=self.one_hot,
            )  # fmt: skip
            again = int(self.one_hot == "snap_at_end" and bool(space.tied))
            return descent.end, descent.mature | (descent.steps_done < self.steps), descent.steps_done + 1 + again

        return follow


class Ecco(Generic):
    """Gradient descent that also lowers the energy of the point: ECCCo without its conformal term.

    As `generic`, with `lam2` times a term that falls with the logit of the other outcome and fades with the steps, so
    that the end is like what the network has learnt of that outcome.

    Assumes: as `generic`.

    Reference: `methods/counterfactual_training` 3.3; P. Altmeyer, M. Farmanbar, A. van Deursen and C. C. S. Liem,
    Faithful Model Explanations through Energy-Constrained Conformal Counterfactuals, AAAI 2024.

    Attributes:
        lam2: weight of the energy.
    """

    search: Literal["ecco"] = "ecco"  # type: ignore[assignment]
    lam2: float = Field(default=5.0, ge=0)

    stated: ClassVar[tuple[Choice, ...]] = (*COMMON, *BOXED, *ENERGY)
    cites: ClassVar[tuple[str, ...]] = (
        *Generic.cites,
        "Faithful Model Explanations through Energy-Constrained Conformal Counterfactuals, arXiv 2312.10648",
    )

    @property
    def energy(self) -> float:
        """The weight of the energy term."""
        return self.lam2


class Revise(Descending):
    """Gradient descent in the latent space of a small autoencoder, so that rows move along the data.

    The autoencoder is fitted on the reference rows of each part, always with the same seed. The objective is that of
    `generic`, over latent points, which have no bounds. Mutability is not enforced there: what comes out is projected
    on the constraints.

    Assumes: as `generic`, and that the autoencoder can tell the rows apart.

    Reference: `methods/counterfactual_training` 3.3; S. Joshi, O. Koyejo, W. Vijitbenjaronk, B. Kim and J. Ghosh,
    Towards Realistic Individual Recourse and Actionable Explanations in Black-Box Decision Making Systems, 2019.

    Attributes:
        vae: how the autoencoder is fitted.
    """

    search: Literal["revise"] = "revise"
    vae: VaeSettings = VaeSettings()

    stated: ClassVar[tuple[Choice, ...]] = (*COMMON, *LATENT)
    cites: ClassVar[tuple[str, ...]] = (
        *Descending.cites,
        "Towards Realistic Individual Recourse and Actionable Explanations, arXiv 1907.09615",
    )

    def _chosen(self) -> dict[str, str]:
        latent = {"REVISE-01": f"{self.vae.latent}", "REVISE-03": f"{self.vae.rows}"}
        divergence = {"REVISE-02": f"{self.vae.kl:g}, summed over latent numbers"}
        return super()._chosen() | latent | divergence

    def notes(self, inputs: Inputs) -> tuple[Note, ...]:
        held = int((~self.constraint(inputs.policy).movable).sum())
        note = Note(
            code="latent_mutability", severity="minor", args={"immutable": held, "features": len(inputs.schema)}
        )
        return (note,) if held else ()

    def paths(self, space: Space) -> Paths:
        """Paths over latent points, in a latent space that is fitted first."""
        import torch

        vae = fit_vae(space.points(space.reference), self.vae)
        free = torch.ones(self.vae.latent, dtype=torch.bool)
        wide = torch.full((self.vae.latent,), torch.inf, dtype=torch.float64)

        def follow(start: "Tensor", target: "Tensor", tau: float) -> tuple["Tensor", "Tensor", "Tensor"]:
            descent = descend(
                lambda z: space.logits(vae.decode(z)), vae.encode(start), target,
                tau=tau, steps=self.steps, rate=self.rate, lam1=self.lam1, lam2=0.0,
                down=free, up=free, low=-wide, high=wide,
            )  # fmt: skip
            return vae.decode(descent.end), descent.mature | (descent.steps_done < self.steps), descent.steps_done + 1

        return follow
