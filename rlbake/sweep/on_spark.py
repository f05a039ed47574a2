"""Many points at once, on the machines of a Spark cluster: hyperopt's SparkTrials.

Every trial is a Spark task, so a machine that is lost loses nothing but time. Executors need rlbake's packages; rlbake
itself is sent to them.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from hyperopt import SparkTrials, fmin
from hyperopt.base import JOB_STATE_DONE, JOB_STATE_ERROR
from hyperopt.exceptions import AllTrialsFailed

import rlbake
from rlbake.sweep.objective import FAILED, Point, Trial, read_trial
from rlbake.sweep.search import Try, algorithm, plain, prior_space, recorded, result_of
from rlbake.sweep.space import Space

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_TRIAL = "trial"


@dataclass(frozen=True)
class HyperoptOnSpark:
    """As many points at a time as are asked for, each in a task of its own.

    Points depend on which trials have ended, and so on chance. Whether a trial is hopeless is judged by the trials
    that had ended when it began.

    Attributes:
        spark: the session of the cluster.
        space: to choose from.
        algorithm: one of `search.ALGORITHMS`.
        max_evals: points in all, those that are known included.
        seed: of what is chosen at random.
        parallelism: trials at a time.
    """

    spark: SparkSession
    space: Space
    algorithm: str
    max_evals: int
    seed: int
    parallelism: int

    def run(
        self,
        attempt: Try,
        known: Sequence[Trial],
        learn: Callable[[Trial], None],
        stop: Callable[[], str | None],
    ) -> str | None:
        """See `Search`."""
        ship(self.spark)
        space = self.space

        def on_executor(chosen: dict[str, Any]) -> dict[str, Any]:
            trial = attempt(-1, plain(space, chosen))  # its number is the driver's to know
            return {**result_of(trial), _TRIAL: trial.to_json()}

        trials = SparkTrials(parallelism=self.parallelism, spark_session=self.spark)
        recorded(space, known, trials)
        learned = {trial.number for trial in known}
        reasons: list[str] = []

        def look(trials: SparkTrials, *_: Any) -> tuple[bool, list[Any]]:
            for trial in _ended(space, trials, learned):
                learn(trial)
            reason = stop()
            reasons.extend([reason] if reason else [])
            return bool(reason), []

        if len(known) < self.max_evals:
            with suppress(AllTrialsFailed):  # there is no best one then, which fmin looks for in the end
                fmin(
                    on_executor,
                    prior_space(space),
                    algorithm(self.algorithm),
                    max_evals=self.max_evals,
                    trials=trials,
                    rstate=np.random.default_rng([self.seed, len(known)]),
                    early_stop_fn=look,
                    show_progressbar=False,
                    verbose=False,
                )
            look(trials)
        return reasons[0] if reasons and len(learned) < self.max_evals else None


def ship(spark: SparkSession) -> None:
    """Has the executors use this very rlbake."""
    package = Path(rlbake.__file__).parent
    folder = tempfile.mkdtemp(prefix="rlbake-")
    archive = shutil.make_archive(f"{folder}/rlbake", "zip", package.parent, package.name)
    spark.sparkContext.addPyFile(archive)
    logging.getLogger("hyperopt-spark").setLevel(logging.ERROR)  # what it says, the sweep says too
    warnings.filterwarnings("ignore", message="Spark session is not provided")  # to hyperopt's threads, by itself


def shipped(spark: SparkSession, target: str) -> str:
    """An application as executors can load it: one in a file is sent to them."""
    source, _, name = target.rpartition(":")
    if not source.endswith(".py"):
        return target
    spark.sparkContext.addPyFile(source)
    return f"{Path(source).stem}:{name}"


def _ended(space: Space, trials: SparkTrials, learned: set[int]) -> list[Trial]:
    """The trials that have ended and are not learned yet, whose numbers are added."""
    found = []
    for doc in sorted(trials._dynamic_trials, key=lambda doc: doc["tid"]):
        number = doc["tid"]
        if number in learned or doc["state"] not in (JOB_STATE_DONE, JOB_STATE_ERROR):
            continue
        learned.add(number)
        if doc["state"] == JOB_STATE_DONE:
            trial = read_trial(doc["result"][_TRIAL])
            found.append(Trial(number, trial.point, trial.status, trial.outcome, trial.reason, trial.seconds))
        else:
            found.append(Trial(number, _point(space, doc), FAILED, None, _reason(doc)))
    return found


def _point(space: Space, doc: dict[str, Any]) -> Point:
    known = {path: value[0] for path, value in doc["misc"]["vals"].items() if value}
    chosen = {p.path: p.values[known[p.path]] if p.values else known[p.path] for p in space if p.path in known}
    return plain(space, chosen)


def _reason(doc: dict[str, Any]) -> str:
    kind, said = doc["misc"].get("error", ("", ""))
    return f"the task was lost: {(str(said).strip().splitlines() or [kind])[-1]}"
