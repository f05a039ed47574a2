"""Cuts each environment's timesteps into episodes.

An episode starts with an environment's first timestep, after a terminated one, after a final
observation, after a truncated one unless its final observation follows, and after silence
longer than the timeout.
"""

from __future__ import annotations

from datetime import timedelta

from pyspark.sql import Column, WindowSpec
from pyspark.sql import functions as F

from rlbake import vocabulary as v


def starts(in_order: WindowSpec, timeout: timedelta | None) -> Column:
    """Whether a timestep starts an episode, given its environment's rows in order of time.

    A row that an earlier window left open carries its `EPISODE` and starts nothing.
    """
    decides = F.col(v.ACTION).isNotNull()
    end_before = F.lag(v.END).over(in_order)
    start = (
        end_before.isNull()
        | (end_before == v.TERMINATED)
        | ((end_before == v.TRUNCATED) & decides)
        | ~F.lag(decides).over(in_order)
    )
    if timeout is not None:
        micros = F.unix_micros(v.TIMESTAMP)
        start = start | (micros - F.lag(micros).over(in_order) > timeout // timedelta(microseconds=1))
    return F.col(v.EPISODE).isNull() & start
