"""The rules that turn runs into verdicts, as functions of plain arrays.

Intervals are at 95 % and work along the last axis, so that whole simulations are one call. Rules
take runs of shape ``(variants, seeds)`` (or ``(seeds,)``). Runs of one seed in several variants
share their random streams and are no independent observations: where a mean or a difference
decides, they are averaged within each seed first, and n is the number of seeds. Only the best of m
pools all runs, because there each published run is one draw.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..base.errors import QmlbookError

LEVEL = 0.95
POWER = 0.8  # of the number of seeds that what is undecided would need
MIN_RUNS = 3
MIN_PAIRS = 8  # for an order
RUNS_PER_BEST = 5  # runs of ours for each published run that a best was taken from
EXACT_FLIPS = 14  # up to this many differences, all 2^n sign patterns are enumerated
SAMPLED_FLIPS = 9999

REPRODUCED = "reproduced"
NOT_REPRODUCED = "not reproduced"
INCONCLUSIVE = "inconclusive"
NO_PUBLISHED_VALUE = "no published value"
NOT_ATTEMPTED = "not attempted"
COMPATIBLE = "compatible"  # all that can be said of one published run that our runs do not exclude

SURVIVES = "survives"
EXPLAINED_BY = "explained by"
UNDECIDED = "undecided"
NOT_TESTED = "not tested"
NOT_APPLICABLE = "not applicable"
BEST_MARGIN = 0.1  # chance of a best of m that would not matter

AS_PUBLISHED = "as published"
SMALLER, LARGER = "smaller than published", "larger than published"

Floats = NDArray[np.float64]


class Interval(NamedTuple):
    """Mean of n observations and a 95 % interval; floats, or arrays of equal shape."""

    mean: Any
    low: Any
    high: Any
    n: int


def t_interval(runs: ArrayLike) -> Interval:
    """Return the t interval of the mean; ``runs`` has shape (..., n), n >= 2."""
    runs = np.asarray(runs, dtype=float)
    n = runs.shape[-1]
    return _around(runs.mean(-1), _sd(runs) / np.sqrt(n), n - 1, n)


def welch_interval(runs: ArrayLike, mean: float, sd: float, n: int) -> Interval:
    """Return Welch's interval of (mean of ``runs`` - published mean).

    Args:
        runs: ours, shape (..., number of runs).
        mean: published mean.
        sd: published sample standard deviation (divisor n - 1).
        n: published number of runs, 2 or more.
    """
    runs = np.asarray(runs, dtype=float)
    ours, theirs = _sd(runs) ** 2 / runs.shape[-1], sd**2 / n
    total = ours + theirs
    with np.errstate(invalid="ignore", divide="ignore"):
        df = total**2 / (ours**2 / (runs.shape[-1] - 1) + theirs**2 / (n - 1))
    df = np.where(total > 0, df, 1.0)  # without any spread the interval is a point
    return _around(runs.mean(-1) - mean, np.sqrt(total), df, runs.shape[-1])


def prediction_interval(runs: ArrayLike) -> Interval:
    """Return the interval for one new run from the same normal law; shape (..., n), n >= 2."""
    runs = np.asarray(runs, dtype=float)
    n = runs.shape[-1]
    return _around(runs.mean(-1), _sd(runs) * np.sqrt(1 + 1 / n), n - 1, n)


def paired_interval(over: ArrayLike, under: ArrayLike) -> Interval:
    """Return the t interval of the mean of ``over - under``, paired along the last axis."""
    return t_interval(np.asarray(over, dtype=float) - np.asarray(under, dtype=float))


def best_band(runs: ArrayLike, m: int) -> Interval:
    """Return the bootstrap band of the best of ``m`` runs; ``runs`` has shape (..., n).

    The largest of m draws with replacement from n runs is at most the k-th smallest with
    probability (k/n)^m, so the quantiles of infinitely many bootstrap samples are known exactly
    and nothing has to be drawn. The band cannot reach beyond the best run of ours:
    `best_band_error` says what that costs.
    """
    runs = np.sort(np.asarray(runs, dtype=float), axis=-1)
    low, high = _best_ranks(runs.shape[-1], m)
    return Interval(runs.mean(-1), runs[..., low - 1], runs[..., high - 1], runs.shape[-1])


def best_band_error(n: int, m: int) -> float:
    """Return how often the best of ``m`` falls outside the band of ``n`` runs of the same law.

    Exact for every continuous law: the k-th smallest of n is, on the scale of probabilities, a
    Beta(k, n - k + 1) variable whose m-th moment is the chance that m new runs stay below it.
    """
    from scipy.special import betaln

    low, high = (np.exp(betaln(k + m, n - k + 1) - betaln(k, n - k + 1)) for k in _best_ranks(n, m))
    return float(low + 1 - high)


def sign_flip_p(differences: ArrayLike, rng: np.random.Generator) -> float:
    """Return the two-sided p value of "the differences are symmetric about zero".

    Args:
        differences: paired differences, shape (n,). All 2^n sign patterns are enumerated up to
            n = 14; beyond, 9999 are drawn.
        rng: generator of those draws.
    """
    d = np.asarray(differences, dtype=float)
    if len(d) <= EXACT_FLIPS:
        flips = (np.arange(2 ** len(d))[:, None] >> np.arange(len(d))) & 1
    else:
        flips = rng.integers(2, size=(SAMPLED_FLIPS, len(d)), dtype=np.int8)
    # A pattern that ties with the observed one must count although its sum rounds differently.
    hits = np.sum(np.abs((1 - 2 * flips) @ d) >= abs(d.sum()) - 1e-12 * np.abs(d).sum())
    drawn = len(d) > EXACT_FLIPS  # then the observed pattern joins the sample, so that p > 0
    return float((hits + drawn) / (len(flips) + drawn))


def per_seed(runs: ArrayLike) -> Floats:
    """Average runs of shape (variants, seeds) within each seed; (seeds,) stays as it is."""
    return np.atleast_2d(np.asarray(runs, dtype=float)).mean(0)


def value_outcome(
    runs: ArrayLike, published: Mapping[str, float] | str, margin: float | None
) -> tuple[str, Interval]:
    """Decide a claim about a number.

    Args:
        runs: ours, shape (variants, seeds) or (seeds,).
        published: ``{mean, sd, n}``, ``{mean}``, ``{single}``, ``{best, of}`` or
            ``"not available"``.
        margin: largest difference without consequence; unused for ``{best, of}``.

    Returns:
        The outcome, and our mean with the interval that decided, both in the units of the runs
        (for ``{mean, sd, n}`` it includes the uncertainty of the published mean).

    Raises:
        QmlbookError: fewer than 3 runs (5 m for a best of m), or a value that is not finite.
    """
    runs = np.asarray(runs, dtype=float)
    if isinstance(published, str):
        return NO_PUBLISHED_VALUE, t_interval(_checked(per_seed(runs), MIN_RUNS))
    if "best" in published:
        of = int(published["of"])
        interval = best_band(_checked(runs.ravel(), RUNS_PER_BEST * of), of)
        inside = interval.low <= published["best"] <= interval.high
        return (REPRODUCED if inside else NOT_REPRODUCED), interval
    seeds = _checked(per_seed(runs), MIN_RUNS)
    margin = _margin(margin)
    if "single" in published:
        interval = prediction_interval(seeds)
        if not interval.low <= published["single"] <= interval.high:
            return NOT_REPRODUCED, interval
        narrow = (interval.high - interval.low) / 2 <= margin
        return (COMPATIBLE if narrow else INCONCLUSIVE), interval
    centre = published["mean"]
    if "sd" in published:
        mean, low, high, n = welch_interval(seeds, centre, published["sd"], int(published["n"]))
        interval = Interval(mean + centre, low + centre, high + centre, n)
    else:
        interval = t_interval(seeds)
    low, high = interval.low - centre, interval.high - centre
    if -margin <= low and high <= margin:
        return REPRODUCED, interval
    return (NOT_REPRODUCED if low > margin or high < -margin else INCONCLUSIVE), interval


def order_outcome(
    over: ArrayLike, under: ArrayLike, margin: float | None, rng: np.random.Generator
) -> tuple[str, Interval, float]:
    """Decide "A over B" from runs paired by position and seed.

    Args:
        over: runs of A, shape (variants, seeds) or (seeds,), 8 seeds or more.
        under: runs of B, same shape.
        margin: an advantage up to this size is none.
        rng: generator of the permutation test.

    Returns:
        The outcome, the interval of the paired difference, and the two-sided sign-flip p value,
        which is shown and decides nothing.

    Raises:
        QmlbookError: fewer than 8 seeds, or a value that is not finite.
    """
    differences = _checked(per_seed(over) - per_seed(under), MIN_PAIRS)
    margin, interval = _margin(margin), t_interval(differences)
    if interval.low > 0:
        outcome = REPRODUCED
    else:
        outcome = NOT_REPRODUCED if interval.high <= margin else INCONCLUSIVE
    return outcome, interval, sign_flip_p(differences, rng)


def controls_outcome(
    circuit: ArrayLike, controls: Mapping[str, ArrayLike] | str, margin: float | None
) -> tuple[str, dict[str, Interval]]:
    """Decide whether a result is the quantum circuit's doing.

    Args:
        circuit: runs of the circuit, shape (variants, seeds) or (seeds,).
        controls: name -> runs of that control, same shape, paired by position and seed; or
            ``"not applicable"``.
        margin: an advantage up to this size is none; without a margin it is 0.

    Returns:
        ``survives``, ``explained by X`` (every such X, separated by commas), ``undecided``, ``not
        tested`` or ``not applicable``; and the paired interval (circuit minus control) of each.

    Raises:
        QmlbookError: fewer than 3 seeds, or a value that is not finite.
    """
    if isinstance(controls, str):
        return NOT_APPLICABLE, {}
    intervals = {
        name: t_interval(_checked(per_seed(circuit) - per_seed(runs), MIN_RUNS))
        for name, runs in controls.items()
    }
    if not intervals:
        return NOT_TESTED, {}
    limit = margin or 0.0
    if all(interval.low > limit for interval in intervals.values()):
        return SURVIVES, intervals
    if matched := [name for name, interval in intervals.items() if interval.high <= limit]:
        return f"{EXPLAINED_BY} {', '.join(matched)}", intervals
    return UNDECIDED, intervals


def seeds_needed(
    interval: Interval, margin: float, published: Mapping[str, float] | None = None
) -> int | None:
    """Return how many seeds would tell no difference from one of the margin.

    With so many, and the spread of these observations, the interval of a true difference of zero
    stays below the margin in 80 % of studies; that of a number that is the published one within
    the margin on both sides; and that of a new run is as narrow as a published run asks for.

    Args:
        interval: t interval of what is compared, by seed.
        margin: above zero.
        published: of a claim about a number, ``{mean, sd, n}``, ``{mean}`` or ``{single}``.

    Returns:
        ``None`` if no number would: the published mean is too uncertain, or single runs scatter too
        widely.
    """
    from scipy.special import ndtri, stdtrit

    quantile = stdtrit(interval.n - 1, (1 + LEVEL) / 2)
    variance = ((interval.high - interval.low) / 2 / quantile) ** 2 * interval.n
    sure, fixed = POWER, 0.0  # and the variance that more seeds take nothing from
    if published:
        sure = (1 + POWER) / 2
        fixed = published.get("sd", 0.0) ** 2 / published.get("n", 1)
        if "single" in published:
            sure, fixed = 0.5, variance
    room = (margin / (ndtri((1 + LEVEL) / 2) + ndtri(sure))) ** 2 - fixed
    return int(np.ceil(variance / room)) if room > 0 else None


def best_probability(runs: ArrayLike, best: float, m: int) -> Interval:
    """Return the chance that the best of ``m`` runs is ``best`` or more, from runs of any shape.

    The interval is that of Clopper and Pearson for the chance p of a single run, carried to m runs
    by 1 - (1 - p)^m: without any hit in n runs it still begins at 0 and does not end there.
    Runs of one seed count as independent; in the stored ones, hits of a seed do not cluster.
    """
    from scipy.special import betaincinv

    values = np.ravel(np.asarray(runs, dtype=float))
    n, hits = values.size, int((values >= best).sum())
    tail = (1 - LEVEL) / 2
    low = betaincinv(hits, n - hits + 1, tail) if hits else 0.0
    high = betaincinv(hits + 1, n - hits, 1 - tail) if hits < n else 1.0
    mean, low, high = (float(1 - (1 - p) ** m) for p in (hits / n, low, high))
    return Interval(mean, low, high, n)


def best_difference(control: ArrayLike, circuit: ArrayLike, best: float, m: int) -> Interval:
    """Return the interval of `best_probability` of a control minus that of the circuit.

    Both intervals are combined by the method of variance estimates recovery (Zou and Donner 2008),
    with the correlation of the shares of hits over seeds, which both have in common.

    Args:
        control: its runs, shape (variants, seeds) or (seeds,).
        circuit: those of the circuit, same shape, paired by seed.
        best: the value to reach.
        m: in how many runs.
    """
    ours, theirs = (best_probability(runs, best, m) for runs in (circuit, control))
    shares = np.array([per_seed(np.asarray(runs) >= best) for runs in (circuit, control)])
    varied = bool((np.ptp(shares, axis=1) > 0).all())
    shared = 2 * float(np.corrcoef(shares)[0, 1]) if varied else 0.0

    def reach(above: float, below: float) -> float:
        return float(np.sqrt(max(above**2 + below**2 - shared * above * below, 0.0)))

    gap = theirs.mean - ours.mean
    low = gap - reach(theirs.mean - theirs.low, ours.high - ours.mean)
    high = gap + reach(theirs.high - theirs.mean, ours.mean - ours.low)
    return Interval(gap, low, high, shares.shape[1])


def best_controls_outcome(
    published: float, circuit: ArrayLike, controls: Mapping[str, ArrayLike] | str, m: int
) -> tuple[str, dict[str, Interval]]:
    """Decide whether a published best of ``m`` is more than controls give.

    A mean says nothing about a maximum, so each control is asked how likely its own best of m is to
    reach the published one.

    Args:
        published: the published best.
        circuit: runs of the circuit, shape (variants, seeds) or (seeds,).
        controls: name -> runs of that control, same shape, paired by seed; or ``"not applicable"``.
        m: how many runs it is the best of.

    Returns:
        ``explained by X`` for every control whose chance is surely less than 0.1 below the
        circuit's; ``survives`` if that of every control is surely more than 0.1 below; otherwise
        ``undecided``. And the intervals of the differences, control minus circuit.

    Raises:
        QmlbookError: fewer than 5 m runs of a control, or a value that is not finite.
    """
    if isinstance(controls, str):
        return NOT_APPLICABLE, {}
    for runs in (circuit, *controls.values()):
        _checked(np.ravel(np.asarray(runs, dtype=float)), RUNS_PER_BEST * m)
    gaps = {name: best_difference(runs, circuit, published, m) for name, runs in controls.items()}
    if not gaps:
        return NOT_TESTED, {}
    if matched := [name for name, gap in gaps.items() if gap.low > -BEST_MARGIN]:
        return f"{EXPLAINED_BY} {', '.join(matched)}", gaps
    return (SURVIVES if all(g.high < -BEST_MARGIN for g in gaps.values()) else UNDECIDED), gaps


def size_outcome(differences: ArrayLike, published: Mapping[str, float]) -> str:
    """Say how a lead compares with the published one, whose spread enters where it is printed.

    Args:
        differences: paired differences by seed, shape (n,).
        published: ``{mean}`` or ``{mean, sd, n}``.

    Returns:
        ``as published`` if the 95 % interval of (ours - published) has zero inside, otherwise
        ``smaller than published`` or ``larger than published``.
    """
    if "sd" in published:
        spread = published["sd"], int(published["n"])
        gap = welch_interval(differences, published["mean"], *spread)
    else:
        gap = t_interval(np.asarray(differences, dtype=float) - published["mean"])
    return LARGER if gap.low > 0 else SMALLER if gap.high < 0 else AS_PUBLISHED


def t_p(interval: Interval) -> Any:
    """Return the two-sided p value of the t test whose 95 % interval this is."""
    from scipy.special import stdtr, stdtrit

    mean, half = np.abs(interval.mean), np.subtract(interval.high, interval.low) / 2
    df = interval.n - 1
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(mean == 0, 0.0, mean / half * stdtrit(df, (1 + LEVEL) / 2))
    return 2 * stdtr(df, -t)


def holm(ps: ArrayLike) -> Floats:
    """Return p values corrected for their number by Holm's step-down method, in the same order."""
    ps = np.asarray(ps, dtype=float)
    order = np.argsort(ps)
    stepped = np.maximum.accumulate(ps[order] * np.arange(len(ps), 0, -1))
    corrected = np.empty_like(ps)
    corrected[order] = np.minimum(stepped, 1.0)
    return corrected


def property_outcome(holds: ArrayLike) -> str:
    """Decide a property from one number per run: 1 where it holds, 0 where it fails."""
    values = np.asarray(holds, dtype=float).ravel()
    if not values.size:
        return NOT_ATTEMPTED
    if len(other := values[~np.isin(values, (0.0, 1.0))]):
        raise QmlbookError(
            f"a property's metric must be 1 (it holds) or 0 (it fails) in every run, and one is "
            f"{other.item(0)}."
        )
    return REPRODUCED if values.all() else NOT_REPRODUCED


def _sd(runs: Floats) -> Floats:
    """Return the sample standard deviation, exactly 0 for equal runs however the mean rounds."""
    return np.where(np.ptp(runs, axis=-1) == 0, 0.0, runs.std(-1, ddof=1))


def _around(mean: Any, scale: Any, df: Any, n: int) -> Interval:
    """Return the t interval ``mean`` +- quantile * ``scale``."""
    from scipy.special import stdtrit  # the quantile alone: scipy.stats takes a second to import

    half = stdtrit(df, (1 + LEVEL) / 2) * scale
    return Interval(mean, mean - half, mean + half, n)


def _best_ranks(n: int, m: int) -> tuple[int, int]:
    """Return the ranks k (from 1) of the band: the smallest with (k/n)^m >= 2.5 % and 97.5 %."""
    low, high = (int(np.ceil(n * q ** (1 / m) - 1e-9)) for q in ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    return low, high


def _checked(runs: Floats, least: int) -> Floats:
    if runs.size < least:
        raise QmlbookError(f"{runs.size} runs decide nothing here; {least} or more are needed.")
    if not np.isfinite(runs).all():
        raise QmlbookError("A run has a value that is not a finite number, so nothing is decided.")
    return runs


def _margin(margin: float | None) -> float:
    if margin is None or margin < 0:
        raise QmlbookError(f"margin is {margin!r} and must be a number, 0 or more.")
    return margin
