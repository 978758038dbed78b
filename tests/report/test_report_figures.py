"""Figures: what they draw of ScoresActivation and CID, and texts that never meet, whatever the names are."""

import re
from itertools import combinations
from pathlib import Path

import cid_case as cc
import numpy as np
import pandas as pd
import pytest
import scores_runs as sr
from hypothesis import given, settings
from hypothesis import strategies as st
from report_case import _conclude, _task

from audit.bundle import Bundle
from audit.core.evidence import Metric, Result
from audit.core.plan import Plan
from audit.report.distances import cid
from audit.report.figures import Bar, Figure, Limit, Spread, bars, fitted, spreads, wide
from audit.report.panels import Box, Dot, Key, Panel, Said, Trace, boxes, key_rows, panels, scatter, stepped
from audit.report.scores import EPOCHS_DRAWN, scores
from audit.report.source import Source

SIZES = {"label": 12, "label-small": 10, "panel": 11, "value": 12, "value-small": 11, "tick": 11, "axis-label": 11}
SAID = Said("figure", "Title", "Caption")
NAMES = st.text(st.characters(min_codepoint=33, max_codepoint=0x4FF, exclude_categories=["Cc", "Cs"]), max_size=60)
SHARES = st.floats(0, 1, allow_subnormal=False)


def texts(figure: Figure) -> list[tuple[float, float, float, float, str]]:
    """The box of each text that lies flat: left, top, right, bottom, text."""
    found = []
    for mark in figure.marks:
        if mark.kind != "text" or mark.look == "axis-label-up":
            continue
        size = SIZES[mark.look]
        length = wide(mark.text, size)
        left = mark.x - length * {"start": 0, "middle": 0.5, "end": 1}[mark.anchor]
        found.append((left, mark.y - 0.75 * size, left + length, mark.y + 0.2 * size, mark.text))
    return found


def assert_apart(figure: Figure) -> None:
    """No text lies on another, and none leaves the figure."""
    boxes_of = texts(figure)
    for a, b in combinations(boxes_of, 2):
        assert a[0] >= b[2] or b[0] >= a[2] or a[1] >= b[3] or b[1] >= a[3], (a, b)
    for left, top, right, bottom, text in boxes_of:
        assert min(left, top) >= -0.5, text
        assert right <= figure.width + 0.5, text
        assert bottom <= figure.height + 0.5, text


def built(root: Path, kind: str, *results: tuple[str, str, Result]) -> Source:
    """A bundle with some results, as the report reads it."""
    bundle = Bundle(root)
    tasks = [_task(name, of, {}) for name, of, _ in results]
    records = [bundle.put(t.id, t.kind, t.key, r) for t, (_, _, r) in zip(tasks, results, strict=True)]
    _conclude(bundle, records, [], {}, Plan(tasks=tuple(tasks)), None)
    assert any(record.kind == kind for record in records)
    return Source(bundle)


def drawn(source: Source, layout, kind: str) -> dict[str, Figure]:
    """The figures of a piece of evidence, by name."""
    record = next(source.of_kind(kind))
    return {block.name: block for _, block in layout(source, record) if isinstance(block, Figure)}


# --- ScoresActivation ---


@pytest.fixture(scope="module")
def trained() -> Result:
    return sr.run(sr.inputs())


@pytest.fixture(scope="module")
def trained_source(trained: Result, tmp_path_factory: pytest.TempPathFactory) -> Source:
    other = pd.DataFrame({"feature": list("abcd"), "mean_abs": [0.4, 0.1, 0.3, 0.2]})
    shap = Result(tables={"shap_global": other})
    root = tmp_path_factory.mktemp("scores")
    return built(root, "scores_activation", ("scores", "scores_activation", trained), ("shap", "shap", shap))


def test_the_weights_are_drawn_with_their_null_band(trained: Result, trained_source: Source) -> None:
    figure = drawn(trained_source, scores, "scores_activation")["weights-scores"]
    null = sr.metric(trained, "null_95").value
    zone = next(m for m in figure.marks if m.look == "zone")
    line = next(m for m in figure.marks if m.look == "limit")
    assert zone.x + zone.x2 == pytest.approx(line.x, abs=0.2)
    assert f"{null:.3f}" in figure.title
    # The scale is that of the bars: a bar as long as the band would be a weight of null_95.
    weights = trained.tables["scores_global"].sort_values(["value", "feature"], ascending=[False, True])
    lengths = [m.x2 for m in figure.marks if m.look == "bar"]
    assert len(lengths) == len(weights)
    np.testing.assert_allclose(np.array(lengths) / zone.x2, weights["value"] / null, atol=0.2 / zone.x2)
    for name, value in zip(weights["feature"], weights["value"], strict=True):
        assert f"{name} {value:.3f}" in figure.title


def test_every_seed_is_a_line_that_ends_where_its_network_was_kept(trained: Result, trained_source: Source) -> None:
    figure = drawn(trained_source, scores, "scores_activation")["learnt-scores"]
    seeds, features = sr.QUICK["seeds"], trained.tables["scores_global"]["feature"]
    lines = [m for m in figure.marks if m.kind == "polyline" and m.look == "trace" and " " in m.points]
    points = [m for m in figure.marks if m.kind == "circle" and m.x2 == 3.5]
    assert len(lines) == seeds * len(features)
    assert len(points) == seeds * len(features) + 1  # the key has one as well
    assert all(len(m.points.split()) <= EPOCHS_DRAWN for m in lines)
    kept = trained.tables["scores_seeds"].set_index("seed")["kept"]
    path = trained.tables["scores_trajectory"].set_index(["seed", "epoch", "feature"])["value"]
    for name in features:
        ends = [path[seed, kept[seed], name] for seed in range(seeds)]
        assert f"{name} {min(ends):.3f} to {max(ends):.3f}" in figure.title
    starts = {m.points.split()[0].split(",")[1] for m in lines[:seeds]}
    assert len(starts) == 1  # all start with the same share


def test_the_rest_is_one_panel(trained: Result, tmp_path: Path) -> None:
    """Of eight features the first five have panels of their own; the sixth shows the largest of the others."""
    rng = np.random.default_rng(0)
    names, epochs = [f"f{i}" for i in range(8)], range(4)
    value = {(e, n): (0.3 - 0.03 * i) * (e + 1) / 4 for e in epochs for i, n in enumerate(names)}
    path = pd.DataFrame([(0, e, n, v) for (e, n), v in value.items()], columns=["seed", "epoch", "feature", "value"])
    table = pd.DataFrame({"feature": names, "value": [value[3, n] for n in names], "status": "ok"})
    seeds = pd.DataFrame({"seed": [0], "status": "ok", "kept": [2], "epochs": [3]})
    shuffled = table.iloc[rng.permutation(8)].reset_index(drop=True)
    result = Result(tables={"scores_global": shuffled, "scores_seeds": seeds, "scores_trajectory": path})
    source = built(tmp_path, "scores_activation", ("scores", "scores_activation", result))
    figure = drawn(source, scores, "scores_activation")["learnt-scores"]
    titles = [m.text for m in figure.marks if m.look == "panel"]
    assert titles == ["f0", "f1", "f2", "f3", "f4", "Largest of the other 3"]
    assert "Largest of the other 3 0.112 to 0.112" in figure.title  # (0.3 - 0.15) x 3 / 4
    assert "null band" not in figure.title.lower()


def test_weights_stand_against_two_kinds_of_shap_values(trained: Result, trained_source: Source) -> None:
    figures = drawn(trained_source, scores, "scores_activation")
    kernel, audited = figures["kernel-scores"], figures["shap-scores"]
    compared = trained.tables["scores_compared"].set_index("feature")
    rho = sr.metric(trained, "spearman_rho", variant="kernel_shap").value
    assert f"Spearman {rho:.3f}" in kernel.title
    for name in compared.index:
        assert f"{name} weight {compared['value'][name]:.3f}, {compared['kernel_shap'][name]:.3f}" in kernel.title
    # e has no SHAP value in the other evidence, so that it is no point there.
    dots = [m for m in audited.marks if m.look == "point"]
    assert len(dots) == 4
    right = max(dots, key=lambda m: m.x)
    heaviest = compared.loc[list("abcd"), "value"].idxmax()
    highest = min(dots, key=lambda m: m.y)
    assert (right is highest) == (heaviest == "a")
    assert "a weight" in audited.title
    assert "e weight" not in audited.title


def test_nothing_is_drawn_of_a_refused_ranking(tmp_path: Path) -> None:
    refused = sr.run(sr.inputs(model=lambda f: np.where(f["e"] > 0, 0.2, 0.8)), min_fidelity=1.0)
    assert refused.status == "refused"
    assert not drawn(
        built(tmp_path, "scores_activation", ("s", "scores_activation", refused)), scores, "scores_activation"
    )


def test_without_permuted_labels_there_is_no_band(tmp_path: Path) -> None:
    result = sr.run(sr.inputs(), null_permutations=0, shap_seeds=0)
    source = built(tmp_path, "scores_activation", ("s", "scores_activation", result))
    figures = drawn(source, scores, "scores_activation")
    assert set(figures) == {"weights-s", "learnt-s"}
    assert not [m for f in figures.values() for m in f.marks if m.look in {"zone", "limit"}]


# --- CID ---


@pytest.fixture(scope="module")
def measured() -> Result:
    return cc.run(cc.explained(cc.synthetic(cc.logistic()).inputs), instances=10, against=("shap",), repeats=4)


@pytest.fixture(scope="module")
def measured_source(measured: Result, tmp_path_factory: pytest.TempPathFactory) -> Source:
    return built(tmp_path_factory.mktemp("cid"), "cid", ("cid", "cid", measured))


def test_boxes_over_repeats(measured: Result, measured_source: Source) -> None:
    figure = drawn(measured_source, cid, "cid")["distances-cid"]
    medians = measured.tables["cid_repeats"].groupby("feature")["value"].median().sort_values(ascending=False)
    values = [m.text for m in figure.marks if m.look == "value"]
    assert values == [f"{v:.3f}" for v in medians]
    assert f"{medians.index[0]} median {medians.iloc[0]:.3f}" in figure.title


def test_the_overlap_is_what_both_distributions_have(measured: Result, measured_source: Source) -> None:
    figures = drawn(measured_source, cid, "cid")
    table = measured.tables["cid_densities"]
    assert len([n for n in figures if n.startswith("densities")]) == table["outcome"].nunique() == 2
    figure = figures["densities-cid-0"]
    areas = [m for m in figure.marks if m.kind == "polygon" and m.look == "overlap"]
    curves = {look: [m for m in figure.marks if m.kind == "polyline" and m.look == look] for look in ("plus", "minus")}
    assert len(areas) == 6
    for i, area in enumerate(areas):
        # Each panel has the curve, then the outline of the share that is kept.
        plus, minus = (
            np.array([[*map(float, p.split(","))] for p in curves[look][2 * i].points.split()])
            for look in ("plus", "minus")
        )
        corners = np.array([[*map(float, p.split(","))] for p in area.points.split()])
        np.testing.assert_allclose(corners[1:-1, 1], np.maximum(plus[:, 1], minus[:, 1]))  # y points down
        np.testing.assert_allclose(corners[1:-1, 0], plus[:, 0])
    first = table.iloc[0]
    sizes = table.groupby("outcome")["n"].max()
    own = table[table["outcome"] == sizes.idxmax()].iloc[0]
    assert f"{own['feature']} distance {own['distance']:.3f}" in figure.title
    assert first["n"] in set(sizes)


def test_levels_are_columns_and_the_rarer_ones_stand_together(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"town": rng.choice(list("abcdefghij"), 80), "x": rng.random(80)})
    inputs = cc.toy_inputs(frame, lambda f: np.where(f["town"].isin(list("abc")) | (f["x"] > 0.8), 0.8, 0.2))
    result = cc.run(inputs, instances=6, repeats=2, m=20)
    source = built(tmp_path, "cid", ("cid", "cid", result))
    figure = drawn(source, cid, "cid")["densities-cid-0"]
    labels = [m.text for m in figure.marks if m.look == "tick" and re.fullmatch(r"[a-j]|rest", m.text)]
    assert len(labels) == 5
    assert labels[-1] == "rest"
    assert labels[:-1] == sorted(labels[:-1])
    table = result.tables["cid_densities"]
    towns = table[table["feature"] == "town"].groupby("outcome")[["plus", "minus"]].sum()
    np.testing.assert_allclose(towns, 1.0)


def test_removal_has_the_chance_line_and_the_same_numbers(measured: Result, measured_source: Source) -> None:
    figure = drawn(measured_source, cid, "cid")["removal-cid"]
    lines = [m for m in figure.marks if m.kind == "polyline"]
    assert [m.look for m in lines] == 2 * ["curve", "series1", "series2", "series3"]
    assert all(len(m.points.split()) == 9 for m in lines)  # 0 to 8 features
    removed = [float(m.points.split()[4].split(",")[1]) for m in lines[:4]]
    table = measured.tables["cid_removal"]
    losses = table[table["features"] == 4].set_index("attribution")["removed"]
    drawn_order = np.argsort(removed)  # the highest on the page first
    named = np.array(["cid", "change frequency", "shap", "random ranking"])
    assert list(named[drawn_order]) == list(losses.sort_values(ascending=False).index)
    row = cc.faithful(measured).loc["random ranking"]
    assert f"random ranking (chance line): comprehensiveness {row['comprehensiveness']:.3f}" in figure.title
    assert "random ranking (chance line)" in {m.text for m in figure.marks}


def test_one_repeat_has_no_box(tmp_path: Path) -> None:
    result = cc.run(cc.whole(), repeats=1, instances=5)
    figures = drawn(built(tmp_path, "cid", ("cid", "cid", result)), cid, "cid")
    assert "distances-cid" not in figures
    assert "removal-cid" in figures


# --- Layout ---


def test_figures_of_real_runs_keep_their_texts_apart(trained_source: Source, measured_source: Source) -> None:
    figures = [
        *drawn(trained_source, scores, "scores_activation").values(),
        *drawn(measured_source, cid, "cid").values(),
    ]
    assert len(figures) == 8
    for figure in figures:
        assert_apart(figure)
        assert figure.caption.endswith(".")


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(NAMES, SHARES, SHARES), min_size=1, max_size=7), st.integers(1, 3), SHARES)
def test_texts_never_meet(rows: list[tuple[str, float, float]], columns: int, limit: float) -> None:
    ticks = ((0.0, "12345.678901", 0.3), (0.5, rows[0][0], 0.3), (1.0, "-98765.4321", 0.3))
    items = [
        Panel(
            n, n, (0.0, 1.0), (0.0, 1.0), (Trace(((0.0, a), (1.0, b)), "curve"),), ticks, apart=(a, b), scale=(0.0, 1.0)
        )
        for n, a, b in rows
    ]
    keys = [Key("curve", n, "square") for n, _, _ in rows]
    assert_apart(panels(SAID, items, columns=columns, height=80, axis="Axis", keys=keys))
    five = [Box(n, (min(a, b), a, a, b, max(a, b)), None, f"{a:.3f}") for n, a, b in rows]
    assert_apart(boxes(SAID, five, axis="Axis", keys=keys))
    assert_apart(scatter(SAID, [Dot(a, b, n) for n, a, b in rows], axes=("x", "y"), limit=limit))
    flat = [Bar(n, a, None, None, f"{a:.3f} in noise") for n, a, _ in rows]
    assert_apart(bars("b", "t", "c", flat, axis="Axis", limit=Limit(limit, f"null band to {limit:.3f}")))
    assert_apart(spreads("s", "t", "c", [Spread(n, -a, 0.0, b, "50 % up") for n, a, b in rows], axis="Axis"))


def test_names_in_a_crowd_cover_no_point() -> None:
    dots = [Dot(0.5 + 0.001 * i, 0.5 + 0.004 * (i % 5), f"feature {i}") for i in range(20)]
    figure = scatter(SAID, dots, axes=("x", "y"))
    points = [m for m in figure.marks if m.look == "point"]
    named = [t for t in texts(figure) if t[4].startswith("feature")]
    assert len(points) == 20
    assert 0 < len(named) < 20
    for left, top, right, bottom, text in named:
        inside = [p for p in points if left < p.x < right and top < p.y < bottom]
        assert not inside, text


def test_widths_are_not_less_than_those_of_the_fonts(root: Path) -> None:
    from fontTools.ttLib import TTFont

    font = TTFont(root / "templates" / "fonts" / "IBMPlexSans_400Regular.ttf")
    shapes, advances = font.getBestCmap(), font["hmtx"]
    for code in [*range(0x20, 0x7F), *range(0xC0, 0x250), *range(0x400, 0x460)]:
        if code in shapes:
            assert wide(chr(code), 1) >= advances[shapes[code]][0] / font["head"].unitsPerEm, chr(code)


@given(NAMES, st.floats(0, 300))
def test_what_is_fitted_has_room(text: str, room: float) -> None:
    shown = fitted(text, 10, room)
    assert wide(shown, 10) <= room
    if wide(text, 10) <= room:
        assert shown == text
    elif shown:
        assert shown.endswith("…")


def test_keys_wrap_and_say_how_high_they_are() -> None:
    marks, height = key_rows([Key("curve", "a rather long text that fills a third of it")] * 5, 10.0)
    rows = {m.y for m in marks if m.kind == "text"}
    assert len(rows) == 5
    assert height == max(rows) - 10 + 16
    assert key_rows([], 10.0) == ([], 0.0)


def test_steps() -> None:
    assert stepped([0.2, 0.7]) == ((0.0, 0.2), (1.0, 0.2), (1.0, 0.7), (2.0, 0.7))


def test_a_metric_without_a_value_is_no_band(tmp_path: Path) -> None:
    table = pd.DataFrame({"feature": ["a", "b"], "value": [0.6, 0.4], "status": "untested"})
    result = Result(metrics=(Metric(name="null_95", value=None, n=0),), tables={"scores_global": table})
    figure = drawn(
        built(tmp_path, "scores_activation", ("s", "scores_activation", result)), scores, "scores_activation"
    )
    assert "null" not in figure["weights-s"].title
