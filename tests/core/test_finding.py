"""Gates: what passes, what fails, what nobody knows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.core.evidence import Evidence, Metric, Note, Where
from audit.core.finding import Finding, Gate, Interval, judge, judge_gate, note_findings, strongest_opinion

numbers = st.floats(-1e6, 1e6)


@st.composite
def intervals(draw):
    low, value, high = sorted(draw(st.tuples(numbers, numbers, numbers)))
    return Interval(value=value, low=low, high=high)


@pytest.mark.parametrize(
    ("low", "high", "outcome"),
    [(0.80, 0.90, "pass"), (0.75, 0.90, "pass"), (0.70, 0.80, "unsure"), (0.60, 0.70, "fail"), (0.6, 0.75, "unsure")],
)
def test_only_the_whole_interval_decides(low, high, outcome):
    assert judge(Interval(value=(low + high) / 2, low=low, high=high), at_least=0.75) == outcome


@given(intervals(), numbers)
def test_a_gate_and_its_mirror_image_agree(interval, bar):
    mirrored = Interval(value=-interval.value, low=-interval.high, high=-interval.low)
    assert judge(interval, at_least=bar) == judge(mirrored, at_most=-bar)


@given(intervals(), numbers, st.floats(0, 1e6), st.floats(0, 1e6))
def test_a_wider_interval_never_turns_fail_into_pass(interval, bar, below, above):
    wider = Interval(value=interval.value, low=interval.low - below, high=interval.high + above)
    narrow, wide = judge(interval, at_least=bar), judge(wider, at_least=bar)
    assert wide in {narrow, "unsure"}


bars = st.one_of(st.tuples(st.just("at_least"), numbers), st.tuples(st.just("at_most"), numbers))


@given(intervals(), bars, st.floats(0, 1e6), st.floats(0, 1e6))
def test_a_wider_interval_never_turns_unsure_into_pass(interval, bar, below, above):
    wider = Interval(value=interval.value, low=interval.low - below, high=interval.high + above)
    side = dict([bar])
    if judge(interval, **side) == "unsure":
        assert judge(wider, **side) == "unsure"


def record(*metrics, status="ok", message=""):
    return Evidence(id="performance", kind="performance", key="k", status=status, message=message, metrics=metrics)


AUC = Metric(name="auc", value=0.8, low=0.76, high=0.84, n=300, where=Where(data="evaluate"))


def test_a_gate_reads_the_metric_it_names():
    finding = judge_gate(Gate(metric="performance.auc", at_least=0.75), [record(AUC)])
    assert (finding.outcome, finding.evidence) == ("pass", ("performance",))
    assert finding.measured == Interval(value=0.8, low=0.76, high=0.84, n=300)


@pytest.mark.parametrize(
    ("evidence", "reason"),
    [
        ([], "nothing in the audit is called 'performance'"),
        ([record()], "performance has no metric 'auc'"),
        ([record(AUC, status="error", message="it broke")], "performance is error: it broke"),
        ([record(AUC.model_copy(update={"value": None}))], "auc was not measured on exactly what the gate asks for"),
        ([record(AUC, AUC)], "auc was not measured on exactly what the gate asks for"),
    ],
)
def test_a_gate_without_evidence_never_passes(evidence, reason):
    finding = judge_gate(Gate(metric="performance.auc", at_least=0.0), evidence)
    assert finding.outcome == "no_evidence"
    assert finding.args["reason"] == reason


def group(name, value, low, high, n=100):
    return Metric(name="rate", value=value, low=low, high=high, n=n, where=Where(by="sex", group=name))


def test_a_gap_is_the_largest_less_the_smallest_and_small_groups_do_not_enter():
    gate = Gate(metric="performance.rate", by="sex", gap_at_most=0.05)
    groups = [group("a", 0.6, 0.5, 0.7), group("b", 0.4, 0.3, 0.5), group("c", 0.0, 0.0, 0.5, n=5)]
    finding = judge_gate(gate, [record(*groups)])
    # Bonferroni for two groups: half-widths grow by z(1 - .0125) / z(.975) = 2.2414 / 1.9600 = 1.14358.
    assert finding.measured.value == pytest.approx(0.2, abs=1e-12)
    assert finding.measured.low == 0.0
    assert finding.measured.high == pytest.approx(0.2 + 2 * 0.1 * 2.241403 / 1.959964, abs=1e-6)
    assert finding.outcome == "unsure"


def test_a_clear_gap_fails_and_one_group_is_no_evidence():
    gate = Gate(metric="performance.rate", by="sex", gap_at_most=0.05)
    far = [group("a", 0.9, 0.88, 0.92), group("b", 0.4, 0.38, 0.42)]
    assert judge_gate(gate, [record(*far)]).outcome == "fail"
    assert judge_gate(gate, [record(far[0])]).outcome == "no_evidence"


@st.composite
def groups(draw):
    """Groups with their rates, and the same with wider intervals."""
    narrow, wide = [], []
    for name in draw(st.lists(st.sampled_from("abcde"), unique=True, min_size=2)):
        low, value, high = sorted(draw(st.tuples(*[st.floats(0, 1)] * 3)))
        below, above = draw(st.tuples(st.floats(0, 1), st.floats(0, 1)))
        n = draw(st.integers(10, 200))
        narrow.append(group(name, value, low, high, n))
        wide.append(group(name, value, low - below, high + above, n))
    return narrow, wide


@given(groups(), st.floats(0, 1))
def test_wider_intervals_of_groups_never_turn_a_gap_that_is_no_pass_into_one(pair, bar):
    gate = Gate(metric="performance.rate", by="sex", gap_at_most=bar)
    narrow, wide = (judge_gate(gate, [record(*metrics)]).outcome for metrics in pair)
    assert wide in {narrow, "unsure"}
    if narrow in {"fail", "unsure", "no_evidence"}:
        assert wide != "pass"


@pytest.mark.parametrize(
    "bars", [{}, {"at_least": 1.0, "at_most": 2.0}, {"gap_at_most": 0.1}, {"by": "sex", "at_least": 0.1}]
)
def test_a_gate_has_exactly_one_bar(bars):
    with pytest.raises(ValueError, match=r"a gate has exactly one of|`by` names the groups"):
        Gate(metric="performance.auc", **bars)


def test_ids_are_stable_and_differ_with_what_is_asked():
    a, b = Gate(metric="performance.auc", at_least=0.7), Gate(metric="performance.auc", at_least=0.7, owner="x")
    others = [{"metric": "performance.accuracy", "at_least": 0.7}, {"metric": "performance.auc", "at_least": 0.8}]
    others += [{"metric": "performance.auc", "at_most": 0.7}]
    assert a.id == b.id
    assert len({a.id, *(Gate(**other).id for other in others)}) == 4
    notes = [[Note(code="low", severity="minor", args={"column": "age", "count": count})] for count in (3, 7)]
    first, second = (
        note_findings([Evidence(id="x", kind="x", key="k", status="ok", notes=tuple(n))])[0] for n in notes
    )
    assert first.id == second.id
    assert first.args != second.args


def test_a_note_without_severity_is_no_finding_and_an_error_is_one():
    plain = Evidence(id="x", kind="x", key="k", status="ok", notes=(Note(code="said"),))
    assert note_findings([plain]) == []
    (finding,) = note_findings([record(status="error", message="it broke")])
    assert (finding.code, finding.severity, finding.args["message"]) == ("method_error", "major", "it broke")


@pytest.mark.parametrize(
    ("outcomes", "word"),
    [
        ([], "disclaimer"),
        (["no_evidence"], "disclaimer"),
        (["pass", "no_evidence"], "qualified"),
        (["pass", "unsure"], "qualified"),
        (["pass", "fail"], "qualified"),
        (["pass", "pass"], "unqualified"),
    ],
)
def test_the_strongest_opinion_that_the_gates_support(outcomes, word):
    gates = [
        Finding(id=f"G-{i}", code="gate", severity="major", outcome=o, gate=Gate(metric=f"a.b{i}", at_least=0.0))
        for i, o in enumerate(outcomes)
    ]
    assert strongest_opinion(gates)[0] == word


def test_a_critical_gate_that_passes_bars_nothing():
    gate = Finding(id="G", code="gate", severity="critical", outcome="pass", gate=Gate(metric="a.b", at_least=0.0))
    assert strongest_opinion([gate])[0] == "unqualified"


def test_a_critical_finding_bars_an_unqualified_opinion():
    gate = Finding(id="G", code="gate", severity="minor", outcome="pass", gate=Gate(metric="a.b", at_least=0.0))
    assert strongest_opinion([gate, Finding(id="F", code="x", severity="critical")])[0] == "qualified"
