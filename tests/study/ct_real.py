"""Adult and California housing with the published settings: their rows, one seed, and the section of the study."""

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from ct_lines import shown, table
from ct_published import REAL
from ct_runs import Case, Setting, attributed, fit, judge
from torch import Tensor

from audit.core.ct_evaluation import Evaluation, individuals, reduction, robustness
from audit.core.ct_training import accuracy
from audit.search.gradient.descent import OneHot

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "tabular"
EVALUATION = Evaluation(runs=20, rows=100)
SEEDS = range(5)
VALIDATION = 1000
EPS = (0.0, 0.03, 0.1)
BOOTSTRAPS = 100
SETTINGS = {"Adult": Setting("Adult", 0.75, 0.25), "CH": Setting("CH", 0.5, 0.25)}
NARROW = "CT, one-hot columns from 0 to 1"
MODES: dict[str, tuple[OneHot, ...]] = {"Adult": ("snap_each_step", "snap_at_end"), "CH": ("relaxed",)}


def adult() -> tuple[pd.DataFrame, np.ndarray, str]:
    """Features in the order of the file, classes and the immutable feature; an unknown value is a level of its own."""
    frame = pd.read_csv(DATA / "adult.csv.gz")
    y = (frame.pop("income-per-year") == ">50K").to_numpy().astype(np.int64)
    return frame, y, "age"


def housing() -> tuple[pd.DataFrame, np.ndarray, str]:
    """The features of scikit-learn's table from the census counts, balanced and in random order as in the paper's file.

    Rows without a number of bedrooms are left out. The class is whether the value is at least the median.
    """
    raw = pd.read_csv(DATA / "california_housing.csv.gz").dropna()
    frame = pd.DataFrame(
        {
            "MedInc": raw["median_income"],
            "HouseAge": raw["housing_median_age"],
            "AveRooms": raw["total_rooms"] / raw["households"],
            "AveBedrms": raw["total_bedrooms"] / raw["households"],
            "Population": raw["population"],
            "AveOccup": raw["population"] / raw["households"],
            "Latitude": raw["latitude"],
            "Longitude": raw["longitude"],
        }
    )
    y = (raw["median_house_value"] >= raw["median_house_value"].median()).to_numpy().astype(np.int64)
    rng = np.random.default_rng(42)
    each = min((y == 0).sum(), (y == 1).sum())
    kept = rng.permutation(np.concatenate([rng.permutation(np.flatnonzero(y == k))[:each] for k in (0, 1)]))
    return frame.iloc[kept].reset_index(drop=True), y[kept], "HouseAge"


def case(name: str) -> Case:
    """The rows of all seeds: the last fifth is the test, 1,000 stratified rows of the others are held out."""
    frame, y, immutable = adult() if name == "Adult" else housing()
    known = round(0.8 * len(frame))
    rest = np.arange(known)
    rng = np.random.default_rng(42)
    counts = [round(VALIDATION * float((y[:known] == k).mean())) for k in (0, 1)]
    held = np.concatenate([rng.permutation(rest[y[:known] == k])[:c] for k, c in enumerate(counts)])
    train = np.setdiff1d(rest, held)
    x, groups, place = matrix(frame, known, immutable)
    mean, sd = x[:known].mean(axis=0), x[:known].std(axis=0, ddof=1)
    low = np.minimum(mean - 2 * sd, x[:known].min(axis=0))
    high = np.maximum(mean + 2 * sd, x[:known].max(axis=0))
    X, Y = torch.from_numpy(x), torch.from_numpy(y)

    def part(rows: np.ndarray) -> tuple[Tensor, Tensor]:
        return X[rows], Y[rows]

    test = part(np.arange(known, len(frame)))
    bounds = torch.from_numpy(low), torch.from_numpy(high)
    return Case(SETTINGS[name], *part(train), part(held), test, *bounds, place, tuple(groups))


def matrix(frame: pd.DataFrame, known: int, immutable: str) -> tuple[np.ndarray, list[tuple[int, ...]], int]:
    """Z-scores by the first `known` rows and a column per level; the columns of each category; the immutable column."""
    columns: list[np.ndarray] = []
    groups: list[tuple[int, ...]] = []
    place = -1
    for name, values in frame.items():
        place = len(columns) if name == immutable else place
        if pd.api.types.is_numeric_dtype(values):
            v = values.to_numpy(float)
            columns.append((v - v[:known].mean()) / v[:known].std(ddof=1))
        else:
            levels = sorted(set(values))
            groups.append(tuple(range(len(columns), len(columns) + len(levels))))
            columns += [(values == level).to_numpy(float) for level in levels]
    return np.column_stack(columns).astype(np.float32), groups, place


def within_levels(given: Case) -> Case:
    """The same with 0 and 1 as the domain of one-hot columns."""
    tied = [j for group in given.groups for j in group]
    low, high = given.low.clone(), given.high.clone()
    low[tied], high[tied] = 0.0, 1.0
    return replace(given, low=low, high=high)


def one_seed(name: str, given: Case, seed: int) -> tuple[dict[str, float], pd.DataFrame]:
    """What one seed is judged by, and its accuracy under attack."""
    print(name, seed, file=sys.stderr, flush=True)  # noqa: T201 - a study takes minutes
    who = individuals(*given.test, 2, EVALUATION, np.random.default_rng([7, seed]))
    plain, seconds, _ = fit(given, seed, "vanilla")
    full, total, searching = fit(given, seed, "full")
    kept, _, _ = fit(given, seed, "full", frozen=True)
    found: dict[str, float] = {
        "seconds_plain": seconds,
        "seconds_ct": total,
        "seconds_search": searching,
        "steps": full.mean_steps,
        "mature": float(np.mean([row["mature_share"] for row in full.log])),
        "skipped": full.total("skipped_updates"),
        "accuracy_plain": accuracy(plain.module, *given.test),
        "accuracy_ct": accuracy(full.module, *given.test),
    }
    for mode in MODES[name]:
        found |= {f"{mode} {key}": value for key, value in judged(given, who, plain, full, kept, mode).items()}
    found |= attributed(given, plain.module, kept.module, seed)
    models = {"conventional": plain.module, "CT": full.module}
    for label, objective in (("AR", "adversarial"), ("CD", "energy")):
        models[label] = fit(given, seed, objective)[0].module
    if given.groups:
        narrow, _, _ = fit(within_levels(given), seed, "full")
        models[NARROW] = narrow.module
        found["narrow mature"] = float(np.mean([row["mature_share"] for row in narrow.log]))
        found |= {f"narrow {k}": v for k, v in judged(given, who, plain, narrow, kept, MODES[name][0]).items()}
    attacked = [robustness(m, *given.test, 2, EPS, seed).assign(model=label) for label, m in models.items()]
    return found, pd.concat(attacked, ignore_index=True).assign(data=name, seed=seed, rows=len(given.test[1]))


def judged(given: Case, who: Any, plain: Any, full: Any, kept: Any, mode: OneHot) -> dict[str, float]:
    """Plausibility without constraints and cost with one, conventional beside CT."""
    found: dict[str, float] = {}
    a, b = (
        judge(given, m.module, who, tau=EVALUATION.tau, frozen=False, plausible=True, how=EVALUATION, mode=mode)
        for m in (plain, full)
    )
    for column in ("ip", "mmd_5", "mmd_0.5", "mmd_median", "cost", "valid", "strict"):
        found |= {f"{column}_plain": float(a[column].mean()), f"{column}_ct": float(b[column].mean())}
        found[f"{column}_reduction"] = reduction(a[column], b[column])
    a, b = (
        judge(given, m.module, who, tau=EVALUATION.tau_cost, frozen=True, plausible=False, how=EVALUATION, mode=mode)
        for m in (plain, kept)
    )
    for column in ("cost", "valid"):
        found |= {f"con_{column}_plain": float(a[column].mean()), f"con_{column}_ct": float(b[column].mean())}
    return found | {"con_cost_reduction": reduction(a["cost"], b["cost"])}


QUANTITIES = {
    "ip": ("implausibility (IP)", 2),
    "mmd_5": ("discrepancy (IP*), length 5", 3),
    "mmd_0.5": ("discrepancy (IP*), length .5", 3),
    "mmd_median": ("discrepancy (IP*), median length", 3),
    "cost": ("cost, no constraints", 2),
    "valid": ("validity, no constraints", 3),
    "con_cost": ("cost, one feature immutable", 2),
    "con_valid": ("validity, one feature immutable", 3),
}


def compared(found: dict[str, pd.DataFrame]) -> Iterator[str]:
    """Means of both trainings and what changes, beside the paper's."""
    rows = []
    for name, values in found.items():
        for mode in MODES[name]:
            for key, (label, digits) in QUANTITIES.items():
                said = REAL[name].get(key, {})
                fall = f"{mode} {key}_reduction"
                rows.append(
                    [
                        name,
                        mode,
                        label,
                        said.get("absolute", "not stated"),
                        *(shown(values[f"{mode} {key}_{m}"], digits) for m in ("ct", "plain")),
                        said.get("reduction", "not stated") if "valid" not in key else "",
                        shown(values[fall], 1) if fall in values and "valid" not in key else "",
                    ]
                )
        rows.append(
            [name, "", "accuracy", REAL[name]["accuracy"]["absolute"]]
            + [shown(values[f"accuracy_{m}"], 3) for m in ("ct", "plain")]
            + ["", ""]
        )
    header = ["data", "one-hot", "quantity", "paper, CT / conventional", "CT", "conventional", "paper, reduction %"]
    yield from table([*header, "reduction %"], rows)


def protected(found: dict[str, pd.DataFrame]) -> Iterator[str]:
    """Attributions, course of the searches and seconds."""
    rows = [
        [
            name,
            REAL[name]["attribution"]["absolute"],
            *(shown(values[f"ig_published_{m}"], 2) for m in ("ct", "plain")),
            *(shown(values[f"ig_share_{m}"], 3) for m in ("ct", "plain")),
            f"{values['mature'].mean():.0%}",
            f"{values['steps'].mean():.1f}",
            f"{values['seconds_ct'].mean() / values['seconds_plain'].mean():.1f}",
            f"{values['seconds_search'].mean() / values['seconds_ct'].mean():.0%}",
            f"{values['skipped'].sum():.0f}",
        ]
        for name, values in found.items()
    ]
    header = ["data", "paper: attribution to the immutable feature, CT / conventional", "CT", "conventional"]
    header += ["share of it, CT", "share, conventional", "searches that reached tau", "steps per search"]
    yield from table([*header, "CPU, CT / conventional", "search / CT", "skipped updates"], rows)


def attacked(frame: pd.DataFrame) -> Iterator[str]:
    """Accuracy under attack, with the spread over seeds and over bootstraps of the test rows."""
    rows = []
    for (name, model, attack), cell in frame.groupby(["data", "model", "attack"], sort=False):
        far = cell[cell["eps"] == EPS[-1]]
        # The mean of a resample of n zeros and ones is a binomial draw over n.
        draws = np.random.default_rng(0).binomial(far["rows"], far["accuracy"], (BOOTSTRAPS, len(far)))
        low, high = np.quantile(draws / far["rows"].to_numpy(), [0.025, 0.975], axis=0).mean(axis=1)
        published = REAL[name][attack].get(model)
        mean = float(far["accuracy"].mean())
        rows.append(
            [name, model, attack]
            + [shown(cell[cell["eps"] == e]["accuracy"], 3) for e in EPS]
            + [f"{low:.3f} to {high:.3f}"]
            + (["not stated", ""] if published is None else [f"{published:.2f}", f"{mean - published:+.2f}"])
        )
    header = ["data", "training", "attack", *(f"eps {e:g}" for e in EPS), "bootstraps at .1", "paper at .1 (figure)"]
    yield from table([*header, "difference"], rows)


def domains(found: dict[str, pd.DataFrame]) -> Iterator[str]:
    """What the other domain of one-hot columns in training changes."""
    values, mode = found["Adult"], MODES["Adult"][0]
    keys = {key: f"{label}, CT" for key, (label, _) in QUANTITIES.items() if key in {"ip", "mmd_5", "valid"}}
    rows = [
        [label, *(shown(values[f"{where} {key}_ct"], QUANTITIES[key][1]) for where in (mode, "narrow"))]
        for key, label in keys.items()
    ]
    rows.append(["searches that reached tau", *(f"{values[c].mean():.0%}" for c in ("mature", "narrow mature"))])
    yield "Adult: the domain of one-hot columns in the search of training; its accuracy under attack is above.\n"
    yield from table(["quantity", "mean ± 2 sd, as published", "0 to 1, as this product's remedy has it"], rows)


HEAD = """## Adult and California housing

Settings as published: batches of 1,000, 5,000 counterfactuals per epoch, T = 30, step size .1, reg .25, tau .75
(Adult) and .5 (CH), 100 epochs; age and median age immutable where a feature is. Evaluation: {runs} runs of {rows}
individuals (the paper: 100 runs of one trained model), five weights of the energy term. Seeds of the weights and draws,
on the same rows: {seeds}; 95 % t intervals over the seeds. IP, IP* and cost are over valid counterfactuals only: read
them beside the validity. Each reduction is the mean of the ratio per run, so it need not be the ratio of the means.

What differs from the paper's files. Both are tables of `shared/data/tabular`. *Adult*: the same 32,561 rows in the
order of the source, the last fifth is the test, an unknown value is a level of its own; {adult} columns. *CH*: the
paper's file is balanced at the median and shuffled, and does not ship with its code; ours has the same features, made
from the census counts, without the 207 rows that lack a number of bedrooms, balanced and shuffled by our own draw
({ch:,} rows; the paper 20,630). In training one-hot columns are plain numbers, with the domain of every other column,
as in the paper's code. In its evaluation the paper snaps each one-hot group after every step (`snap_each_step`);
`snap_at_end` is the other choice (CT-13).
"""


Pair = tuple[dict[str, float], pd.DataFrame]


def computed(cases: dict[str, Case]) -> dict[str, list[Pair]]:
    """Every seed of every data set."""
    return {name: [one_seed(name, given, seed) for seed in SEEDS] for name, given in cases.items()}


def section() -> Iterator[str]:
    """The section of the study on real data."""
    if not (DATA / "adult.csv.gz").exists():
        yield "## Adult and California housing\n\nNot run: the folder `shared/data/tabular` is not there.\n"
        return
    cases = {name: case(name) for name in SETTINGS}
    yield from written(cases, computed(cases))


def written(cases: dict[str, Case], pairs: dict[str, list[Pair]]) -> Iterator[str]:
    """The section as text."""
    found = {name: pd.DataFrame([values for values, _ in each]) for name, each in pairs.items()}
    robust = pd.concat([frame for each in pairs.values() for _, frame in each], ignore_index=True)
    sizes = {"adult": cases["Adult"].width, "ch": sum(len(p) for p in (cases["CH"].y, *halves(cases["CH"])))}
    seeds = ", ".join(f"{name} {len(each)}" for name, each in pairs.items())
    yield HEAD.format(runs=EVALUATION.runs, rows=EVALUATION.rows, seeds=seeds, **sizes)
    if any(len(each) < len(SEEDS) for each in pairs.values()):
        yield (
            f"Fewer seeds than {len(SEEDS)} where it says so: no time was left for more. Intervals over two "
            "or three seeds are wide, and what they hold is little more than each seed by itself. "
            "`python tests/study/ct.py real` runs all.\n"
        )
    for part in (compared(found), protected(found), attacked(robust), domains(found)):
        yield from part
    yield MISSES


def halves(given: Case) -> tuple[Tensor, Tensor]:
    """The classes of the rows that are not trained on."""
    return given.held[1], given.test[1]


MISSES = """What to make of it. A fair band is the sign and 10 points for IP, and .05 for accuracy under attack: the
paper has one trained model per cell, and its own drafts differ by more than its standard errors.

* **Accuracy under attack, Adult.** Conventional, AR and CT agree with the figure. CD is outside the band: its
  seeds differ by more than that, so one trained model, as the paper has, cannot stand for it.
* **Accuracy under attack, CH.** CT and CD agree. Conventional and AR are about .1 above the figure. Our rows are
  another draw of a balanced file; the paper's clean accuracy of CT (.79 and .81 in two places) is below ours as well.
  The cause is not known.
* **IP and IP\\*, CH.** Same sign; IP falls by less than in the paper, within the band, from about the same level.
* **IP, Adult.** CT is at the paper's level, our conventional network is less plausible than the paper's, so our fall is
  larger than the paper's zero; within the band. IP\\* at length 5 agrees. At length .5 the kernel of over a hundred
  columns is almost 0 everywhere, and its reductions mean nothing.
* **Cost, Adult.** Under the constraint the paper's cost falls by 4 % with a standard error of 4 (and rose by 3 % in an
  older draft). Where our interval lies below 0, ours rises: the sign is not the paper's, and the difference is within
  10 points only if the paper's standard error is taken at its word.
* **Validity, Adult.** CT is below conventional here too: snapping after every step blocks a group unless one step
  changes its largest level. IP, IP\\* and cost of CT are those of the survivors. With `snap_at_end` most ends of the
  conventional network do not survive the rounding; do not read ratios over so few.
* **Domain of one-hot columns.** With 0 to 1 as their domain in training the accuracy under attack on Adult falls far
  below the paper's: nascent points then never leave the corners that the attack leaves.
* **Not computed.** Faithfulness by Langevin samples: the description leaves the scale of its noise open. Card default,
  GMSC and MNIST: their files are not here.
"""

if __name__ == "__main__":
    torch.set_num_threads(1)
    for line in section():
        print(line)  # noqa: T201 - the section alone
