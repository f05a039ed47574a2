"""What an agent learns from a scenario's random logs, without the tables in between."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from rlbake import vocabulary as v
from rlbake.dataset import nstep
from rlbake.dataset.split import split_environments
from rlbake.dataset.transitions import Transitions
from rlbake.evaluation.simulated import simulate
from rlbake.policies.behaviour import RandomPolicy, RulesPolicy
from rlbake.scenarios.episodes import DECISIONS, EpisodicScenario
from rlbake.training.config import resolve
from rlbake.training.fit import fit
from rlbake.training.fitted import FittedAgent


def learned_score(
    scenario: EpisodicScenario, *, windows: Iterable[int] = (0,), seed: int = 0, **config: object
) -> float:
    """Score in the world of the last window, trained on windows of the default size that were decided at random."""
    cadence = scenario.cadence
    played = [cadence.following(cadence.first, number) for number in windows]
    policy = RandomPolicy(scenario.action)
    logs = [scenario.play(window, policy, scenario.units, seed)[DECISIONS].to_pandas() for window in played]
    settings = resolve(config, gamma=scenario.gamma)
    rows = transitions(pd.concat(logs), scenario, settings.gamma, settings.n_step)
    training, holdout = split_environments(rows, settings.holdout)
    fitted = fit(
        training, holdout, observation=scenario.observation, action=scenario.action, config=settings, seed=seed
    )
    world = scenario.world_at(played[-1])
    return simulate(world, greedy(fitted, scenario), reward=scenario.reward, episodes=5_000, seed=99).score


def transitions(decisions: pd.DataFrame, scenario: EpisodicScenario, gamma: float, n: int) -> Transitions:
    """Whole episodes as logged → n-step transitions."""
    (key,), features = scenario.keys, [feature.name for feature in scenario.observation]
    rows = decisions.sort_values([key, v.TIMESTAMP], ignore_index=True)
    ended = (rows[v.END] == v.TERMINATED).to_numpy()
    time = rows[v.TIMESTAMP].dt.tz_localize(None).to_numpy("datetime64[us]")
    later = time + np.timedelta64(scenario.pace)
    unit = rows[key].astype("category").cat.codes.to_numpy()
    reward = sum(weight * rows[metric].to_numpy(np.float64) for metric, weight in scenario.reward.items())
    returns = nstep.n_step(
        reward, np.where(ended, 0, gamma), nstep.successors(unit, np.zeros(len(rows)), time, later, ended), n
    )
    following = np.minimum(returns.last + 1, len(rows) - 1)  # filler where the episode ended
    return Transitions(
        env_id=rows[key].to_numpy(object),
        timestamp=time,
        next_timestamp=later,
        step_type=np.where(~rows[key].duplicated(), v.FIRST, v.MID).astype(np.int32),
        end=rows[v.END].to_numpy(object),
        observation={name: rows[name].to_numpy() for name in features},
        action=rows[v.ACTION].map(scenario.action.index).to_numpy(np.int32),
        log_probability=rows[v.LOG_PROBABILITY].to_numpy(np.float32),
        reward=returns.reward,
        discount=returns.discount,
        next_observation={name: rows[name].to_numpy()[following] for name in features},
        next_action_mask=None,
    )


def greedy(fitted: FittedAgent, scenario: EpisodicScenario) -> RulesPolicy:
    return RulesPolicy(
        lambda seen: fitted.values(fitted.preprocessing.apply(seen)).numpy().argmax(axis=1), scenario.action
    )
