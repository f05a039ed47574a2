"""Where one episode ends and the next starts.

An episode starts with an environment's first timestep, after a terminated one, after a final
observation, after a truncated one unless its final observation follows, after silence longer
than the timeout, and where the log says so (step_type 0).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from pyspark.sql import Column
from pyspark.sql import functions as F

from rlbake import vocabulary as v

Timestep = Callable[[str], Column]
"""A column of a timestep, by name: of a row itself, or of a neighbour."""


def parted(before: Timestep, after: Timestep, timeout: timedelta | None) -> Column:
    """Whether two successive timesteps of an environment belong to different episodes; NULL if there is no `before`."""
    decided, decides = before(v.ACTION).isNotNull(), after(v.ACTION).isNotNull()
    end = before(v.END)
    apart = (
        ~decided
        | (end == v.TERMINATED)
        | ((end == v.TRUNCATED) & decides)
        | F.coalesce(after(v.STEP_TYPE) == v.FIRST, F.lit(False))
    )
    if timeout is not None:
        silence = F.unix_micros(after(v.TIMESTAMP)) - F.unix_micros(before(v.TIMESTAMP))
        apart = apart | (silence > timeout // timedelta(microseconds=1))
    return F.when(before(v.TIMESTAMP).isNotNull() & after(v.TIMESTAMP).isNotNull(), apart)


def leaves(step: Timestep) -> Column:
    """How the logged step types leave an environment after a timestep: in an episode, cut, or ended.

    NULL says nothing new: the timestep goes on with whatever was before it.
    """
    return (
        F.when(step(v.ACTION).isNull() | (step(v.END) == v.TERMINATED), ENDED)
        .when(step(v.END) == v.TRUNCATED, CUT)
        .when((step(v.STEP_TYPE) == v.FIRST) | step(v.EPISODE).isNotNull(), RUNNING)
    )


RUNNING, CUT, ENDED = 0, 1, 2


def out_of_order(step: Timestep, left: Column) -> Column:
    """Whether a timestep that is not called an episode's first continues one that has ended."""
    decides = step(v.ACTION).isNotNull()
    return (step(v.STEP_TYPE) != v.FIRST) & ((left == ENDED) | ((left == CUT) & decides))
