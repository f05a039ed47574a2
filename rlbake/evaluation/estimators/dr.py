"""Doubly robust."""

from __future__ import annotations

from typing import ClassVar

from rlbake.evaluation.estimators.one_step import Corrected


class DR(Corrected):
    """θ = (1/n) Σ v_i + w_i (r_i - q_i).

    The direct method, corrected by the weighted errors of its model. Unbiased where the assumptions of
    `IPS` hold, whatever the model, if the model has not seen the rows (cross-fitting); consistent too where
    the weights are wrong but the model is right.

    Dudík, Langford & Li (2011), "Doubly robust policy evaluation and learning", arXiv:1103.4601.
    """

    name: ClassVar[str] = "dr"
    claims_coverage: ClassVar[bool] = True
