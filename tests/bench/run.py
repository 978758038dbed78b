"""Measures what whole audits cost and writes docs/benchmarks/audit.md: `make bench`."""

import json
import os
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tests"))

import credit_case  # noqa: E402 - the tests are no package
import example_shares  # noqa: E402

SIZES = (300, 1200, 6000, 24000)
REPEATS = 3
HEAD = """# What a whole audit costs

Written by `make bench`. A made-up credit case (`tests/credit_case.py`): 6 features, a logistic regression in a
scikit-learn pipeline, all evaluation rows audited, methods performance, flex, shap (20 rows) and agreement, two
counterfactual sets (4 per row; 2 per unfavourable row under the policy), HTML included. CPU seconds (user and system)
of this process beyond imports, the smallest of {repeats} runs, on a shared machine of {cores} cores: compare ratios.

The closest peer needed 25 s of CPU for a job of 1,200 rows x 6 features with a logistic regression and did not end one
of 6,000 rows in 420 s (measured on another day; `peers` G16). That is a different list of analyses, not the same work.

| rows | CPU s | over 1,200 rows | counterfactuals | model-evaluated rows | rows per counterfactual |
|---|---|---|---|---|---|
"""


def measure(folder: Path, rows: int) -> tuple[float, int, int]:
    """CPU seconds, counterfactuals and model-evaluated rows of an audit of all of `rows` rows."""
    from audit.engine.run import run

    sample = {"sample": {"rows": rows, "stratify": "decision"}}
    spec = credit_case.SPEC | {"data": credit_case.SPEC["data"] | sample, "run": {"seed": 3}}
    path = credit_case.make(folder / "case", n=rows, spec=spec)
    begun = time.process_time()
    outcome = run(path, folder / "out")
    spent = time.process_time() - begun
    sets = [r for r in outcome.evidence if r.id.startswith("counterfactuals.")]
    found = sum(table.rows for record in sets for table in record.tables if table.name == "counterfactuals")
    asked = sum(int(m.value or 0) for record in sets for m in record.metrics if m.name == "evaluated_rows")
    return spent, found, asked


def main() -> None:
    """Measures each size, interleaved, and writes the table."""
    best: dict[int, tuple[float, int, int]] = {}
    with tempfile.TemporaryDirectory() as folder:
        measure(Path(folder) / "warm", 60)
        for repeat in range(REPEATS):
            for rows in SIZES:
                found = measure(Path(folder) / f"{rows}-{repeat}", rows)
                best[rows] = min(best.get(rows, found), found)
                sys.stderr.write(json.dumps({"rows": rows, "cpu": found[0]}) + "\n")
    base = best[1200][0]
    lines = [
        f"| {rows:,} | {cpu:.2f} | {cpu / base:.2f} | {found:,} | {asked:,} | {asked / found:.1f} |\n"
        for rows, (cpu, found, asked) in best.items()
    ]
    target = ROOT / "docs" / "benchmarks" / "audit.md"
    target.parent.mkdir(parents=True, exist_ok=True)
    whole = HEAD.format(repeats=REPEATS, cores=os.cpu_count()) + "".join(lines)
    target.write_text(whole + example_shares.section(), encoding="utf-8")


if __name__ == "__main__":
    main()
