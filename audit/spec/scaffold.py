"""A first spec for data and a model: everything immutable, with comments that say what to fill in."""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import pandas as pd

from audit.core.errors import SpecError
from audit.core.infer import infer_schema
from audit.core.labels import label_of
from audit.core.schema import Feature
from audit.spec.messages import unknown

NETWORKS = frozenset({".safetensors", ".pt2", ".pt", ".pth", ".ts", ".jit", ".torchscript"})
"""Endings of model files that the adapter `torch` reads; any other is for `sklearn`."""

PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_ ./-]*")
MOST_LEVELS = 12


@dataclass(frozen=True)
class Draft:
    """What a scaffold is made of.

    Attributes:
        name: of the folder, which becomes the id of the audit.
        data, model: file names beside the spec; model is None where there is none.
        sha256: the digest of the model file.
        target: the column of true classes, or None.
        score: the column of stored scores, where there is no model.
        favourable: the classes that are good for the person, as text.
        features: what the model says that it was fitted on; None where it does not say.
        says_all: the file of a network says how its inputs are made, and names its classes.
        hidden: the hidden units of a network of plain weights, where the file shows them.
    """

    name: str
    data: str
    model: str | None
    sha256: str | None
    target: str | None
    score: str | None
    favourable: tuple[str, ...] = ()
    features: tuple[str, ...] | None = None
    says_all: bool = False
    hidden: tuple[int, ...] | None = None

    @property
    def network(self) -> bool:
        """Whether the model file is one of torch."""
        return self.model is not None and PurePath(self.model).suffix.lower() in NETWORKS

    @property
    def unsaid(self) -> bool:
        """Whether something about the model must be filled in before the spec can run."""
        return self.network and not self.says_all


def scaffold(frame: pd.DataFrame, draft: Draft) -> str:
    """The text of a spec that validates, or says in its first lines what must be filled in.

    Raises:
        SpecError: a column is not there, or holds what cannot be audited.
    """
    columns = list(map(str, frame.columns))
    for option, column in (("--target", draft.target), ("--score", draft.score)):
        if column is not None and column not in columns:
            raise SpecError(f"audit init {option}: {unknown('column', column, columns)}")
    key = _key_column(frame, draft)
    names = list(draft.features or [name for name in columns if name not in {key, draft.target, draft.score}])
    for name in names:
        if name not in columns:
            text = f"the model was fitted on {name!r}; {unknown('column', name, columns)}"
            raise SpecError(f"audit init --from {draft.data}: {text}")
    if not names:
        raise SpecError(f"audit init --from {draft.data}: no column is left to be a feature")
    try:
        features = infer_schema(frame, names).features
    except ValueError as error:
        raise SpecError(
            f"audit init --from {draft.data}: {error}; remove or change the column, then try again"
        ) from error
    sections = (
        _head(draft), _model(frame, draft, names), _data(frame, draft, key), _mutability(features), _questions(draft)
    )  # fmt: skip
    return "\n".join(line for section in sections for line in [*section, ""]).rstrip() + "\n"


def _key_column(frame: pd.DataFrame, draft: Draft) -> str | None:
    """The column that looks like the name of a row: called id or ..._id, and unique."""
    for name in map(str, frame.columns):
        called = name.lower() == "id" or name.lower().endswith("_id")
        if called and name not in {draft.target, draft.score} and frame[name].is_unique and frame[name].notna().all():
            return name
    return None


def _head(draft: Draft) -> list[str]:
    ready = "It is valid as it stands; read every comment, then run: audit validate spec.yaml"
    to_fill = "Fill in `model`, read every comment, then run: audit validate spec.yaml"
    slug = re.sub(r"[^A-Za-z0-9._-]+", "-", draft.name).strip("-._") or "audit"
    return [
        "# yaml-language-server: $schema=spec.schema.json",
        f"# A first spec. {to_fill if draft.unsaid else ready}",
        "spec_version: 1",
        "",
        "audit:",
        f"  id: {quoted(slug)}",
        f"  title: {quoted('Audit of ' + draft.name)}",
        '  owner: ""                  # who answers for the model',
        '  purpose: ""                # for example: Annual validation',
        "  # as_of: 2026-11-01        # the date that the report prints; none is made up",
    ]


def _labels(frame: pd.DataFrame, column: str | None) -> dict[str, Any]:
    """The classes of a column as they stand in the data, by their text, in the order of the texts."""
    if column is None:
        return {}
    return dict(sorted((label_of(level), level) for level in frame[column].dropna().unique().tolist()))


def _listed(labels: dict[str, Any], chosen: Iterable[str]) -> str:
    """Classes as a YAML list; a number is written as one."""
    texts = [quoted(label) if isinstance(labels[label], str) else label for label in chosen]
    return f"[{', '.join(texts)}]"


def _model(frame: pd.DataFrame, draft: Draft, names: list[str]) -> list[str]:
    listed = ["  features:                  # what the model is given, in this order; nothing else reaches it"]
    listed += [f"    - {quoted(name)}" for name in names]
    threshold = "  # decision: {score: p(favourable), at_least: 0.5}   # what counts as favourable in practice"
    if draft.model is None:
        lines = [
            "model:                       # no model: stored scores; what needs a model will be not applicable",
            "  kind: predictions",
            f"  column: {quoted(draft.score or '')}   # the probability of the favourable class",
        ]
        labels = _labels(frame, draft.target)
        if labels:
            lines.append(f"  classes: {_listed(labels, labels)}")
    elif draft.network:
        lines = ["model:", "  kind: torch", f"  path: {quoted(draft.model)}", f"  sha256: {draft.sha256}"]
        lines += _unsaid(frame, draft) if draft.unsaid else []
    else:
        pickle = "" if draft.model.endswith(".skops") else "   # a pickle: runs with --allow-pickle only"
        lines = ["model:", "  kind: sklearn", f"  path: {quoted(draft.model)}{pickle}", f"  sha256: {draft.sha256}"]
    return [*lines, *listed, threshold]


def _unsaid(frame: pd.DataFrame, draft: Draft) -> list[str]:
    """What the file of a network does not say: as far as it can be seen, and else as a comment that asks for it."""
    labels = _labels(frame, draft.target)
    hidden = f"[{', '.join(map(str, draft.hidden))}]" if draft.hidden is not None else "[32]"
    shape = f"architecture: {{kind: mlp, hidden: {hidden}, activation: relu}}"
    lines = [
        "  # How features become inputs: `standardise`, `none`, mean and sd of each number, or the fitted transformer.",
        "  # preprocessing: standardise   # needs data.train",
        "  # transformer: {path: prepare.skops}",
    ]
    if PurePath(draft.model or "").suffix.lower() == ".safetensors":
        known = draft.hidden is not None
        lines += [f"  {shape}   # check the activation" if known else f"  # {shape}   # as it was trained"]
    else:
        lines += ["  # gives: logits             # or probabilities, where a softmax or sigmoid is its last step"]
    if labels:
        return [*lines, f"  classes: {_listed(labels, labels)}   # check: in the order of the outputs"]
    return [*lines, "  # classes: [bad, good]      # in the order of the outputs"]


def _data(frame: pd.DataFrame, draft: Draft, key: str | None) -> list[str]:
    lines = [
        "data:",
        "  # train: train.csv         # the rows that the model was trained on; add them if you have them",
        f"  evaluate: {quoted(draft.data)}",
        "  # evaluate_is: held_out    # or out_of_time; say which, if the model never saw these rows",
    ]
    lines.append(
        f"  id: {quoted(key)}" if key else "  # id: row_id               # without it rows are numbered from 0"
    )
    if draft.target is None:
        lines.append("  # target: {column: outcome, favourable: [good]}   # the true classes; needed for performance")
    else:
        lines += ["  target:", f"    column: {quoted(draft.target)}", f"    {_favourable(frame, draft)}"]
    return [
        *lines,
        "  protected: []              # columns that name protected groups, for example [sex]",
        "  sample: {rows: 300, stratify: decision}",
    ]


def _favourable(frame: pd.DataFrame, draft: Draft) -> str:
    """The favourable classes, or a comment that asks for them."""
    labels = _labels(frame, draft.target)
    if not draft.favourable:
        classes = ", ".join(list(labels)[:MOST_LEVELS])
        return f"# favourable: []         # the classes that are good for the person, out of: {classes}"
    for label in draft.favourable:
        if label not in labels:
            raise SpecError(f"audit init --favourable: {unknown('class', label, labels)}")
    return f"favourable: {_listed(labels, draft.favourable)}"


def _mutability(features: tuple[Feature, ...]) -> list[str]:
    """Every feature immutable, with what the data say of it beside it."""
    lines = [
        "mutability:                  # what a person can change, and how; see: audit explain mutability",
        "  default: immutable         # silence means: may not change",
        "  features:                  # change: immutable, any, increase or decrease; say why, owner and approved",
    ]
    lines += [f"    {quoted(f.name)}: {{change: immutable}}   # {_seen(f)}" for f in features]
    return [*lines, '  rules: []                  # across features, for example ["duration <= 72 - 2 * credits"]']


def _seen(feature: Feature) -> str:
    """The kind and range of a feature, for a comment."""
    missing = ", some missing" if feature.missing else ""
    if feature.kind == "numeric":
        whole = ", whole numbers" if feature.integer else ""
        return f"numeric, {feature.low:g} to {feature.high:g}{whole}{missing}"
    levels = ", ".join(quoted(label_of(level)) for level in feature.levels[:MOST_LEVELS])
    more = f", and {len(feature.levels) - MOST_LEVELS} more" if len(feature.levels) > MOST_LEVELS else ""
    return f"{feature.kind}: {levels}{more}{missing}"


def _questions(draft: Draft) -> list[str]:
    """Regions, searches, methods, gates, report and run."""
    lines = ['regions: []                  # for example {name: young, where: "age < 26"}', ""]
    methods = ["  - {kind: performance}"]
    if draft.model is not None:
        lines += ["counterfactuals:", "  flips: {search: nearest, per_row: 10, for: each, constraints: domain}", ""]
        methods.append("  - {kind: flex, from: flips}")
    return [
        *lines,
        "methods:                     # see: audit list methods",
        *methods,
        "",
        "gates: []                    # for example {metric: performance.auc, at_least: 0.75, severity: major}",
        "",
        "report: {formats: [html, pdf]}",
        "",
        "run: {seed: 0, workers: 1, part_rows: 1000}",
    ]


def quoted(value: Any) -> str:
    """A text as YAML: plain where it cannot be taken for anything else, else in double quotes."""
    text = str(value)
    reserved = text.lower() in {"true", "false", "null", "yes", "no", "on", "off", "y", "n"}
    if PLAIN.fullmatch(text) and not reserved and text == text.strip():
        return text
    return json.dumps(text, ensure_ascii=True)
