"""Choices that a method makes where its paper is silent; every method prints them."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import pandas as pd


class Choice(NamedTuple):
    """One choice.

    Attributes:
        id: as in the description of the method.
        choice: what is chosen.
        default: what is done unless the user says otherwise.
        why: the reason, in a few words.
    """

    id: str
    choice: str
    default: str
    why: str


def choices_table(choices: Sequence[Choice], values: Mapping[str, str]) -> pd.DataFrame:
    """The table `choices` of a method: id, choice, value, default, changed, why.

    Args:
        values: by id, what this run did; a choice that is not named has its default.
    """
    rows = [(c.id, c.choice, values.get(c.id, c.default), c.default, c.why) for c in choices]
    table = pd.DataFrame(rows, columns=["id", "choice", "value", "default", "why"])
    table.insert(4, "changed", table["value"] != table["default"])
    return table
