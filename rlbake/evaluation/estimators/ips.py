"""Inverse propensity scoring."""

from __future__ import annotations

from typing import ClassVar

from rlbake.evaluation.estimators.one_step import Weighted


class IPS(Weighted):
    """θ = (1/n) Σ w_i r_i, with w = π(a|x) / μ(a|x).

    Unbiased where every action that π may take could be logged (μ > 0) and μ is known. Its variance grows
    with E[w²], and adding a constant to all rewards changes its error.

    Horvitz & Thompson (1952), doi:10.1080/01621459.1952.10483446; for policies: Strehl et al. (2010),
    arXiv:1003.0120.
    """

    name: ClassVar[str] = "ips"
    claims_coverage: ClassVar[bool] = True
