"""What a row must hold, as a list: each rule names its column, its breach and the remedy.

Rules look at a timestep in the stored types, and at `LOGGED_ACTION`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import inf

from pyspark.sql import Column
from pyspark.sql import functions as F

from rlbake import vocabulary as v
from rlbake.cadence import Window
from rlbake.specs import Action, Category, Continuous, Discrete, Feature, MultiDiscrete, Number
from rlbake.timesteps.columns import Specs

LOGGED_ACTION = "_logged_action"  # as the application gave it: a name, an index or a vector


@dataclass(frozen=True)
class Rule:
    """One way in which a row can be wrong.

    Attributes:
        problem: what is wrong, in words.
        where: the column as the application calls it.
        broken: true on a bad row; NULL counts as good.
        shown: what to show of a bad row; None: the row's key says enough.
        fix: what to do.
    """

    problem: str
    where: str
    broken: Column
    shown: Column | None
    fix: str


def rules(specs: Specs, window: Window) -> tuple[Rule, ...]:
    """All rules that one row can break by itself; a row counts under the first."""
    return tuple(
        rule
        for group in (
            _identity(specs.keys, window),
            *(_feature(feature) for feature in specs.observation),
            _action(specs.action),
            *(_metric(metric) for metric in specs.metrics),
            _log_probability(),
            _mask(specs.action),
            _end(),
        )
        for rule in group
    )


def _identity(keys: tuple[str, ...], window: Window) -> Iterator[Rule]:
    time = F.col(v.TIMESTAMP)
    yield Rule("NULL key", ", ".join(keys), F.col(v.ENV_ID).isNull(), None, "Drop or repair rows without a key.")
    yield Rule("NULL timestamp", v.TIMESTAMP, time.isNull(), None, "Every decision needs the instant it was made at.")
    yield Rule(
        f"timestamp outside the window [{window.start:%Y-%m-%dT%H:%M}, {window.end:%Y-%m-%dT%H:%M}) UTC",
        v.TIMESTAMP,
        (time < F.lit(window.start)) | (time >= F.lit(window.end)),
        None,
        "timesteps(spark, window) must return the decisions with window.start <= timestamp < window.end.",
    )


def _feature(feature: Feature) -> Iterator[Rule]:
    name, value = feature.name, F.col(f"{v.OBSERVATION}.{feature.name}")
    yield Rule("NULL feature", name, value.isNull(), None, "Fill it in, or drop the rows that lack it.")
    if isinstance(feature, Number):
        yield Rule("number not finite", name, _not_finite(value), value, "Replace NaN and infinity.")
    if isinstance(feature, Number) and min(feature.high, -feature.low) < inf:
        low, high = F.lit(feature.low).cast("float"), F.lit(feature.high).cast("float")
        yield Rule(
            f"number outside [{feature.low:g}, {feature.high:g}]",
            name,
            (value < low) | (value > high),
            value,
            "Clip it, or widen the Number's low and high.",
        )
    if isinstance(feature, Category):
        yield Rule(
            "unknown category",
            name,
            ~value.isin(*feature.values),
            value,
            "Map it to a known value, or add it to the Category; known are "
            + ", ".join(feature.values[:20])
            + ("." if len(feature.values) <= 20 else f" and {len(feature.values) - 20} more."),
        )


def _action(action: Action) -> Iterator[Rule]:
    logged, stored = F.col(LOGGED_ACTION), F.col(v.ACTION)
    if isinstance(action, Continuous):
        yield from _vector(action, stored)
        return
    if isinstance(action, Discrete):
        names = ", ".join(action.names[:30]) + (", ..." if len(action.names) > 30 else "")
        known = f"Log one of {names}, or an index from 0 to {len(action) - 1}."
    elif isinstance(action, MultiDiscrete):
        known = "Log one name or index for each of " + ", ".join(name for name, _ in action.sets) + "."
    yield Rule("unknown action", v.ACTION, logged.isNotNull() & stored.isNull(), logged, known)


def _vector(action: Continuous, stored: Column) -> Iterator[Rule]:
    size = len(action.names)
    yield Rule(
        f"action without exactly {size} numbers",
        v.ACTION,
        (F.size(stored) != size) | F.exists(stored, lambda x: x.isNull()),
        stored,
        f"Log {', '.join(action.names)}, in this order.",
    )
    values = [F.get(stored, F.lit(i)) for i in range(size)]
    outside = F.lit(False)
    for value, low, high in zip(values, action.low, action.high, strict=True):
        outside |= _not_finite(value) | (value < F.lit(low).cast("float")) | (value > F.lit(high).cast("float"))
    yield Rule("action out of bounds", v.ACTION, outside, stored, "Log what was done, or widen the action's bounds.")


def _metric(metric: str) -> Iterator[Rule]:
    value = F.col(f"{v.METRICS}.{metric}")
    missing = F.col(v.METRICS).isNotNull() & value.isNull()
    yield Rule("NULL metric", metric, missing, None, "Log 0 where nothing followed a decision.")
    yield Rule("metric not finite", metric, _not_finite(value), value, "Replace NaN and infinity.")


def _log_probability() -> Iterator[Rule]:
    value = F.col(v.LOG_PROBABILITY)
    yield Rule(
        "not a log-probability",
        v.LOG_PROBABILITY,
        _not_finite(value) | (value > 0),
        value,
        "It is the natural logarithm of a probability in (0, 1]: log the logarithm, or leave it NULL if unknown.",
    )


def _mask(action: Action) -> Iterator[Rule]:
    mask, stored = F.col(v.ACTION_MASK), F.col(v.ACTION)
    if not isinstance(action, Discrete):
        fix = "Only Discrete actions can be masked: leave it NULL."
        yield Rule("action mask", v.ACTION_MASK, mask.isNotNull(), mask, fix)
        return
    yield Rule(
        "mask of wrong length",
        v.ACTION_MASK,
        mask.isNotNull() & ((F.size(mask) != len(action)) | F.exists(mask, lambda x: x.isNull())),
        mask,
        f"Log one boolean for each of the {len(action)} actions.",
    )
    yield Rule("mask that allows nothing", v.ACTION_MASK, ~F.array_contains(mask, True), mask, "Allow an action.")
    yield Rule(
        "action that its mask forbids",
        v.ACTION_MASK,
        ~F.get(mask, stored),
        F.col(LOGGED_ACTION),
        "The mask must allow the action that was taken; its order is that of the Discrete's names.",
    )


def _end() -> Iterator[Rule]:
    end = F.col(v.END)
    yield Rule("unknown end", v.END, ~end.isin(*v.ENDS), end, f"Write one of {', '.join(v.ENDS)}.")
    yield Rule(
        "terminated row without an action",
        v.END,
        F.col(v.ACTION).isNull() & (end == v.TERMINATED),
        None,
        "Mark the last decision as terminated; a row without an action is what followed a cut.",
    )


def _not_finite(value: Column) -> Column:
    return F.isnan(value) | (F.abs(value) == F.lit(float("inf")))
