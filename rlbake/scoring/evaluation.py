"""Off-policy evaluation on Spark: logs of any size become at most `units` sums for each estimator.

Every decision is seen by each policy's own graph on an executor (for values of episodes, the one that holds all of
its environment) and added up (`scoring.evaluation_worker`). What comes back does not grow with the logs, and what is
made of it on the driver (values, intervals, paired differences, support) is the same as of rows in memory.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path

import numpy as np
from pyspark import cloudpickle
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

import rlbake.dataset.nstep
import rlbake.evaluation
from rlbake import vocabulary as v
from rlbake.errors import DataError
from rlbake.evaluation.candidates import MAX_UNITS
from rlbake.evaluation.estimators import Estimator
from rlbake.evaluation.q_model import QModel
from rlbake.evaluation.rows import Rows
from rlbake.evaluation.support import WeightMoments
from rlbake.scoring import evaluation_worker as job
from rlbake.scoring import joint, worker
from rlbake.scoring.masks import never_null
from rlbake.scoring.shipment import pack_model
from rlbake.specs import Discrete, Feature, MultiDiscrete

for shipped in (worker, job, rlbake.evaluation, rlbake.dataset.nstep):
    cloudpickle.register_pickle_by_value(shipped)  # executors have no rlbake

_SCHEMA = f"{job.UNIT} long, {job.SUMS} binary"
_NEVER = -1  # of a timestamp that is not there


@dataclass(frozen=True)
class Sums:
    """What the logs say about one policy.

    Attributes:
        components: by estimator, float64 [units, k]; what `evaluation.intervals` reads.
        moments: what `WeightMoments.support` reads.
    """

    components: Mapping[str, np.ndarray]
    moments: WeightMoments


def pack_values(model: QModel, *, observation: Sequence[Feature], action: Discrete | MultiDiscrete) -> worker.Policy:
    """A model of action values on its way to the executors, for environments that it has not seen.

    Raises:
        SpecError: it reads features that the application does not have.
    """
    with tempfile.TemporaryDirectory() as folder:
        model.export(Path(folder) / "values")
        read = model.preprocessing.observation
        return pack_model(Path(folder) / "values", read, observation=observation, actions=len(action.joint()))


def evaluate_on_spark(
    trajectories: DataFrame,
    *,
    policies: Mapping[str, worker.Policy],
    values: Mapping[str, worker.Policy],
    estimators: Mapping[str, Estimator],
    sequential: bool,
    observation: Sequence[Feature],
    action: Discrete | MultiDiscrete,
    reward: Mapping[str, float],
    units: int = MAX_UNITS,
) -> dict[str, Sums]:
    """What each policy's estimates and their intervals are made of.

    All policies see the same rows, and units are numbered alike, so that differences can be taken pairwise.

    Args:
        trajectories: rows of a table of trajectories at one version, all of an environment's or whole episodes.
        policies: by name, as `shipment.pack` packs them.
        values: by name of the policy, as `pack_values` packs a model that was fitted on other environments;
            those that lack one are valued by weights alone.
        estimators: by name; of episodes with a horizon of at least `longest_episode`.
        sequential: whether they are of episodes, which count as far as they were logged.
        observation: the application's features, in the order for which the policies were packed.
        action: the application's; of several sets, the policies choose among all combinations.
        reward: weight by metric; NULL metrics are an error.
        units: groups of environments that intervals take for independent.

    Raises:
        DataError: there is no row; or some have no log-probability, or a metric or feature that a policy refuses,
            or a policy gives probability to actions that are not allowed.
    """
    questions = [
        job.Question(policy, values.get(name), tuple(estimators.values()), sequential)
        for name, policy in policies.items()
    ]
    columns = _columns(observation, action, reward, units)
    if sequential:
        columns |= _order()
    flat = trajectories.select(*(column.alias(name) for name, column in columns.items()))
    found = (_of_episodes if sequential else _of_decisions)(flat, questions).collect()
    if not found:
        raise DataError("there is no decision to evaluate on: ask for other windows, or hold out more environments.")
    return _gathered([(row[job.UNIT], row[job.SUMS]) for row in found], policies, estimators, sequential, units)


def longest_episode(trajectories: DataFrame) -> int:
    """Most decisions of any episode that are there; 0 without rows."""
    lengths = trajectories.groupBy(v.ENV_ID, v.EPISODE).count()
    return int(lengths.agg(F.max("count")).collect()[0][0] or 0)


def _of_episodes(rows: DataFrame, questions: Sequence[job.Question]) -> DataFrame:
    """Whole environments, one after the other."""
    order = [job.UNIT, job.ENVIRONMENT, job.EPISODE, job.TIMESTAMP]
    return rows.repartition(job.UNIT).sortWithinPartitions(*order).mapInArrow(job.summed(questions), _SCHEMA)


def _of_decisions(rows: DataFrame, questions: Sequence[job.Question]) -> DataFrame:
    """Each row where it is; only sums move."""
    parts = rows.mapInArrow(job.partly_summed(questions), _SCHEMA)
    return parts.repartition(job.UNIT).mapInArrow(job.added, _SCHEMA)


def _columns(
    observation: Sequence[Feature], action: Discrete | MultiDiscrete, reward: Mapping[str, float], units: int
) -> dict[str, Column]:
    """Of the decisions, in the worker's own names; what is flat crosses to Python cheaply."""
    weighed = [F.lit(weight).cast("float") * F.col(v.METRICS)[metric] for metric, weight in reward.items()]
    return {
        job.UNIT: F.pmod(F.xxhash64(v.ENV_ID), F.lit(units)).cast("long"),
        job.ACTION: joint.flat(F.col(v.ACTION), action),
        job.REWARD: sum((term.cast("double") for term in weighed), F.lit(0.0)),  # in single precision, as in memory
        job.LOG_PROBABILITY: F.col(v.LOG_PROBABILITY),
        job.MASK: never_null(v.ACTION_MASK),
        **{worker.FEATURE.format(n): F.col(v.OBSERVATION)[f.name] for n, f in enumerate(observation)},
    }


def _order() -> dict[str, Column]:
    return {
        job.ENVIRONMENT: F.col(v.ENV_ID),
        job.EPISODE: F.unix_micros(v.EPISODE),
        job.TIMESTAMP: F.unix_micros(v.TIMESTAMP),
        job.NEXT_TIMESTAMP: F.coalesce(F.unix_micros(v.NEXT_TIMESTAMP), F.lit(_NEVER)),
        job.ENDED: F.col(v.END) != v.NOT_ENDED,
    }


def _gathered(
    found: Sequence[tuple[int, bytes]],
    policies: Mapping[str, worker.Policy],
    estimators: Mapping[str, Estimator],
    sequential: bool,
    units: int,
) -> dict[str, Sums]:
    """Takes apart what the worker put together, policy after policy and estimator after estimator."""
    widths = [estimator.components(_ONE_ROW).shape[1] for estimator in estimators.values()]
    ends = np.cumsum([*widths, 2] * len(policies))
    sums = np.zeros((units, ends[-1]))
    for unit, payload in found:
        if unit >= 0:
            sums[unit] = np.frombuffer(payload, np.float64)
    parts = np.split(sums, ends[:-1], axis=1)
    each = len(estimators) + 1
    gathered = {}
    for number, name in enumerate(policies):
        *components, by_unit = parts[number * each : (number + 1) * each]
        known = [job.read(payload, sequential) for unit, payload in found if unit == -1 - number]  # of each partition
        moments = reduce(WeightMoments.merged, [moments for moments, _ in known])
        _refuse(name, np.sum([wrong for _, wrong in known], axis=0), moments.decisions)
        gathered[name] = Sums(dict(zip(estimators, components, strict=True)), replace(moments, by_unit=by_unit))
    return gathered


def _refuse(name: str, wrong: np.ndarray, rows: int) -> None:
    """Says what is wrong with rows that should not be there."""
    rebuild = "Put `timesteps` right and build these windows again"
    said = {
        job.WITHOUT_PROBABILITY: "have no log_probability. Log it, or evaluate on fewer rows: there it is estimated",
        job.WITHOUT_REWARD: f"lack a metric. {rebuild}",
        job.REFUSED: f"hold, or lie next to ones that hold, features that {name} or its values refuse. {rebuild}",
        job.FORBIDDEN: f"are such that {name} gives probability to actions that are not allowed. It cannot be compared",
    }
    for problem, words in said.items():
        if wrong[problem]:
            raise DataError(f"{wrong[problem]:,} of {rows:,} decisions {words}.")


_INDEX, _NUMBER = np.zeros(1, np.int64), np.ones(1)
_ONE_ROW = Rows(_INDEX, _INDEX, _INDEX, _NUMBER, _NUMBER, _NUMBER, _NUMBER, _NUMBER, units=1)
"""That tells how many sums an estimator has."""
