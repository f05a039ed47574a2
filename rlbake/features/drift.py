"""How far features have moved from what an agent was trained on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from rlbake.features.identify import sample
from rlbake.features.profile import NUMBER, Profile, Profiles, distribution

LEAST_SHARE = 1e-4
"""An empty bin counts as this share, so that the index stays finite."""

_ATOM = 0.05  # a value that is at least this share of the reference has a bin of its own


@dataclass(frozen=True)
class Drift:
    """How one column differs from its reference.

    Attributes:
        psi: population stability index, ≥ 0.
        wasserstein: of a number, the mean distance that its values have moved, in standard deviations
            of the reference (in its own unit if it did not vary there); None where either has no value.
    """

    psi: float
    wasserstein: float | None


def drift(reference: Profiles, current: Profiles) -> dict[str, Drift]:
    """The drift of every column that both profiles have, by name.

    The index is Σ (c - r) log(c / r) over the shares c and r of a column's bins: the reference's
    deciles, or its values, and what is missing. Below 0.1 little has changed, from 0.25 on much has
    (Siddiqi, "Credit Risk Scorecards", 2006); for n and m rows in B bins chance alone gives about
    (B - 1)(1/n + 1/m) (Yurdakul and Naranjo, "Statistical properties of the population stability index", 2020).
    """
    shared = [name for name, profile in reference.items() if name in current and current[name].kind == profile.kind]
    return {
        name: Drift(_psi(reference[name], current[name]), _moved(reference[name], current[name])) for name in shared
    }


def _psi(reference: Profile, current: Profile) -> float:
    if not (reference.rows and current.rows):
        return 0.0
    bins = _numbers if reference.kind == NUMBER else _values
    r, c = (np.maximum(shares, LEAST_SHARE) for shares in bins(reference, current))
    return float(((c - r) * np.log(c / r)).sum())


def _values(reference: Profile, current: Profile) -> tuple[np.ndarray, np.ndarray]:
    values = sorted({*reference.counts, *current.counts})
    shares = [
        np.array([p.missing, *(p.counts.get(value, 0) for value in values)]) / p.rows for p in (reference, current)
    ]
    return shares[0], shares[1]


def _numbers(reference: Profile, current: Profile) -> tuple[np.ndarray, np.ndarray]:
    deciles = np.unique(reference.quantiles[:: max(1, len(reference.quantiles) // 10)][1:-1])
    below, upto = _cumulated(reference, deciles)
    atoms = upto - below >= _ATOM
    shares = []
    for profile in (reference, current):
        cuts = np.concatenate(
            [sides[chosen] for sides, chosen in zip(_cumulated(profile, deciles), (atoms, slice(None)), strict=True)]
        )
        cumulated = np.concatenate([[0.0], np.sort(cuts), [1.0]]) if profile.present else np.zeros(len(cuts) + 2)
        shares.append(np.append(profile.missing, np.diff(cumulated) * profile.present) / profile.rows)
    return shares[0], shares[1]


def _cumulated(profile: Profile, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return distribution(profile)(x) if profile.present else (np.zeros(len(x)), np.zeros(len(x)))


def _moved(reference: Profile, current: Profile) -> float | None:
    if reference.kind != NUMBER or not (reference.present and current.present):
        return None
    return float(stats.wasserstein_distance(sample(reference), sample(current)) / reference.deviation)
