"""What a row must hold, as a list: each rule names its column, its breach and the remedy.

Rules look at a timestep in the stored types, and at `LOGGED_ACTION`. Two more are seen only beside
the other rows of an environment; see `rlbake.trajectories.pair`.

| name | a row breaks it if |
|---|---|
| `null_key`, `null_timestamp` | it cannot be placed |
| `outside_window` | its instant is not in the window that was asked for |
| `null_feature` | a feature that is not optional is NULL |
| `not_finite` | a feature or metric is NaN or infinite |
| `out_of_range` | a number, or an entry of an action, is outside its bounds |
| `unknown_category` | a category is none of the known ones, and they may not count as "other" |
| `unknown_action` | the action does not exist |
| `action_length`, `mask_length` | an array has another length than the application declares |
| `null_metric` | a decision lacks a metric: NULL is not zero |
| `probability` | the log-probability is not that of a probability in (0, 1] |
| `mask_unsupported`, `mask_empty`, `masked_action` | there can be no mask, it allows nothing, or not what was done |
| `unknown_end`, `end_without_action` | the end is none of the three, or a final observation is called terminated |
| `step_type` | it is logged, and is none of 0, 1, 2, or 2 on a decision |
| `conflict` | another row of the same environment and instant says otherwise |
| `out_of_order` | step_type is logged, and the row continues an episode that has ended |
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import inf

from pyspark.sql import Column
from pyspark.sql import functions as F

from rlbake import vocabulary as v
from rlbake.cadence import Window
from rlbake.errors import SpecError, nearest
from rlbake.specs import OTHER, Action, Category, Continuous, Discrete, Feature, MultiDiscrete, Number
from rlbake.timesteps.columns import Specs

LOGGED_ACTION = "_logged_action"  # as the application gave it: a name, an index or a vector


@dataclass(frozen=True)
class Rule:
    """One way in which a row can be wrong.

    Attributes:
        name: an identifier, shared by rules that say the same of different columns.
        problem: what is wrong, in words.
        where: the column as the application calls it.
        broken: true on a bad row; NULL counts as good. None if one row alone cannot show it.
        shown: what to show of a bad row; None: the row's key says enough.
        fix: what to do.
    """

    name: str
    problem: str
    where: str
    broken: Column | None
    shown: Column | None
    fix: str


CONFLICT = Rule(
    "conflict",
    "rows that contradict each other",
    "all but key and timestamp",
    None,
    None,
    "An environment makes one decision at a time: keep one row, or add what tells them apart to the keys.",
)
OUT_OF_ORDER = Rule(
    "out_of_order",
    "row that continues an episode which has ended",
    v.STEP_TYPE,
    None,
    None,
    "Log step_type 0 on an episode's first row, and timestamps in the order of the steps.",
)

NAMES = (
    *("null_key", "null_timestamp", "outside_window", "null_feature", "not_finite", "out_of_range"),
    *("unknown_category", "unknown_action", "action_length", "null_metric", "probability", "mask_unsupported"),
    *("mask_length", "mask_empty", "masked_action", "unknown_end", "end_without_action", "step_type"),
    *(CONFLICT.name, OUT_OF_ORDER.name),
)


def known(names: Iterable[str]) -> frozenset[str]:
    """The names, all of rules.

    Raises:
        SpecError: there is no such rule.
    """
    for name in names:
        if name not in NAMES:
            raise SpecError(f"fatal: there is no rule {name!r}. {nearest(name, NAMES)}")
    return frozenset(names)


def rules(specs: Specs, window: Window, *, stepped: bool) -> tuple[Rule, ...]:
    """All rules of an application; a row counts under the first that it breaks.

    Args:
        stepped: whether step_type is logged.
    """
    return tuple(
        rule
        for group in (
            _identity(specs.keys, window),
            *(_feature(feature) for feature in specs.observation),
            _action(specs.action),
            *(_metric(metric) for metric in specs.metrics),
            _log_probability(specs.action),
            _mask(specs.action),
            _end(),
            _step_type() if stepped else (),
            (CONFLICT, OUT_OF_ORDER),
        )
        for rule in group
    )


def _identity(keys: tuple[str, ...], window: Window) -> Iterator[Rule]:
    time = F.col(v.TIMESTAMP)
    yield Rule(
        "null_key", "NULL key", ", ".join(keys), F.col(v.ENV_ID).isNull(), None, "Drop or repair rows without a key."
    )
    yield Rule(
        "null_timestamp",
        "NULL timestamp",
        v.TIMESTAMP,
        time.isNull(),
        None,
        "Every decision needs the instant it was made at.",
    )
    yield Rule(
        "outside_window",
        f"timestamp outside the window [{window.start:%Y-%m-%dT%H:%M}, {window.end:%Y-%m-%dT%H:%M}) UTC",
        v.TIMESTAMP,
        (time < F.lit(window.start)) | (time >= F.lit(window.end)),
        None,
        "timesteps(spark, window) must return the decisions with window.start <= timestamp < window.end.",
    )


def _feature(feature: Feature) -> Iterator[Rule]:
    name, value = feature.name, F.col(f"{v.OBSERVATION}.{feature.name}")
    if not feature.optional:
        fix = "Fill it in, drop the rows that lack it, or declare the feature optional."
        yield Rule("null_feature", "NULL feature", name, value.isNull(), None, fix)
    if isinstance(feature, Number):
        yield Rule("not_finite", "number not finite", name, _not_finite(value), value, "Replace NaN and infinity.")
    if isinstance(feature, Number) and min(feature.high, -feature.low) < inf:
        low, high = F.lit(feature.low).cast("float"), F.lit(feature.high).cast("float")
        yield Rule(
            "out_of_range",
            f"number outside [{feature.low:g}, {feature.high:g}]",
            name,
            (value < low) | (value > high),
            value,
            "Clip it, or widen the Number's low and high.",
        )
    if isinstance(feature, Category) and feature.unknown != OTHER:
        yield Rule(
            "unknown_category",
            "unknown category",
            name,
            ~value.isin(*feature.values),
            value,
            'Add it to the Category, or declare unknown="other"; known are '
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
    yield Rule("unknown_action", "unknown action", v.ACTION, logged.isNotNull() & stored.isNull(), logged, known)


def _vector(action: Continuous, stored: Column) -> Iterator[Rule]:
    size = len(action.names)
    yield Rule(
        "action_length",
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
    fix = "Log what was done, or widen the action's bounds."
    yield Rule("out_of_range", "action out of bounds", v.ACTION, outside, stored, fix)


def _metric(metric: str) -> Iterator[Rule]:
    value = F.col(f"{v.METRICS}.{metric}")
    missing = F.col(v.METRICS).isNotNull() & value.isNull()
    yield Rule("null_metric", "NULL metric", metric, missing, None, "Log 0 where nothing followed a decision.")
    yield Rule("not_finite", "metric not finite", metric, _not_finite(value), value, "Replace NaN and infinity.")


def _log_probability(action: Action) -> Iterator[Rule]:
    value = F.col(v.LOG_PROBABILITY)
    above = F.lit(False) if isinstance(action, Continuous) else value > 0
    known = (
        "density of the action, per unit of it: log the logarithm, or leave it NULL if there is none or it is unknown."
        if isinstance(action, Continuous)
        else "probability in (0, 1]: log the logarithm, or leave it NULL if unknown."
    )
    yield Rule(
        "probability",
        "not a log-probability",
        v.LOG_PROBABILITY,
        _not_finite(value) | above,
        value,
        f"It is the natural logarithm of a {known}",
    )


def _mask(action: Action) -> Iterator[Rule]:
    mask, stored = F.col(v.ACTION_MASK), F.col(v.ACTION)
    if not isinstance(action, Discrete):
        fix = "Only Discrete actions can be masked: leave it NULL."
        yield Rule("mask_unsupported", "action mask", v.ACTION_MASK, mask.isNotNull(), mask, fix)
        return
    yield Rule(
        "mask_length",
        "mask of wrong length",
        v.ACTION_MASK,
        mask.isNotNull() & ((F.size(mask) != len(action)) | F.exists(mask, lambda x: x.isNull())),
        mask,
        f"Log one boolean for each of the {len(action)} actions.",
    )
    nothing = ~F.array_contains(mask, True)
    yield Rule("mask_empty", "mask that allows nothing", v.ACTION_MASK, nothing, mask, "Allow an action.")
    yield Rule(
        "masked_action",
        "action that its mask forbids",
        v.ACTION_MASK,
        ~F.get(mask, stored),
        F.col(LOGGED_ACTION),
        "The mask must allow the action that was taken; its order is that of the Discrete's names.",
    )


def _end() -> Iterator[Rule]:
    end = F.col(v.END)
    yield Rule("unknown_end", "unknown end", v.END, ~end.isin(*v.ENDS), end, f"Write one of {', '.join(v.ENDS)}.")
    yield Rule(
        "end_without_action",
        "terminated row without an action",
        v.END,
        F.col(v.ACTION).isNull() & (end == v.TERMINATED),
        None,
        "Mark the last decision as terminated; a row without an action is what followed a cut.",
    )


def _step_type() -> Iterator[Rule]:
    step, decides = F.col(v.STEP_TYPE), F.col(v.ACTION).isNotNull()
    yield Rule(
        "step_type",
        "impossible step_type",
        v.STEP_TYPE,
        step.isNull() | ~step.isin(v.FIRST, v.MID, v.LAST) | ((step == v.LAST) & decides),
        step,
        "Log 0 on an episode's first row, 2 on its final observation, which has no action, else 1.",
    )


def _not_finite(value: Column) -> Column:
    return F.isnan(value) | (F.abs(value) == F.lit(float("inf")))
