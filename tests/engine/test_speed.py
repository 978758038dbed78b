"""What a whole audit costs: CPU beyond imports, and how it grows with the rows."""

import time

import credit_case

from audit.engine.run import run


def spec_for(rows):
    sample = {"sample": {"rows": rows, "stratify": "decision"}}
    return credit_case.SPEC | {"data": credit_case.SPEC["data"] | sample, "run": {"seed": 3}}


def cpu_of(folder, rows):
    """CPU seconds of an audit of all rows, HTML included."""
    spec = credit_case.make(folder / f"{rows}", n=rows, spec=spec_for(rows))
    begun = time.process_time()
    run(spec, folder / f"out-{rows}")
    return time.process_time() - begun


def test_1200_rows_below_3_seconds_and_6000_rows_at_most_6_times_that(tmp_path, figure):
    cpu_of(tmp_path, 60)  # imports
    small = min(cpu_of(tmp_path / "a", 1200), cpu_of(tmp_path / "b", 1200))
    large = cpu_of(tmp_path, 6000)
    figure("CPU seconds, 1,200 rows x 6 features, logistic regression, HTML included", round(small, 2), "limit 3")
    figure("CPU, 6,000 rows over 1,200 rows", round(large / small, 2), "limit 6")
    assert small < 3
    assert large / small <= 6
