"""A population that lives in simulated worlds and decides as the deployed policy says, without tables in between."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from rlbake import vocabulary as v
from rlbake.application import Application
from rlbake.cadence import Window
from rlbake.dataset.columns import at
from rlbake.errors import ConfigError
from rlbake.policies.policy import Policy
from rlbake.specs import Action, Discrete
from rlbake.world import Observations, World

_UTC_MICROSECONDS = pa.timestamp("us", tz="UTC")
_MOST_DECISIONS = 20  # of an environment in a window: long episodes go on in the next one
_Columns = dict[str, np.ndarray]


@dataclass
class _Group:
    """Newcomers of one moment: the world they share, and who of them is still there."""

    world: World
    names: np.ndarray
    observations: Observations
    alive: np.ndarray


class Population:
    """B environments that decide together, in one window after the other.

    An episode goes on in the next window. Whose episode has ended is replaced by a newcomer, so that always B decide.

    Args:
        application: whose worlds they live in.
        rows: decisions in a window, about; no environment makes more than 20 of them.
        seed: of the worlds' chances and of the policies'.
    """

    def __init__(self, application: Application, *, rows: int, seed: int) -> None:
        self._application, self._seed = application, seed
        self._groups: list[_Group] = []
        self._come = 0
        self._noise = np.random.default_rng([seed, 1])
        horizon = world_of(application, application.cadence.first).horizon
        self.decisions = min(horizon, _MOST_DECISIONS)
        self.size = math.ceil(rows / self.decisions)

    def act(self, policy: Policy, window: Window) -> pa.Table:
        """What everybody decides in a window: the timesteps that `dataset.pairing` takes."""
        pace = (window.end - window.start) / (self.decisions + 1)  # so that final observations are in the window too
        start = np.datetime64(window.start.replace(tzinfo=None), "us")
        parts = []
        for number in range(self.decisions):
            self._replace_the_gone(window)
            seen = _together([_only(group.observations, group.alive) for group in self._groups])
            decided = policy.decide(seen, self._noise.random(self.size))
            stays = np.cumsum([0, *(int(group.alive.sum()) for group in self._groups)])
            for group, first, last in zip(self._groups, stays[:-1], stays[1:], strict=True):
                chosen, chance = decided.action[first:last], decided.log_probability[first:last]
                parts += self._step(group, chosen, chance, start + number * np.timedelta64(pace), np.timedelta64(pace))
            self._groups = [group for group in self._groups if group.alive.any()]
        return _table(_together(parts), self._application, policy.version)

    def _replace_the_gone(self, window: Window) -> None:
        missing = self.size - sum(int(group.alive.sum()) for group in self._groups)
        if not missing:
            return
        world = world_of(self._application, window)
        number = self._come
        self._come += 1
        names = np.char.add(f"{number}-", np.arange(missing).astype(str))
        seed = int(np.random.SeedSequence([self._seed, 0, number]).generate_state(1)[0])
        self._groups.append(_Group(world, names, world.reset(missing, seed), np.ones(missing, bool)))

    def _step(
        self, group: _Group, chosen: np.ndarray, chance: np.ndarray, now: np.datetime64, pace: np.timedelta64
    ) -> list[_Columns]:
        """One decision of everybody in a group who is there, and the final observations of those who are cut off."""
        there = group.alive
        action = np.repeat(chosen[:1], len(there), axis=0)  # of those who left it is ignored
        action[there] = chosen
        step = group.world.step(action)
        rows = {
            v.ENV_ID: group.names,
            v.TIMESTAMP: np.full(len(there), now),
            **_columns(v.OBSERVATION, group.observations),
            v.ACTION: action,
            v.LOG_PROBABILITY: np.zeros(len(there), np.float32),
            **_columns(v.METRICS, {metric: step.metrics[metric] for metric in self._application.metrics}),
            v.END: np.where(step.terminated, v.TERMINATED, v.NOT_ENDED),
            _DECIDED: np.ones(len(there), bool),
        }
        rows[v.LOG_PROBABILITY][there] = chance
        cut = there & step.truncated & ~step.terminated
        final = rows | _columns(v.OBSERVATION, step.observations)
        final |= {
            v.TIMESTAMP: np.full(len(there), now + pace),
            v.END: np.full(len(there), v.TRUNCATED),
            _DECIDED: np.zeros(len(there), bool),
        }
        group.observations, group.alive = step.observations, there & ~(step.terminated | step.truncated)
        return [_only(rows, there), _only(final, cut)]


def world_of(application: Application, window: Window) -> World:
    """The application's world in a window.

    Raises:
        ConfigError: it has none.
    """
    world = application.world_at(window)
    if world is None:
        raise ConfigError(
            f"{application.name} has no world(), so nobody can live in it. Name scenarios that have, or tune on logs: "
            "on=logs."
        )
    return world


_DECIDED = "_decided"


def _table(columns: _Columns, application: Application, version: str) -> pa.Table:
    columns = dict(columns)
    final = ~columns.pop(_DECIDED)
    action = application.action
    arrays = {
        name: pa.array(values, mask=final if name == v.LOG_PROBABILITY or name.startswith(f"{v.METRICS}.") else None)
        for name, values in columns.items()
        if name != v.ACTION
    }
    arrays[v.TIMESTAMP] = arrays[v.TIMESTAMP].cast(_UTC_MICROSECONDS)
    arrays[v.ACTION] = _actions(columns[v.ACTION], action, final)
    arrays[v.ACTION_MASK] = pa.nulls(len(final), pa.list_(pa.bool_()))
    arrays[v.POLICY_VERSION] = pa.array(np.full(len(final), version), mask=final)
    return pa.table(arrays)


def _actions(values: np.ndarray, action: Action, final: np.ndarray) -> pa.Array:
    if isinstance(action, Discrete):
        return pa.array(values.astype(np.int32), mask=final)
    flat = pa.array(np.ascontiguousarray(values).ravel())
    offsets = pa.array(np.arange(len(values) + 1, dtype=np.int32) * values.shape[1])
    return pa.ListArray.from_arrays(offsets, flat, mask=pa.array(final))


def _columns(struct: str, fields: Observations) -> _Columns:
    return {at(struct, name): values for name, values in fields.items()}


def _only(columns: _Columns, rows: np.ndarray) -> _Columns:
    return {name: values[rows] for name, values in columns.items()}


def _together(parts: list[_Columns]) -> _Columns:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
