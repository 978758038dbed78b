"""What changed between two audits: intervals of differences, gates on both sides, findings opened and closed."""

from datetime import date

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from audit.core.compare import at_95, compare, finding_changes, gate_changes, metric_changes
from audit.core.evidence import Evidence, Metric, Where
from audit.core.finding import Finding, Gate, Interval, judge_gate
from audit.core.waiver import Waiver


def share(k, n):
    """A proportion with its Wilson interval, by scipy."""
    interval = binomtest(k, n).proportion_ci(method="wilson")
    return Interval(value=k / n, low=float(interval.low), high=float(interval.high), n=n)


def test_the_interval_of_a_difference_is_that_of_newcombe():
    """Newcombe (1998), Statistics in Medicine 17, 873, method 10: 56/70 less 48/80 has 0.0524 to 0.3339."""
    difference, word = compare(share(48, 80), share(56, 70))
    assert difference.value == pytest.approx(0.2, abs=1e-12)
    assert (round(difference.low, 4), round(difference.high, 4)) == (0.0524, 0.3339)
    assert word == "changed"


def test_of_symmetric_intervals_it_is_the_rule_of_standard_errors():
    old, new = Interval(value=0.80, low=0.77, high=0.83), Interval(value=0.76, low=0.72, high=0.80)
    difference, word = compare(old, new)
    # Half-widths 0.03 and 0.04 give 0.05; -0.04 - 0.05 = -0.09 and -0.04 + 0.05 = 0.01.
    assert (difference.low, difference.high) == pytest.approx((-0.09, 0.01), abs=1e-12)
    assert word == "within noise"


def test_two_samples_of_one_population_are_called_changed_about_one_time_in_twenty(figure):
    rng = np.random.default_rng(5)
    draws = rng.binomial(200, 0.7, size=(1000, 2))
    intervals = {int(k): share(int(k), 200) for k in np.unique(draws)}
    words = [compare(intervals[a], intervals[b])[1] for a, b in draws.tolist()]
    rate = words.count("changed") / len(words)
    figure("share of unchanged numbers called changed", rate, "1000 pairs of 200 rows, share 0.7; nominal 0.05")
    assert 0.035 <= rate <= 0.065  # binomial noise of 1000 trials at 0.05 has a standard error of 0.007


estimates = st.tuples(*[st.floats(-10, 10)] * 3).map(sorted).map(lambda t: Interval(low=t[0], value=t[1], high=t[2]))


@given(estimates, estimates)
def test_old_and_new_exchanged_give_the_mirror_image(old, new):
    there, word = compare(old, new)
    back, same = compare(new, old)
    assert word == same
    assert (there.value, there.low, there.high) == pytest.approx((-back.value, -back.high, -back.low), abs=1e-9)
    assert there.low <= there.value <= there.high


@given(estimates, estimates, st.floats(0, 5))
def test_a_wider_interval_never_turns_noise_into_a_change(old, new, more):
    wider = Interval(value=new.value, low=new.low - more, high=new.high + more)
    if compare(old, new)[1] == "within noise":
        assert compare(old, wider)[1] == "within noise"


@pytest.mark.parametrize(
    ("old", "new", "word"),
    [
        (None, Interval(value=1.0, low=0.0, high=2.0), "new"),
        (Interval(value=1.0, low=0.0, high=2.0), None, "gone"),
        (None, None, "same"),
        (Interval(value=1.0, low=0.0, high=2.0), Interval(value=1.0, low=0.0, high=2.0), "same"),
        (Interval(value=1.0, low=0.0, high=2.0), Interval(value=1.0 + 1e-14, low=0.0, high=2.0), "same"),
        (Interval(value=1.0, low=0.0, high=2.0), Interval(value=1.0, low=0.5, high=1.5), "within noise"),
        (Interval(value=3.0, low=3.0, high=3.0), Interval(value=4.0, low=4.0, high=4.0), "changed"),
        (Interval(value=3.0, low=3.0, high=3.0), Interval(value=4.0, low=2.0, high=6.0), "within noise"),
    ],
)
def test_the_words(old, new, word):
    assert compare(old, new)[1] == word


def test_numbers_at_another_level_are_brought_to_95_per_cent():
    """1.96 / 1.645 of the half-widths of a 90 % interval."""
    at = at_95(Metric(name="x", value=1.0, low=0.9, high=1.2, level=0.9))
    assert (at.low, at.high) == pytest.approx((1 - 0.1 * 1.959964 / 1.644854, 1 + 0.2 * 1.959964 / 1.644854), abs=1e-6)
    assert at_95(Metric(name="x", value=None)) is None


def record(*metrics, name="performance", status="ok"):
    return Evidence(id=name, kind=name, key="k", status=status, metrics=metrics)


def auc(value, half=0.02, **where):
    return Metric(name="auc", value=value, low=value - half, high=value + half, where=Where(**where))


def test_numbers_are_matched_by_what_they_measure():
    old = [record(auc(0.8, data="evaluate"), auc(0.7, region="young"), auc(0.6, region="old"))]
    new = [record(auc(0.8, data="evaluate"), auc(0.5, region="young"), auc(0.6, region="new"))]
    changes = metric_changes(old, new, {"evaluate": True, None: None})
    assert {(c.where.region, c.word, c.paired) for c in changes} == {
        (None, "same", True),
        ("young", "changed", None),
        ("new", "new", None),
        ("old", "gone", None),
    }


def test_numbers_of_evidence_that_failed_are_gone():
    (change,) = metric_changes([record(auc(0.8))], [record(auc(0.8), status="error")], {})
    assert change.word == "gone"


def test_a_number_that_stands_twice_is_compared_in_order():
    changes = metric_changes([record(auc(0.8), auc(0.6))], [record(auc(0.8), auc(0.9))], {})
    assert [c.word for c in changes] == ["same", "changed"]


def side(value, *gates, half=0.02):
    records = [record(auc(value, half))]
    return records, [judge_gate(gate, records) for gate in gates]


FLOOR, CEILING = Gate(metric="performance.auc", at_least=0.7), Gate(metric="performance.auc", at_most=0.7)


@pytest.mark.parametrize(
    ("gate", "old", "new", "lost", "worse"),
    [
        (FLOOR, 0.80, 0.80, False, False),
        (FLOOR, 0.80, 0.71, True, True),  # 0.69 to 0.73 crosses the bar
        (FLOOR, 0.80, 0.75, False, True),  # a pass, but less by 0.05 with 0.028 of noise
        (FLOOR, 0.80, 0.78, False, False),  # 0.02 is noise
        (FLOOR, 0.73, 0.71, True, False),  # noise, but no pass any more
        (FLOOR, 0.60, 0.80, False, False),  # better
        (CEILING, 0.60, 0.80, True, True),
        (CEILING, 0.80, 0.60, False, False),
    ],
)
def test_what_is_lost_and_what_is_worse(gate, old, new, lost, worse):
    (change,) = gate_changes(side(old, gate), side(new, gate))
    assert (change.lost, change.worse, change.asked) == (lost, worse, "both")


def test_a_gap_that_grows_is_worse():
    def groups(gap):
        told = [Metric(name="rate", value=v, low=v - 0.01, high=v + 0.01, n=500) for v in (0.5, 0.5 + gap)]
        return [
            record(*(m.model_copy(update={"where": Where(by="sex", group=g)}) for m, g in zip(told, "fm", strict=True)))
        ]

    gate = Gate(metric="performance.rate", by="sex", gap_at_most=0.1)
    old, new = ((records, [judge_gate(gate, records)]) for records in (groups(0.02), groups(0.3)))
    (change,) = gate_changes(old, new)
    assert (change.old, change.new, change.worse) == ("pass", "fail", True)


def test_a_bar_that_was_moved_or_taken_out_hides_nothing():
    lower = Gate(metric="performance.auc", at_least=0.5)
    changes = {change.id: change for change in gate_changes(side(0.8, FLOOR), side(0.6, lower))}
    assert (changes[FLOOR.id].asked, changes[FLOOR.id].lost) == ("old", True)
    assert (changes[lower.id].asked, changes[lower.id].lost, changes[lower.id].worse) == ("new", False, True)


def test_a_gate_whose_evidence_is_gone_is_lost():
    (change,) = gate_changes(side(0.8, FLOOR), ([], [judge_gate(FLOOR, [])]))
    assert (change.new, change.lost, change.word) == ("no_evidence", True, "gone")


def note(number="F-00A1B2", severity="major", evidence=("performance",)):
    return Finding(id=number, code="said", severity=severity, evidence=evidence)


def changes_of(old, new, evidence=None):
    evidence = [record(), record(name="flex")] if evidence is None else evidence
    return [(c.word, c.why, c.finding.id, c.serious) for c in finding_changes(old, new, evidence)]


def test_findings_are_opened_and_closed():
    a, b, c = (note(f"F-00000{i}") for i in range(3))
    assert changes_of([a, b], [b, c]) == [("opened", "new", c.id, True), ("closed", "corrected", a.id, False)]
    assert changes_of([a], [a]) == []
    assert changes_of([], [note(severity="minor")]) == [("opened", "new", "F-00A1B2", False)]


def test_a_finding_that_becomes_serious_counts_as_opened():
    assert changes_of([note(severity="minor")], [note()]) == [("opened", "more severe", "F-00A1B2", True)]
    assert changes_of([note()], [note(severity="critical")]) == []
    assert changes_of([note()], [note(severity="minor")]) == []


def test_a_finding_is_corrected_only_where_it_was_looked_for():
    assert changes_of([note()], [], [record(status="error")]) == [("closed", "not tested", "F-00A1B2", False)]
    assert changes_of([note()], [], []) == [("closed", "not tested", "F-00A1B2", False)]
    missed = side(0.6, FLOOR)[1]
    assert changes_of(missed, [], [record()]) == [("closed", "not asked", FLOOR.id, False)]
    assert changes_of(missed, side(0.8, FLOOR)[1], [record()]) == [("closed", "corrected", FLOOR.id, False)]


def test_what_is_waived_is_not_serious():
    waiver = Waiver(finding="F-00A1B2", reason="r", approved_by="b", until=date(2026, 12, 31))
    waived = note().model_copy(update={"waiver": waiver})
    assert changes_of([], [waived]) == [("opened", "new", "F-00A1B2", False)]
