"""From the files that a spec names to the values that the tasks read."""

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from audit.core.base import canonical_json, sha256
from audit.core.errors import AuditError, DataError, ModelError, SpecError
from audit.core.evidence import Note
from audit.core.expression import parse
from audit.core.images import ImageInputs, Images, ImageScorer
from audit.core.infer import ColumnInfo, infer_schema
from audit.core.labels import label_of
from audit.core.manifest import InputRecord
from audit.core.method import Inputs
from audit.core.model import ADAPTERS, Allow, Decision, ImageModel, Model, Scorer, Source, StoredScores
from audit.core.policy import Policy
from audit.core.schema import FeatureSchema
from audit.core.table import Floats, Table, encode
from audit.engine.apart import load_apart
from audit.engine.columns import columns_named, features_named
from audit.engine.files import Steps, existing, read_rows, read_whole, said
from audit.engine.given import read_given
from audit.engine.images import ID as IMAGE_ID
from audit.engine.images import read_images
from audit.engine.pseudonyms import PseudonymKey, naming
from audit.spec.contradiction import check_data
from audit.spec.load import Loaded

T = TypeVar("T")

REMEDIED_KINDS = {"application/vnd.safetensors": "torch"}
"""By the media type of a remedied model, the adapter that reads it."""


@dataclass(frozen=True)
class Loading:
    """What was loaded.

    Attributes:
        inputs: without scores, sample and regions, which the sample task finds.
        model: what the adapter loaded.
        contents: digests of the inputs `model` and `data`, for the keys of the tasks.
        records: the files that were read.
        notes: what the data say about the spec that the reader must know.
        evaluate: the evaluation file as it was read.
        pseudonyms: how ids were hashed and under which key, by its fingerprint; None where ids stand as they are.
    """

    inputs: Inputs
    model: Model | StoredScores | ImageModel
    contents: dict[str, str]
    records: tuple[InputRecord, ...]
    notes: tuple[Note, ...]
    evaluate: pd.DataFrame
    pseudonyms: dict[str, Any] | None = None

    def scores(self) -> Floats:
        """Probabilities of all evaluation rows, shape (n, C): the model's, or those in the data.

        Raises:
            ModelError: the model fails or answers with nonsense.
        """
        if isinstance(self.model, StoredScores):
            return self.model.stored(self.evaluate)
        if self.inputs.images is not None:
            return self.inputs.images.model.probabilities(self.inputs.images.evaluate)
        if isinstance(self.model, ImageModel):
            raise TypeError("a model of images without images")
        return Scorer(self.model, self.inputs.schema, self.inputs.decision).probabilities(self.inputs.evaluate.codes)


def load_inputs(loaded: Loaded, allow: Allow, *, alone: bool = False, key: PseudonymKey | None = None) -> Loading:
    """Reads data and model and binds the spec to them.

    Args:
        alone: nothing but an audit ever ran in this process; see `load_apart`.

    Raises:
        SpecError: the spec names a file or column that is not there, or contradicts the data.
        DataError: the data cannot be audited.
        ModelError: the model cannot be loaded, or is refused.
    """
    spec = loaded.spec
    evaluated = _read(loaded, "evaluate", spec.data.evaluate)
    trained = None if spec.data.train is None else _read(loaded, "train", spec.data.train)
    evaluate, train = evaluated.frame, None if trained is None else trained.frame
    records = [evaluated.record, *([] if trained is None else [trained.record])]
    records += [] if evaluated.masks is None else [evaluated.masks]
    names = _feature_names(loaded, evaluate, train)
    schema = _located(loaded, ("data",), lambda: _schema(loaded, names, evaluate, train))
    model, model_record = _load_model(loaded, allow, (evaluate, train), schema, alone=alone)
    records += [] if model_record is None else [model_record]
    decision = _decision(loaded, model, _favourable(loaded))
    rows = _table(loaded, "evaluate", schema, evaluate, decision)
    named = naming(loaded, key, names, rows.ids)
    rows = named.rows(rows)
    train_rows = None if train is None else named.rows(_table(loaded, "train", schema, train, decision))
    files = read_given(loaded, schema)
    inputs = Inputs(
        schema=schema,
        decision=decision,
        evaluate=rows,
        train=train_rows,
        reference=rows if train_rows is None else train_rows,
        target=spec.data.target.column if spec.data.target else None,
        protected=spec.data.protected,
        evaluate_is=spec.data.evaluate_is,
        given={name: named.rows(table) for name, table in files.tables.items()},
        scores=np.empty((0, len(decision.classes))),
        model=Scorer(model, schema, decision) if not isinstance(model, StoredScores | ImageModel) else None,
        images=_images(loaded, model, evaluated, trained),
        policy=Policy.build(
            schema, spec.mutability.features, spec.mutability.default, tuple(map(parse, spec.mutability.rules))
        ),
    )
    notes = check_data(loaded, schema, inputs.evaluate, inputs.train)
    contents = _contents(loaded, model, records, names) | files.contents()
    contents["data"] = named.content(contents["data"])
    notes += (*_warnings(model), *evaluated.notes, *(() if trained is None else trained.notes))
    return Loading(inputs, model, contents, (*records, *files.records), tuple(notes), evaluate, named.record)


def _warnings(model: Model | StoredScores | ImageModel) -> list[Note]:
    """What the libraries said while the model was read."""
    return [Note(code="model_warning", severity="minor", args={"text": text}) for text in getattr(model, "notes", ())]


@dataclass(frozen=True)
class _Rows:
    """The rows of `data.<role>`, the pictures that they stand for, and the record of their label maps, if any."""

    frame: pd.DataFrame
    record: InputRecord
    images: Images | None = None
    notes: tuple[Note, ...] = ()
    masks: InputRecord | None = None


def _read(loaded: Loaded, role: str, name: str) -> _Rows:
    settings = loaded.spec.data.images
    if settings is None:
        return _Rows(*read_rows(loaded, role, name))
    pictures = read_images(loaded, role, name, settings)
    return _Rows(pictures.frame, pictures.record, pictures.images, pictures.notes, pictures.masks)


def _images(
    loaded: Loaded, model: Model | StoredScores | ImageModel, evaluate: _Rows, train: _Rows | None
) -> ImageInputs | None:
    """The pictures and the model of them.

    Raises:
        SpecError: there are pictures and no model of pictures, or the reverse.
    """
    kind = loaded.spec.model.kind
    if evaluate.images is None:
        if isinstance(model, ImageModel):
            text = f"{kind!r} is a model of images; say under `data.images` how pictures are prepared for it"
            raise SpecError(said(loaded, ("data",), text))
        return None
    if not isinstance(model, ImageModel):
        text = f"{kind!r} is no model of images; remove `data.images`, or use a kind that looks at pictures"
        raise SpecError(said(loaded, ("model", "kind"), text))
    scorer = ImageScorer(model, evaluate.images.batch)
    return ImageInputs(evaluate.images, None if train is None else train.images, scorer)


def _contents(
    loaded: Loaded, model: Model | StoredScores | ImageModel, records: Sequence[InputRecord], names: Sequence[str]
) -> dict[str, str]:
    """Digests of the inputs `model` and `data`: of the files, and of what the spec says of how they are read."""
    spec = loaded.spec
    digests = {record.role: record.sha256 for record in records}
    by_model = digests.pop("model", None)
    code = getattr(model, "digest", None)
    settings = spec.model.model_dump(mode="json")
    favourable = list(_favourable(loaded))
    return {
        "model": _digest([by_model, code, spec.model.rev, settings, favourable]),
        "data": _digest([digests, spec.data.model_dump(mode="json", exclude={"sample"}), list(names)]),
    }


def _digest(value: Any) -> str:
    return sha256(canonical_json(value))


def _located(loaded: Loaded, steps: Steps, action: Callable[[], T]) -> T:
    """The value of `action`; what it raises for a reason of the data gets the line of the spec."""
    try:
        return action()
    except (ValueError, KeyError) as error:
        if isinstance(error, AuditError):
            raise
        raise DataError(said(loaded, steps, str(error))) from error


def _feature_names(loaded: Loaded, evaluate: pd.DataFrame, train: pd.DataFrame | None) -> tuple[str, ...]:
    """What the model is given; every column that the spec names is looked up, all problems at once."""
    data = loaded.spec.data
    known = list(map(str, evaluate.columns))
    named: list[tuple[Steps, str]] = [(("data", "protected", i), p) for i, p in enumerate(data.protected)]
    named += [(("data", "id"), data.id)] if data.id else []
    named += [(("data", "target", "column"), data.target.column)] if data.target else []
    named += [(("data", "production_score"), data.production_score)] if data.production_score else []
    named += [(("model", "features", i), name) for i, name in enumerate(loaded.spec.model.features or ())]
    named += [(("data", "columns", name), name) for name in data.columns]
    named += columns_named(loaded.spec)
    problems = [said(loaded, steps, _unknown(name, known, data.evaluate)) for steps, name in named if name not in known]
    stored = loaded.spec.model.columns_read()
    apart = {data.id, data.production_score, data.target and data.target.column, *data.protected, *stored}
    names = loaded.spec.model.features or tuple(name for name in known if name not in apart)
    if train is not None:
        needed = [*names, *([data.target.column] if data.target else [])]
        problems += [
            said(loaded, ("data", "train"), _unknown(name, list(train.columns), str(data.train)))
            for name in needed
            if name not in train.columns and name in known
        ]
    if data.images is None:
        problems += [
            said(loaded, steps, _unknown(name, list(names), "the model", "feature"))
            for steps, name in features_named(loaded.spec)
            if name not in names
        ]
    if problems:
        raise SpecError(problems)
    if data.images is not None:
        return ()
    if not names:
        raise SpecError(said(loaded, ("model",), "no column is left to be a feature; list them under `model.features`"))
    return names


def _unknown(name: str, known: list[str], file: str, what: str = "column") -> str:
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"its {what}s are {', '.join(known[:12])}"
    return f"{file} has no {what} {name!r}; {hint}"


def _schema(
    loaded: Loaded, names: tuple[str, ...], evaluate: pd.DataFrame, train: pd.DataFrame | None
) -> FeatureSchema:
    columns = dict(loaded.spec.data.columns)
    for name, rule in loaded.spec.mutability.features.items():
        given = columns.get(name, ColumnInfo())
        columns[name] = given.model_copy(update={"order": given.order or rule.order, "unit": given.unit or rule.unit})
    reference = evaluate if train is None else train
    return infer_schema(reference, names, columns, others=[evaluate])


def _favourable(loaded: Loaded) -> tuple[str, ...]:
    target = loaded.spec.data.target
    return tuple(label_of(value) for value in target.favourable) if target and target.favourable else ()


def _load_model(
    loaded: Loaded, allow: Allow, rows: tuple[pd.DataFrame, pd.DataFrame | None], schema: FeatureSchema, *, alone: bool
) -> tuple[Model | StoredScores | ImageModel, InputRecord | None]:
    adapter, record, path, content = loaded.spec.model, None, None, None
    if adapter.file is not None:
        path = existing(loaded, ("model", "path"), adapter.file)
        content = read_whole(loaded, ("model", "path"), path, adapter.file)
        record = InputRecord(role="model", name=adapter.file, sha256=sha256(content))
    source = Source(
        path=None if path is None else str(path),
        folder=str(loaded.path.parent),
        allow=allow,
        evaluate=rows[0],
        favourable=_favourable(loaded),
        target=loaded.spec.data.target.column if loaded.spec.data.target else None,
        schema=schema,
        train=rows[1],
        content=content,
    )
    try:
        return load_apart(adapter, source, copy=alone), record
    except AuditError as error:
        raise type(error)([f"{loaded.at('model')}: {problem}" for problem in error.problems]) from error


def remedied(inputs: Inputs, path: Path, media_type: str) -> Inputs:
    """The inputs with a model that a remedy made in place of the given one.

    Raises:
        ModelError: the file cannot be read, or answers for other classes than the given model.
    """
    adapter = ADAPTERS.classes()[REMEDIED_KINDS[media_type]].model_validate({"path": path.name})
    source = Source(
        path=str(path),
        folder=str(path.parent),
        allow=Allow(),
        evaluate=inputs.evaluate.frame(),
        favourable=inputs.decision.favourable,
        schema=inputs.schema,
    )
    model = adapter.load(source)
    if isinstance(model, StoredScores | ImageModel) or set(model.classes) != set(inputs.decision.classes):
        raise ModelError(f"the remedied model answers for other classes than {', '.join(inputs.decision.classes)}")
    decision = replace(inputs.decision, classes=model.classes)
    return replace(inputs, decision=decision, model=Scorer(model, inputs.schema, decision))


def _decision(loaded: Loaded, model: Model | StoredScores | ImageModel, favourable: tuple[str, ...]) -> Decision:
    """The decision rule, once the classes of the model are known."""
    strange = [label for label in favourable if label not in model.classes]
    where: Steps = ("data", "target", "favourable")
    if strange:
        text = f"{strange[0]!r} is no class of the model; its classes are {', '.join(model.classes)}"
        raise SpecError(said(loaded, where, text))
    if favourable and len(favourable) == len(model.classes):
        raise SpecError(said(loaded, where, "every class of the model is favourable; leave at least one out"))
    rule = loaded.spec.model.decision
    if rule is None:
        return Decision(model.classes, favourable)
    if not favourable:
        text = "a threshold on p(favourable) needs `data.target.favourable`"
        raise SpecError(said(loaded, ("model", "decision"), text))
    return Decision(model.classes, favourable, rule.at_least)


def _table(loaded: Loaded, role: str, schema: FeatureSchema, frame: pd.DataFrame, decision: Decision) -> Table:
    """Rows with ids, codes and, as text, their true classes."""
    data = loaded.spec.data
    extra = frame[[name for name in frame.columns if name not in schema.names]].copy()
    ids = _ids(loaded, role, frame)
    if data.target and data.target.column in extra.columns:
        extra[data.target.column] = _labels(loaded, role, extra[data.target.column], decision, ids)
    codes = _located(loaded, ("data", role), lambda: encode(schema, frame))
    return Table(schema, codes, ids, extra)


def _ids(loaded: Loaded, role: str, frame: pd.DataFrame) -> tuple[str, ...]:
    column = loaded.spec.data.id
    if column is None and loaded.spec.data.images is not None:
        column = loaded.spec.data.images.column or IMAGE_ID
    if column is None or column not in frame.columns:
        return tuple(map(str, range(len(frame))))
    ids = tuple(label_of(value) for value in frame[column])
    if len(set(ids)) < len(ids) and role == "evaluate":
        twice = frame[column][frame[column].duplicated()].iloc[0]
        file = loaded.spec.data.evaluate
        text = f"{column!r} is not unique: {twice!r} stands in more than one row of {file}; name a column that is"
        raise DataError(said(loaded, ("data", "id"), text))
    return ids


def _labels(
    loaded: Loaded, role: str, values: "pd.Series[Any]", decision: Decision, ids: tuple[str, ...]
) -> "pd.Series[str]":
    """True classes as text.

    Raises:
        DataError: some are missing, unknown to the model, or all are the same.
    """
    steps, column = ("data", "target"), f"column {values.name!r} of data.{role}"
    missing = np.flatnonzero(values.isna().to_numpy())
    if len(missing):
        shown = ", ".join(ids[i] for i in missing[:3])
        text = f"{column} is missing in {len(missing)} of {len(values)} rows (first: {shown}); "
        raise DataError(said(loaded, steps, text + "leave those rows out, or drop `target`"))
    labels = values.map(label_of)
    strange = sorted(set(labels) - set(decision.classes))
    if strange:
        text = f"{column} holds {strange[0]!r}, which is no class of the model ({', '.join(decision.classes)})"
        raise DataError(said(loaded, steps, text))
    if len(set(labels)) == 1:
        text = f"{column} holds one class only ({labels.iloc[0]!r}), so right and wrong cannot be told apart; "
        raise DataError(said(loaded, steps, text + "check the file, or drop `target`"))
    return labels
