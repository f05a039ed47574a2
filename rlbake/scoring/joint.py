"""Several choices and the one number of their combination, on Spark, as `MultiDiscrete.flat` and `split` have them."""

from __future__ import annotations

import math

from pyspark.sql import Column
from pyspark.sql import functions as F

from rlbake.specs import Discrete, MultiDiscrete


def flat(indices: Column, action: Discrete | MultiDiscrete) -> Column:
    """int: the number in `action.joint()` of an action as it is stored; NULL of NULL."""
    if isinstance(action, Discrete):
        return indices
    number = F.lit(0)
    for position, size in enumerate(action.sizes):
        number = number * size + F.get(indices, F.lit(position))
    return number


def indices(number: Column, action: Discrete | MultiDiscrete) -> Column:
    """int, or array<int> with one for each set, of a number in `action.joint()`; NULL of NULL."""
    if isinstance(action, Discrete):
        return number
    return F.when(number.isNotNull(), F.array(*_each(number, action)))


def names(number: Column, action: Discrete | MultiDiscrete) -> Column:
    """string, or array<string>: what the indices are called."""
    if isinstance(action, Discrete):
        return _name(number, action.names)
    chosen = zip(_each(number, action), action.sets, strict=True)
    return F.when(number.isNotNull(), F.array(*(_name(index, of) for index, (_, of) in chosen)))


def _each(number: Column, action: MultiDiscrete) -> list[Column]:
    """The first set varies slowest."""
    sizes = action.sizes
    below = [math.prod(sizes[position + 1 :]) for position in range(len(sizes))]
    return [
        F.floor(number / F.lit(stride)).cast("int") % F.lit(size) for stride, size in zip(below, sizes, strict=True)
    ]


def _name(index: Column, of: tuple[str, ...]) -> Column:
    name = F.element_at(F.array(*map(F.lit, of)), index + 1)
    return F.when(index.isNotNull(), name)  # where the index is NULL, Spark's element_at says the last one
