"""Whom to score, checked before anything is decided.

A row of a population is a timestep without a decision, so the contract of timesteps holds for
it; beside that, everybody is in it once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from rlbake import vocabulary as v
from rlbake.cadence import Window
from rlbake.errors import DataError, failed_check
from rlbake.specs import Action, Continuous, Discrete, Feature, MultiDiscrete
from rlbake.timesteps import contract
from rlbake.timesteps.columns import OPTIONAL

_STORED = {Discrete: "int", MultiDiscrete: "array<int>", Continuous: "array<float>"}
_ROWS, _BROKEN, _REPEATED = "rows", "broken", "repeated"


@contextmanager
def checked(
    population: DataFrame, *, keys: Sequence[str], observation: Sequence[Feature], action: Action, window: Window
) -> Iterator[DataFrame]:
    """The keys, the features and the mask where there is one, computed once and kept until the block ends.

    Raises:
        DataError: nobody is in it, somebody is in it twice, a column is missing or of a wrong
            type, or a row breaks a rule of `timesteps.rules`.
    """
    wanted = [*keys, *(feature.name for feature in observation)]
    wanted += [v.ACTION_MASK] if v.ACTION_MASK in population.columns else []
    twice = [name for name in wanted if population.columns.count(name) > 1]
    if twice:
        raise DataError(f"population: it has two columns named {twice[0]!r}. Keep one.")
    if set(wanted) <= set(population.columns):
        population = population.select(*wanted)
    undecided = _undecided(population, action, window)
    lazily = contract.checked(
        undecided, keys=keys, observation=observation, action=action, metrics=(), window=window, what="population"
    )
    population.persist()
    try:
        _judge(lazily, keys, window)
        yield population
    finally:
        population.unpersist()


def _undecided(population: DataFrame, action: Action, window: Window) -> DataFrame:
    reserved = {v.TIMESTAMP, v.ACTION, *OPTIONAL} - {v.ACTION_MASK}
    nothing = F.lit(None).cast(_STORED[type(action)])
    return population.drop(*reserved).withColumns({v.TIMESTAMP: F.lit(window.start), v.ACTION: nothing})


def _judge(population: contract.Checked, keys: Sequence[str], window: Window) -> None:
    environments = population.rows.groupBy(v.ENV_ID).agg(
        F.count(F.lit(1)).alias(_ROWS), F.count(contract.BROKEN_RULE).alias(_BROKEN)
    )
    repeated = F.col(_ROWS) > 1
    seen = environments.agg(
        F.sum(_ROWS).alias(_ROWS), F.sum(_BROKEN).alias(_BROKEN), F.sum(F.when(repeated, F.col(_ROWS))).alias(_REPEATED)
    ).first()
    if seen is None or not seen[_ROWS]:
        raise DataError(f"population: nobody is in it at {window}. Check that its sources hold this date.")
    if seen[_BROKEN]:
        said = " Also: ".join(breach.described(seen[_ROWS]) for breach in population.breaches(population.rows))
        raise DataError(f"population: {said}")
    if seen[_REPEATED]:
        examples = environments.where(repeated).orderBy(v.ENV_ID).limit(5).collect()
        raise failed_check(
            "population: the same key more than once",
            where=f"column {', '.join(keys)}",
            count=seen[_REPEATED],
            of=seen[_ROWS],
            examples=[f"{row[v.ENV_ID]}: {row[_ROWS]} rows" for row in examples],
            fix="One decision is made for each environment: keep one row of each.",
        )
