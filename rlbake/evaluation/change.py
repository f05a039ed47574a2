"""How differently two policies decide."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Change:
    """What a population would notice if one policy took over from another.

    Attributes:
        flips: share of decisions in which the most probable actions differ, in [0, 1].
        kl: mean KL(new ‖ old) in nats; inf where the old policy never does what the new one may do.
    """

    flips: float
    kl: float


def change(new: np.ndarray, old: np.ndarray) -> Change:
    """The change between two distributions over the same actions.

    KL(p ‖ q) = Σ_a p(a) log(p(a) / q(a)); Kullback & Leibler (1951), https://doi.org/10.1214/aoms/1177729694.

    Args:
        new, old: float64 [N, A], rows sum to 1.
    """
    both = (new > 0) & (old > 0)
    ratio = np.log(np.where(both, new, 1.0)) - np.log(np.where(both, old, 1.0))
    divergence = np.where(new > 0, np.where(old > 0, new * ratio, np.inf), 0.0).sum(axis=1)
    return Change(float((new.argmax(axis=1) != old.argmax(axis=1)).mean()), float(divergence.mean()))
