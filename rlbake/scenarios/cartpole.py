"""CartPole-v0: balance a pole on a cart for 200 steps (Barto, Sutton and Anderson, 1983).

The world is gym 0.23's, vectorised. Every unit is one cart that plays one episode in a window,
a decision a second.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from rlbake import vocabulary as v
from rlbake.cadence import Cadence, Window
from rlbake.policies.policy import Policy
from rlbake.scenarios.counter_noise import CounterNoise
from rlbake.scenarios.scenario import UTC_MICROSECONDS, Scenario, microseconds
from rlbake.specs import Discrete, Number
from rlbake.world import Observations, Step

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

CART, ALIVE, SECOND = "cart", "alive", "second"
STATE = ("position", "velocity", "angle", "angular_velocity")
STEPS = pa.schema(
    [
        (CART, pa.string()),
        (v.TIMESTAMP, UTC_MICROSECONDS),
        *((name, pa.float32()) for name in STATE),
        (v.ACTION, pa.string()),
        (v.LOG_PROBABILITY, pa.float32()),
        (ALIVE, pa.float32()),
        (v.END, pa.string()),
        (v.POLICY_VERSION, pa.string()),
    ]
)

GRAVITY, CART_MASS, POLE_MASS, HALF_POLE, FORCE, SECONDS = 9.8, 1.0, 0.1, 0.5, 10.0, 0.02
MASS = CART_MASS + POLE_MASS
ANGLE_LIMIT = 12 * 2 * np.pi / 360  # radians
POSITION_LIMIT = 2.4
STEP_LIMIT = 200


class CartPoleWorld:
    """B carts, all started at once.

    The best return is exact: no episode is longer than 200 steps, and a linear controller (pushing
    by the sign of angle + angular velocity + velocity / 10 + position / 20) balances for all of them.
    The random one is the mean of four million simulated episodes (seeds 0 to 3 with a million each),
    with a standard error of 0.006.
    """

    best_return = 200.0
    random_return = 22.245
    horizon = STEP_LIMIT

    def reset(self, environments: int, seed: int) -> Observations:
        """Each of the four numbers uniform in [-0.05, 0.05)."""
        self.state = np.random.default_rng(seed).uniform(-0.05, 0.05, (environments, 4))
        self._steps = 0
        self._ended = np.zeros(environments, bool)
        return _observed(self.state)

    def step(self, action: np.ndarray) -> Step:
        """Pushes left (0) or right (1) for one fiftieth of a second, by Euler's method."""
        alive = ~self._ended
        self.state[alive] = _pushed(self.state[alive], action[alive])
        self._steps += 1
        position, _, angle, _ = self.state.T
        fallen = alive & ((np.abs(position) > POSITION_LIMIT) | (np.abs(angle) > ANGLE_LIMIT))
        cut = alive & ~fallen & (self._steps >= STEP_LIMIT)
        self._ended = self._ended | fallen | cut
        return Step(_observed(self.state), {ALIVE: alive.astype(np.float32)}, fallen, cut)


def _pushed(state: np.ndarray, action: np.ndarray) -> np.ndarray:
    _, velocity, angle, turn = state.T
    cos, sin = np.cos(angle), np.sin(angle)
    force = np.where(action == 1, FORCE, -FORCE)
    push = (force + POLE_MASS * HALF_POLE * turn**2 * sin) / MASS
    angular = (GRAVITY * sin - cos * push) / (HALF_POLE * (4.0 / 3.0 - POLE_MASS * cos**2 / MASS))
    linear = push - POLE_MASS * HALF_POLE * angular * cos / MASS
    change = np.stack([velocity, linear, turn, angular], axis=1)
    return state + SECONDS * change


def _observed(state: np.ndarray) -> Observations:
    return {name: state[:, i].astype(np.float32) for i, name in enumerate(STATE)}


class CartPole(Scenario):
    name = "cartpole"
    keys = (CART,)
    # Three days: what the champion did yesterday, and still some of the random first day to contrast it with.
    cadence = Cadence(start="2026-01-01", every="1d", training_window=3)
    observation = tuple(Number(name) for name in STATE)
    action = Discrete(["left", "right"])
    metrics = (ALIVE,)
    reward = {ALIVE: 1.0}
    gamma = 0.99
    # The world is known exactly, and over 200 steps a random log says next to nothing about a policy that balances.
    # What is seen depends on who decides: a champion that balances keeps the pole where its training never saw it.
    gate = {"primary": "simulated", "ignored_drift": STATE}

    units = 1350  # about 30,000 decisions a day when they are random
    logs = ("steps",)

    def world(self) -> CartPoleWorld:
        return CartPoleWorld()

    def rules(self, observations: Observations) -> np.ndarray:
        """Push towards where the pole leans."""
        return (observations["angle"] > 0).astype(np.int32)

    def timesteps(self, spark: SparkSession, window: Window) -> DataFrame:
        return self.read_log(spark, "steps", window)

    def population(self, spark: SparkSession, date: Window) -> DataFrame:
        """Every cart as it was last seen in the window."""
        from pyspark.sql import functions as F

        steps = self.read_log(spark, "steps", date)
        last = steps.groupBy(CART).agg(F.max_by(F.struct(*STATE), v.TIMESTAMP).alias(v.OBSERVATION))
        return last.select(CART, f"{v.OBSERVATION}.*")

    def play(self, window: Window, policy: Policy, units: int, seed: int) -> dict[str, pa.Table]:
        """One row per decision, and the final observation of every episode that was cut."""
        noise = CounterNoise(self.name, seed)
        number = self.number(window)
        carts = np.arange(units)
        latest = window.end - window.start - timedelta(seconds=STEP_LIMIT + 1)  # no episode leaves its window
        second = noise.integers("start", int(latest.total_seconds()), carts, number)

        world = CartPoleWorld()
        observations = world.reset(units, int(noise.integers("world", 2**53, number)[0]))
        alive, played = np.ones(units, bool), []
        for step_number in range(STEP_LIMIT):
            decided = policy.decide(observations, noise.uniform("policy", carts, number, step_number))
            step = world.step(decided.action)
            row = {CART: carts, SECOND: second, **observations, **vars(decided), v.TERMINATED: step.terminated}
            played.append({column: values[alive] for column, values in row.items()})
            alive &= ~step.terminated
            second, observations = second + 1, step.observations
            if not alive.any():
                break
        decisions = {column: np.concatenate([rows[column] for rows in played]) for column in played[0]}
        cut = {column: values[alive] for column, values in {CART: carts, SECOND: second, **observations}.items()}
        return {"steps": pa.concat_tables([_decisions(decisions, window, policy), _final(cut, window)])}


def _decisions(rows: dict[str, np.ndarray], window: Window, policy: Policy) -> pa.Table:
    size = len(rows[CART])
    return _steps(
        rows,
        window,
        action=np.array(CartPole.action.names)[rows[v.ACTION]],
        log_probability=rows[v.LOG_PROBABILITY],
        alive=np.ones(size),
        end=np.where(rows[v.TERMINATED], v.TERMINATED, v.NOT_ENDED),
        policy_version=np.full(size, policy.version),
    )


def _final(rows: dict[str, np.ndarray], window: Window) -> pa.Table:
    size = len(rows[CART])
    nothing = [None] * size
    end = np.full(size, v.TRUNCATED)
    return _steps(rows, window, action=nothing, log_probability=nothing, alive=nothing, end=end, policy_version=nothing)


def _steps(rows: dict[str, np.ndarray], window: Window, **followed: object) -> pa.Table:
    columns = {
        CART: np.char.add("cart-", rows[CART].astype(str)),
        v.TIMESTAMP: microseconds(window.start, rows[SECOND]),
        **{name: rows[name] for name in STATE},
        **followed,
    }
    return pa.table({name: pa.array(values, STEPS.field(name).type) for name, values in columns.items()}, STEPS)
