"""Whether the logs can say anything about a policy: weights, their tail, and what could have been logged."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from rlbake.evaluation.estimators.sequential import unrolled
from rlbake.evaluation.evaluation import Support
from rlbake.evaluation.rows import Rows

LEAST_ESS = 100  # decisions or episodes
LEAST_ENVIRONMENTS = 30  # effectively: below it no normal approximation over environments
LEAST_OVERLAP = 0.9  # and three standard errors below 1
MOST_OVERLAP = 1.1  # and three standard errors above 1
LARGEST_SHARE = 0.1  # of all weight, on one decision or episode
HEAVIEST_TAIL = 0.7
MOST_CERTAIN = 0.1  # share of decisions that were certain
CERTAIN = 1 - 1e-6  # a logging probability; logs hold them in single precision

KEPT = 10_000  # of the largest weights: all that the tail is fitted to, up to 11 million
FEWEST_IN_TAIL = 10


@dataclass(frozen=True)
class WeightMoments:
    """What support is told from; additive over parts of the logs, as estimators are.

    Attributes:
        sequential: whether weights are those of whole episodes, w_{0:T-1}, or of decisions.
        decisions: rows.
        certain: rows whose logging probability is 1.
        items: weights: decisions, or episodes.
        total: Σ w.
        squares: Σ w².
        by_unit: float64 [units, 2], each unit's rows and Σ w.
        largest: float64, the largest min(items, KEPT) weights, falling.
    """

    sequential: bool
    decisions: int
    certain: int
    items: int
    total: float
    squares: float
    by_unit: np.ndarray
    largest: np.ndarray

    @staticmethod
    def of(rows: Rows, *, sequential: bool, propensity: np.ndarray | None = None) -> WeightMoments:
        """Of whole episodes.

        Args:
            propensity: float64 [N], μ(a|x) of the logged actions; None: none is certain.
        """
        unit, weight = rows.unit, rows.weight
        if sequential:
            episodes = unrolled(rows, 1.0, int(rows.step.max(initial=0)) + 1)
            unit, weight = rows.unit[episodes.last], episodes.weight[episodes.last]
        counted = np.bincount(rows.unit, minlength=rows.units)
        return WeightMoments(
            sequential=sequential,
            decisions=len(rows),
            certain=0 if propensity is None else int((propensity >= CERTAIN).sum()),
            items=len(weight),
            total=float(weight.sum()),
            squares=float((weight**2).sum()),
            by_unit=np.stack([counted, np.bincount(unit, weights=weight, minlength=rows.units)], axis=1),
            largest=_largest(weight),
        )

    def merged(self, other: WeightMoments) -> WeightMoments:
        """Of both parts of the logs, which number units alike."""
        return WeightMoments(
            sequential=self.sequential,
            decisions=self.decisions + other.decisions,
            certain=self.certain + other.certain,
            items=self.items + other.items,
            total=self.total + other.total,
            squares=self.squares + other.squares,
            by_unit=self.by_unit + other.by_unit,
            largest=_largest(np.concatenate([self.largest, other.largest])),
        )

    def support(self) -> Support:
        """What the logs can tell, and warnings of what they cannot."""
        units = self.by_unit[self.by_unit[:, 0] > 0, 1]
        found = Support(
            decisions=self.decisions,
            environments=len(units),
            ess=_ess(self.total, self.squares),
            ess_environments=_ess(float(units.sum()), float((units**2).sum())),
            overlap=self.total / self.items if self.items else 0.0,
            max_weight=float(self.largest[0]) if self.items else 0.0,
            tail=tail(self.largest, self.items),
            deterministic=self.certain / self.decisions if self.decisions else 0.0,
        )
        return replace(found, warnings=self._warnings(found))

    def _warnings(self, found: Support) -> tuple[str, ...]:
        what, one = ("episodes", "episode") if self.sequential else ("decisions", "decision")
        if not self.decisions:
            return ("There is not a single decision to evaluate on.",)
        if not self.total:
            return (
                f"The policy would have done nothing that the {self.items:,} {what} hold: they say nothing about it.",
                *_certainty(found.deterministic),
            )
        spread = max(self.squares / self.items - found.overlap**2, 0.0)
        noise = 3 * np.sqrt(spread / self.items)
        share = found.max_weight / self.total
        told = [
            (
                found.ess < LEAST_ESS,
                f"The {self.items:,} {what} are worth {found.ess:,.0f} of the policy's own, fewer than {LEAST_ESS}.",
            ),
            (
                found.ess_environments < LEAST_ENVIRONMENTS,
                f"The {found.environments:,} environments are worth {found.ess_environments:,.0f}, "
                f"fewer than {LEAST_ENVIRONMENTS}: intervals are too narrow.",
            ),
            (
                found.overlap < min(LEAST_OVERLAP, 1 - noise),
                f"The logs tell about only {found.overlap:.0%} of what the policy would do.",
            ),
            (
                found.overlap > max(MOST_OVERLAP, 1 + noise),
                f"Weights average {found.overlap:.2f} where right logging probabilities give 1: they are too small.",
            ),
            (
                share > LARGEST_SHARE,
                f"One {one} of {self.items:,} has {share:.0%} of all weight.",
            ),
            (
                found.tail is not None and found.tail > HEAVIEST_TAIL,
                f"The largest weights have a heavy tail (k = {found.tail or 0:.2f}, above {HEAVIEST_TAIL}): "
                "the error can be larger than the interval says.",
            ),
        ]  # fmt: skip
        return (*(text for holds, text in told if holds), *_certainty(found.deterministic))


def support(rows: Rows, *, sequential: bool, propensity: np.ndarray | None = None) -> Support:
    """What logged decisions can tell about the policy that they are weighted for.

    Args:
        sequential: whether it is valued by whole episodes (weights are products) or by decisions.
        propensity: float64 [N], μ(a|x) of the logged actions; None: none is certain.
    """
    return WeightMoments.of(rows, sequential=sequential, propensity=propensity).support()


def tail(largest: np.ndarray, items: int) -> float | None:
    """Shape k of a generalised Pareto distribution of the weights beyond the min(n/5, 3 √n) largest.

    k < 0.5: weights have a variance; k < 0.7: estimates still behave; above, more data hardly help. Fitted by
    Zhang & Stephens (2009), doi:10.1198/tech.2009.08017, with the weak prior towards 0.5 of PSIS: Vehtari,
    Simpson, Gelman, Yao & Gabry (2024), "Pareto smoothed importance sampling", arXiv:1507.02646. In closed form,
    it does not fail where a likelihood search does, on ties and bounded weights.

    Args:
        largest: float64, the largest of them, falling.
        items: n, how many there are.

    Returns:
        None where fewer than `FEWEST_IN_TAIL` weights exceed the next smaller one: too few, or all alike.
    """
    count = min(int(np.ceil(min(items / 5, 3 * np.sqrt(items)))), len(largest) - 1)
    if count < FEWEST_IN_TAIL:
        return None
    excess = largest[:count] - largest[count]
    excess = np.sort(excess[excess > 0])
    if len(excess) < FEWEST_IN_TAIL or not np.isfinite(excess[-1]):
        return None
    return _zhang_stephens(excess)


def _zhang_stephens(x: np.ndarray) -> float:
    """k of x > 0, rising: the posterior mean over a grid of θ = -k/σ of the profile likelihood."""
    n, quartile = len(x), x[int(len(x) / 4 + 0.5) - 1]
    grid = 30 + int(np.sqrt(n))
    theta = 1 / x[-1] + (1 - np.sqrt(grid / (np.arange(1, grid + 1) - 0.5))) / (3 * quartile)
    shape = np.log1p(-theta[:, None] * x).mean(axis=1)
    likelihood = n * (np.log(-theta / shape) - shape - 1)
    posterior = np.exp(likelihood - likelihood.max())
    k = np.log1p(-(theta @ posterior / posterior.sum()) * x).mean()
    return float((n * k + 10 * 0.5) / (n + 10))


def _largest(weight: np.ndarray) -> np.ndarray:
    kept = weight if len(weight) <= KEPT else np.partition(weight, len(weight) - KEPT)[-KEPT:]
    return np.sort(kept)[::-1]


def _ess(total: float, squares: float) -> float:
    return total**2 / squares if squares > 0 else 0.0


def _certainty(share: float) -> tuple[str, ...]:
    if share >= 1:
        return ("Every logged decision was certain (probability 1): nothing is known about other actions.",)
    if share > MOST_CERTAIN:
        return (f"{share:.0%} of logged decisions were certain (probability 1): they say nothing about other actions.",)
    return ()
