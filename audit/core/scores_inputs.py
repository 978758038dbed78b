"""From rows of an audit to the inputs of a network with scores: imputed, one-hot, standardised, in groups."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from audit.core.network import Prepare
from audit.core.schema import FeatureSchema
from audit.core.table import Floats, Table

Ints = NDArray[np.int64]

TEST, VALID = 0.2, 0.1
"""Share of all rows that is held out, and share of the others that ends the training."""


@dataclass(frozen=True)
class Split:
    """Positions of the rows: trained on, ending the training, held out."""

    fit: Ints
    valid: Ints
    test: Ints

    @classmethod
    def draw(cls, n: int, rng: np.random.Generator, *, early_stop: bool) -> "Split":
        """A random split; without early stopping nothing is set aside for it."""
        order = rng.permutation(n)
        test = round(n * TEST)
        valid = round((n - test) * VALID) if early_stop else 0
        return cls(fit=order[test + valid :], valid=order[test : test + valid], test=order[:test])


@dataclass(frozen=True)
class Scored:
    """What gets a score each.

    Attributes:
        names: of the G scores: features, or groups of features.
        owner: the score of each feature, shape (d,); -1 for a feature that is constant.
        constant: the features without a score.
    """

    names: tuple[str, ...]
    owner: Ints
    constant: tuple[str, ...]

    @classmethod
    def of(cls, schema: FeatureSchema, codes: Floats, groups: Mapping[str, Sequence[str]]) -> "Scored":
        """One score for each feature that varies in codes of shape (n, d); a group stands where its first member is."""
        whole = {member: name for name, members in groups.items() for member in members}
        varies = [len(np.unique(column[~np.isnan(column)])) > 1 for column in codes.T]
        names = tuple(dict.fromkeys(whole.get(f, f) for f, v in zip(schema.names, varies, strict=True) if v))
        place = {name: g for g, name in enumerate(names)}
        owner = [place[whole.get(f, f)] if v else -1 for f, v in zip(schema.names, varies, strict=True)]
        constant = tuple(f for f, v in zip(schema.names, varies, strict=True) if not v)
        return cls(names, np.array(owner, dtype=np.int64), constant)


def imputed(schema: FeatureSchema, codes: Floats, fit: Ints) -> Floats:
    """Codes of shape (n, d) without gaps: numbers take the median of the rows `fit`, levels the most frequent one.

    An ordinal feature takes the lower median level; ties of frequency are settled for the first level.
    """
    filled = codes.copy()
    for j, feature in enumerate(schema.features):
        gaps = np.isnan(codes[:, j])
        if not gaps.any():
            continue
        known = codes[fit, j][~np.isnan(codes[fit, j])]
        if not len(known):
            filled[gaps, j] = feature.low
        elif feature.ordered:
            middle = float(np.median(known))
            filled[gaps, j] = middle if feature.kind == "numeric" else np.floor(middle)
        else:
            filled[gaps, j] = np.bincount(known.astype(np.int64)).argmax()
    return filled


def standardised(schema: FeatureSchema, codes: Floats, fit: Ints, owner: Ints) -> tuple[Floats, Ints]:
    """The columns of all features with a score, shape (n, m), each with mean 0 and deviation 1 on `fit`; their groups.

    Columns of one categorical feature share its group. A level that no row of `fit` has is 0 everywhere.

    Args:
        codes: shape (n, d), without gaps.
        owner: the group of each feature, shape (d,); -1: left out.
    """
    training = Table(schema, codes[fit], tuple(map(str, fit)))
    prepare = Prepare.fit(schema, training)
    groups = owner[prepare.groups]
    X = prepare.matrix(codes).astype(np.float64)[:, groups >= 0]
    mean, sd = X[fit].mean(axis=0), X[fit].std(axis=0)
    X = np.where(sd > 0, (X - mean) / np.where(sd > 0, sd, 1.0), 0.0)
    return X, groups[groups >= 0]
