"""Profiles one window of the trajectories: every row is read once, and a sample of them again for the quantiles.

Numbers that merge exactly are taken of all rows by one aggregation over (column, value) pairs. A
percentile in it would rule out Spark's hash aggregation, at four times the cost; so the quantiles
are those of about `SAMPLED` rows, chosen by a hash of their identity.
"""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from pyspark.sql import Column, DataFrame, Row, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from rlbake import vocabulary as v
from rlbake.cadence import Window
from rlbake.features.profile import (
    BINARY,
    CATEGORY,
    GRID,
    NUMBER,
    SMALL,
    Profile,
    Profiles,
    of_feature,
    of_metric,
    pooled,
)
from rlbake.features.stored import COUNT, COUNTED, described, is_current, read_profiles, to_rows
from rlbake.profiles import moments
from rlbake.specs import Action, Binary, Continuous, Discrete, Feature, MultiDiscrete, Number
from rlbake.warehouse.table import Table

SAMPLED = 50_000
"""Rows of a window that its quantiles are taken of: their ranks are right within about half a percent."""

_ACCURACY = 2_000  # of percentile_approx: ranks within 1/2000 of the sample's

_COLUMN, _NUMBER, _SMALL, _LABEL = "_column", "_number", "_small", "_label"

_SCHEMA = T.StructType(
    [
        T.StructField(v.COLUMN, T.StringType()),
        T.StructField("kind", T.StringType()),
        T.StructField("rows", T.LongType()),
        T.StructField("missing", T.LongType()),
        *(T.StructField(name, T.DoubleType()) for name in ("low", "high", "mean", "m2", "m3", "m4")),
        T.StructField("whole", T.LongType()),
        T.StructField("small", T.ArrayType(T.IntegerType())),
        T.StructField("quantiles", T.ArrayType(T.DoubleType())),
        T.StructField(
            "counts",
            T.ArrayType(T.StructType([T.StructField(COUNTED, T.StringType()), T.StructField(COUNT, T.LongType())])),
        ),
    ]
)


def profile_window(
    spark: SparkSession,
    *,
    tables: str,
    window: Window,
    observation: Sequence[Feature],
    action: Action,
    metrics: Sequence[str],
    run_id: str,
    config_digest: str,
) -> Profiles:
    """Makes the table `profiles` describe a window of the trajectories as they are now; costs nothing if it does.

    Profiled are the features, the metrics, `reward`, `time_gap`, `log_probability`, `end` and the
    action by name (`action.<name>` for each part of one that has several).

    Args:
        tables: URI of the folder that holds the application's tables.
        window: already built.
        run_id: MLflow run that builds it.
        config_digest: what the trajectories were built with.

    Returns:
        The window's profiles.

    Raises:
        NotFoundError: the window has no trajectories.
        StorageError: the table cannot be written.
    """
    trajectories, profiles = Table(f"{tables}/{v.TRAJECTORIES_TABLE}"), Table(f"{tables}/{v.PROFILES_TABLE}")
    version = trajectories.version()
    built = trajectories.builds([window.ds], version)[window.ds]
    held = profiles.builds().get(window.ds) if profiles.exists() else None
    if held and is_current(held, built):
        return read_profiles(tables, [window.ds], version)[0]
    rows = trajectories.read(spark, version, [window.ds])
    taken = profiled(rows, built.content.rows, observation=observation, action=action, metrics=metrics)
    profiles.replace_window(
        spark.createDataFrame([Row(**row) for row in to_rows(taken)], _SCHEMA).coalesce(1),
        window.ds,
        run_id=run_id,
        config_digest=config_digest,
        inputs=described(built),
    )
    return taken


def profiled(
    trajectories: DataFrame, rows: int, *, observation: Sequence[Feature], action: Action, metrics: Sequence[str]
) -> Profiles:
    """The profiles of trajectory rows, of which there are `rows`."""
    numbers, labels = _numbers(observation, action, metrics), _labels(observation, action)
    names = {v.ACTION: action.names} if isinstance(action, Discrete) else {}
    if isinstance(action, MultiDiscrete):
        names = {f"{v.ACTION}.{name}": values for name, values in action.sets}
    groups = _grouped(trajectories, numbers, labels)
    quantiles = _sampled(trajectories, numbers, rows)
    binaries = {of_feature(f.name) for f in observation if isinstance(f, Binary)}
    of_numbers = {
        name: _with_quantiles(_number(groups.get(i, [])), quantiles.get(name)) for i, name in enumerate(numbers)
    }
    of_labels = {
        name: _counted(groups.get(i, []), BINARY if name in binaries else CATEGORY, names.get(name))
        for i, name in enumerate(labels, start=len(numbers))
    }
    return of_numbers | of_labels


def _numbers(observation: Sequence[Feature], action: Action, metrics: Sequence[str]) -> dict[str, Column]:
    named = [of_feature(f.name) for f in observation if isinstance(f, Number)]
    named += [*map(of_metric, metrics), v.REWARD, v.TIME_GAP, v.LOG_PROBABILITY]
    columns = {name: F.col(name).cast("double") for name in named}
    if isinstance(action, Continuous):
        columns |= {f"{v.ACTION}.{n}": F.get(v.ACTION, F.lit(i)).cast("double") for i, n in enumerate(action.names)}
    return columns


def _labels(observation: Sequence[Feature], action: Action) -> dict[str, Column]:
    named = [of_feature(f.name) for f in observation if not isinstance(f, Number)]
    columns = {name: F.col(name).cast("string") for name in [*named, v.END]}
    if isinstance(action, Discrete):
        columns[v.ACTION] = F.col(v.ACTION).cast("string")
    if isinstance(action, MultiDiscrete):
        sets = enumerate(name for name, _ in action.sets)
        columns |= {f"{v.ACTION}.{name}": F.get(v.ACTION, F.lit(i)).cast("string") for i, name in sets}
    return columns


def _grouped(
    trajectories: DataFrame, numbers: Mapping[str, Column], labels: Mapping[str, Column]
) -> dict[int, list[Row]]:
    """Aggregates by the column's number, one for each label, small whole number, and whatever is neither."""
    no_number, no_label = F.lit(None).cast("double"), F.lit(None).cast("string")
    pairs = [(number, no_label) for number in numbers.values()] + [(no_number, label) for label in labels.values()]
    cells = F.array(
        *(
            F.struct(F.lit(i).alias(_COLUMN), number.alias(_NUMBER), label.alias(_LABEL))
            for i, (number, label) in enumerate(pairs)
        )
    )
    x = F.col(_NUMBER)
    is_whole = x == F.rint(x)
    grouped = (
        trajectories.select(F.inline(cells))
        .groupBy(_COLUMN, F.when(is_whole & (F.abs(x) <= SMALL), x.cast("int")).alias(_SMALL), _LABEL)
        .agg(F.count(F.lit(1)).alias("n"), F.count_if(is_whole).alias("whole"), *moments.described(x))
    )
    by_column: dict[int, list[Row]] = defaultdict(list)
    for group in grouped.collect():
        by_column[group[_COLUMN]].append(group)
    return by_column


def _sampled(trajectories: DataFrame, numbers: Mapping[str, Column], rows: int) -> dict[str, list[float]]:
    """Quantiles by name; none of a column without a value in the sample."""
    every = max(1, rows // SAMPLED)
    chosen = F.pmod(F.xxhash64(v.ENV_ID, v.TIMESTAMP), F.lit(every)) == 0
    grid = F.lit(GRID.tolist())
    taken = [F.percentile_approx(x, grid, _ACCURACY).alias(f"q{i}") for i, x in enumerate(numbers.values())]
    found = trajectories.where(chosen).agg(*taken).collect()[0]
    return {name: found[f"q{i}"] for i, name in enumerate(numbers) if found[f"q{i}"]}


def _number(groups: Sequence[Row]) -> Profile:
    """Merges the groups of one column; its quantiles are not known yet."""
    rows, present = sum(group["n"] for group in groups), sum(group["present"] for group in groups)
    valued = sorted((group for group in groups if group["present"]), key=lambda group: group["low"])
    if not valued:
        return Profile(NUMBER, rows, rows - present)
    _, mean, m2, m3, m4 = functools.reduce(pooled, map(moments.moments, valued))
    return Profile(
        NUMBER,
        rows,
        rows - present,
        low=valued[0]["low"] + 0.0,
        high=max(group["high"] for group in valued) + 0.0,
        mean=mean,
        m2=m2,
        m3=m3,
        m4=m4,
        whole=sum(group["whole"] for group in valued),
        small=tuple(sorted(group[_SMALL] for group in valued if group[_SMALL] is not None)),
    )


def _with_quantiles(profile: Profile, sampled: list[float] | None) -> Profile:
    """With quantiles from the exact least to the exact greatest value; straight through the mean without a sample."""
    if profile.low is None or profile.high is None:
        return profile
    inner = np.asarray(sampled) if sampled else np.interp(GRID, [0, 0.5, 1], [profile.low, profile.mean, profile.high])
    grid = np.clip(inner, profile.low, profile.high)
    grid[0], grid[-1] = profile.low, profile.high
    return replace(profile, quantiles=tuple(grid.tolist()))


def _counted(groups: Sequence[Row], kind: str, names: Sequence[str] | None) -> Profile:
    counts = {group[_LABEL]: group["n"] for group in groups if group[_LABEL] is not None}
    if names is not None:
        counts = {names[int(index)]: count for index, count in counts.items()}
    rows = sum(group["n"] for group in groups)
    return Profile(kind, rows, rows - sum(counts.values()), counts=dict(sorted(counts.items())))
