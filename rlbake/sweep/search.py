"""Who proposes points: one small interface, and hyperopt behind it.

Hyperopt: Bergstra, Yamins and Cox, "Making a science of model search" (ICML 2013); http://hyperopt.github.io/hyperopt.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from hyperopt import STATUS_FAIL, STATUS_OK, Trials, fmin, hp
from hyperopt.base import JOB_STATE_DONE, Domain
from hyperopt.exceptions import AllTrialsFailed

from rlbake.errors import ConfigError, nearest
from rlbake.sweep.objective import Point, Trial
from rlbake.sweep.space import CHOICE, INTEGER, LOG_INTEGER, LOGUNIFORM, WHOLE, Parameter, Space

TPE, RANDOM, ADAPTIVE = "tpe", "rand", "atpe"
ALGORITHMS = (TPE, RANDOM, ADAPTIVE)

Try = Callable[[int, Point], Trial]
"""Tries a point as the trial of a number; whatever is wrong with the point is in the trial."""


class Search(Protocol):
    """Proposes points and has them tried, until all are or `stop` has a reason."""

    def run(
        self,
        attempt: Try,
        known: Sequence[Trial],
        learn: Callable[[Trial], None],
        stop: Callable[[], str | None],
    ) -> str | None:
        """Goes on after the trials that are known.

        Args:
            attempt: called for every further point, maybe on another machine.
            known: no point of theirs is tried again.
            learn: called here with every new trial once it has ended.
            stop: asked before every point; a reason ends the search.

        Returns:
            The reason it ended early, None if it did not.
        """
        ...


@dataclass(frozen=True)
class Hyperopt:
    """One point after the other, in this process.

    Which points are proposed depends on the seed and on what the points before were worth, and on nothing else: a
    search that goes on after some trials proposes what it would have proposed.

    Attributes:
        space: to choose from.
        algorithm: one of `ALGORITHMS`.
        max_evals: points in all, those that are known included.
        seed: of what is chosen at random.
    """

    space: Space
    algorithm: str
    max_evals: int
    seed: int

    def run(
        self,
        attempt: Try,
        known: Sequence[Trial],
        learn: Callable[[Trial], None],
        stop: Callable[[], str | None],
    ) -> str | None:
        """See `Search`."""
        trials = recorded(self.space, known)
        suggest = algorithm(self.algorithm)
        first = following(known)
        for number in range(first, first + self.max_evals - len(known)):
            if reason := stop():
                return reason

            def judged(chosen: dict[str, Any], number: int = number) -> dict[str, Any]:
                trial = attempt(number, plain(self.space, chosen))
                learn(trial)
                return result_of(trial)

            with suppress(AllTrialsFailed):  # there is no best one then, which fmin looks for in the end
                fmin(
                    judged,
                    prior_space(self.space),
                    suggest,
                    max_evals=len(trials) + 1,
                    trials=trials,
                    rstate=np.random.default_rng([self.seed, number]),  # the same if the search had been cut short
                    show_progressbar=False,
                    verbose=False,
                )
        return None


def algorithm(name: str) -> Callable[..., Any]:
    """Hyperopt's, by name.

    Raises:
        ConfigError: there is none, or it does not run here.
    """
    if name not in ALGORITHMS:
        raise ConfigError(f"algorithm = {name!r}: there is no such search. {nearest(name, ALGORITHMS)}")
    try:
        if name == ADAPTIVE:
            importlib.import_module("lightgbm")  # which hyperopt looks for once it searches
        return importlib.import_module(f"hyperopt.{name}").suggest
    except ImportError as error:
        raise ConfigError(f"algorithm = {name!r} does not run here: {error}. Use {TPE}.") from error


def prior_space(space: Space) -> dict[str, Any]:
    """The space as hyperopt has it."""
    return {parameter.path: _prior(parameter) for parameter in space}


def plain(space: Space, chosen: dict[str, Any]) -> Point:
    """What hyperopt chose, as plain values, which JSON keeps to the last bit."""
    return {parameter.path: _plain(parameter, chosen[parameter.path]) for parameter in space}


def result_of(trial: Trial) -> dict[str, Any]:
    """A trial as hyperopt's objective returns it."""
    if trial.outcome is None or not math.isfinite(trial.outcome.score):
        return {"status": STATUS_FAIL}
    return {"status": STATUS_OK, "loss": -trial.outcome.score}


def recorded(space: Space, known: Sequence[Trial], trials: Trials | None = None) -> Trials:
    """Hyperopt's trials, as if these had just been made in it."""
    trials = Trials() if trials is None else trials
    domain = Domain(lambda chosen: None, prior_space(space))
    labels = [parameter.path for parameter in space]
    trials.new_trial_ids(following(known))
    for trial in known:
        number = trial.number
        vals = {parameter.path: [_chosen(parameter, trial.point[parameter.path])] for parameter in space}
        misc = {
            "tid": number,
            "cmd": domain.cmd,
            "workdir": domain.workdir,
            "idxs": {label: [number] for label in labels},
            "vals": vals,
        }
        (doc,) = trials.new_trial_docs([number], [None], [result_of(trial)], [misc])
        doc["state"] = JOB_STATE_DONE
        trials.insert_trial_docs([doc])
    trials.refresh()
    return trials


def following(known: Sequence[Trial]) -> int:
    """The number of the trial after those that are known, of which some may never have ended."""
    return 1 + max((trial.number for trial in known), default=-1)


def _prior(parameter: Parameter) -> Any:
    path, low, high = parameter.path, parameter.low, parameter.high
    if parameter.prior == CHOICE:
        return hp.choice(path, list(parameter.values))
    if parameter.prior == INTEGER:
        return hp.uniformint(path, low, high)
    if parameter.prior == LOG_INTEGER:
        return hp.qloguniform(path, math.log(low), math.log(high), 1)
    if parameter.prior == LOGUNIFORM:
        return hp.loguniform(path, math.log(low), math.log(high))
    return hp.uniform(path, low, high)


def _plain(parameter: Parameter, value: Any) -> Any:
    if parameter.prior == CHOICE:
        return _listed(value)
    return int(value) if parameter.prior in WHOLE else float(value)


def _listed(value: Any) -> Any:
    """Hyperopt makes tuples of lists."""
    return [_listed(one) for one in value] if isinstance(value, tuple | list) else value


def _chosen(parameter: Parameter, value: Any) -> Any:
    """What hyperopt had chosen when this was the value."""
    return parameter.values.index(value) if parameter.prior == CHOICE else value
