"""Which numbers of groups a bundle to hand out may show: none of few people, and none that would give those away.

One rule for tables and metrics, whatever the methods hid already: of a whole that is divided among groups, either
nothing is hidden, or at least two groups of together at least `least` people are. So the whole less the groups that
are shown is never a small group.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from audit.core.evidence import Evidence, Metric
from audit.core.flips import ANY

PEOPLE = (("by", "group"), ("feature", "from"))
"""Columns that say which group a line is of: the grouping, and the group in it."""

COUNTS = ("n", "n_instances", "pictures")
"""Columns that count people."""

APART = ("bin_low", "column", "outcome")
"""Columns that tell one whole from another in the same table."""

REGION = "region"
"""A grouping of regions, which overlap: it divides nothing."""

COMPARED = ("_gap", "_ratio", "_p")
"""The ends of names of metrics that compare the groups of their variant."""


@dataclass(frozen=True)
class Line:
    """What a table or a metric says of one group.

    Attributes:
        source: the evidence, then table or metric by name.
        by, group: the grouping, and a group of it; empty for the whole.
        at: the position in the table, or among the metrics.
        measure: what is measured; a whole is divided once for each measure and each of `apart`.
        n: people; 1 where it is not known.
        start: whether the group is what a flip starts from.
        gone: the method shows no number itself; how many people there are is not known.
        judged: a gate rests on it, so it stays.
    """

    source: tuple[str, str]
    at: int
    by: str
    group: str
    measure: str
    apart: tuple[str, ...]
    n: float
    start: bool = False
    gone: bool = False
    judged: bool = False

    @property
    def whole(self) -> tuple[Any, ...]:
        """What is divided among the groups."""
        return (self.source, self.by, self.measure, self.apart)

    @property
    def total(self) -> tuple[Any, ...]:
        """What the same line is found by that is of no group."""
        return (self.source, self.measure, self.apart)

    @property
    def people(self) -> tuple[Any, ...]:
        """Who is divided: a group of them that a whole does not have is missed there."""
        return (self.source[0], self.by, self.start)


def hide(
    sizes: Mapping[str, float], gone: Iterable[str], least: int, last: Iterable[str] = (), total: float = 0
) -> set[str]:
    """The groups of a whole that may not be shown.

    Args:
        sizes: people of each group, or as many as there must be; those of nobody hide nobody.
        gone: groups that are hidden in any case.
        last: groups that are hidden after all others only.
        total: people of the whole, where it is known.
    """
    people = {group: n for group, n in sizes.items() if n > 0}
    hidden = {group for group, n in people.items() if n < least} | (set(gone) & set(people))
    rest = sorted(people.keys() - hidden, key=lambda group: (group in set(last), people[group], group), reverse=True)
    while hidden and rest:
        left = max(sum(people[group] for group in hidden), total - sum(people[group] for group in rest))
        if len(hidden) > 1 and left >= least:
            break
        hidden.add(rest.pop())
    return hidden


class SmallGroups:
    """What a bundle to hand out must not show of groups.

    Attributes:
        forced: wholes of which a small group can be worked out all the same, since gates judge all other groups.
    """

    def __init__(self, found: Iterable[Line], least: int) -> None:
        self._least = least
        self._out: set[tuple[tuple[str, str], int]] = set()
        self._touched: dict[tuple[str, str], dict[str, bool]] = defaultdict(dict)
        self.forced = 0
        lines: list[Line] = []
        totals: dict[tuple[Any, ...], float] = {}
        for line in found:
            if line.by:
                lines.append(line)
            elif not line.gone:
                totals[line.total] = min(line.n, totals.get(line.total, line.n))
        known: dict[tuple[Any, ...], set[str]] = defaultdict(set)
        judged: dict[str, set[str]] = defaultdict(set)
        wholes: dict[tuple[Any, ...], list[Line]] = defaultdict(list)
        for line in lines:
            known[line.people].add(line.group)
            wholes[line.whole].append(line)
            judged[line.by] |= {line.group} if line.judged else set()
        never = {by: self._never([line for line in lines if line.by == by], judged[by]) for by in judged}
        for own in wholes.values():
            by = own[0].by
            if by == REGION:
                hidden = {line.group for line in own if line.n < self._least}
            else:
                absent = known[own[0].people] - {line.group for line in own}
                hidden = self._hidden(own, absent, never[by], judged[by], totals.get(own[0].total, 0))
            marked = [line for line in own if line.group in hidden and not line.judged]
            self._out |= {(line.source, line.at) for line in marked}
            measures = self._touched[own[0].source[0], by]
            changed = any(not line.gone and line.n > 0 for line in marked)
            measures[own[0].measure] = measures.get(own[0].measure, False) or changed

    def _never(self, lines: Sequence[Line], judged: set[str]) -> set[str]:
        """The groups of a grouping that are hidden everywhere, or one measure could give another away."""
        sizes: dict[str, float] = {}
        for line in lines:
            if not line.gone:
                sizes[line.group] = max(line.n, sizes.get(line.group, 0))
        gone = {line.group for line in lines} - sizes.keys()
        return hide(sizes | dict.fromkeys(gone, 1), gone, self._least, judged)

    def _hidden(
        self, own: Sequence[Line], absent: set[str], never: set[str], judged: set[str], total: float
    ) -> set[str]:
        """The groups of one whole that are hidden, besides what a gate rests on."""
        sizes: dict[str, float] = dict.fromkeys(absent, 1)
        for line in own:
            sizes[line.group] = max(line.n, sizes.get(line.group, 0))
        stay = {line.group for line in own if line.judged}
        gone = {line.group for line in own} - {line.group for line in own if not line.gone} | absent | never
        free = {group: n for group, n in sizes.items() if group not in stay}
        left = total - sum(sizes[group] for group in stay) if total else 0
        hidden = hide(free, gone, self._least, judged, left)
        people = max(sum(free[group] for group in hidden), left - sum(free[group] for group in free.keys() - hidden))
        alone = bool(hidden) and (len(hidden) < 2 or people < self._least)
        self.forced += bool(stay) and (alone or any(sizes[group] < self._least for group in stay))
        return hidden

    def hidden(self, source: tuple[str, str], at: int) -> bool:
        """Whether a line of a table, or a metric, may not be shown."""
        return (source, at) in self._out

    def compared(self, evidence: str, by: str, measure: str) -> bool:
        """Whether a comparison of the groups of a grouping may not be shown, as one of them is hidden here."""
        measures = self._touched.get((evidence, by), {})
        return measures[measure] if measure in measures else any(measures.values())


def divides(columns: Iterable[str]) -> bool:
    """Whether a table of these columns has lines of groups."""
    return any(set(names) <= set(columns) for names in PEOPLE)


def lines_of_table(evidence: str, name: str, frame: pd.DataFrame) -> Iterator[Line]:
    """What a table says of groups."""
    people = next((names for names in PEOPLE if set(names) <= set(frame.columns)), None)
    if people is None:
        return
    count = next((column for column in COUNTS if column in frame.columns), None)
    apart = [column for column in APART if column in frame.columns]
    start = people == PEOPLE[1]
    for at, row in enumerate(frame.to_dict("records")):
        by, group = ("" if pd.isna(row[column]) else str(row[column]) for column in people)
        n = row[count] if count else 1.0
        gone = bool(pd.isna(n))
        if group != ANY:
            measure, other = str(row.get("measure", name)), tuple(str(row[column]) for column in apart)
            yield Line((evidence, name), at, by, group, measure, other, 1.0 if gone else float(n), start, gone)


def lines_of_metrics(record: Evidence, judged: frozenset[int]) -> Iterator[Line]:
    """What metrics say of groups.

    Args:
        judged: positions of the metrics that gates rest on.
    """
    for at, metric in enumerate(record.metrics):
        place, n = metric.where, metric.n
        apart = tuple(map(str, (place.data, place.model, place.region, place.outcome, place.feature, place.variant)))
        by, group = place.by or "", place.group or ""
        if bool(by) == bool(group) and (by or n is not None):
            size = 1.0 if n is None else float(n)
            yield Line((record.id, metric.name), at, by, group, metric.name, apart, size, judged=at in judged)


def compares(metric: Metric) -> tuple[str, str] | None:
    """The grouping whose groups a metric compares, and the measure; None where it compares none."""
    end = next((end for end in COMPARED if metric.name.endswith(end)), None)
    if end is None or metric.where.variant is None or metric.where.group is not None:
        return None
    return metric.where.variant, metric.name.removesuffix(end)
