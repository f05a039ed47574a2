"""One whole period."""

from __future__ import annotations

import logging

from rlbake.agents.config import TrainConfig
from rlbake.errors import GateRefused, NotFoundError
from rlbake.period.build import build_period
from rlbake.period.evaluate import evaluate
from rlbake.period.models import champion_of
from rlbake.period.period import Period
from rlbake.period.promote import promote
from rlbake.period.score import score
from rlbake.period.train import train
from rlbake.tracking.runs import stage_run

_logger = logging.getLogger(__name__)


def run_period(period: Period, config: TrainConfig, *, margin: float = 0.0) -> None:
    """Build → train → evaluate → promote if the gate passes → score, each a nested run.

    A challenger that the gate refuses is no failure of the period: the champion stays and scores.

    Raises:
        GateRefused: and there is no champion that could score.
    """
    with stage_run("main", application=period.application.name, window=period.window.ds) as run:
        run.log_config({"seed": period.seed, "margin": margin, "model_name": period.model_name})
        build_period(period)
        challenger = train(period, config)
        if period.application.world() is not None:
            evaluate(period, challenger.uri)
        try:
            promote(period, str(challenger.version), margin=margin)
        except GateRefused as refusal:
            _logger.info("Not promoted: %s", refusal)
            try:
                kept = champion_of(period)
            except NotFoundError:
                raise refusal from None
            _logger.info("%s stays champion.", kept.policy_version)
        score(period)
