"""The synthetic task of ScoresActivation: 5 features that matter, the others noise; and networks on it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from audit.core.scores_layer import Member, Rows, Trained, Training, train
from audit.core.table import Floats

INFORMATIVE = 5


@dataclass(frozen=True)
class Task:
    """Rows of one draw of the data, standardised on those that are trained on.

    Attributes:
        y: classes, shape (n,); Y: the same as probabilities, shape (n, 2).
    """

    X: Floats
    y: NDArray[np.int64]
    Y: Floats
    fit: NDArray[np.int64]
    test: NDArray[np.int64]

    @property
    def rows(self) -> Rows:
        """What a stack is given: a score for each column, no early stopping, as in the replication."""
        return Rows(self.X, np.arange(self.X.shape[1]), self.fit, self.fit[:0])

    def right(self, run: Trained) -> float:
        """Share of held-out rows that a network puts into their class."""
        return float((run.predict(self.X[self.test]).argmax(axis=1) == self.y[self.test]).mean())


def raw(n: int, d: int, seed: int, noise: float = 0.01) -> tuple[Floats, NDArray[np.int64]]:
    """The data: the first five columns are the informative ones."""
    from sklearn.datasets import make_classification

    X, y = make_classification(
        n_samples=n, n_features=d, n_informative=INFORMATIVE, n_redundant=0, n_clusters_per_class=2, class_sep=1.0,
        flip_y=noise, shuffle=False, random_state=seed,
    )  # fmt: skip
    return X, y


def task(n: int, d: int, seed: int, *, noise: float = 0.01, test: int | None = None) -> Task:
    """A draw of the data, split 80/20, or with as many rows held out as asked for beyond n."""
    X, y = raw(n if test is None else n + test, d, seed, noise)
    order = np.random.default_rng(seed).permutation(len(X))
    cut = round(0.8 * n) if test is None else n
    fit = order[:cut]
    X = (X - X[fit].mean(axis=0)) / X[fit].std(axis=0)
    return Task(X, y, np.eye(2)[y], fit, order[cut:])


def shuffled(one: Task, rng: np.random.Generator) -> Floats:
    """The classes with those of the rows trained on permuted."""
    Y = one.Y.copy()
    Y[one.fit] = one.Y[rng.permutation(one.fit)]
    return Y


def networks(one: Task, seed: int, training: Training, nulls: int = 1) -> list[Trained]:
    """The network with the layer, its twin, and networks on permuted classes."""
    rng = np.random.default_rng([seed, 1])
    members = [Member(one.Y, seed), Member(one.Y, seed, layer=False)]
    members += [Member(shuffled(one, rng), 1000 + seed * nulls + i) for i in range(nulls)]
    return train(one.rows, members, training, rng)


def recovery(w: Floats) -> float:
    """Share of the informative features among the first five."""
    first = np.argsort(-w, kind="stable")[:INFORMATIVE]
    return float((first < INFORMATIVE).mean())
