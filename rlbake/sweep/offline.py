"""The objective where nobody can be rehearsed with: cross-validated off-policy evaluation on the logs.

The environments are dealt into folds. A point is trained on all folds but one, and valued on that one as `evaluate`
values a model; so every environment judges once, and only agents that have not seen it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from rlbake.application import Application, load_application
from rlbake.dataset.reading import read_whole
from rlbake.dataset.snapshot import Snapshot
from rlbake.dataset.split import hashes, split_environments
from rlbake.dataset.transitions import Reading, Transitions
from rlbake.errors import ConfigError
from rlbake.evaluation.candidates import Candidate
from rlbake.evaluation.comparison import compare
from rlbake.evaluation.evaluation import AGENT
from rlbake.evaluation.propensity import logging_policy
from rlbake.policies.exploration import Exploration
from rlbake.policies.graph_policy import GraphPolicy
from rlbake.specs import Continuous, Discrete
from rlbake.sweep.objective import Curve, GoOn, Outcome, Point
from rlbake.sweep.space import nested
from rlbake.training.config import merge, resolve_for
from rlbake.training.fit import fit
from rlbake.training.reading import reading

_ELSEWHERE = 2**40  # the bits of a hash by which folds are dealt, others than those of `split_environments`


@dataclass(frozen=True)
class Logs:
    """An objective: the mean of the estimates over the folds, in the unit of the application's reward.

    Attributes:
        target: the application, as `package.module:Class` or `path/to/file.py:Class`.
        snapshot: its trajectories.
        base: configuration that all points share, nested as in a YAML file.
        folds: ≥ 2.
        seed: of everything random.
        primary: estimator that decides; None: the comparison's choice.
    """

    target: str
    snapshot: Snapshot
    base: Mapping[str, Any]
    folds: int = 3
    seed: int = 0
    primary: str | None = None

    def __call__(self, point: Point, go_on: GoOn) -> Outcome:
        began = time.perf_counter()
        config = resolve_for(self.application, merge(self.base, nested(point)))
        rows = read_whole(self.snapshot, reading(self.application, config), budget=config.memory)
        fold = self._dealt(rows)
        seconds = {"act": 0.0, "train": 0.0, "judge": 0.0}
        curves, doubts, estimates = [], set(), []
        for number in range(self.folds):
            started = time.perf_counter()
            training, held_out = split_environments(rows.take(np.flatnonzero(fold != number)), config.holdout)
            fitted = fit(
                training,
                held_out,
                observation=self.application.observation,
                action=self.application.action,
                config=config,
                seed=self.seed,
            )
            seconds["train"] += time.perf_counter() - started
            started = time.perf_counter()
            policy = GraphPolicy.of(fitted, AGENT, Exploration())
            estimate, doubt = self._valued(policy, number)
            doubts.update(doubt)
            estimates.append(estimate)
            curves.append(Curve(self.application.name, number, (estimate,)))
            seconds["judge"] += time.perf_counter() - started
            stopped = number + 1 < self.folds and not go_on([float(np.mean(estimates))])
            if stopped:
                break
        spent = seconds | {"all": time.perf_counter() - began}
        return Outcome(tuple(curves), stopped, spent, tuple(sorted(doubts)))

    @cached_property
    def application(self) -> Application:
        """Whose logs they are."""
        application = load_application(self.target, "")
        choices(application)
        return application

    @cached_property
    def _steps(self) -> Transitions:
        """Every decision by itself, as the application values it, whatever a point makes of gamma and reward."""
        application = self.application
        as_valued = Reading(
            application.observation, application.action, application.metrics, application.reward, application.gamma
        )
        return read_whole(self.snapshot, as_valued)

    def _dealt(self, rows: Transitions) -> np.ndarray:
        """int [N], the fold of each row's environment."""
        return (hashes(rows.env_id) // _ELSEWHERE % self.folds).astype(int)

    def _valued(self, policy: GraphPolicy, fold: int) -> tuple[float, set[str]]:
        """What a policy is worth on a fold, and what is to be said about that."""
        steps, application = self._steps, self.application
        dealt, joint = self._dealt(steps), choices(application)
        training, held = (steps.take(np.flatnonzero(of)) for of in (dealt != fold, dealt == fold))
        logging = logging_policy(held, observation=application.observation, action=joint, seed=self.seed)
        found = compare(
            training,
            held,
            [Candidate(AGENT, policy.probabilities)],
            propensity=logging.probability,
            observation=application.observation,
            action=joint,
            segments=(),
            primary=self.primary,
            seed=self.seed,
        )
        return found.estimates[AGENT][found.primary].value, set(found.support[AGENT].warnings)


def choices(application: Application) -> Discrete:
    """What is chosen among; of several sets, every combination is one choice.

    Raises:
        ConfigError: numbers are decided on.
    """
    if isinstance(application.action, Continuous):
        raise ConfigError("on=logs: Continuous actions are not evaluated from logs. Tune on scenarios instead.")
    return application.action.joint()
