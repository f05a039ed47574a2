"""The canonical check: balancing the pole after seeing nothing but random pushes."""

from typing import NamedTuple

import numpy as np
import pytest

from rlbake import vocabulary as v
from rlbake.dataset import nstep
from rlbake.dataset.split import split_environments
from rlbake.dataset.transitions import Transitions
from rlbake.scenarios.cartpole import ALIVE, CartPole, CartPoleWorld
from rlbake.training.config import resolve
from rlbake.training.fit import fit
from rlbake.training.fitted import FittedAgent


class Pushes(NamedTuple):
    """What was logged, arrays [N] by cart and second."""

    cart: np.ndarray
    second: np.ndarray
    action: np.ndarray
    reward: np.ndarray
    fallen: np.ndarray
    observation: dict[str, np.ndarray]
    next_observation: dict[str, np.ndarray]


def random_pushes(carts: int, seed: int) -> Pushes:
    """So many carts until each falls."""
    random, world = np.random.default_rng(seed), CartPoleWorld()
    observed, alive, columns = world.reset(carts, seed), np.ones(carts, bool), []
    for second in range(world.horizon):
        action = random.integers(0, 2, carts)
        step = world.step(action)
        following = step.observations
        states = [*observed.values(), *following.values()]
        now = [np.arange(carts), np.full(carts, second), action, step.metrics[ALIVE], step.terminated, *states]
        columns.append([column[alive] for column in now])
        observed, alive = following, alive & ~(step.terminated | step.truncated)
    cart, second, action, reward, fallen, *states = (np.concatenate(column) for column in zip(*columns, strict=True))
    order = np.lexsort((second, cart))
    now, then = (dict(zip(observed, (s[order] for s in part), strict=True)) for part in (states[:4], states[4:]))
    return Pushes(cart[order], second[order], action[order], reward[order], fallen[order], now, then)


def in_memory(pushes: Pushes, gamma: float, n: int) -> Transitions:
    cart, second, action, reward, fallen, observation, next_observation = pushes
    time = second.astype("datetime64[s]").astype("datetime64[us]")
    later = time + np.timedelta64(1, "s")
    successor = nstep.successors(cart, np.zeros(len(cart)), time, later, fallen)
    returns = nstep.n_step(reward, np.where(fallen, 0, gamma), successor, n)
    return Transitions(
        env_id=cart.astype(str).astype(object),
        timestamp=time,
        next_timestamp=later,
        step_type=np.where(second == 0, v.FIRST, v.MID).astype(np.int32),
        end=np.where(fallen, v.TERMINATED, v.NOT_ENDED).astype(object),
        observation=observation,
        action=action.astype(np.int32),
        log_probability=np.full(len(cart), np.log(0.5), np.float32),
        reward=returns.reward,
        discount=returns.discount,
        next_observation={name: column[returns.last] for name, column in next_observation.items()},
        next_action_mask=None,
    )


def mean_return(fitted: FittedAgent, carts: int = 100) -> float:
    """In the simulator, acting greedily."""
    world = CartPoleWorld()
    observed, total, alive = world.reset(carts, seed=99), np.zeros(carts), np.ones(carts, bool)
    for _ in range(world.horizon):
        step = world.step(fitted.values(fitted.preprocessing.apply(observed)).numpy().argmax(axis=1))
        total += step.metrics[ALIVE] * alive
        alive &= ~(step.terminated | step.truncated)
        observed = step.observations
    return float(total.mean())


@pytest.mark.slow
@pytest.mark.parametrize("steps", [5_000, 10_000])
def test_default_hyperparameters_balance_the_pole(steps):
    config = resolve({"steps": steps}, gamma=CartPole.gamma)
    rows = in_memory(random_pushes(1350, 0), config.gamma, config.n_step)
    training, holdout = split_environments(rows, config.holdout)
    fitted = fit(training, holdout, observation=CartPole.observation, action=CartPole.action, config=config, seed=0)
    assert mean_return(fitted) >= 195
