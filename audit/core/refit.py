"""An estimator of scikit-learn fitted once more, from its own settings and with another seed."""

import warnings
from typing import Any

import numpy as np
import pandas as pd

from audit.core.errors import ModelError
from audit.core.labels import label_of


def refitted(estimator: Any, given: Any, labels: "pd.Series[Any]", seed: int) -> Any:
    """A copy that is fitted anew on the rows `given` and their class labels, as text.

    Raises:
        ModelError: nothing in it depends on a seed, it cannot be copied or fitted, or it has other classes then.
    """
    from sklearn.base import clone

    try:
        fresh = clone(estimator)
        settings = fresh.get_params(deep=True)
    except Exception as error:  # the estimator is foreign: whatever it raises is the reason
        raise ModelError(f"it cannot be copied without what it learned: {type(error).__name__}: {error}") from error
    names = [name for name in settings if name == "random_state" or name.endswith("__random_state")]
    if not names:
        raise ModelError(f"a {type(estimator).__name__} has no `random_state`, so the same rows give the same model")
    classes = {label_of(value): value for value in estimator.classes_}
    strange = sorted(set(labels.dropna().unique()) - set(classes))
    if strange or labels.isna().any():
        what = f"the class {strange[0]!r}, which the model does not know" if strange else "rows without a class"
        raise ModelError(f"the training rows have {what}")
    values = np.array([classes[label] for label in labels], dtype=np.asarray(estimator.classes_).dtype)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fresh.set_params(**dict.fromkeys(names, seed)).fit(given, values)
    except Exception as error:  # as above
        raise ModelError(f"fitting it again failed: {type(error).__name__}: {error}") from error
    if list(fresh.classes_) != list(estimator.classes_):
        raise ModelError("fitted again it has other classes")
    return fresh
