"""The spec as values: one model for each section of the YAML file."""

from collections.abc import Mapping
from datetime import date
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from audit.core.base import Frozen
from audit.core.errors import SpecError
from audit.core.finding import Gate, OpinionWord
from audit.core.images import ImageSettings
from audit.core.infer import ColumnInfo
from audit.core.method import GENERATORS, METHODS, Generator, Method
from audit.core.model import ADAPTERS, Adapter
from audit.core.policy import FeatureRule
from audit.core.region import Region
from audit.core.registry import Registry
from audit.core.schema import Level
from audit.core.waiver import Waiver

SPEC_VERSION = 1
"""The language of the spec that this version of audit reads; older ones are migrated."""

ID = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
NAME = r"^[A-Za-z][A-Za-z0-9_-]*$"

Text = Annotated[str, Field(min_length=1)]
Name = Annotated[str, Field(pattern=NAME)]


class Member:
    """Marks a field as any member of a registry; the registry is asked when the first spec is read, not before."""

    def __init__(self, registry: Registry[Any]) -> None:
        self.registry = registry

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """The union of all classes of the registry, chosen by its tag; a union of one will do."""
        classes = self.registry.classes()
        if not classes:
            raise SpecError(f"no {self.registry.noun} is installed; reinstall auditspec")
        choices = {kind: handler.generate_schema(cls) for kind, cls in classes.items()}
        return core_schema.tagged_union_schema(choices, discriminator=self.registry.tag)


class AuditInfo(Frozen):
    """What is audited, for whom and why.

    Attributes:
        id: a short name that stays the same when the audit is run again.
        title: the heading on the cover.
        owner: who answers for the model.
        purpose: why the audit is made.
        as_of: the date that the report prints; no date is made up where it is absent.
    """

    id: Annotated[str, Field(pattern=ID)]
    title: Text
    owner: str = ""
    purpose: str = ""
    as_of: date | None = None


class Target(Frozen):
    """The true class of each row.

    Attributes:
        column: where it stands in the data.
        favourable: the classes that are good for the person; without them a flip is any other class.
    """

    column: Text
    favourable: Annotated[tuple[Level, ...], Field(min_length=1)] | None = None


class SampleSpec(Frozen):
    """The rows that are audited, drawn once and shared by all methods.

    Attributes:
        rows: how many; all of them where the data have fewer.
        stratify: what is kept in proportion: the model's decision, the true class, or nothing.
    """

    rows: Annotated[int, Field(ge=1)] = 300
    stratify: Literal["decision", "target", "none"] = "decision"


class DataSpec(Frozen):
    """The data, as files relative to the spec (.csv, .csv.gz or .parquet).

    Attributes:
        train: the rows that the model was trained on.
        evaluate: the rows that the model is judged on.
        evaluate_is: how the evaluation rows were set apart from the training rows.
        id: the column that names a row; without it rows are numbered from 0.
        pseudonymise: ids are replaced by hashes under a key that is named on the command line, and stand nowhere.
        target: the true class of each row.
        protected: columns that name protected groups; they need not be features.
        production_score: a column with the score of the system in use, which is recomputed and compared.
        score_tolerance: the largest difference of scores that counts as equal.
        sample: the rows that are audited.
        columns: what a column is, where the data cannot tell.
        images: how pictures are prepared; makes the audit one of images, whose files may also be folders or .npz.
    """

    train: Text | None = None
    evaluate: Text
    evaluate_is: Literal["held_out", "out_of_time"] | None = None
    id: Text | None = None
    pseudonymise: bool = False
    target: Target | None = None
    protected: tuple[Text, ...] = ()
    production_score: Text | None = None
    score_tolerance: Annotated[float, Field(gt=0)] = 1e-6
    sample: SampleSpec = SampleSpec()
    columns: dict[str, ColumnInfo] = {}
    images: ImageSettings | None = None


class Mutability(Frozen):
    """What a person can change, and how.

    Attributes:
        default: what holds for features that are not listed; silence means: may not change.
        features: a rule for each feature that is listed.
        rules: conditions across features that no counterfactual may break, such as "duration <= 72 - 2 * credits".
    """

    default: Literal["immutable", "any"] = "immutable"
    features: dict[str, FeatureRule] = {}
    rules: tuple[Text, ...] = ()


class Opinion(Frozen):
    """The auditor's opinion; a word that the gates do not allow is refused.

    Attributes:
        word: the opinion in one word.
        by: who gives it.
        text: a Markdown file with the reasons, relative to the spec.
    """

    word: OpinionWord
    by: Text
    text: Text | None = None


class ReportSpec(Frozen):
    """The report.

    Attributes:
        formats: the files that are made.
        pdf: what the PDF follows: a-3a is PDF/A-3a and PDF/UA-1, a-4f is PDF/A-4f and PDF/UA-2 (PDF 2.0).
        template: the look: `standard`, or a folder of your own (docs/templates.md), relative to the spec.
        opinion: the auditor's opinion; without it the report says that none was issued.
        narrative: what the organisation says of a section, as Markdown files relative to the spec, by its id (S2).
        crosswalk: the laws and standards that are set beside the evidence, by their ids; all where it is absent.
    """

    formats: Annotated[tuple[Literal["html", "pdf"], ...], Field(min_length=1)] = ("html", "pdf")
    pdf: Literal["a-3a", "a-4f"] = "a-3a"
    template: Text = "standard"
    opinion: Opinion | None = None
    narrative: dict[str, Text] = {}
    crosswalk: tuple[Text, ...] | None = None


class RunSpec(Frozen):
    """How it is computed.

    Attributes:
        seed: of every random draw.
        workers: processes of this machine; changes no number.
        part_rows: rows of the sample that are searched, and kept if the run is interrupted, at a time.
    """

    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    workers: Annotated[int, Field(ge=1, le=1024)] = 1
    part_rows: Annotated[int, Field(ge=1)] = 1000


class Spec(Frozen):
    """An audit, as its owner writes it down.

    Attributes:
        spec_version: the version of this language.
        audit: what is audited, for whom and why.
        model: the model and what it is given.
        data: the data.
        mutability: what a person can change, and how.
        regions: groups of similar cases.
        counterfactuals: searches, by a name of your choice.
        methods: the questions that are put to the model; two of one kind need an `id`.
        remedies: methods that make a better model; the whole audit is run again on each.
        gates: bars for metrics.
        waivers: findings that are accepted for a while.
        report: the report.
        run: how it is computed.
    """

    model_config = ConfigDict(defer_build=True)

    spec_version: Annotated[int, Field(ge=SPEC_VERSION, le=SPEC_VERSION, json_schema_extra={"const": SPEC_VERSION})]
    audit: AuditInfo
    model: Annotated[Adapter, Member(ADAPTERS)]
    data: DataSpec
    mutability: Mutability = Mutability()
    regions: tuple[Region, ...] = ()
    counterfactuals: dict[Name, Annotated[Generator, Member(GENERATORS)]] = {}
    methods: Annotated[tuple[Annotated[Method, Member(METHODS)], ...], Field(min_length=1)]
    remedies: tuple[Annotated[Method, Member(METHODS)], ...] = ()
    gates: tuple[Gate, ...] = ()
    waivers: tuple[Waiver, ...] = ()
    report: ReportSpec = ReportSpec()
    run: RunSpec = RunSpec()


def column_infos(spec: Spec) -> Mapping[str, ColumnInfo]:
    """What the spec says of each column, from `data.columns` and `mutability.features` together."""
    infos = dict(spec.data.columns)
    for name, rule in spec.mutability.features.items():
        info = infos.get(name, ColumnInfo())
        infos[name] = info.model_copy(update={"order": info.order or rule.order, "unit": info.unit or rule.unit})
    return infos
