"""What off-policy evaluation runs on the executors: decisions in, sums over units out.

As `scoring.worker`, it travels by value inside the Spark job, and with it the estimators and what else it takes from
`rlbake.evaluation`; executors need numpy, scipy, pyarrow and TensorFlow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from rlbake.evaluation.episodes import Numbered, numbered, seen_by
from rlbake.evaluation.estimators.estimator import Estimator
from rlbake.evaluation.rows import Rows
from rlbake.evaluation.support import WeightMoments
from rlbake.scoring.worker import Policy, allowed, outputs

# Columns of the batches; positional, so that no name that a user chose is in the way. The features are as
# `scoring.worker` has them.
UNIT, ENVIRONMENT, EPISODE, TIMESTAMP, NEXT_TIMESTAMP = "unit", "environment", "episode", "timestamp", "next_timestamp"
ENDED = "ended"
ACTION, REWARD, LOG_PROBABILITY = "action", "reward", "log_probability"
MASK = "action_mask"

SUMS = "sums"  # of a unit: float64 bytes; of unit -1 - n: what is known of policy n in the whole partition

WITHOUT_PROBABILITY, WITHOUT_REWARD, REFUSED, FORBIDDEN = range(4)
"""Why rows cannot be evaluated: no probability was logged or no metric, a graph refused it or a neighbour, the policy
gives probability to what is not allowed."""
PROBLEMS = 4

COUNTS = 5  # decisions, certain, items, total, squares: the numbers of WeightMoments that are not by unit
MASS = 1e-6  # of probability beyond the mask that counts


@dataclass(frozen=True)
class Question:
    """What is asked of the logs about one policy.

    Attributes:
        policy: who would decide.
        values: its action values; None: there is no model.
        estimators: of its value.
        sequential: whether they are of episodes.
    """

    policy: Policy
    values: Policy | None
    estimators: tuple[Estimator, ...]
    sequential: bool


Transform = Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]


class _Known(NamedTuple):
    """What has been found about one policy in a partition.

    Attributes:
        moments: without units.
        wrong: int64 [PROBLEMS], rows by what is wrong with them.
    """

    moments: WeightMoments
    wrong: np.ndarray


def summed(questions: Sequence[Question]) -> Transform:
    """A function for `mapInArrow` that sums over each unit's rows, for estimators of episodes.

    It reads a partition that holds whole units, sorted by unit, environment, episode and timestamp, a few batches
    at a time: no more than a batch and one environment are in memory. It writes a row per unit, and one per policy.
    """

    def emitted(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        known = [_nothing(question) for question in questions]
        open_unit, open_sums = -1, np.zeros(0)
        for part in _whole_environments(batches):
            order = numbered(
                _codes(part.column(ENVIRONMENT)),
                *(_numbers(part, name) for name in (EPISODE, TIMESTAMP, NEXT_TIMESTAMP, ENDED)),
            )
            units, sums, found = _summed(questions, part, order)
            known = _merged(known, found)
            if units[0] == open_unit:
                sums[0] += open_sums
            elif open_unit >= 0:
                yield _batch([open_unit], open_sums[None])
            open_unit, open_sums = int(units[-1]), sums[-1]
            if len(units) > 1:
                yield _batch(units[:-1], sums[:-1])
        if open_unit >= 0:
            yield _batch([open_unit], open_sums[None])
            yield from map(_last, range(len(known)), known)

    return emitted


def partly_summed(questions: Sequence[Question]) -> Transform:
    """A function for `mapInArrow` that sums over each unit's rows, for estimators of single decisions.

    It reads any rows in any order, and writes a row per unit that it has met, and one per policy. `added` adds those
    of several partitions.
    """

    def emitted(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        known = [_nothing(question) for question in questions]
        total: np.ndarray | None = None
        met = np.zeros(0, bool)
        for part in batches:
            if not part.num_rows:
                continue
            alone = np.arange(part.num_rows)
            units, sums, found = _summed(questions, part, Numbered(alone, alone * 0))
            known = _merged(known, found)
            if total is None or units[-1] >= len(total):
                larger = np.zeros((int(units[-1]) + 1, sums.shape[1]))
                larger[: len(met)] = 0 if total is None else total
                total, met = larger, np.r_[met, np.zeros(len(larger) - len(met), bool)]
            total[units] += sums
            met[units] = True
        if total is not None:
            yield _batch(np.flatnonzero(met), total[met])
            yield from map(_last, range(len(known)), known)

    return emitted


def added(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """For `mapInArrow`: adds sums of the same unit, all of which are in the same partition."""
    totals: dict[int, np.ndarray] = {}
    for batch in batches:
        for unit, payload in zip(batch.column(UNIT).to_pylist(), batch.column(SUMS), strict=True):
            sums = np.frombuffer(payload.as_buffer(), np.float64)
            if unit < 0:
                yield _batch([unit], sums[None])
            elif unit in totals:
                totals[unit] += sums
            else:
                totals[unit] = sums.copy()
    if totals:
        yield _batch(list(totals), np.stack(list(totals.values())))


def read(payload: bytes, sequential: bool) -> tuple[WeightMoments, np.ndarray]:
    """What `summed` wrote about one policy: moments without units, and int64 [PROBLEMS], rows by what is wrong."""
    numbers = np.frombuffer(payload, np.float64)
    decisions, certain, items, total, squares = numbers[:COUNTS]
    wrong, largest = numbers[COUNTS : COUNTS + PROBLEMS].astype(np.int64), numbers[COUNTS + PROBLEMS :]
    by_unit = np.zeros((0, 2))
    return WeightMoments(sequential, int(decisions), int(certain), int(items), total, squares, by_unit, largest), wrong


def _written(known: _Known) -> np.ndarray:
    m = known.moments
    return np.r_[m.decisions, m.certain, m.items, m.total, m.squares, known.wrong, m.largest].astype(np.float64)


def _nothing(question: Question) -> _Known:
    moments = WeightMoments(question.sequential, 0, 0, 0, 0.0, 0.0, np.zeros((0, 2)), np.zeros(0))
    return _Known(moments, np.zeros(PROBLEMS, np.int64))


def _merged(known: Sequence[_Known], more: Sequence[_Known]) -> list[_Known]:
    return [_Known(a.moments.merged(b.moments), a.wrong + b.wrong) for a, b in zip(known, more, strict=True)]


def _last(number: int, known: _Known) -> pa.RecordBatch:
    return _batch([-1 - number], _written(known)[None])


def _batch(units: Sequence[int] | np.ndarray, sums: np.ndarray) -> pa.RecordBatch:
    payload = pa.array([row.tobytes() for row in sums], pa.binary())
    return pa.RecordBatch.from_arrays([pa.array(units, pa.int64()), payload], names=[UNIT, SUMS])


def _whole_environments(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The same rows, cut where an environment ends."""
    kept: list[pa.RecordBatch] = []
    for batch in batches:
        if not batch.num_rows:
            continue
        if kept and kept[-1].column(ENVIRONMENT)[-1] != batch.column(ENVIRONMENT)[0]:
            yield _joined(kept)
            kept = []
        codes = _codes(batch.column(ENVIRONMENT))
        changed = np.flatnonzero(codes[1:] != codes[:-1])
        if len(changed):
            cut = int(changed[-1]) + 1
            yield _joined([*kept, batch.slice(0, cut)])
            kept = []
            batch = batch.slice(cut)
        kept.append(batch)
    if kept:
        yield _joined(kept)


def _joined(parts: list[pa.RecordBatch]) -> pa.RecordBatch:
    return parts[0] if len(parts) == 1 else pa.Table.from_batches(parts).combine_chunks().to_batches()[0]


def _summed(
    questions: Sequence[Question], batch: pa.RecordBatch, order: Numbered
) -> tuple[np.ndarray, np.ndarray, list[_Known]]:
    """The units in a batch, int64 [U], float64 [U, k] sums of all questions, and what else is known."""
    units, unit = np.unique(_numbers(batch, UNIT), return_inverse=True)
    logged = _numbers(batch, LOG_PROBABILITY).astype(np.float64)  # NaN where NULL
    missing = np.isnan(logged)
    propensity = np.exp(np.where(missing, 0.0, logged))
    sums, known = [], []
    for question in questions:
        rows, wrong = _seen(question, batch, order, unit, len(units), propensity)
        moments = WeightMoments.of(rows, sequential=question.sequential, propensity=propensity)
        sums += [*(estimator.components(rows) for estimator in question.estimators), moments.by_unit]
        wrong[WITHOUT_PROBABILITY] = missing.sum()
        wrong[WITHOUT_REWARD] = np.isnan(rows.reward).sum()
        known.append(_Known(replace(moments, by_unit=np.zeros((0, 2))), wrong))
    return units, np.concatenate(sums, axis=1), known


def _seen(
    question: Question, batch: pa.RecordBatch, order: Numbered, unit: np.ndarray, units: int, propensity: np.ndarray
) -> tuple[Rows, np.ndarray]:
    (probabilities,), refused = outputs(question.policy, batch, ("probabilities",))
    probabilities = probabilities.astype(np.float64)
    wrong = np.zeros(PROBLEMS, np.int64)
    wrong[REFUSED] = refused.sum()
    if MASK in batch.schema.names:
        mask = allowed(batch.column(MASK), question.policy.actions)
        wrong[FORBIDDEN] = ((probabilities * ~mask).sum(axis=1) > MASS).sum()
    values = np.zeros_like(probabilities)
    if question.values is not None:
        (values,), refused = outputs(question.values, batch, ("values",))
        wrong[REFUSED] += refused.sum()
    rows = seen_by(
        order,
        unit=unit,
        units=units,
        action=_numbers(batch, ACTION),
        reward=_numbers(batch, REWARD),
        propensity=propensity,
        probabilities=probabilities,
        values=values,
    )
    return rows, wrong


def _codes(column: pa.Array) -> np.ndarray:
    return column.dictionary_encode().indices.to_numpy()


def _numbers(batch: pa.RecordBatch, name: str) -> np.ndarray:
    return batch.column(name).to_numpy(zero_copy_only=False)
