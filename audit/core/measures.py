"""Metrics that many tasks have alike: a share, and a mean, with their intervals."""

from audit.core.evidence import Metric, Where
from audit.core.stats import BAND, mean_band, wilson
from audit.core.table import Floats


def share_metric(name: str, hits: int, n: int, where: Where, over: str) -> Metric:
    """The share of `hits` among n independent trials, with Wilson's interval; undefined without any.

    Args:
        over: what the trials are, in a few words, for the text of the interval.
    """
    if not n:
        return Metric(name=name, value=None, unit="share", n=0, where=where)
    low, high = (float(x) for x in wilson(hits / n, n))
    return Metric(
        name=name, value=hits / n, low=low, high=high, interval=f"Wilson, 95 %, over {over}", unit="share", n=n,
        where=where,
    )  # fmt: skip


def mean_metric(
    name: str, values: Floats, unit: str, where: Where, over: str, bounds: tuple[float, float] | None = None
) -> Metric:
    """The mean of values (n,) with its interval; undefined without any, without interval for one.

    Args:
        over: what has a value, in a few words, for the text of the interval.
        bounds: between which a value must lie, for `stats.mean_band`; where none are known the interval is normal.
    """
    n = len(values)
    if not n:
        return Metric(name=name, value=None, unit=unit, n=0, where=where)
    middle = float(values.mean())
    if n == 1:
        return Metric(name=name, value=middle, unit=unit, n=1, where=where)
    if bounds is None:
        half = 1.96 * float(values.std(ddof=1)) / n**0.5
        low, high, how = middle - half, middle + half, "normal, 95 %"
    else:
        low, high = (float(end[0]) for end in mean_band(values[:, None], *bounds))
        how = BAND
    return Metric(
        name=name, value=middle, low=low, high=high, interval=f"{how}, over {over}", unit=unit, n=n, where=where
    )
