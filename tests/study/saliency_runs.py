"""What the study of saliency partition measures; everything is kept, so that it goes on where it was."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from saliency_case import REFERENCES, SIDE, Case, kept

from audit.core.images import softmax
from audit.core.mending import Mending, cosines, mend
from audit.core.saliency import Closed, dip_values, exact_values, margins, permutation_values
from audit.core.saliency_maps import insertion_deletion
from audit.core.stats import spearman
from audit.core.table import Floats

Search = Callable[[Case, int], tuple[bool, list[float], int]]
"""From a query to whether the true class wins, the cosine of each edit, and the number of edits undone."""

BEST = {"lambda_sim": 0.0}
"""Of the look-alikes the one with the highest probability of the true class."""

PAPER: dict[str, dict[str, Any]] = {
    "dip, probability; m 1 (most similar)": {"m": 1},
    "dip, probability; m 5, best p": {"m": 5, **BEST},
    "dip, probability; m 10, best p": {"m": 10, **BEST},
    "dip, probability; m 10, log p and cosine": {"m": 10},
    "dip, probability; m 98, best p": {"m": 98, **BEST},
    "exact, logit; m 10, best p": {"m": 10, "contribution": "exact", "payoff": "logit", **BEST},
    "exact, margin; m 10, best p": {"m": 10, "contribution": "exact", "payoff": "margin", **BEST},
}
"""The variants of section 6.2, in which no look-alike is used twice."""

REUSE: dict[str, dict[str, Any]] = {
    "paper m 10": {"m": 10, **BEST},
    "joint m 10": {"m": 10, "selection": "joint", "lambda_sim": 0.0},
    "paper m 1": {"m": 1, **BEST},
    "joint m 98, weight 2": {"m": 98, "selection": "joint", "lambda_sim": 2.0},
    "joint m 98, weight 1.5": {"m": 98, "selection": "joint", "lambda_sim": 1.5},
    "paper m 10, pruned": {"m": 10, "prune": True, **BEST},
    "paper m 1, pruned": {"m": 1, "prune": True, **BEST},
}
"""The variants of section 6.3, in which a look-alike may be used twice."""


def measured(case: Case, name: str, search: Search) -> dict[str, list[float]]:
    """Flips, edits, mean cosine and CPU ms of every misread query."""

    def compute() -> dict[str, list[float]]:
        rows: dict[str, list[float]] = {"flipped": [], "edits": [], "cosine": [], "ms": []}
        for query in case.misread:
            case.pool(case.pair(query)[1])  # made once for a class, so in nobody's time
            start = time.process_time()
            flipped, cosine, _ = search(case, int(query))
            rows["ms"].append(1000 * (time.process_time() - start))
            rows["flipped"].append(float(flipped))
            rows["edits"].append(len(cosine))
            rows["cosine"].append(float(np.mean(cosine)) if cosine else 0.0)
        return rows

    found: dict[str, list[float]] = kept(name, compute)
    return found


def mending(settings: dict[str, Any], count: int = REFERENCES) -> Search:
    """The search of the product."""

    def search(case: Case, query: int) -> tuple[bool, list[float], int]:
        likeness = cosines(case.cells(query), case.pool(case.pair(query)[1], count).cells)
        rng = np.random.default_rng(query)
        answer = mend(case.state(query, count), likeness, case.keep, *case.pair(query), Mending(**settings), rng)
        return answer.status == "converged", [edit.cosine for edit in answer.edits], answer.undone

    return search


def random_cell(m: int) -> Search:
    """Cells by lot, and of the m most alike the one with the highest probability of the true class."""

    def search(case: Case, query: int) -> tuple[bool, list[float], int]:
        state, (_, target) = case.state(query), case.pair(query)
        likeness = cosines(case.cells(query), case.pool(target).cells)
        cosine: list[float] = []
        for cell in np.random.default_rng(query).permutation(len(likeness)):
            if state.logits().argmax() == target:
                break
            candidates = np.argsort(-likeness[cell], kind="stable")[:m]
            best = candidates[softmax(state.swapped(int(cell), candidates))[:, target].argmax()]
            cosine.append(float(likeness[cell, best]))
            likeness[:, best] = -np.inf
            state.swap(int(cell), int(best))
        return bool(state.logits().argmax() == target), cosine, 0

    return search


def greedy(references: int, weight: float = 0.0, share: float = 1.0) -> Search:
    """All pairs of cell and candidate: log p plus a weight times log softmax of the likeness at temperature .1.

    In the manner of Goyal (weight 0), and of Vandenhende (weight .4, the most alike fifth of all pairs) but with the
    likeness of the network's own features.
    """

    def search(case: Case, query: int) -> tuple[bool, list[float], int]:
        state, (_, target) = case.state(query, references), case.pair(query)
        likeness = cosines(case.cells(query), case.pool(target, references).cells)
        sharp = likeness / 0.1
        wanted = weight * (sharp - np.log(np.exp(sharp).sum(axis=1, keepdims=True)))
        wanted[likeness < np.quantile(likeness, 1.0 - share)] = -np.inf
        cosine: list[float] = []
        while state.logits().argmax() != target and np.isfinite(wanted).any():
            value = pair_probabilities(state, target) + wanted
            cell, best = (int(i) for i in np.unravel_index(value.argmax(), value.shape))
            cosine.append(float(likeness[cell, best]))
            wanted[cell], wanted[:, best] = -np.inf, -np.inf
            state.swap(cell, best)
        return bool(state.logits().argmax() == target), cosine, 0

    return search


def pair_probabilities(state: Closed, target: int) -> Floats:
    """log p(target) after each single swap, shape (P, candidates): the sum over classes is one product of matrices."""
    base = state.logits() - state.parts
    high, higher = base.max(axis=1, keepdims=True), state.pool.max(axis=1, keepdims=True)
    total = np.log(np.exp(base - high) @ np.exp(state.pool - higher).T) + high + higher.T
    return np.asarray(base[:, [target]] + state.pool[:, target] - total)


def saliency(case: Case, query: int, orders: int = 200) -> dict[str, list[Floats]]:
    """Maps of what carries the wrong class, each (49,); of chance there are five."""
    state, (wrong, target) = case.state(query), case.pair(query)
    rng = np.random.default_rng(query)
    share = permutation_values(state, len(case.keep), "prob", wrong, target, orders, rng)[0]
    carries = np.maximum(state.parts, 0.0)
    return {
        "Shapley values of the probability, 200 orders": [share],
        "exact, logit (CAM)": [exact_values(state.parts, "logit", wrong, target)],
        "dip, probability": [dip_values(state, case.keep, "prob", wrong, target)],
        "dip, logit": [dip_values(state, case.keep, "logit", wrong, target)],
        "norm of the cell": [np.linalg.norm(case.cells(query), axis=1)],
        "wrong less true class (as in Finer-CAM)": [exact_values(state.parts, "margin", wrong, target)],
        "in the manner of SCOUT, without easiness": [
            carries[:, wrong] * (carries[:, target].max() - carries[:, target])
        ],
        "random, mean of 5": [rng.random(len(case.keep)) for _ in range(5)],
    }


def areas(case: Case) -> dict[str, list[list[float]]]:
    """Of each map and query: insertion and deletion of p of the wrong class, then of its lead over the true one."""

    def compute() -> dict[str, list[list[float]]]:
        told: dict[str, list[list[float]]] = {}
        for query in case.misread:
            state, pair = case.state(query), case.pair(query)
            for name, values in saliency(case, int(query)).items():
                both = [insertion_deletion(state, np.argsort(-v, kind="stable"), *pair) for v in values]
                mean = np.mean([[i[0], d[0], i[1], d[1]] for i, d in both], axis=0)
                told.setdefault(name, []).append([float(x) for x in mean])
        return told

    found: dict[str, list[list[float]]] = kept("areas", compute)
    return found


def closed_beside_shapley(case: Case, pictures: int = 30, orders: int = 1000) -> dict[str, list[float]]:
    """Spearman of maps with Shapley values of the probability, of each of the first misread queries."""

    def compute() -> dict[str, list[float]]:
        told: dict[str, list[float]] = {}
        for query in case.misread[:pictures]:
            state, (wrong, target) = case.state(query), case.pair(query)
            lot = [np.random.default_rng([int(query), i]) for i in range(2)]
            count = len(case.keep)
            share, again = (permutation_values(state, count, "prob", wrong, target, orders, rng)[0] for rng in lot)
            others = {
                "the same, drawn again": again,
                "exact, logit": exact_values(state.parts, "logit", wrong, target),
                "dip, probability": dip_values(state, case.keep, "prob", wrong, target),
                "dip, logit": dip_values(state, case.keep, "logit", wrong, target),
            }
            for name, values in others.items():
                told.setdefault(name, []).append(float(spearman(values[None], share[None])[0]))
        return told

    found: dict[str, list[float]] = kept("spearman", compute)
    return found


def exhaustive(case: Case) -> dict[str, float]:
    """CPU ms of all pairs of cell and candidate of one picture: as the product does, and with every map made."""

    def compute() -> dict[str, float]:
        query = int(case.misread[0])
        state, (_, target) = case.state(query), case.pair(query)
        pool = case.pool(target).cells
        every = np.arange(len(pool))
        start = time.process_time()
        ours = np.array([state.leads(cell, every, target) for cell in range(len(case.keep))])
        closed = time.process_time() - start
        start = time.process_time()
        for cell in range(len(case.keep)):
            margins(state.swapped(cell, every), target)
        whole = time.process_time() - start
        start = time.process_time()
        truth = np.array([margins(_made(case, query, cell, pool), target) for cell in range(len(case.keep))])
        made = time.process_time() - start
        start = time.process_time()
        pair_probabilities(state, target)
        product = time.process_time() - start
        return {
            "pairs": ours.size, "gigabytes": ours.size * case.queries[0].nbytes / 1e9,
            "ours": 1000 * closed, "made": 1000 * made, "product": 1000 * product, "whole": 1000 * whole,
            "gap": float(np.abs(ours - truth).max()), "same": float(ours.argmax() == truth.argmax()),
        }  # fmt: skip

    found: dict[str, float] = kept("exhaustive", compute)
    return found


def _made(case: Case, query: int, cell: int, pool: NDArray[np.float32]) -> Floats:
    """Logits of every map in which a cell is replaced; 64 maps are made at once, as all of them would not fit."""
    answers = []
    for start in range(0, len(pool), 64):
        block = pool[start : start + 64]
        maps = np.repeat(case.queries[query][None], len(block), axis=0)
        maps[:, :, cell // SIDE[1], cell % SIDE[1]] = block
        answers.append(case.model.logits(maps))
    return np.concatenate(answers)


def paired(one: Sequence[float], other: Sequence[float], both: NDArray[np.bool_]) -> tuple[float, float, float]:
    """The mean of one less the other over pictures that both mend, with its bootstrap interval of 95 %."""
    from saliency_case import mean_and_interval

    return mean_and_interval((np.array(one) - np.array(other))[both])
