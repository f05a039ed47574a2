"""Several independent uniforms out of one, so that a policy of vectors also needs one noise per decision."""

from __future__ import annotations

import numpy as np

INCREMENT = np.uint64(0x9E3779B97F4A7C15)


def spread(noise: np.ndarray, count: int) -> np.ndarray:
    """uₖ = ⌊mix(bits(u) + k · 0x9E3779B97F4A7C15) / 2¹¹⌋ / 2⁵³, k = 1 … n: SplitMix64 seeded with the bits of u.

    The sum is modulo 2⁶⁴, and bits(u) the IEEE 754 representation of u as an unsigned integer
    (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014).

    Args:
        noise: u, float64 [B], uniform in [0, 1).
        count: n.

    Returns:
        float64 [B, n], uniform in [0, 1), independent of each other; u itself is not among them.
    """
    bits = np.ascontiguousarray(noise, np.float64).view(np.uint64)
    steps = np.arange(1, count + 1, dtype=np.uint64) * INCREMENT
    return (mix(bits[:, None] + steps) >> np.uint64(11)) * 2.0**-53


def mix(state: np.ndarray) -> np.ndarray:
    """SplitMix64's finaliser: uint64 → uint64, one to one, every bit depending on all others."""
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))
