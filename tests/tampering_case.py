"""What is done to a bundle by people who want it to say something else: one function for each kind."""

import json
from functools import cache
from io import BytesIO

from audit.bundle import parquet_bytes, pretty_json


def edit(bundle, name, change):
    """Changes a JSON file as plain data, in our spelling."""
    path = bundle.root / name
    content = json.loads(path.read_bytes())
    change(content)
    path.write_bytes(pretty_json(content))


def key_of(bundle, task):
    return next(record.key for record in bundle.records() if record.id == task)


def _metric(entry, value=0.999):
    next(m for m in entry["metrics"] if m["name"] == "accuracy")["value"] = value


def _entry(results, task="performance"):
    return next(entry for entry in results["evidence"] if entry["id"] == task)


def evidence_number(bundle):
    edit(bundle, f"evidence/{key_of(bundle, 'performance')}/evidence.json", _metric)


def results_number(bundle):
    edit(bundle, "results.json", lambda results: _metric(_entry(results)))


def both_numbers(bundle):
    evidence_number(bundle)
    results_number(bundle)


def _table(bundle, change):
    record = next(r for r in bundle.records() if r.id == "counterfactuals.flips")
    table = next(t for t in record.tables if t.name == "counterfactuals")
    frame = change(bundle.table(table))
    (bundle.root / table.path).write_bytes(parquet_bytes(frame))


def parquet_cell(bundle):
    def change(frame):
        frame.loc[0, "distance"] = frame.loc[0, "distance"] / 2
        return frame

    _table(bundle, change)


def parquet_row(bundle):
    _table(bundle, lambda frame: frame.iloc[1:])


def parquet_column(bundle):
    _table(bundle, lambda frame: frame.drop(columns="cost"))


def _replace(bundle, name, old, new, count=1):
    path = bundle.root / name
    text = path.read_text(encoding="utf-8")
    assert old in text, name
    path.write_text(text.replace(old, new, count), encoding="utf-8")


def html_text(bundle):
    _replace(bundle, "report.html", "The model may be used with care.", "The model may be used freely.")


def html_id(bundle):
    name = bundle.manifest().report_id
    _replace(bundle, "report.html", name, "AR-0123456789", -1)


def in_pdf(bundle, change):
    path = bundle.root / "report.pdf"
    path.write_bytes(change(path.read_bytes()))


def pdf_byte(bundle):
    def change(data):
        at = len(data) // 3
        return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]

    in_pdf(bundle, change)


def _rewritten(bundle, change):
    """Writes the unsigned PDF anew, with a change; the work is done once for all copies."""
    path = bundle.root / "report.pdf"
    signed = bundle.manifest().signed
    path.write_bytes(_written(path.read_bytes()[: signed.unsigned_bytes if signed else None], change))


@cache
def _written(data, change):
    from pyhanko.pdf_utils.reader import PdfFileReader
    from pyhanko.pdf_utils.writer import copy_into_new_writer

    writer = copy_into_new_writer(PdfFileReader(BytesIO(data)))
    change(writer)
    out = BytesIO()
    writer.write(out)
    return out.getvalue()


def _without_last_page(writer):
    kids = writer.root["/Pages"]["/Kids"]
    while "/Kids" in kids[-1].get_object():
        kids = kids[-1].get_object()["/Kids"]
    del kids[-1]


def _with_other_results(writer):
    for item in writer.root["/AF"]:
        spec = item.get_object()
        if str(spec["/F"]) == "results.json":
            stream = spec["/EF"]["/F"]
            stream._data = stream.data.replace(b"0.", b"1.", 1)
            stream._encoded_data = None


def pdf_page(bundle):
    _rewritten(bundle, _without_last_page)


def pdf_attachment(bundle):
    _rewritten(bundle, _with_other_results)


def pdf_update(bundle):
    from pyhanko.pdf_utils.generic import pdf_string
    from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter

    def change(data):
        writer = IncrementalPdfFileWriter(BytesIO(data))
        writer.root["/Lang"] = pdf_string("xx")
        writer.update_root()
        out = BytesIO()
        writer.write(out)
        assert out.getvalue().startswith(data)
        return out.getvalue()

    in_pdf(bundle, change)


def in_manifest(bundle, change):
    edit(bundle, "manifest.json", change)


def spec_text(bundle):
    def change(manifest):
        manifest["spec"] = manifest["spec"].replace("at_least: 0.99", "at_least: 0.09")

    in_manifest(bundle, change)


def entry_removed(bundle):
    in_manifest(bundle, lambda manifest: manifest["files"].pop("results.json"))


def entry_added(bundle):
    in_manifest(bundle, lambda manifest: manifest["files"].update({"evidence/none.json": "0" * 64}))


def digest_rewritten(bundle):
    in_manifest(bundle, lambda manifest: manifest["files"].update({"findings.sarif": "0" * 64}))


def model_digest(bundle):
    def change(manifest):
        for entry in manifest["inputs"]:
            if entry["role"] == "model":
                entry["sha256"] = "0" * 64

    in_manifest(bundle, change)


def version(bundle):
    in_manifest(bundle, lambda manifest: manifest["packages"].update({"scipy": "0.0.1"}))


def seed(bundle):
    in_manifest(bundle, lambda manifest: manifest.update({"seed": 99}))


def plan_setting(bundle):
    def change(manifest):
        next(t for t in manifest["plan"]["tasks"] if t["id"] == "flex")["settings"]["min_change"] = 0.5

    in_manifest(bundle, change)


def as_of(bundle):
    in_manifest(bundle, lambda manifest: manifest.update({"as_of": "2025-01-01"}))


def file_added(bundle):
    (bundle.root / "evidence" / "note.txt").write_text("trust me")


def file_renamed(bundle):
    (bundle.root / "findings.sarif").rename(bundle.root / "findings.old")


def symlink(bundle):
    path = bundle.root / "results.json"
    moved = bundle.root.parent / f"elsewhere-{bundle.root.name}.json"
    path.rename(moved)
    path.symlink_to(moved)


def opinion_word(bundle):
    edit(bundle, "results.json", lambda results: results["opinion"].update({"word": "unqualified"}))
    in_manifest(bundle, lambda manifest: manifest["facts"]["opinion"].update({"word": "unqualified"}))


def opinion_text(bundle):
    edit(bundle, "results.json", lambda results: results["opinion"].update({"text": "All is well."}))
    in_manifest(bundle, lambda manifest: manifest["facts"]["opinion"].update({"text": "All is well."}))


def narrative(bundle):
    in_manifest(bundle, lambda manifest: manifest["facts"]["narrative"]["S2"].update({"text": "Anything at all.\n"}))


def _gate(results, bar=0.99):
    return next(f for f in results["findings"] if f["gate"] and f["gate"]["at_least"] == bar)


def gate_outcome(bundle):
    edit(bundle, "results.json", lambda results: _gate(results).update({"outcome": "pass"}))


def gate_bar(bundle):
    edit(bundle, "results.json", lambda results: _gate(results)["gate"].update({"at_least": 0.1}))


def gate_removed(bundle):
    edit(bundle, "results.json", lambda results: results["findings"].remove(_gate(results)))


def finding_removed(bundle):
    def change(results):
        results["findings"] = [f for f in results["findings"] if f["code"] != "kind_not_stated"]

    edit(bundle, "results.json", change)


def waiver(bundle):
    def change(results):
        _gate(results)["waiver"] = {
            "finding": _gate(results)["id"], "reason": "fine", "approved_by": "me", "until": "2030-01-01",
        }  # fmt: skip

    edit(bundle, "results.json", change)


def waiver_in_manifest(bundle):
    in_manifest(bundle, lambda manifest: manifest["facts"]["waivers"][0].update({"until": "2030-01-01"}))


def junit(bundle):
    _replace(bundle, "findings.junit.xml", "FAIL", "PASS")


def sarif(bundle):
    _replace(bundle, "findings.sarif", '"fail"', '"pass"')


def changes(bundle):
    path = bundle.root / "changes.json"
    text = path.read_text(encoding="utf-8")
    assert '"old": 3' in text or '"3"' in text or "run.seed" in text
    path.write_text(text.replace("run.seed", "run.beet"), encoding="utf-8")


def deep_json(bundle):
    """What no reader of JSON in Python gets to the end of."""
    (bundle.root / "results.json").write_bytes(b"[" * 100_000)


def key_twice(bundle):
    _replace(bundle, "results.json", '{\n  "audit": {', '{\n  "opinion": {"word": "unqualified"},\n  "audit": {')
