"""Writes model.skops, the scorecard that the audit judges, and the column `score_in_system` of holdout.csv.

The scorecard is a logistic regression on one-hot levels and standardised numbers, fitted on train.csv. The column
stands for what the lender's system stored when it scored the held-out applicants. Three of its 300 values are stale
on purpose (see STALE): the audit must find them.
"""

import io
import re
import zipfile
from pathlib import Path

import pandas as pd
import skops.io
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

HERE = Path(__file__).resolve().parent
TARGET = "outcome"
FAVOURABLE = "good"
NOT_GIVEN = ("applicant_id", "age_group", "personal_status", "foreign_worker", TARGET, "score_in_system")
STALE = (227, 293, 646)
"""Applicants whose stored score was computed on half the amount that they were lent in the end."""


def features(frame: pd.DataFrame) -> list[str]:
    """The columns that the model is given, in the order of the file."""
    return [name for name in frame.columns if name not in NOT_GIVEN]


def fit(train: pd.DataFrame) -> Pipeline:
    """The scorecard."""
    names = features(train)
    numbers = [name for name in names if pd.api.types.is_numeric_dtype(train[name])]
    texts = [name for name in names if name not in numbers]
    columns = ColumnTransformer(
        [
            ("level", OneHotEncoder(handle_unknown="ignore", sparse_output=False), texts),
            ("number", StandardScaler(), numbers),
        ]
    )
    model = Pipeline([("columns", columns), ("scorecard", LogisticRegression(C=0.1, max_iter=1000))])
    return model.fit(train[names], train[TARGET])


def score(model: Pipeline, frame: pd.DataFrame) -> pd.Series:
    """P(good) of each row."""
    column = list(model.classes_).index(FAVOURABLE)
    return pd.Series(model.predict_proba(frame[features(frame)])[:, column], index=frame.index)


def stored_scores(model: Pipeline, holdout: pd.DataFrame) -> pd.Series:
    """What the lender's system holds: the model's scores, but for the stale ones."""
    before = holdout.copy()
    stale = before["applicant_id"].isin(STALE)
    before.loc[stale, "amount"] = before.loc[stale, "amount"] // 2
    return score(model, before).round(9)


def repeatable_bytes(model: Pipeline) -> bytes:
    """The model as a skops file whose bytes depend on the model alone.

    skops names its parts by memory addresses and stamps them with the time; both are replaced, or the same model
    would have another SHA-256 whenever the script runs.
    """
    given = zipfile.ZipFile(io.BytesIO(skops.io.dumps(model)))
    schema = given.read("schema.json").decode()
    found = re.finditer(r'"__id__": (\d+)|"file": "(\d+)\.', schema)
    numbers = {old: str(new) for new, old in enumerate(dict.fromkeys(m[1] or m[2] for m in found), start=1)}
    schema = re.sub(r'("__id__": |"file": ")(\d+)', lambda match: match[1] + numbers[match[2]], schema)
    parts = {f"{numbers[stem]}.{end}": given.read(f"{stem}.{end}") for stem, _, end in _split(given)}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as written:
        for name, data in [
            *sorted(parts.items(), key=lambda part: int(part[0].split(".")[0])),
            ("schema.json", schema),
        ]:
            written.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def _split(archive: zipfile.ZipFile) -> list[tuple[str, str, str]]:
    return [name.partition(".") for name in archive.namelist() if name != "schema.json"]


def main() -> None:
    """Writes the model and the stored scores beside this script."""
    model = fit(pd.read_csv(HERE / "train.csv"))
    (HERE / "model.skops").write_bytes(repeatable_bytes(model))
    holdout = pd.read_csv(HERE / "holdout.csv")
    holdout["score_in_system"] = stored_scores(model, holdout)
    holdout.to_csv(HERE / "holdout.csv", index=False, lineterminator="\n")


if __name__ == "__main__":
    main()
