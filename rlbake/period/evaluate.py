"""What a model is worth, before anybody meets it."""

from __future__ import annotations

import logging

from rlbake import vocabulary as v
from rlbake.errors import ConfigError, NotFoundError
from rlbake.evaluation.simulated import SimulatedReturn, simulate
from rlbake.period.models import challenger_of, policy_of
from rlbake.period.period import Period
from rlbake.period.train import train, training_config
from rlbake.registry.versions import ResolvedModel, resolve
from rlbake.tracking.runs import stage_run

_logger = logging.getLogger(__name__)

EPISODES = 1000
SEED = 20_260_101  # the same episodes for every model, so that challenger and champion face the same world


def evaluate(period: Period, model: str | None = None) -> SimulatedReturn:
    """Plays a model in its application's simulated world; the metrics are linked to the model.

    Args:
        model: URI; the challenger, trained first if there is none, if not given.

    Raises:
        ConfigError: the application has no simulated world.
        NotFoundError: there is no such model.
    """
    application = period.application
    with stage_run("evaluate", application=application.name, window=period.window.ds) as run:
        evaluated = resolve(model) if model else _challenger(period)
        world = application.world()
        if world is None:
            raise ConfigError(
                f"{application.name} has no simulated world, so {evaluated.policy_version} cannot be evaluated in one: "
                "define world() to give it one."
            )
        run.log_config({"model": evaluated.uri, "model_id": evaluated.model_id, "episodes": EPISODES, "seed": SEED})
        run.log_model_input(evaluated.model_id)
        with run.phase("simulate"):
            result = simulate(world, policy_of(evaluated), reward=application.reward, episodes=EPISODES, seed=SEED)
        numbers = {
            v.SIM_MEAN: result.mean,
            v.SIM_LOW: result.low,
            v.SIM_HIGH: result.high,
            v.SIM_BEST: result.best,
            v.SIM_RANDOM: result.random,
            v.SIM_SCORE: result.score,
        }
        run.metrics(numbers, model_id=evaluated.model_id)
        _logger.info(
            "%s, %d simulated episodes: return %.4g, 95 %% interval [%.4g, %.4g], random %.4g, best %.4g, score %.3f.",
            evaluated.policy_version, EPISODES, result.mean, result.low, result.high, result.random, result.best,
            result.score,
        )  # fmt: skip
        return result


def _challenger(period: Period) -> ResolvedModel:
    try:
        return challenger_of(period)
    except NotFoundError:
        _logger.info("%s has no challenger yet. Training first.", period.model_name)
        return train(period, training_config(period))
