"""Random numbers that can be looked up: a pure function of a seed, a name and counters.

A simulated world that draws player 4711's chance on day 90 this way needs no stored state and
no earlier day: every window can be simulated alone, in any order, and comes out the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from numpy.typing import ArrayLike

from rlbake.policies.spread import INCREMENT, mix


@dataclass(frozen=True)
class CounterNoise:
    """One family of independent random streams.

    Attributes:
        purpose: sets families of the same seed apart, such as logs from evaluation.
        seed: any integer.
    """

    purpose: str
    seed: int

    def uniform(self, stream: str, *counters: ArrayLike) -> np.ndarray:
        """Uniform in [0, 1), float64, of the shape (at least [1]) to which the integer counters broadcast.

        Each counter is folded into a 64-bit state by SplitMix64's finaliser (Steele, Lea and Flood,
        "Fast splittable pseudorandom number generators", OOPSLA 2014).
        """
        name = f"{self.purpose}/{self.seed}/{stream}".encode()
        state = np.frombuffer(blake2b(name, digest_size=8).digest(), np.uint64)
        for counter in np.broadcast_arrays(*np.atleast_1d(*counters, 0)[:-1]):
            state = mix(state + INCREMENT * mix(counter.astype(np.uint64) + INCREMENT))
        return (state >> np.uint64(11)) * 2.0**-53

    def integers(self, stream: str, high: int, *counters: ArrayLike) -> np.ndarray:
        """Uniform in 0 .. high - 1, int64."""
        return (self.uniform(stream, *counters) * high).astype(np.int64)


def draw(shares: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    """Inverse cumulative distribution: `shares` [K], or [B, K] with one row per draw."""
    cumulative = shares.cumsum(axis=-1)
    return np.minimum((uniform[:, None] >= cumulative).sum(axis=-1), shares.shape[-1] - 1)
