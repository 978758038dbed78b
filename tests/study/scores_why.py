"""Why the weights of scale d rank unlike Kernel SHAP: each likely reason is measured on the same networks."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from scores_measured import INFORMATIVE, SHAP_BACKGROUND, SHAP_ROWS, Seed, stacked, table

from audit.core.scores_compare import kernel_shap
from audit.core.scores_layer import Member, Scale, Trained, Training, train
from audit.core.stats import spearman
from audit.core.table import Floats

OTHERS = 4
"""Networks beside that of a seed, on the same data and from other starts."""

FEWER_ROWS = 10
"""Rows that Kernel SHAP explains of each of five networks: 50 in all."""

CEILING_SEEDS = 2
"""Seeds of which Kernel SHAP is run again, and other networks are trained: the costly part."""

NOISE = slice(INFORMATIVE, None)
KNOWN = slice(None, INFORMATIVE)


def sizes(s: Seed, network: Trained, part: int = 0, rows: int = SHAP_ROWS) -> Floats:
    """Mean absolute Kernel SHAP values; each part has rows, background and coalitions of its own."""
    X = s.task.X[s.task.test][part * SHAP_ROWS :][:rows]
    behind = s.task.X[s.task.fit][part * SHAP_BACKGROUND :][:SHAP_BACKGROUND]
    return kernel_shap(lambda Z: network.predict(Z)[:, 1:], X, behind, np.arange(X.shape[1]), part)


def gain(network: Trained) -> Floats:
    """How strongly each input enters: the length of its column in the first layer with the weights folded in."""
    first = next(p for p in network.module.parameters() if p.ndim == 2)
    return np.asarray(np.linalg.norm(first.detach().numpy(), axis=0), dtype=np.float64)


def split_only(d: int) -> float:
    """The expected Spearman where two rankings agree on the informative features and on nothing else.

    Positions in a group of m are then two independent random orders: their squared differences sum to m (m^2 - 1) / 6.
    """
    squares = sum(m * (m * m - 1) / 6 for m in (INFORMATIVE, d - INFORMATIVE))
    return 1 - 6 * squares / (d * (d * d - 1))


def one_network(runs: Sequence[Seed]) -> dict[str, list[float]]:
    """Spearman correlations of weights, gain and Kernel SHAP by seed, and how far the noise features spread."""
    found: dict[str, list[float]] = {}
    for s in runs:
        w, phi = s.layer.w, sizes(s, s.layer)
        pairs = {
            "weights and SHAP": (w, phi),
            "noise: weights and SHAP": (w[NOISE], phi[NOISE]),
            "informative: weights and SHAP": (w[KNOWN], phi[KNOWN]),
            "gain and weights": (gain(s.layer), w),
            "gain and SHAP": (gain(s.layer), phi),
        }
        for name, (a, b) in pairs.items():
            found.setdefault(name, []).append(float(spearman(a, b)))
        for name, values in (("spread of weights", w[NOISE]), ("spread of SHAP", phi[NOISE])):
            found.setdefault(name, []).append(float(values.max() / values.min()))
    return found


def ceilings(runs: Sequence[Seed], scale: Scale) -> dict[str, list[float]]:
    """Spearman of Kernel SHAP with a second run of it, and of the means of five networks, by seed."""
    found: dict[str, list[float]] = {"SHAP and SHAP again": [], "noise: SHAP and SHAP again": [], "means of five": []}
    for i, s in enumerate(runs[:CEILING_SEEDS]):
        members = [Member(s.task.Y, 500 + OTHERS * i + k) for k in range(OTHERS)]
        others = train(s.task.rows, members, Training(patience=0, scale=scale), np.random.default_rng([i, 3]))
        phi, again = sizes(s, s.layer), sizes(s, s.layer, 1)
        five = [s.layer, *others]
        phis = np.array([sizes(s, network, rows=FEWER_ROWS) for network in five])
        found["SHAP and SHAP again"].append(float(spearman(phi, again)))
        found["noise: SHAP and SHAP again"].append(float(spearman(phi[NOISE], again[NOISE])))
        found["means of five"].append(float(spearman(stacked(five).mean(axis=0), phis.mean(axis=0))))
    return found


ROWS = (
    ("weights and SHAP", "weights against Kernel SHAP (as above)"),
    ("SHAP and SHAP again", "Kernel SHAP against itself: other rows, background and coalitions (the ceiling)"),
    ("noise: weights and SHAP", "weights against Kernel SHAP, among the 11 noise features"),
    ("noise: SHAP and SHAP again", "Kernel SHAP against itself, among the 11 noise features"),
    ("informative: weights and SHAP", "weights against Kernel SHAP, among the 5 informative features"),
    ("gain and weights", "weights against the gain (length of the column of the first layer, weights folded in)"),
    ("gain and SHAP", "gain against Kernel SHAP"),
    ("means of five", "mean weights of five networks on one data set against their mean Kernel SHAP"),
)


def why(published: Sequence[Seed], scaled: Sequence[Seed]) -> Iterator[str]:
    """What is behind the agreement of scale d at d 16, as a table and a reading of it."""
    return reading(one_network(published), one_network(scaled) | ceilings(scaled, "d"))


def reading(plain: Mapping[str, Sequence[float]], found: Mapping[str, Sequence[float]]) -> Iterator[str]:
    """The lines of the page from the correlations of the published scale and of scale d."""
    yield "### Why scale d stays below .8 at d 16\n"
    yield (
        "Spearman, mean (by seed; the first seeds where there are fewer), on the networks above. Two rankings that "
        "agree on which five features are "
        f"informative, and on nothing else, have {split_only(16):.2f} on average (at d 10: {split_only(10):.2f}): what "
        "is above it comes from the order within the two groups, nine tenths of it from that of the noise features.\n"
    )
    rows = [[text, told(found[key]), told(plain[key]) if key in plain else ""] for key, text in ROWS]
    yield from table(["what", "scale d", "published scale"], rows)
    own = {key: float(np.mean(values)) for key, values in found.items()}
    other = {key: float(np.mean(values)) for key, values in plain.items()}
    here = own["weights and SHAP"]
    same = float(np.mean(found["weights and SHAP"][: len(found["means of five"])]))
    yield (
        f"* **Noise of Kernel SHAP.** It agrees with a second run of itself at {own['SHAP and SHAP again']:.2f} (noise "
        f"features alone: {own['noise: SHAP and SHAP again']:.2f}), so that its own noise accounts for about "
        f"{1 - own['SHAP and SHAP again']:.2f} of the {1 - same:.2f} that are missing from 1 in the same seeds.\n"
        f"* **Chance of the start.** Means of five networks, weights against Kernel SHAP: {own['means of five']:.2f}, "
        f"{own['means of five'] - same:+.2f} from one network of the same seeds.\n"
        f"* **What the first layer absorbs.** The gain of the first layer, with the weights folded in, ranks as the "
        f"weights do ({own['gain and weights']:.2f}) and agrees with Kernel SHAP at {own['gain and SHAP']:.2f}, "
        f"{own['gain and SHAP'] - here:+.2f} from the weights.\n"
        f"* **The order within the groups.** Among the noise features weights and Kernel SHAP agree at "
        f"{own['noise: weights and SHAP']:.2f} (published scale: {other['noise: weights and SHAP']:.2f}), among the "
        f"informative ones at {own['informative: weights and SHAP']:.2f} "
        f"({other['informative: weights and SHAP']:.2f}). The largest weight of a noise feature is "
        f"{own['spread of weights']:.1f} times the smallest ({other['spread of weights']:.1f} times), where Kernel "
        f"SHAP spreads them by {own['spread of SHAP']:.1f} times ({other['spread of SHAP']:.1f} times).\n"
        "* A likely reading, not tested further: the published scale shrinks every input, so that a weight must grow "
        "for its feature to be used. Scale d starts as no change at all, and the network can do without the weights. "
        "Scale d is neither the default nor the published formula.\n"
    )


def told(values: Sequence[float]) -> str:
    """A mean with what it is of."""
    return f"{np.mean(values):.2f} ({', '.join(f'{v:.2f}' for v in values)})"
