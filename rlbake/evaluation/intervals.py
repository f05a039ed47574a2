"""How far an off-policy estimate can be from the true value: intervals clustered by environment.

All read an estimator's components, float64 [units, k], the sums of units that are independent of each
other (environments, not decisions); units without rows are left out. `linearised` is what figures are shown
with: no randomness, linear in the number of units, and wherever measured it covered at least as often as
`bootstrap` (docs/off_policy_evaluation.md), which needs no gradient, is not symmetric, and keeps self-normalised
estimates within what can be. `empirical_bernstein` holds for every number of units without an approximation,
but only for bounded rewards, and is much wider.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

from rlbake.evaluation.estimators.sequential import unrolled

if TYPE_CHECKING:
    from rlbake.evaluation.estimators.estimator import Estimator
    from rlbake.evaluation.rows import Rows

CONFIDENCE = 0.95
REPLICATES = 1000
ENOUGH = 25  # units per squared skewness
_DRAWN_AT_ONCE = 2**22  # units drawn, over all replicates of a block: 32 MB


@dataclass(frozen=True)
class Interval:
    """An estimate and what it may be instead.

    Attributes:
        value: the estimate; NaN where it is undefined.
        low, high: ends, never NaN; -inf and inf where fewer than 2 units have rows, or the estimate is undefined.
        se: standard error; inf where the ends are, NaN where the method has none.
        units: with rows.
        method: "t", "bootstrap" or "empirical Bernstein".
        skewness: of the units' influences; NaN where the method does not look at it.
    """

    value: float
    low: float
    high: float
    se: float
    units: int
    method: str
    skewness: float = np.nan

    @property
    def skewed(self) -> bool:
        """Whether there are too few units for a normal approximation: fewer than 25 skewness².

        Cochran (1977), "Sampling techniques", section 2.15: then 95 % intervals can miss more often than 6 times
        of 100, on the side of the long tail. So it is with products of weights over many steps.
        """
        return bool(self.units < ENOUGH * self.skewness**2)


def linearised(estimator: Estimator, components: np.ndarray, confidence: float = CONFIDENCE) -> Interval:
    """Student's t over units, of the estimate's first-order expansion in their sums (the delta method).

    θ ± t_{U-1} se, se² = U/(U-1) Σ_u (∇θ(S)·s_u)². For the plain mean of units of one row it is the t interval
    of a mean. Cluster-robust in the sense of Liang & Zeger (1986), doi:10.1093/biomet/73.1.13.

    Args:
        components: float64 [units, k].
        confidence: two-sided.
    """
    given = components[components[:, 0] > 0]
    settled = estimator.settled(given)
    return _t(float(settled.value(given.sum(axis=0))), _influence(settled, given), confidence)


def bootstrap(
    estimator: Estimator,
    components: np.ndarray,
    seed: int,
    confidence: float = CONFIDENCE,
    replicates: int = REPLICATES,
) -> Interval:
    """Percentiles of the estimate over units drawn with replacement (the cluster bootstrap).

    Percentiles, and not BCa: its correction would cost nothing (the influences are at hand), but covered no
    better on the worlds that this was tried on, and worse for trajectory-wise weights, because a skewed sample
    tells little about its own skewness. A replicate whose value is undefined could be anything: it counts at
    both ends.

    Davison & Hinkley (1997), "Bootstrap methods and their application", sections 3.8 and 5.3.

    Args:
        components: float64 [units, k].
        seed: of the draws.
        confidence: two-sided.
        replicates: how often units are drawn.
    """
    given = components[components[:, 0] > 0]
    settled = estimator.settled(given)
    value = float(settled.value(given.sum(axis=0)))
    (drawn,) = _replicates([(settled, given)], seed, replicates)
    return _percentiles(value, drawn, len(given), confidence)


def paired(
    estimator_a: Estimator,
    components_a: np.ndarray,
    estimator_b: Estimator,
    components_b: np.ndarray,
    confidence: float = CONFIDENCE,
) -> Interval:
    """Student's t of a difference a - b on the same units, as `linearised`: what both share cancels.

    Args:
        components_a, components_b: float64 [units, k_a] and [units, k_b], of the same units in the same order.
    """
    (a, given_a), (b, given_b) = _same_units(estimator_a, components_a, estimator_b, components_b)
    difference = float(a.value(given_a.sum(axis=0)) - b.value(given_b.sum(axis=0)))
    return _t(difference, _influence(a, given_a) - _influence(b, given_b), confidence)


def paired_bootstrap(
    estimator_a: Estimator,
    components_a: np.ndarray,
    estimator_b: Estimator,
    components_b: np.ndarray,
    seed: int,
    confidence: float = CONFIDENCE,
    replicates: int = REPLICATES,
) -> Interval:
    """Percentiles of a difference a - b over the same draws of units, as `bootstrap`."""
    both = _same_units(estimator_a, components_a, estimator_b, components_b)
    value_a, value_b = (estimator.value(given.sum(axis=0)) for estimator, given in both)
    drawn_a, drawn_b = _replicates(both, seed, replicates)
    with np.errstate(invalid="ignore"):
        return _percentiles(float(value_a - value_b), drawn_a - drawn_b, len(both[0][1]), confidence)


@dataclass(frozen=True)
class Bounded:
    """What `empirical_bernstein` reads, additive over rows like an estimator's components.

    Attributes:
        low, high: no reward (or return) is outside of these.
        clip: weights are cut here, which only lowers the expectation of what is not negative. It must be
            chosen without looking at these rows.
    """

    low: float
    high: float
    clip: float = 10.0

    def components(self, rows: Rows) -> np.ndarray:
        """Of rewards per decision: [n, Σ min(w, c) (r - low), Σ min(w, c) (high - r)], float64 [units, 3].

        Raises:
            ValueError: a reward is out of bounds.
        """
        return self.of(rows.unit, rows.weight, rows.reward, rows.units)

    def of_returns(self, rows: Rows, gamma: float, horizon: int) -> np.ndarray:
        """Of discounted returns per episode, weighted by w_{0:T-1}: the same sums over episodes.

        Raises:
            ValueError: a return is out of bounds, or an episode has more steps than `horizon`.
        """
        episodes = unrolled(rows, gamma, horizon)
        last = episodes.last
        return self.of(rows.unit[last], episodes.weight[last], episodes.returns(rows.reward), rows.units)

    def of(self, unit: np.ndarray, weight: np.ndarray, outcome: np.ndarray, units: int) -> np.ndarray:
        """The same of any items that have a weight and an outcome.

        Args:
            unit: int64 [items].
            weight: float64 [items].
            outcome: float64 [items].
            units: how many there are.

        Raises:
            ValueError: an outcome is out of bounds.
        """
        outside = (outcome < self.low) | (outcome > self.high)
        if outside.any():
            raise ValueError(
                f"{int(outside.sum())} of {len(outcome)} outcomes are outside of [{self.low}, {self.high}], "
                f"for example {outcome[outside][0]}."
            )
        kept = np.minimum(weight, self.clip)
        columns = (None, kept * (outcome - self.low), kept * (self.high - outcome))
        return np.stack([np.bincount(unit, weights=c, minlength=units) for c in columns], axis=1).astype(np.float64)


def empirical_bernstein(bounded: Bounded, components: np.ndarray, confidence: float = CONFIDENCE) -> Interval:
    """An interval that holds for any number of units, if rewards are bounded and weights are right.

    For U independent Z_u in [0, b], with probability 1 - δ:
    E mean(Z) ≥ mean(Z) - √(2 V ln(2/δ) / U) - 7 b ln(2/δ) / (3 (U - 1)), V their sample variance.
    Z_u sums min(w, c) (r - low) over the unit's decisions, and bounds the value from below; min(w, c) (high - r)
    does so from above, each with δ = (1 - confidence) / 2. The number of each unit's decisions is taken as given:
    b = c (high - low) max_u n_u.

    Maurer & Pontil (2009), "Empirical Bernstein bounds and sample variance penalization", arXiv:0907.3740,
    theorem 11; cut weights as in Thomas, Theocharous & Ghavamzadeh (2015), "High-confidence off-policy
    evaluation", AAAI.

    Args:
        components: float64 [units, 3], what `bounded` makes of rows.
        confidence: two-sided.

    Returns:
        value: halfway between what the two sides estimate.
    """
    given = components[components[:, 0] > 0]
    units, method = len(given), "empirical Bernstein"
    decisions = given[:, 0].sum()
    span = bounded.high - bounded.low
    if units < 2:
        value = (bounded.low + bounded.high + (given[:, 1] - given[:, 2]).sum() / decisions) / 2 if units else np.nan
        return Interval(float(value), -np.inf, np.inf, np.nan, units, method)
    mean = given[:, 1:].sum(axis=0) / decisions
    log = np.log(4 / (1 - confidence))
    largest = bounded.clip * span * given[:, 0].max()
    lost = np.sqrt(2 * given[:, 1:].var(axis=0, ddof=1) * log / units) + 7 * largest * log / (3 * (units - 1))
    least = np.clip(mean - lost * units / decisions, 0, span)
    value = (bounded.low + mean[0] + bounded.high - mean[1]) / 2
    return Interval(
        float(value), float(bounded.low + least[0]), float(bounded.high - least[1]), np.nan, units, method
    )  # fmt: skip


def _same_units(
    estimator_a: Estimator, components_a: np.ndarray, estimator_b: Estimator, components_b: np.ndarray
) -> list[tuple[Estimator, np.ndarray]]:
    if len(components_a) != len(components_b):
        raise ValueError(f"{len(components_a)} and {len(components_b)} units cannot be paired: they must be the same.")
    present = (components_a[:, 0] > 0) | (components_b[:, 0] > 0)
    pairs = ((estimator_a, components_a[present]), (estimator_b, components_b[present]))
    return [(estimator.settled(given), given) for estimator, given in pairs]


def _influence(estimator: Estimator, given: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore", over="ignore"):
        return given @ estimator.gradient(given.sum(axis=0))


def _t(value: float, influence: np.ndarray, confidence: float) -> Interval:
    units = len(influence)
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        squares = (influence**2).sum()
        skewness = float(np.sqrt(units) * (influence**3).sum() / squares**1.5)
        se = float(np.sqrt(units / (units - 1) * squares)) if units > 1 else np.inf
        half = float(stats.t.ppf((1 + confidence) / 2, units - 1)) * se if units > 1 else np.inf
    if not (np.isfinite(value) and np.isfinite(half)):
        return Interval(value, -np.inf, np.inf, np.inf, units, "t")
    return Interval(value, value - half, value + half, se, units, "t", skewness)


def _replicates(estimates: Sequence[tuple[Estimator, np.ndarray]], seed: int, replicates: int) -> list[np.ndarray]:
    """The values over the same draws of units, float64 [replicates] each."""
    units = len(estimates[0][1])
    random = np.random.default_rng(seed)
    block = max(1, _DRAWN_AT_ONCE // max(units, 1))
    values: list[list[np.ndarray]] = [[] for _ in estimates]
    for first in range(0, replicates if units else 0, block):
        size = min(block, replicates - first)
        drawn = random.integers(units, size=(size, units)) + np.arange(size)[:, None] * units
        times = np.bincount(drawn.ravel(), minlength=size * units).reshape(size, units).astype(np.float64)
        with np.errstate(invalid="ignore", over="ignore"):
            for of, (estimator, given) in zip(values, estimates, strict=True):
                of.append(estimator.value(times @ given))
    return [np.concatenate(of) if of else np.zeros(0) for of in values]


def _percentiles(value: float, drawn: np.ndarray, units: int, confidence: float) -> Interval:
    if units < 2 or not np.isfinite(value):
        return Interval(value, -np.inf, np.inf, np.inf, units, "bootstrap")
    undefined = ~np.isfinite(drawn)
    low, high = (np.where(undefined, end, drawn) for end in (-np.inf, np.inf))
    return Interval(
        value,
        float(np.quantile(low, (1 - confidence) / 2, method="lower")),
        float(np.quantile(high, (1 + confidence) / 2, method="higher")),
        np.inf if undefined.any() else float(drawn.std(ddof=1)),
        units,
        "bootstrap",
    )
