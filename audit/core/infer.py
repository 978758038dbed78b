"""The schema of a frame: what each column is, unless the spec says so."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from audit.core.base import Frozen
from audit.core.schema import Feature, FeatureSchema, Kind, Level


class ColumnInfo(Frozen):
    """What the spec says of a column; what is None is read off the data.

    Attributes:
        order: the levels from lowest to highest; makes the column ordinal.
        title: what people call it, for the sheets that they are given; its name where absent.
        reason_text: how it is worded as a reason of a decision; its title where absent.
    """

    kind: Kind | None = None
    order: tuple[Level, ...] | None = None
    unit: str = ""
    title: str = ""
    reason_text: str = ""


def infer_schema(
    reference: pd.DataFrame,
    names: Sequence[str],
    columns: Mapping[str, ColumnInfo] | None = None,
    others: Sequence[pd.DataFrame] = (),
) -> FeatureSchema:
    """The schema of the columns `names` of the reference data.

    Args:
        others: further rows (evaluation data); levels that only they have come after those of the reference.

    Raises:
        ValueError: a column has a type that cannot be audited, or a value outside its stated order.
        KeyError: a column is missing.
    """
    given = columns or {}
    return FeatureSchema(
        features=tuple(
            _feature(name, reference[name], [o[name] for o in others], given.get(name, ColumnInfo())) for name in names
        )
    )


def _feature(name: str, values: "pd.Series[Any]", others: Sequence["pd.Series[Any]"], info: ColumnInfo) -> Feature:
    kind = info.kind or ("ordinal" if info.order else _kind(name, values))
    missing = bool(values.isna().any())
    if kind == "numeric":
        return _numeric(name, values, missing=missing).model_copy(update=_said(info))
    seen = _levels(values)
    if info.order is not None:
        levels = info.order
        strange = [level for level in seen if level not in levels]
        if strange:
            raise ValueError(f"column {name!r} holds {strange[0]!r}, which `order` does not list")
    elif kind == "boolean" and set(seen) <= {False, True}:
        levels = (False, True) if all(isinstance(level, bool) for level in seen) else (0, 1)
    else:
        later = [level for other in others for level in _levels(other)]
        levels = tuple(dict.fromkeys([*seen, *later]))
    if kind == "boolean" and len(levels) > 2:
        raise ValueError(f"column {name!r} is declared boolean but holds {len(levels)} values")
    return Feature(
        name=name,
        kind=kind,
        levels=levels,
        high=float(max(len(levels) - 1, 0) if len(seen) > 1 else 0),
        integer=True,
        missing=missing,
    ).model_copy(update=_said(info))


def _said(info: ColumnInfo) -> dict[str, str]:
    """What the spec says of a column in words."""
    return {"unit": info.unit, "title": info.title, "reason_text": info.reason_text}


def _numeric(name: str, values: "pd.Series[Any]", *, missing: bool) -> Feature:
    try:
        numbers = np.asarray(pd.to_numeric(values), dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"column {name!r} is declared numeric, but {error}") from error
    known = numbers[~np.isnan(numbers)]
    if not np.isfinite(known).all():
        raise ValueError(f"column {name!r} holds infinity; leave such values out or make them missing")
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 0.0)
    whole = bool(len(known)) and bool((known == np.rint(known)).all())
    return Feature(name=name, kind="numeric", low=low, high=high, integer=whole, missing=missing)


def _kind(name: str, values: "pd.Series[Any]") -> Kind:
    present = values.dropna()
    if pd.api.types.is_bool_dtype(values) or (len(present) and all(isinstance(v, bool | np.bool_) for v in present)):
        return "boolean"
    if pd.api.types.is_numeric_dtype(values):
        return "numeric"
    if pd.api.types.is_datetime64_any_dtype(values):
        raise ValueError(f"column {name!r} holds dates; give the model a number, such as an age in days")
    if values.dtype == "category" or pd.api.types.is_string_dtype(values) or values.dtype == object:
        return "categorical"
    raise ValueError(f"column {name!r} is of type {values.dtype}, which cannot be audited")


def _levels(values: "pd.Series[Any]") -> tuple[Level, ...]:
    """The distinct values, sorted, as plain Python values."""
    unique = [v.item() if isinstance(v, np.generic) else v for v in values.dropna().unique()]
    return tuple(sorted(unique, key=lambda v: (str(type(v)), v)))
