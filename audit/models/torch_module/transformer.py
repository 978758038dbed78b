"""How a fitted transformer of scikit-learn makes inputs, read as a preparation, or refused where it cannot be.

Features and inputs must be convertible to and fro, so that policy and counterfactuals can speak of features: scaling
and one column per level can be, and nothing else is read.
"""

import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from pydantic import Field, ValidationError

from audit.core.base import Frozen, canonical_json
from audit.core.errors import ModelError
from audit.core.model import Source
from audit.core.network import Prepare
from audit.core.schema import Feature, FeatureSchema, Level
from audit.core.table import encode
from audit.models import pinned, refuse_bomb

WHERE = "model.transformer"
TOLERANCE = 1e-6
"""How far inputs may differ from those of the transformer itself."""

HARMLESS = frozenset({"numpy.dtype"})
"""Types that skops asks about and that fitted imputers hold."""

Block = tuple[Any, list[str]]
"""A step with the columns that it is given; the step `passthrough` leaves them as they are."""


class Transformer(Frozen):
    """Scaling and categories are read from a fitted transformer of scikit-learn.

    Attributes:
        path: a .skops file, relative to the spec: a ColumnTransformer, a Pipeline or a single step of
            StandardScaler, MinMaxScaler, MaxAbsScaler, OneHotEncoder and passthrough.
        sha256: the digest of the file; another one is refused before the file is opened.

    A confined process opens the file, and gives what `text` says; see `core.model.Adapter.first`.
    """

    path: str
    sha256: str | None = Field(default=None, pattern="^[0-9a-fA-F]{64}$")

    def prepare(self, source: Source) -> Prepare:
        """The preparation that does what the transformer does, on every row of the data without gaps.

        Raises:
            ModelError: the file is refused, or does what a preparation cannot.
        """
        text = self.text(source) if source.read is None else source.read
        try:
            return Prepare.model_validate_json(text)
        except ValidationError as error:
            raise ModelError(f"{WHERE}: {self.path} holds no scaling: {error.errors()[0]['msg']}") from error

    def text(self, source: Source) -> str:
        """The preparation as JSON.

        Raises:
            ModelError: as `prepare`.
        """
        if source.schema is None:
            raise ModelError(f"{WHERE}: the features are not known here; save the network with audit")
        fitted = self._open(source)
        prepare = as_prepare(source.schema, fitted)
        frame = source.evaluate if source.train is None else source.train
        _refuse_difference(prepare, fitted, frame[list(source.schema.names)].dropna())
        try:
            return canonical_json(prepare.model_dump(mode="json", warnings="error")).decode()
        except ValueError as error:  # also what pydantic raises of a value that is no level
            raise ModelError(
                f"{WHERE}: {self.path} holds a scale or a category that is no text, truth value or finite number; fit "
                "it on rows without gaps"
            ) from error

    def _open(self, source: Source) -> Any:
        import skops.io

        data = pinned(source.folder, self.path, self.sha256, WHERE, f"{WHERE}.sha256")
        refuse_bomb(self.path, data, WHERE)
        trusted = HARMLESS | set(source.allow.types)
        try:
            untrusted = sorted(set(skops.io.get_untrusted_types(data=data)) - trusted)
            if not untrusted:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # of other versions: what is read is compared with what it does
                    return skops.io.loads(data, trusted=sorted(trusted))
        except MemoryError:
            raise  # the confined process says how much there was
        except Exception as error:  # the file is foreign: whatever its reader raises is a fault of the file
            raise ModelError(f"{WHERE}: {self.path} is no skops file: {type(error).__name__}: {error}") from error
        options = " ".join(f"--trust {name}" for name in untrusted)
        raise ModelError(
            f"{WHERE}: {self.path} holds types that skops does not trust: {', '.join(untrusted)}. "
            f"If you know them and trust them, run again with {options}"
        )


def as_prepare(schema: FeatureSchema, fitted: Any) -> Prepare:
    """The preparation whose inputs are those of the fitted transformer.

    Raises:
        ModelError: it holds a step, or a setting of one, that a preparation has not.
    """
    features, d = list(schema.features), len(schema)
    mean, sd, layout = np.zeros(d), np.ones(d), []
    for step, columns in _blocks(fitted, _fitted_on(fitted, schema)):
        for i, name in enumerate(columns):
            j = schema.index(name)
            layout.append(j)
            if _name(step) == "OneHotEncoder":
                features[j] = _levelled(step, i, features[j])
            else:
                mean[j], sd[j] = _in_codes(features[j], *_scale(step, i, name))
    again = sorted({schema.names[j] for j in layout if layout.count(j) > 1})
    left = [name for j, name in enumerate(schema.names) if j not in layout]
    if again or left:
        problem = f"gives the network {', '.join(again)} twice" if again else f"drops {', '.join(left)}"
        raise ModelError(f"{WHERE}: it {problem}; every one of `model.features` must reach the network once")
    order = None if layout == sorted(layout) else tuple(layout)
    return Prepare(
        features=FeatureSchema(features=tuple(features)),
        mean=tuple(mean.tolist()),
        sd=tuple(sd.tolist()),
        layout=order,
    )


def _fitted_on(fitted: Any, schema: FeatureSchema) -> list[str]:
    """The columns that the transformer was fitted on, in order: the features, perhaps in another order."""
    names = getattr(fitted, "feature_names_in_", None)
    if names is None and getattr(fitted, "n_features_in_", None) == len(schema):
        return list(schema.names)
    if names is None:
        raise ModelError(f"{WHERE}: it is not fitted, or on {getattr(fitted, 'n_features_in_', 'no')} columns; fit it")
    if set(map(str, names)) != set(schema.names):
        raise ModelError(
            f"{WHERE}: it was fitted on {', '.join(map(str, names))}; `model.features` must list exactly these"
        )
    return list(map(str, names))


def _name(step: Any) -> str:
    """The class of a step of scikit-learn; empty for any other."""
    kind = type(step)
    return kind.__name__ if kind.__module__.startswith("sklearn.") else ""


def _blocks(step: Any, columns: list[str]) -> Iterator[Block]:
    """The single steps in the order of their outputs, each with its columns."""
    kind = _name(step)
    identity = kind == "FunctionTransformer" and step.func is None
    if kind == "Pipeline":
        inner = [s for _, s in step.steps if s not in {None, "passthrough"} and not _fills_gaps(s)]
        if len(inner) > 1:
            raise ModelError(f"{WHERE}: {' after '.join(map(_shown, inner[::-1]))} is not read; use one of them")
        yield from _blocks(inner[0] if inner else "passthrough", columns)
    elif kind == "ColumnTransformer":
        for _, inside, chosen in step.transformers_:
            names = _chosen(chosen, columns)
            if names and not (isinstance(inside, str) and inside == "drop"):
                yield from _blocks(inside, names)
    elif identity or (isinstance(step, str) and step == "passthrough"):
        yield "passthrough", columns
    elif kind in {"StandardScaler", "MinMaxScaler", "MaxAbsScaler", "OneHotEncoder"}:
        yield step, columns
    elif not _fills_gaps(step):
        raise ModelError(
            f"{WHERE}: {_shown(step)} is not read; there are StandardScaler, MinMaxScaler, MaxAbsScaler, OneHotEncoder "
            "and passthrough. Prepare the data before the audit, or state mean and sd in the spec."
        )
    else:
        yield "passthrough", columns


def _fills_gaps(step: Any) -> bool:
    """Whether it only puts values where there are none: rows with gaps are refused, so it does nothing."""
    return _name(step) == "SimpleImputer" and not step.add_indicator and pd.isna(step.missing_values)


def _shown(step: Any) -> str:
    return _name(step) or f"{type(step).__module__}.{type(step).__name__}"


def _chosen(columns: Any, names: Sequence[str]) -> list[str]:
    """The names of the columns that a ColumnTransformer states as names, positions, a slice or a mask."""
    if isinstance(columns, str):
        return [columns]
    if isinstance(columns, slice) and not any(isinstance(end, str) for end in (columns.start, columns.stop)):
        return list(names[columns])
    listed = [columns] if isinstance(columns, int | np.integer) else list(columns) if np.iterable(columns) else None
    if listed is None:
        raise ModelError(f"{WHERE}: columns given as {columns!r} are not read; name them in a list")
    if listed and all(isinstance(c, bool | np.bool_) for c in listed):
        return [name for name, chosen in zip(names, listed, strict=True) if chosen]
    return [c if isinstance(c, str) else names[int(c)] for c in listed]


def _scale(step: Any, i: int, name: str) -> tuple[float, float]:
    """What is taken off column i of a step, and what it is divided by."""
    kind = _name(step)
    if kind == "StandardScaler":
        mean = 0.0 if step.mean_ is None or not step.with_mean else float(step.mean_[i])
        return mean, 1.0 if step.scale_ is None else float(step.scale_[i])
    if kind == "MaxAbsScaler":
        clips, mean, sd = getattr(step, "clip", False), 0.0, float(step.scale_[i])
    elif kind == "MinMaxScaler":
        clips, mean, sd = step.clip, -float(step.min_[i] / step.scale_[i]), 1.0 / float(step.scale_[i])
    else:
        return 0.0, 1.0
    if clips:
        raise ModelError(
            f"{WHERE}: {kind} cuts {name} off at its limits, which cannot be undone; fit it without `clip`"
        )
    return mean, sd


def _in_codes(feature: Feature, mean: float, sd: float) -> tuple[float, float]:
    """The scaling of codes that is the given one of values: ranks must stand at even distances."""
    if feature.kind == "numeric":
        return mean, sd
    numbers = [float(level) for level in feature.levels if not isinstance(level, str)]
    steps = np.diff(numbers)
    even = len(numbers) == len(feature.levels) > 1 and bool((steps > 0).all()) and float(np.ptp(steps)) == 0
    if feature.kind == "categorical" or not even:
        advice = "make it one-hot" if feature.kind == "categorical" else "use evenly spaced numbers, or make it one-hot"
        raise ModelError(
            f"{WHERE}: it scales {feature.name}, which is {feature.kind} here; {advice}, or declare it numeric in "
            "`data.columns`"
        )
    return (mean - numbers[0]) / float(steps[0]), sd / float(steps[0])


def _levelled(step: Any, i: int, feature: Feature) -> Feature:
    """The feature with the categories of an encoder as its levels."""
    if feature.kind == "numeric":
        raise ModelError(
            f"{WHERE}: it makes {feature.name} one-hot, which is numeric here; declare it categorical in `data.columns`"
        )
    if step.drop is not None or getattr(step, "infrequent_categories_", [None])[0] is not None:
        raise ModelError(
            f"{WHERE}: OneHotEncoder with `drop` or with infrequent categories leaves levels without a column of their "
            "own, so that inputs do not tell the level; fit it without these"
        )
    levels: list[Level] = [value.item() if isinstance(value, np.generic) else value for value in step.categories_[i]]
    unknown = [str(level) for level in feature.levels if level not in levels]
    if unknown:
        raise ModelError(
            f"{WHERE}: it does not know {', '.join(unknown[:3])} of {feature.name}, which the data hold; "
            "fit it on all levels"
        )
    return feature.model_copy(
        update={"kind": "categorical", "levels": tuple(levels), "low": 0.0, "high": float(len(levels) - 1)}
    )


def _refuse_difference(prepare: Prepare, fitted: Any, frame: pd.DataFrame) -> None:
    """Compares the preparation with the transformer itself on rows without gaps.

    Raises:
        ModelError: they differ, or the transformer fails.
    """
    given = frame[_fitted_on(fitted, prepare.features)]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # as above
            expected = fitted.transform(given if hasattr(fitted, "feature_names_in_") else given.to_numpy())
    except Exception as error:  # the transformer is foreign
        raise ModelError(f"{WHERE}: it fails on the data: {type(error).__name__}: {error}") from error
    expected = np.asarray(expected.toarray() if hasattr(expected, "toarray") else expected, dtype=np.float64)
    found = prepare.scaled(encode(prepare.features, frame))
    if expected.shape != found.shape:
        raise ModelError(f"{WHERE}: it makes {expected.shape[1]} columns, and {found.shape[1]} were read from it")
    worst = float(np.abs(expected - found).max(initial=0.0))
    if not worst <= TOLERANCE:
        raise ModelError(
            f"{WHERE}: what was read from it differs from what it does by {worst:g}, and at most {TOLERANCE:g} is "
            "allowed; state mean and sd in the spec instead"
        )
