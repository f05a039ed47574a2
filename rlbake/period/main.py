"""One whole period."""

from __future__ import annotations

import logging
from dataclasses import asdict

from rlbake.errors import GateRefused, NotFoundError
from rlbake.period.build import build_period
from rlbake.period.evaluate import evaluate
from rlbake.period.ledger import check_ledger
from rlbake.period.models import champion_of
from rlbake.period.period import Period
from rlbake.period.promote import promote
from rlbake.period.score import AS_TRAINED, score
from rlbake.period.train import train
from rlbake.period.warm_start import parent_of
from rlbake.policies.exploration import Exploration
from rlbake.registry.config import GateConfig, read_gate
from rlbake.tracking.runs import stage_run
from rlbake.training.config import TrainConfig

_logger = logging.getLogger(__name__)


def run_period(
    period: Period,
    config: TrainConfig,
    rules: GateConfig | None = None,
    exploration: Exploration = AS_TRAINED,
    *,
    warm_start: str | None = None,
    tensorboard: str | None = None,
) -> None:
    """Build → ledger → train → evaluate → promote if the gate passes → score, each a nested run.

    A challenger that the gate refuses is no failure of the period: the champion stays and scores.

    Args:
        config: of the training.
        rules: what the gate asks; the application's if not given.
        exploration: of the decisions that are scored; as the model was trained to explore, if not given.
        warm_start: reference of a model that the training goes on from.
        tensorboard: folder for event files of the training's metrics.

    Raises:
        ConfigError: the exploration is out of range, or not of such actions.
        GateRefused: and there is no champion that could score.
    """
    rules = rules or read_gate(period.application.gate)
    exploration.refuse_for(period.application.action)
    with stage_run("main", application=period.application.name, window=period.window.ds) as run:
        run.log_config({"seed": period.seed, "model_name": period.model_name, "gate": asdict(rules)})
        parent_of(period, config, warm_start)  # refused before anything is built
        build_period(period)
        check_ledger(period, run)
        challenger = train(period, config, warm_start=warm_start, tensorboard=tensorboard)
        evaluate(period, challenger.uri, rules=rules)
        try:
            promote(period, str(challenger.version), rules=rules)
        except GateRefused as refusal:
            _logger.info("Not promoted: %s", refusal)
            try:
                kept = champion_of(period)
            except NotFoundError:
                raise refusal from None
            _logger.info("%s stays champion.", kept.policy_version)
        score(period, exploration=exploration)
