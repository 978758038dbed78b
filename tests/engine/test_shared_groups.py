"""A bundle to hand out, attacked by subtraction: the whole less the groups that are shown is never a small group."""

from itertools import combinations

import crash_case
import credit_case
import numpy as np
import pandas as pd
import pytest
import skops.io
from hypothesis import given
from hypothesis import strategies as st

from audit.bundle import Bundle
from audit.report.small_groups import COMPARED, Line, SmallGroups, hide

LEAST = 10
ROWS = 90
SIZES = {
    "housing": {"own": 42, "rent": 42, "free": 6},  # one small group, two large ones
    "branch": {"north": 44, "south": 39, "east": 4, "west": 3},  # two small groups, together still small
    "grade": {"a": 30, "b": 25, "c": 20, "d": 11, "e": 4},
    "class": {"old": 82, "new": 8},  # nothing can be shown
    "half": {"x": 50, "y": 40},  # nothing is to be hidden
}
BY = list(SIZES)


def spec_of(fairness, gates=()):
    methods = [
        {"kind": "performance"},
        {"kind": "fairness", "by": BY, "bootstrap": 100, **fairness},
        {"kind": "data", "by": BY},
        {"kind": "recourse", "from": "recourse", "by": ["half", "grade"], "sheets": 0},
    ]
    return credit_case.SPEC | {
        "methods": methods,
        "regions": [],
        "gates": [*gates, {"metric": "performance.auc", "at_least": 0.6}],
        "data": credit_case.SPEC["data"] | {"protected": ["housing"], "sample": {"rows": ROWS}},
        "counterfactuals": {"recourse": credit_case.SPEC["counterfactuals"]["recourse"] | {"per_row": 1}},
    }


def planted(folder, spec):
    """A case whose evaluation rows are divided as `SIZES` says; some genders are not known."""
    path = credit_case.make(folder, n=ROWS, spec=spec)
    rng = np.random.default_rng(5)
    frame = pd.read_csv(folder / "holdout.csv")
    for column, sizes in SIZES.items():
        frame[column] = rng.permutation([group for group, n in sizes.items() for _ in range(n)])
    frame.loc[rng.choice(ROWS, 15, replace=False), "gender"] = np.nan
    frame.to_csv(folder / "holdout.csv", index=False)
    return path


def shared_of(folder, fairness, gates=(), *words):
    spec = planted(folder / "case", spec_of(fairness, gates))
    ended = crash_case.audit("run", spec, "-q", "-o", folder / "whole", log=folder / "log")
    assert ended.code in {0, 1}, ended.said
    ended = crash_case.audit(
        "render", folder / "whole", "--share", folder / "shared", "--format", "html", *words, log=folder / "log"
    )
    assert (ended.code, ended.said) == (0, "")
    return folder


@pytest.fixture(scope="module", params=["none", "next"])
def case(request, tmp_path_factory):
    return shared_of(tmp_path_factory.mktemp(request.param), {"hide_also": request.param})


def people(folder):
    """By measure, who is counted: computed here, from the rows and the model."""
    frame = pd.read_csv(folder / "case" / "holdout.csv")
    model = skops.io.load(folder / "case" / "model.skops", trusted=[])
    given = model.predict_proba(frame[credit_case.FEATURES])[:, list(model.classes_).index("good")] >= 0.5
    actual = (frame["outcome"] == "good").to_numpy()
    everyone = np.ones(len(frame), dtype=bool)
    counted = dict.fromkeys(
        ("selection_rate", "base_rate", "calibration_error", "score_excess", "missing_share"), everyone
    )
    counted |= {"true_positive_rate": actual, "false_positive_rate": ~actual, "predictive_value": given}
    return frame, counted


def left_over(frame, counted, by, shown):
    """Who is left when the groups that are shown are taken from the whole: people by group."""
    sizes = frame.loc[counted, by].value_counts()
    return sizes.drop([group for group in shown if group in sizes.index])


def safe(rest):
    return not rest.sum() or (len(rest) > 1 and rest.sum() >= LEAST)


def metrics_of(folder, name):
    return [(record.id, metric) for record in Bundle(folder / name).records() for metric in record.metrics]


def given_away(folder, name):
    """What subtraction finds in the metrics and the rates of a bundle: evidence, measure, grouping, who is left."""
    frame, counted = people(folder)
    shown = {}
    for record, metric in metrics_of(folder, name):
        place = metric.where
        if place.group is not None and place.data == "evaluate" and metric.n != 0:
            groups = shown.setdefault((record, metric.name, place.by, place.feature), set())
            groups |= {place.group} if metric.value is not None or metric.n is not None else set()
    for record in Bundle(folder / name).records():
        for table in record.tables:
            if table.name == "fairness_rates":
                for line in Bundle(folder / name).table(table).to_dict("records"):
                    groups = shown.setdefault((table.name, line["measure"].replace(" ", "_"), line["by"], None), set())
                    groups |= {line["group"]} if pd.notna(line["n"]) or pd.notna(line["share"]) else set()
    assert len({by for _, _, by, _ in shown}) == len(BY)
    assert len(shown) > 30, "wholes that are divided"
    rests = {key: left_over(frame, counted[key[1]], key[2], groups) for key, groups in shown.items()}
    return {key: rest.to_dict() for key, rest in rests.items() if not safe(rest)}


def test_the_whole_less_the_groups_that_are_shown_is_never_a_small_group(case):
    assert given_away(case, "whole"), "the attack finds what is there"
    assert given_away(case, "shared") == {}


def test_a_group_that_is_hidden_is_hidden_in_every_measure(case):
    """Or a share of the whole would follow from those of its parts."""
    hidden, shown = {}, {}
    for record, metric in metrics_of(case, "shared"):
        key = (metric.where.by, metric.where.group)
        if record == "fairness" and metric.where.group is not None and metric.n != 0:
            (hidden if metric.n is None else shown).setdefault(key, set()).add(metric.name)
    whole = {key for key in hidden if "selection_rate" in hidden[key]}
    assert whole, "groups are hidden that the method shows"
    assert not whole & shown.keys()


def test_comparisons_of_groups_that_are_hidden_here_are_hidden_with_them(case):
    frame, counted = people(case)
    kept = lost = 0
    for record, metric in metrics_of(case, "shared"):
        by = metric.where.variant
        if record != "fairness" or by not in BY or not metric.name.endswith(COMPARED):
            continue
        if metric.value is None:
            lost += 1
            continue
        kept += 1
        measure = metric.name.rpartition("_")[0]
        shown = {
            m.where.group
            for r, m in metrics_of(case, "shared")
            if (r, m.name, m.where.by) == (record, measure, by) and m.value is not None
        }
        rest = left_over(frame, counted[measure], by, shown)
        assert safe(rest), (metric, rest)
        assert metric.n == counted[measure].sum() - rest.sum(), "the groups that are shown, and no other"
    assert kept > 0
    assert lost > 0
    for record in Bundle(case / "shared").records():
        for table in record.tables:
            if table.name == "fairness_gaps":
                gaps = Bundle(case / "shared").table(table)
                assert not gaps["by"].isin(["housing", "class", "branch"]).any()
                assert "half" in set(gaps["by"])


def test_recourse_of_a_small_group_cannot_be_worked_out_either(case):
    frame = pd.read_csv(case / "case" / "holdout.csv", dtype={"id": str})
    whole = Bundle(case / "whole")
    (record,) = [record for record in whole.records() if record.id == "recourse"]
    (local,) = [whole.table(table) for table in record.tables if table.name == "recourse_local"]
    asked = local[local["drawn"]].merge(frame, left_on="instance", right_on="id")
    solved = asked[asked["status"] == "found"]
    shown = {}
    for source, metric in metrics_of(case, "shared"):
        if source == "recourse" and metric.where.by in {"half", "grade"}:
            groups = shown.setdefault((metric.name, metric.where.by), set())
            groups |= {metric.where.group} if metric.n is not None else set()
    assert len(shown) > 6
    for (name, by), groups in shown.items():
        of = solved if name in {"mean_cost", "mean_changed", "median_cost"} else asked
        rest = left_over(of, np.ones(len(of), dtype=bool), by, groups)
        assert safe(rest), (name, by, rest)


def test_what_has_no_small_group_is_shown_whole(case):
    for name, measure in (("fairness", "selection_rate"), ("data", "missing_share")):
        found = [
            metric.n
            for record, metric in metrics_of(case, "shared")
            if (record, metric.name, metric.where.by) == (name, measure, "half")
        ]
        assert sorted(found) == [40, 50]
    grades = {
        metric.where.group
        for record, metric in metrics_of(case, "shared")
        if (record, metric.name, metric.where.by) == ("fairness", "selection_rate", "grade") and metric.n is not None
    }
    hidden_by_the_method = case.name.startswith("next")  # then it is not known how many they are
    assert grades == ({"a", "b"} if hidden_by_the_method else {"a", "b", "c"}), "no more is hidden than must be"


def test_what_a_gate_rests_on_stays_and_the_command_says_what_follows(tmp_path):
    gate = {"metric": "fairness.selection_rate", "by": "housing", "gap_at_most": 0.2}
    folder = tmp_path
    spec = planted(folder / "case", spec_of({}, [gate]))
    ended = crash_case.audit("run", spec, "-q", "-o", folder / "whole", log=folder / "log")
    assert ended.code in {0, 1}, ended.said
    done = credit_case.command("render", folder / "whole", "--share", folder / "shared", "--format", "html")
    assert done.returncode == 0, done.stderr
    assert "gates rest on all groups but small ones, so that subtraction gives 1 numbers of these away" in done.stdout
    whole, shared = (
        [f.model_dump() for f in Bundle(folder / name).findings() if f.gate is not None] for name in ("whole", "shared")
    )
    assert whole == shared
    away = given_away(folder, "shared")
    assert list(away) == [("fairness", "selection_rate", "housing", None)], "what the gate judges, and no more"


@given(
    st.lists(st.integers(0, 40), min_size=1, max_size=7),
    st.sets(st.integers(0, 6)),
    st.sets(st.integers(0, 6)),
    st.integers(1, 15),
)
def test_what_is_hidden_of_a_whole_is_nobody_or_many_or_all(people, gone, last, least):
    sizes = {f"g{i}": n for i, n in enumerate(people)}
    hidden = hide(sizes, {f"g{i}" for i in gone}, least, {f"g{i}" for i in last})
    some = {group for group, n in sizes.items() if n}
    must = {group for group in some if sizes[group] < least or int(group[1:]) in gone}
    assert must <= hidden <= some
    left = sum(sizes[group] for group in hidden)
    assert not hidden or (len(hidden) > 1 and left >= least) or hidden == some
    for size in range(len(must), len(hidden)):  # no smaller set would do
        for more in combinations(sorted(some - must), size - len(must)):
            kept = must | set(more)
            assert not kept or len(kept) < 2 or sum(sizes[group] for group in kept) < least or last


def test_the_number_of_the_whole_saves_a_group_whose_size_is_not_told():
    assert hide({"a": 30, "b": 20, "c": 1, "d": 1}, {"c", "d"}, 10) == {"b", "c", "d"}
    assert hide({"a": 30, "b": 20, "c": 1, "d": 1}, {"c", "d"}, 10, total=60) == {"c", "d"}
    assert hide({"a": 30, "b": 20, "c": 1, "d": 1}, {"c", "d"}, 10, total=59) == {"b", "c", "d"}


def test_small_regions_hide_only_themselves_since_they_overlap():
    lines = [Line(("r", "rate"), i, "region", name, "rate", (), n) for i, (name, n) in enumerate((("a", 50), ("b", 4)))]
    small = SmallGroups(lines, 10)
    assert [small.hidden(("r", "rate"), at) for at in (0, 1)] == [False, True]
