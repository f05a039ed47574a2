"""Off-policy estimators: what another policy would have earned, from what one policy logged.

Each is a smooth function of sums over decisions (`estimator.Estimator`), so it is computed in parts, on as
many machines as there are, and its interval follows from the same sums (`evaluation.intervals`). The modules
here need nothing but NumPy and SciPy.

    estimator = ONE_STEP["dr"]()                              # or with a constant: ClippedIPS(limit=5)
    estimator = SEQUENTIAL["sequential_sndr"](gamma=0.99, horizon=30)
    linearised(estimator, estimator.components(rows))
"""

from __future__ import annotations

from collections.abc import Callable

from rlbake.evaluation.estimators.clipped_dr import ClippedDR
from rlbake.evaluation.estimators.clipped_ips import ClippedIPS
from rlbake.evaluation.estimators.dm import DM
from rlbake.evaluation.estimators.dr import DR
from rlbake.evaluation.estimators.estimator import Estimator
from rlbake.evaluation.estimators.fqe import FQE
from rlbake.evaluation.estimators.ips import IPS
from rlbake.evaluation.estimators.logged_return import LoggedReturn
from rlbake.evaluation.estimators.logged_reward import LoggedReward
from rlbake.evaluation.estimators.magic import Magic
from rlbake.evaluation.estimators.per_decision_is import PerDecisionIS
from rlbake.evaluation.estimators.sequential_dr import SequentialDR
from rlbake.evaluation.estimators.sequential_sndr import SequentialSNDR
from rlbake.evaluation.estimators.shrinkage_dr import ShrinkageDR
from rlbake.evaluation.estimators.sn_per_decision_is import SNPerDecisionIS
from rlbake.evaluation.estimators.sn_trajectory_is import SNTrajectoryIS
from rlbake.evaluation.estimators.sndr import SNDR
from rlbake.evaluation.estimators.snips import SNIPS
from rlbake.evaluation.estimators.sub_gaussian_dr import SubGaussianDR
from rlbake.evaluation.estimators.sub_gaussian_ips import SubGaussianIPS
from rlbake.evaluation.estimators.switch_dr import SwitchDR
from rlbake.evaluation.estimators.trajectory_is import TrajectoryIS

ONE_STEP: dict[str, Callable[..., Estimator]] = {
    made.name: made
    for made in (
        LoggedReward, IPS, SNIPS, ClippedIPS, SubGaussianIPS, DM, DR, SNDR, ClippedDR, SwitchDR, ShrinkageDR,
        SubGaussianDR,
    )
}  # fmt: skip
"""Of the reward per decision; made without arguments, or with the constant of the estimator."""

SEQUENTIAL: dict[str, Callable[..., Estimator]] = {
    made.name: made
    for made in (
        LoggedReturn, TrajectoryIS, PerDecisionIS, SNTrajectoryIS, SNPerDecisionIS, FQE, SequentialDR, SequentialSNDR,
        Magic,
    )
}  # fmt: skip
"""Of the discounted return per episode; made with `gamma` and `horizon`."""

__all__ = [
    "DM",
    "DR",
    "FQE",
    "IPS",
    "ONE_STEP",
    "SEQUENTIAL",
    "SNDR",
    "SNIPS",
    "ClippedDR",
    "ClippedIPS",
    "Estimator",
    "LoggedReturn",
    "LoggedReward",
    "Magic",
    "PerDecisionIS",
    "SNPerDecisionIS",
    "SNTrajectoryIS",
    "SequentialDR",
    "SequentialSNDR",
    "ShrinkageDR",
    "SubGaussianDR",
    "SubGaussianIPS",
    "SwitchDR",
    "TrajectoryIS",
]
