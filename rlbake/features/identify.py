"""Which transform each number gets, judged from its profile.

The kinds are those of ReAgent's `identify_types` and `normalization`, chosen more cautiously: a
number is standardised unless its distribution clearly asks for something else. In this order:

1.  what the feature itself says (`Number.transform`);
2.  `standard` where fewer than `FEWEST` values were seen, or only one;
3.  `binary` where all are 0 or 1;
4.  `category` where they are at most `MOST_VALUES` whole numbers with gaps between them, each in
    about 1 % of the rows or more. Without a gap they count something, which goes on beyond what was seen;
5.  `standard` unless they are skewed (|g₁| > `SKEWED`) or heavy-tailed (the standard deviation is
    more than `HEAVY` times the interquartile range, so that standardising would squash the bulk);
6.  `probability`, if the feature is declared to lie within [0, 1], else the power that makes it most
    like a normal distribution: `box_cox` for positive numbers, else `yeo_johnson`, or `clipped_log`
    where that power is about a logarithm; but only if it is neither skewed (|g₁| ≤ `MENDED`) nor heavy-tailed then;
7.  `quantile` if it is heavy-tailed and no power helps;
8.  `standard`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy import optimize, special, stats

from rlbake.errors import DataError
from rlbake.features.profile import GRID, SMALL, Profile, Profiles, of_feature
from rlbake.specs import Feature, Number

FEWEST = 100
MOST_VALUES = 10
SKEWED = 2.0  # |g₁|: "substantial" for West, Finch and Curran (1995), and that of an exponential distribution
MENDED = 1.0  # |g₁| that a transform may leave
HEAVY = 5.0  # 0.74 for a normal distribution, 1.5 for a log-normal with σ = 1, 15 with σ = 2
POWERS = (-5.0, 5.0)
NEAR_LOG = 0.1  # a power this near to 0 is taken for the logarithm
PROBABILITY_MARGIN = 1e-5  # log-odds within ±11.5


@dataclass(frozen=True)
class Transform:
    """How a network reads one number.

    Attributes:
        name: one of `specs.TRANSFORMS`.
        mean: subtracted from the number, after its power where it has one.
        deviation: then divides it.
        low: a lesser number is read as this one; None: it is not bounded before the transform.
        high: likewise a greater one.
        power: λ of `box_cox` and `yeo_johnson`.
        values: of `category`, the whole numbers; of `quantile`, the values whose ranks are known, ascending.
        ranks: of `quantile`, of these values, in [-1, 1].
    """

    name: str
    mean: float = 0.0
    deviation: float = 1.0
    low: float | None = None
    high: float | None = None
    power: float | None = None
    values: tuple[float, ...] = ()
    ranks: tuple[float, ...] = ()

    @property
    def size(self) -> int:
        """Columns of the vector that it becomes."""
        return len(self.values) if self.name == "category" else 1


Identified = dict[str, Transform]
"""Transforms by name of the `Number`."""


def identify(observation: Sequence[Feature], profiles: Profiles) -> Identified:
    """A transform for every number; the rules are at the head of this module.

    Args:
        observation: the features; others than numbers have no choice of transforms.
        profiles: has one for every number; others are ignored.

    Raises:
        DataError: a transform that a feature asks for cannot be had with its values.
    """
    return {f.name: _identified(f, profiles[of_feature(f.name)]) for f in observation if isinstance(f, Number)}


def to_json(identified: Identified) -> dict[str, Any]:
    """JSON-ready; what has its default is left out. `from_json` is the inverse."""
    unsaid = asdict(Transform(""))
    return {
        name: {
            field: list(value) if isinstance(value, tuple) else value
            for field, value in asdict(transform).items()
            if value != unsaid[field]
        }
        for name, transform in identified.items()
    }


def from_json(data: Mapping[str, Any]) -> Identified:
    """What `to_json` wrote."""
    return {name: _from_json(**fields) for name, fields in data.items()}


def _from_json(values: Sequence[float] = (), ranks: Sequence[float] = (), **rest: Any) -> Transform:
    return Transform(values=tuple(values), ranks=tuple(ranks), **rest)


def _identified(feature: Number, profile: Profile) -> Transform:
    if profile.low is None or profile.high is None:
        return Transform("standard")
    if feature.transform is not None:
        return _asked_for(feature, profile, profile.low, profile.high)
    standard = _standard(profile)
    if profile.present < FEWEST or not profile.varies:
        return standard
    if profile.whole == profile.present:
        if profile.small == (0, 1):
            return Transform("binary")
        if _is_code(profile):
            return _category(profile)
    heavy = _is_heavy(np.asarray(profile.quantiles), profile.deviation)
    if abs(profile.skewness) <= SKEWED and not heavy:
        return standard
    if feature.low >= 0 and feature.high <= 1:
        return Transform("probability")
    powered = _clipped_log(profile) if profile.low == 0 and _is_near_log(profile) else _powered(profile)
    if powered is not None and _mends(powered, profile):
        return powered
    return _quantile(profile) if heavy else standard


def _asked_for(feature: Number, profile: Profile, low: float, high: float) -> Transform:
    name = feature.transform
    needs = {
        "probability": (low >= 0 and high <= 1, "numbers within [0, 1]"),
        "box_cox": (low > 0, "positive numbers"),
        "clipped_log": (low >= 0, "numbers that are not negative"),
        "category": (
            profile.whole == profile.present and low >= -SMALL and high <= SMALL,
            f"whole numbers from -{SMALL} to {SMALL}",
        ),
    }
    holds, what = needs.get(str(name), (True, ""))
    if not holds:
        raise DataError(
            f"feature {feature.name!r}: transform {name!r} needs {what}; {profile.present:,} values lie within "
            f"[{low:g}, {high:g}], {profile.whole:,} of them whole. Choose another transform, or reject such rows."
        )
    if name in ("box_cox", "yeo_johnson"):
        powered = _powered(profile, str(name))
        if powered is None:
            raise DataError(
                f"feature {feature.name!r}: no power of its values, within [{low:g}, {high:g}], can be told from "
                "a constant. Choose another transform, such as 'quantile'."
            )
        return powered
    chosen = {"standard": _standard, "category": _category, "quantile": _quantile, "clipped_log": _clipped_log}
    return chosen[str(name)](profile) if name in chosen else Transform(str(name))


def _standard(profile: Profile) -> Transform:
    return Transform("standard", profile.mean, profile.deviation)


def _category(profile: Profile) -> Transform:
    return Transform("category", values=tuple(float(value) for value in profile.small))


def _is_code(profile: Profile) -> bool:
    """Whether whole numbers are few, with gaps between them, and each is common."""
    values = profile.small
    if not 2 <= len(values) <= MOST_VALUES or (profile.low, profile.high) != (values[0], values[-1]):
        return False
    shares = [profile.quantiles.count(value) / len(GRID) for value in values]
    return values[-1] - values[0] >= len(values) and min(shares) >= 2 / len(GRID)


def _is_heavy(quantiles: np.ndarray, deviation: float) -> bool:
    quarter = len(quantiles) // 4
    return bool(deviation > HEAVY * (quantiles[-1 - quarter] - quantiles[quarter]))


def sample(profile: Profile) -> np.ndarray:
    """float64 [200]: numbers that are as likely as one another, from the middle between neighbouring quantiles."""
    grid = np.asarray(profile.quantiles)
    return grid[:-1] / 2 + grid[1:] / 2


def _powered(profile: Profile, name: str | None = None) -> Transform | None:
    """Box-Cox for positive numbers and Yeo-Johnson for others, λ by maximum likelihood; None where it degenerates."""
    assert profile.low is not None
    name = name or ("box_cox" if profile.low > 0 else "yeo_johnson")
    values = sample(profile)
    likelihood = stats.boxcox_llf if name == "box_cox" else stats.yeojohnson_llf
    power = 1.0
    with np.errstate(all="ignore"):
        if profile.varies:
            power = float(optimize.minimize_scalar(lambda x: -likelihood(x, values), bounds=POWERS, method="bounded").x)
        scaled = powers(name, values, power)
        mean, deviation = float(scaled.mean()), float(scaled.std())
    if not profile.varies:
        return Transform(name, mean, 1.0, profile.low, profile.high, power)
    if not np.isfinite(deviation) or deviation <= 1e-8 * np.abs(scaled).max():
        return None
    return Transform(name, mean, deviation, profile.low, profile.high, power)


def _is_near_log(profile: Profile) -> bool:
    powered = _powered(profile)
    return powered is not None and powered.power is not None and abs(powered.power) <= NEAR_LOG


def _clipped_log(profile: Profile) -> Transform:
    scaled = np.log1p(sample(profile))
    deviation = float(scaled.std()) if profile.varies else 0.0
    return Transform("clipped_log", float(scaled.mean()), deviation or 1.0, profile.low, profile.high)


def _mends(transform: Transform, profile: Profile) -> bool:
    values, grid = sample(profile), np.asarray(profile.quantiles)
    if transform.name == "clipped_log":
        scaled, scaled_grid = np.log1p(values), np.log1p(grid)
    else:
        assert transform.power is not None
        scaled, scaled_grid = (powers(transform.name, x, transform.power) for x in (values, grid))
    return bool(abs(stats.skew(scaled)) <= MENDED) and not _is_heavy(scaled_grid, transform.deviation)


def _quantile(profile: Profile) -> Transform:
    """Ranks of the quantiles; a value that fills several of them has the rank in their middle."""
    values, first, count = np.unique(profile.quantiles, return_index=True, return_counts=True)
    ranks = 2 * (GRID[first] + GRID[first + count - 1]) / 2 - 1
    return Transform("quantile", values=tuple(values.tolist()), ranks=tuple(ranks.tolist()))


def powers(name: str, x: np.ndarray, power: float) -> np.ndarray:
    """Box-Cox (x^λ - 1) / λ, or Yeo-Johnson: that of 1 + x for x ≥ 0, and -((1 - x)^(2 - λ) - 1) / (2 - λ) below.

    Where the divisor is 0, the power is the logarithm. Box and Cox (1964), Yeo and Johnson (2000).
    """
    if name == "box_cox":
        return special.boxcox(x, power)
    return np.where(x >= 0, special.boxcox1p(np.maximum(x, 0), power), -special.boxcox1p(np.maximum(-x, 0), 2 - power))
