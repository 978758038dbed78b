"""The audited data as a network in training sees them: matrices, masks, a domain, and what had to be left out."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from audit.core.ct_training import Rows
from audit.core.errors import DataError
from audit.core.method import Inputs, Refusal
from audit.core.network import Network, Prepare
from audit.core.policy import Policy
from audit.core.table import Floats, Table, encode

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

FAR = 10.0
"""Inputs whose mean or standard deviation is larger than this are not scaled; eps and the step size assume they are."""


@dataclass(frozen=True)
class Case:
    """The rows and what may change, in the columns of a network.

    Attributes:
        rows: for training; evaluation rows are held out.
        x, y: evaluation rows with a known class.
        low, high: shape (m,); the domain of the search.
        groups: columns of each one-hot group, and each 0/1 column alone.
        immutable: shape (m,); columns that may not move.
        constant: names of features with one value in training.
        left_out: training and evaluation rows with a missing value or an unknown class.
    """

    rows: Rows
    x: "Tensor"
    y: "Tensor"
    prepare: Prepare
    classes: tuple[str, ...]
    low: "Tensor"
    high: "Tensor"
    groups: tuple[tuple[int, ...], ...]
    immutable: NDArray[np.bool_]
    constant: tuple[str, ...]
    left_out: tuple[int, int]


def case_of(inputs: Inputs, prepare: Prepare | None, spread: float) -> Case:
    """The case of an audit.

    Args:
        prepare: that of a network that is trained further; None: fitted on the training rows.
        spread: standard deviations around the mean that the domain has at least.

    Raises:
        DataError: a class has no training row.
        Refusal: no feature may change, no evaluation row is left, or the inputs are not scaled.
    """
    import torch

    if inputs.train is None or inputs.target is None:
        raise RuntimeError("the case needs training rows and true classes")
    classes = inputs.decision.classes
    train, y = _complete(inputs.train, inputs.target, classes)
    test, y_test = _complete(inputs.evaluate, inputs.target, classes)
    if not len(test):
        raise Refusal("not computable: every evaluation row has a missing value or no known class")
    prepare = prepare or Prepare.fit(inputs.schema, train)
    X, X_test = prepare.matrix(train.codes), prepare.matrix(test.codes)
    down, up = _masks(inputs.policy, prepare)
    if not (down | up).any():
        raise Refusal(
            "the policy lets no feature change, so no counterfactual can be searched and training would be "
            "conventional. Let at least one feature change under `mutability`."
        )
    groups = _groups(prepare)
    low, high = _domain(X, spread)
    tied = [j for group in groups for j in group]
    low[tied], high[tied] = 0.0, 1.0
    _refuse_unscaled(X, prepare, tied)
    held_out = (torch.from_numpy(X_test), torch.from_numpy(y_test))
    may_fall, may_rise = torch.from_numpy(down), torch.from_numpy(up)
    rows = Rows(torch.from_numpy(X), torch.from_numpy(y), len(classes), may_fall, may_rise, held_out)
    rows.check()
    return Case(
        rows=rows,
        x=held_out[0],
        y=held_out[1],
        prepare=prepare,
        classes=classes,
        low=torch.from_numpy(low),
        high=torch.from_numpy(high),
        groups=groups,
        immutable=~(down | up),
        constant=tuple(f.name for f in prepare.features.features if f.constant),
        left_out=(len(inputs.train) - len(train), len(inputs.evaluate) - len(test)),
    )


def given_of(inputs: Inputs) -> "tuple[Module, Tensor] | None":
    """The audited network and the evaluation rows of the case as it is given them; None where it is no network.

    None, too, where its inputs are not scaled: the baselines of attributions are drawn in scaled units.
    """
    import torch

    network = inputs.model.model if inputs.model is not None else None
    if not isinstance(network, Network) or "gradient" not in network.capabilities or inputs.target is None:
        return None
    rows, _ = _complete(inputs.evaluate, inputs.target, inputs.decision.classes)
    x = network.prepare.matrix(encode(network.prepare.features, rows.frame()))
    scaled = np.maximum(np.abs(x.mean(axis=0)), x.std(axis=0)).max(initial=0.0) <= FAR
    return (network.module, torch.from_numpy(x)) if scaled else None


def _complete(table: Table, target: str, classes: tuple[str, ...]) -> tuple[Table, NDArray[np.int64]]:
    """The rows without a missing value whose class is known, and their classes by number."""
    label = pd.Series(table.extra[target]).astype(str)
    known = label.isin(classes).to_numpy() & ~np.isnan(table.codes).any(axis=1)
    chosen = np.flatnonzero(known)
    position = {name: k for k, name in enumerate(classes)}
    y = np.array([position[name] for name in label[known]], dtype=np.int64)
    if not len(chosen) and not len(table):
        raise DataError("there is no row to train on. Check `data.train`.")
    return table.take(chosen), y


def _masks(policy: Policy, prepare: Prepare) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Whether each column may fall and rise, both (m,); the columns of a category move together."""
    level = np.array([feature.kind == "categorical" for feature in prepare.features.features], dtype=bool)
    down, up = policy.movable & (policy.down | level), policy.movable & (policy.up | level)
    return down[prepare.groups], up[prepare.groups]


def _groups(prepare: Prepare) -> tuple[tuple[int, ...], ...]:
    """The columns of each category, and those of yes and no alone."""
    groups = []
    for j, feature in enumerate(prepare.features.features):
        if feature.kind in {"categorical", "boolean"}:
            groups.append(tuple(np.flatnonzero(prepare.groups == j).tolist()))
    return tuple(groups)


def _domain(X: NDArray[np.float32], spread: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """From the smaller of the minimum and mean - spread sd to the larger of the maximum and mean + spread sd."""
    mean, sd = X.mean(axis=0), X.std(axis=0)
    return np.minimum(mean - spread * sd, X.min(axis=0)), np.maximum(mean + spread * sd, X.max(axis=0))


def _refuse_unscaled(X: NDArray[np.float32], prepare: Prepare, tied: list[int]) -> None:
    size: Floats = np.maximum(np.abs(X.mean(axis=0)), X.std(axis=0)).astype(np.float64)
    size[tied] = 0.0
    if size.max(initial=0.0) > FAR:
        j = int(size.argmax())
        name = prepare.features.names[prepare.groups[j]]
        raise Refusal(
            f"the network's inputs are not scaled: feature {name!r} has a mean or a standard deviation of "
            f"{size[j]:.4g}, where at most {FAR:g} is expected. Step size and eps are in scaled units; scale the "
            "inputs, or train a fresh network (`start: fresh`)."
        )
