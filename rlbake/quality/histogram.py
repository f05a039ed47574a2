"""Histograms from profiles: shares of values, with every frequent value told apart from those around it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rlbake.features.profile import Profile, distribution

FREQUENT = 0.02
"""A value that is at least this share of all is drawn by itself."""

FEW = 30
"""A number that takes at most so many values, whole ones, is drawn value by value."""

FREQUENT_WHOLE = 0.2
"""Likewise among whole numbers that are more: each of them is somewhat frequent."""

BINS = 30


@dataclass(frozen=True)
class Histogram:
    """Shares of a column's values; missing ones are not among them.

    The shares, `beyond` included, add up to 1.

    Attributes:
        edges: float64 [B + 1], ascending; empty if the column takes only a few values.
        shares: float64 [B], of the values in each bin that are not among `values`.
        values: float64 [A], ascending, that are drawn by themselves.
        value_shares: float64 [A].
        beyond: share of values outside the edges, in the tails that are cut.
    """

    edges: np.ndarray
    shares: np.ndarray
    values: np.ndarray
    value_shares: np.ndarray
    beyond: float


def histograms(
    profiles: Sequence[Profile], *, log: bool = False, within: tuple[float, float] | None = None
) -> list[Histogram]:
    """One for each profile, all over the same edges or values.

    Args:
        profiles: of numbers, each with a value.
        log: bins of equal width on a logarithmic axis; only if all values are positive.
        within: what the bins cover at least.
    """
    if all(map(takes_few_values, profiles)):
        values = np.array(sorted({value for profile in profiles for value in _known(profile)}), np.float64)
        none = np.zeros(0)
        return [Histogram(none, none, values, _by_value(profile, values), 0.0) for profile in profiles]
    edges = _edges(profiles, log, within)
    return [_binned(profile, edges) for profile in profiles]


def takes_few_values(profile: Profile) -> bool:
    """Whether all its values are known one by one, and few."""
    small = _known(profile)
    known = bool(small) and (profile.low, profile.high) == (small[0], small[-1])
    return known and len(small) <= FEW and (_is_whole(profile) or len(small) == 1)


def frequent_values(profile: Profile) -> list[tuple[float, float]]:
    """The values that are drawn by themselves, with their shares, the most frequent first."""
    drawn = histograms([profile])[0]
    pairs = zip(drawn.values.tolist(), drawn.value_shares.tolist(), strict=True)
    return sorted((pair for pair in pairs if pair[1] >= FREQUENT), key=lambda pair: -pair[1])


def is_wide(profile: Profile) -> bool:
    """Whether positive numbers spread over so many orders of magnitude that only a logarithmic axis shows them."""
    q = profile.quantiles
    return profile.low is not None and profile.low > 0 and q[-2] > max(50 * q[1], 1000 if _is_whole(profile) else 0)


def _known(profile: Profile) -> tuple[float, ...]:
    return (profile.low,) if profile.low is not None and profile.low == profile.high else profile.small


def _is_whole(profile: Profile) -> bool:
    return profile.present > 0 and profile.whole == profile.present


def _by_value(profile: Profile, values: np.ndarray) -> np.ndarray:
    """Shares of values, of a profile that takes no others; exact for one or two, else to half a percent."""
    own = np.array(_known(profile), np.float64)
    if len(own) == 1:
        shares = np.ones(1)
    elif len(own) == 2:
        upper = (profile.mean - own[0]) / (own[1] - own[0])
        shares = np.array([1 - upper, upper])
    else:
        _, upto = distribution(profile)((own[:-1] + own[1:]) / 2)
        shares = np.diff(upto, prepend=0.0, append=1.0)
    placed = np.zeros(len(values))
    placed[np.searchsorted(values, own)] = shares
    return placed


def _edges(profiles: Sequence[Profile], log: bool, within: tuple[float, float] | None) -> np.ndarray:
    """Over all the values, but for long tails of half a percent."""
    ranges = [*(_range(profile, log) for profile in profiles), *([within] if within else [])]
    low, high = min(low for low, _ in ranges), max(high for _, high in ranges)
    if all(map(_is_whole, profiles)) and high < 2**52:
        return _between_whole_numbers(low, high, log)
    edges = np.geomspace(low, high, BINS + 1) if log else np.linspace(low, high, BINS + 1)
    edges[0], edges[-1] = low, high
    return np.unique(edges)  # numbers may lie too near to each other for so many bins


def _between_whole_numbers(low: float, high: float, log: bool) -> np.ndarray:
    """Edges between whole numbers; equally many in each bin, unless the axis is logarithmic."""
    if log:
        return np.unique(np.rint(np.geomspace(low, high + 1, BINS + 1))) - 0.5
    width = -(-(high - low + 1) // BINS)
    return np.arange(low, high + width + 1, width) - 0.5


def _range(profile: Profile, log: bool) -> tuple[float, float]:
    grid = np.log(profile.quantiles) if log else np.asarray(profile.quantiles)
    low, high = 0, len(grid) - 1
    inner = grid[-2] - grid[1]
    if inner > 0:
        low += int(grid[1] - grid[0] > inner / 2)
        high -= int(grid[-1] - grid[-2] > inner / 2)
    return profile.quantiles[low], profile.quantiles[high]


def _binned(profile: Profile, edges: np.ndarray) -> Histogram:
    shares = distribution(profile)
    known = np.unique(profile.quantiles)
    below, upto = shares(known)
    frequent = upto - below >= (FREQUENT_WHOLE if _is_whole(profile) else FREQUENT)
    values, value_shares = known[frequent], (upto - below)[frequent]
    _, at_edges = shares(edges)
    among = value_shares @ (values[:, None] <= edges)
    smooth = np.clip(at_edges - among, 0.0, 1.0)
    bins = np.clip(np.diff(smooth), 0.0, 1.0)
    bins[0] += smooth[0] if edges[0] <= known[0] else 0.0
    return Histogram(edges, bins, values, value_shares, max(0.0, 1.0 - float(bins.sum() + value_shares.sum())))
