"""The objective that production is rehearsed for: populations that live with the agent, cycle after cycle.

One cycle: the population decides for a window as the deployed policy says, exploring; the window's logs become
transitions; the agent is trained afresh on the training window; it is deployed; and it plays episodes that nothing
learns from, greedily, which is its score. The first window is decided at random.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rlbake import vocabulary as v
from rlbake.agents import AGENTS
from rlbake.application import Application, load_application, user_code
from rlbake.cadence import Window
from rlbake.dataset.pairing import paired
from rlbake.dataset.split import split_environments
from rlbake.dataset.transitions import Transitions, assemble
from rlbake.errors import DataError
from rlbake.evaluation.simulated import simulate
from rlbake.policies.behaviour import RandomPolicy
from rlbake.policies.exploration import Exploration
from rlbake.policies.graph_policy import GraphPolicy
from rlbake.policies.policy import Policy
from rlbake.sweep.objective import Curve, GoOn, Outcome, Point
from rlbake.sweep.population import Population, world_of
from rlbake.sweep.space import nested
from rlbake.training.config import TrainConfig, merge, resolve_for
from rlbake.training.fit import fit
from rlbake.training.fitted import WarmStart
from rlbake.training.reading import reading

_JUDGED_FROM = 1_000_000  # seeds of worlds that nobody learns in: far from those of populations


@dataclass(frozen=True)
class Scenarios:
    """An objective: the mean score over scenarios and seeds.

    Attributes:
        targets: the scenarios' applications, as `package.module:Class` or `path/to/file.py:Class`.
        base: configuration that all points share, nested as in a YAML file; what it does not set is as each
            scenario has it.
        cycles: windows that are decided and learned from, ≥ 1.
        rows: decisions of a population in a cycle, about.
        seeds: of everything random, each a run of its own.
        episodes: that a score is measured on, ≥ 2.
    """

    targets: tuple[str, ...]
    base: Mapping[str, Any]
    cycles: int = 4
    rows: int = 10_000
    seeds: tuple[int, ...] = (0,)
    episodes: int = 1_000

    def __call__(self, point: Point, go_on: GoOn) -> Outcome:
        began, configured = time.perf_counter(), merge(self.base, nested(point))
        lives = [
            _Life(application, resolve_for(application, configured), seed, self.rows, self.episodes)
            for application in self.applications()
            for seed in self.seeds
        ]
        stopped = False
        for cycle in range(self.cycles):  # side by side, so that a hopeless point is known as one early on
            for life in lives:
                life.cycle()
            so_far = _outcome(lives, began)
            if cycle + 1 < self.cycles and not go_on(so_far.learning_curve):
                stopped = True
                break
        return _outcome(lives, began, stopped)

    def applications(self) -> list[Application]:
        """The scenarios.

        Raises:
            ConfigError: there is no such application.
        """
        return [load_application(target, "") for target in self.targets]


@dataclass
class _Life:
    """One population, one agent, from the first window on."""

    application: Application
    config: TrainConfig
    seed: int
    rows: int
    episodes: int
    scores: list[float] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=lambda: {"act": 0.0, "train": 0.0, "judge": 0.0})

    def __post_init__(self) -> None:
        self._population = Population(self.application, rows=self.rows, seed=self.seed)
        self._window: Window = self.application.cadence.first
        self._policy: Policy = RandomPolicy(self.application.action)
        self._history: list[pa.Table] = []
        self._left_open: pa.Table | None = None
        self._before: WarmStart | None = None

    def cycle(self) -> None:
        """A window is lived through, learned from, and what was learned is judged and deployed."""
        following = self.application.cadence.following(self._window)
        with _timed(self.seconds, "act"):
            training, holdout = self._lived()
        with _timed(self.seconds, "train"):
            fitted = fit(
                training,
                holdout,
                observation=self.application.observation,
                action=self.application.action,
                config=self.config,
                seed=self.seed,
                warm_start=self._before,
            )
        with _timed(self.seconds, "judge"):
            greedy = GraphPolicy.of(fitted, str(len(self.scores) + 1), Exploration(explore=False))
            played = simulate(
                world_of(self.application, following),
                greedy,
                reward=self.application.reward,
                episodes=self.episodes,
                seed=_JUDGED_FROM + self.seed,
            )
        self.scores.append(played.score)
        self._policy, self._window = greedy.exploring(Exploration()), following
        self._before = fitted.warm_start() if self._on_policy else None

    @property
    def _on_policy(self) -> bool:
        return AGENTS[self.config.agent.name].FACTS.on_policy

    def _lived(self) -> tuple[Transitions, Transitions]:
        """A window is decided; what the agent then learns from, and what is held out."""
        with user_code(f"{type(self.application).__name__}.world()"):
            timesteps = self._population.act(self._policy, self._window)
        # Decisions are spread over their window evenly, so that silence between them means nothing.
        done = paired(timesteps, self._left_open, episode_timeout=None, end=self._window.end)
        self._left_open = done.left_open
        self._history = [*self._history, done.transitions][-self.application.cadence.training_window :]
        known = pa.concat_tables(self._history)
        if self._on_policy:
            known = known.filter(pc.equal(known.column(v.POLICY_VERSION), self._policy.version))
        if not len(known):
            raise DataError(
                f"{self.application.name}: nothing that {self._population.size} environments did has a successor yet. "
                "Give a cycle more rows."
            )
        return split_environments(assemble(known, reading(self.application, self.config)), self.config.holdout)


@contextmanager
def _timed(seconds: dict[str, float], what: str) -> Iterator[None]:
    began = time.perf_counter()
    yield
    seconds[what] += time.perf_counter() - began


def _outcome(lives: Sequence[_Life], began: float, stopped: bool = False) -> Outcome:
    curves = tuple(Curve(life.application.name, life.seed, tuple(life.scores)) for life in lives)
    seconds = {what: float(np.sum([life.seconds[what] for life in lives])) for what in lives[0].seconds}
    return Outcome(curves, stopped, seconds | {"all": time.perf_counter() - began})
