"""A group of similar cases: by predicate, by neighbourhood, by cluster."""

from typing import Literal, Self

from pydantic import model_validator

from audit.core.base import Frozen


class Region(Frozen):
    """A region of the spec. Exactly one of `where`, `around` and `clusters` says which rows belong to it.

    Attributes:
        where: a condition on columns of the evaluation data.
        around: the id of an instance; `nearest` rows, or all within `radius`, by Gower distance, belong to it.
        clusters: so many clusters of the sample, each a region of its own, called `<name> 1`, `<name> 2`, ...
        weights: how members count in regional results; gaussian is exp(-distance^2 / (2 bandwidth^2)).
        same_outcome: only rows with the outcome of the centre; for neighbourhoods the default (choice FLEX-07).
    """

    name: str
    where: str | None = None
    around: str | int | None = None
    nearest: int | None = None
    radius: float | None = None
    clusters: int | None = None
    weights: Literal["uniform", "gaussian"] = "uniform"
    bandwidth: float | None = None
    same_outcome: bool = True

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if sum(value is not None for value in (self.where, self.around, self.clusters)) != 1:
            raise ValueError("a region has exactly one of `where`, `around` and `clusters`")
        if self.around is not None and (self.nearest is None) == (self.radius is None):
            raise ValueError("`around` needs either `nearest` (a number of rows) or `radius` (a Gower distance)")
        if self.around is None and (self.nearest is not None or self.radius is not None):
            raise ValueError("`nearest` and `radius` belong to `around`")
        return self
