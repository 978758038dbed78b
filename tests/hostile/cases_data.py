"""Tables, texts and names that mean harm."""
# ruff: noqa: E501 - cases read best as one line each

import gzip
import io
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from cases_models import Runs
from hostile_case import HARMLESS, Case, Stage, cases

SHOWN = HARMLESS | {3}
Edit = Callable[[pd.DataFrame], Any]


def rows(name: str, content: bytes | Callable[[Stage], bytes]) -> Callable[[Stage], None]:
    """The good audit with another file of rows."""

    def make(stage: Stage) -> None:
        stage.spec(data={"evaluate": name})
        stage.write(name, content(stage) if callable(content) else content)

    return make


def table(edit: Edit, **sections: Any) -> Callable[[Stage], None]:
    """The good audit with edited rows."""

    def make(stage: Stage) -> None:
        stage.spec(**sections)
        for name in ("train.csv", "holdout.csv"):
            frame = pd.read_csv(stage.folder / name)
            changed = edit(frame)
            (frame if changed is None else changed).to_csv(stage.folder / name, index=False)

    return make


def parquet(edit: Callable[[pa.Table], pa.Table]) -> Callable[[Stage], bytes]:
    """The good rows as Parquet, edited."""

    def content(stage: Stage) -> bytes:
        found = pa.Table.from_pandas(pd.read_csv(stage.folder / "holdout.csv"), preserve_index=False)
        buffer = io.BytesIO()
        pq.write_table(edit(found), buffer)
        return buffer.getvalue()

    return content


def repeated(stage: Stage) -> bytes:
    """A thousand million rows of one value, and of a text, in a small file."""
    buffer = io.BytesIO()
    n = 5_000_000
    block = (
        pa.table(
            {
                "id": pa.DictionaryArray.from_arrays(pa.array(np.zeros(n, np.int32)), pa.array(["x" * 4000])).cast(
                    pa.dictionary(pa.int32(), pa.large_string())
                )
            }
        )
        if n
        else None
    )
    with pq.ParquetWriter(buffer, block.schema, compression="zstd", store_schema=False) as writer:
        for _ in range(3):
            writer.write_table(block)
    return buffer.getvalue()


def extension(found: pa.Table) -> pa.Table:
    """A column of an extension type that older readers unpickle."""
    import pickle

    content = {b"ARROW:extension:name": b"arrow.py_extension_type",
               b"ARROW:extension:metadata": pickle.dumps(Runs("open('MARKER', 'w')"))}  # fmt: skip
    field = pa.field("age", pa.int64(), metadata=content)
    return found.set_column(found.column_names.index("age"), field, found["age"])


def metadata(found: pa.Table) -> pa.Table:
    """What pandas says of the columns, in words of another."""
    said = (
        b'{"index_columns": ["id", "__import__(\'os\').system(\'touch MARKER\')"], "columns": [{"name": "id", '
        b'"pandas_type": "object", "numpy_type": "__import__(\'os\')", "metadata": null}], "column_indexes": [], '
        b'"attributes": {"a": 1}, "pandas_version": "9"}'
    )
    return found.replace_schema_metadata({b"pandas": said})


def _pickle(stage: Stage) -> bytes:
    import pickle

    return pickle.dumps(Runs(stage.code))


BAD = "cannot be read|memory|columns|rows"
TABLES = cases(
    "tables",
    {
        "a field of 100 MB": (rows("big.csv", b"id,age\n1," + b"9" * 10**8), "."),
        "a quote that never closes": (rows("open.csv", b'id,age\n1,"' + b"x,\n" * 10**6), "."),
        "gibibytes of zeros in a small .gz": (rows("bomb.csv.gz", lambda s: gzip.compress(bytes(2**26), 1) * 128), BAD),
        "rows without end in a small .gz": (rows("rows.csv.gz", lambda s: gzip.compress(b"1,2,3,4\n" * 2**22, 1) * 160), BAD),
        "50,000 columns": (rows("wide.csv", (",".join(f"c{i}" for i in range(50_000)) + "\n" + "1," * 49_999 + "1\n").encode()),
                           "at most 20,000"),
        "NULs": (rows("nul.csv", b"id,age\n\0\0\0,1\n"), "."),
        "UTF-16": (rows("wide16.csv", "id,age\n1,2\n".encode("utf-16")), "cannot be read"),
        "a pickle called .csv": (rows("code.csv", _pickle), "."),
        "a pickle": (rows("code.pkl", _pickle), "not a known kind"),
        "HTML": (rows("page.html", b"<img src=http://127.0.0.1/x>"), "not a known kind"),
        "an Excel file": (rows("book.xlsx", b"PK\x03\x04"), "not a known kind"),
        "Parquet in name only": (rows("text.parquet", b"PAR1 no PAR1"), "cannot be read"),
        "Parquet that ends early": (rows("half.parquet", lambda s: parquet(lambda t: t)(s)[:-200] + b"PAR1"), "cannot be read"),
        "Parquet whose footer is noise": (rows("noise.parquet", lambda s: _noise(parquet(lambda t: t)(s))), "."),
        "sixty million long texts in a small Parquet": (rows("texts.parquet", repeated), BAD),
        "a column that is unpickled": (rows("ext.parquet", parquet(extension)), "", SHOWN),
        "metadata of pandas that is code": (rows("meta.parquet", parquet(metadata)), "", SHOWN),
        "lists in cells": (rows("lists.parquet", parquet(lambda t: t.set_column(1, "age", pa.array([[1]] * len(t))))), "."),
        "two columns of one name": (rows("two.csv", b"id,id,age\n1,2,3\n"), "."),
        "no rows": (rows("none.csv", b"id,age\n"), "has no rows|no column"),
        "numbers larger than numbers": (table(lambda f: f.assign(income=["9" * 400] * len(f))), "", SHOWN),
        "whole numbers of 30 digits": (table(lambda f: f.assign(age=[10**30 + i for i in range(len(f))])), "", SHOWN),
        "numbers without end": (table(lambda f: f.assign(income=np.where(f.index % 2, np.inf, 1.0))), "", SHOWN),
        "an id that leads out": (table(lambda f: f.assign(id=[f"../../../x{i}" for i in f.index])), "", SHOWN),
        "an id of 100,000 characters": (table(lambda f: f.assign(id=[f"{i}" * 30_000 for i in f.index])), "", SHOWN),
    },
)  # fmt: skip


def _noise(data: bytes) -> bytes:
    return data[: len(data) // 2] + bytes(range(256)) * 20 + data[-8:]


SCRIPT = "<script>alert(1)</script><img src=x onerror=alert(1)>"
FORMULA = "=cmd|' /C calc'!A0"
PRINTED: dict[str, Any] = {
    "report": {"formats": ["html", "pdf"]}, "data": {"protected": ["gender", "housing"]},
    "methods": [{"kind": "performance"}, {"kind": "fairness"}],
}  # fmt: skip
"""The names stand in the PDF too, and in the tables inside it."""

NAMES = cases(
    "names",
    {
        what: (table(lambda f, text=text: f.assign(housing=f["housing"].replace("own", text)),
                     **PRINTED if os.environ.get("AUDIT_ACCEPT") else {}), "", SHOWN)
        for what, text in {
            "a level that is a formula": FORMULA,
            "a level that is markup": SCRIPT,
            "a level that is a template": "{{ ''.__class__.__mro__[1].__subclasses__() }}{% include '/etc/passwd' %}",
            "a level that reads backwards": "\u202egpj.exe\u2066",
            "a level of control characters": "own\x1b[2J\x07\x08",
            "a level that closes a script of JSON": "</script><!--",
            "a level that is CSS": "}*{background:url(http://127.0.0.1/x)}",
        }.items()
    }
    | {
        "a title that is markup": (lambda s: s.spec(audit={"title": SCRIPT}), "", HARMLESS),
        "a title that is a template": (lambda s: s.spec(audit={"title": "{{ 7 * 7 }}{{ cycler.__init__.__globals__ }}"}), "",
                                       HARMLESS),
        "an owner that reads backwards": (lambda s: s.spec(audit={"owner": "\u202eeligible"}), "", HARMLESS),
        "a feature that is markup": (lambda s: _renamed(s, SCRIPT), "", SHOWN | {2}),
        "a feature that is a path": (lambda s: _renamed(s, "../../etc/x"), "", SHOWN | {2}),
    },
)  # fmt: skip


def _renamed(stage: Stage, name: str) -> None:
    """A protected column of another name."""
    stage.spec(data={"protected": [name]})
    for file in ("train.csv", "holdout.csv"):
        pd.read_csv(stage.folder / file).assign(**{name: 1}).to_csv(stage.folder / file, index=False)


def text(content: str | bytes, *, pdf: bool = False) -> Callable[[Stage], None]:
    """An opinion in Markdown."""

    def make(stage: Stage) -> None:
        stage.spec(
            report={
                "formats": ["html", "pdf"] if pdf else ["html"],
                "opinion": {"word": "qualified", "by": "A", "text": "opinion.md"},
            }
        )
        given = content if isinstance(content, bytes) else content.replace("OUTSIDE", str(stage.outside)).encode()
        stage.write("opinion.md", given)

    return make


TEXT = HARMLESS | {2}
TEXTS = cases(
    "texts",
    {
        "a script": (text(SCRIPT), "", TEXT),
        "a picture from the disk": (text("![x](file://OUTSIDE/secret.png) <img src='OUTSIDE/secret.png'>"), "", TEXT),
        "a picture from the net": (text("![x](http://127.0.0.1:9/x.png)", pdf=True), "", TEXT),
        "a file attached to the PDF": (text("<link rel=attachment href='file://OUTSIDE/secret.md'>"), "", TEXT),
        "a style from the net": (text("<style>@import url(http://127.0.0.1:9/x.css)</style>"), "", TEXT),
        "a drawing that reads a file": (
            text("<svg><image href='file://OUTSIDE/secret.png'/><use href='file://OUTSIDE/x.svg#a'/></svg>"), "", TEXT),
        "a link that is code": (text("[x](javascript:alert(1)) [y](file://OUTSIDE/secret.md)", pdf=True), "", TEXT),
        "a template that reads a file": (text("{% include '/etc/passwd' %}{{ ''.__class__.__mro__ }}"), "", TEXT),
        "a template that never ends": (text("{% for i in range(10**12) %}x{% endfor %}{{ 'a' * 10**10 }}"), "", TEXT),
        "an entity bomb": (text("<!DOCTYPE x [<!ENTITY a 'aaaa'><!ENTITY b '&a;&a;'>]>&b;"), "", TEXT),
        "20,000 quotes in one another": (text(">" * 20_000 + " x"), "", TEXT),
        "20,000 brackets": (text("[" * 20_000 + "](x)" * 100), "", TEXT),
        "20,000 stars": (text("*" * 20_000 + "a" + "_" * 20_000), "", TEXT),
        "a NUL": (text(b"fine\0not"), "", TEXT),
        "no text": (text(bytes(range(128, 256))), "", TEXT),
        "a megabyte": (text("x" * 10**6), "at most", TEXT),
    },
)  # fmt: skip
ALL: list[Case] = [*TABLES, *NAMES, *TEXTS]
