"""How long episodes are, in transitions."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from rlbake import vocabulary as v
from rlbake.features.profile import GRID, NUMBER, SMALL, Profile
from rlbake.profiles import moments

_ACCURACY = 10_000  # of percentile_approx: ranks within 1/10000 of the episodes'

_LENGTH, _ENDED = "_length", "_ended"


def episode_lengths(trajectories: DataFrame) -> Profile:
    """The profile of the number of transitions in each episode that ends within the given rows.

    Only these rows are counted: of an episode that started in a window before, what it did there
    is not. One that was cut without a final observation, or timed out, has no end in the rows.

    Args:
        trajectories: rows of the trajectories table, of any windows.
    """
    episodes = trajectories.groupBy(v.ENV_ID, v.EPISODE).agg(
        F.count(F.lit(1)).cast("double").alias(_LENGTH), F.max(F.col(v.END) != v.NOT_ENDED).alias(_ENDED)
    )
    x = F.col(_LENGTH)
    found = episodes.where(_ENDED).agg(
        *moments.described(x),
        F.array_sort(F.collect_set(F.when(x <= SMALL, x.cast("int")))).alias("small"),
        F.percentile_approx(x, F.lit(GRID.tolist()), _ACCURACY).alias("quantiles"),
    ).collect()[0]  # fmt: skip
    if not found["present"]:
        return Profile(NUMBER, 0, 0)
    n, mean, m2, m3, m4 = moments.moments(found)
    low, high = found["low"], found["high"]
    return Profile(
        NUMBER,
        rows=n,
        missing=0,
        low=low,
        high=high,
        mean=mean,
        m2=m2,
        m3=m3,
        m4=m4,
        whole=n,
        small=tuple(found["small"]),
        quantiles=(low, *found["quantiles"][1:-1], high),
    )
