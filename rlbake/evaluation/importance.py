"""Which features an agent's decisions rest on: what changes when one of them is shuffled among the rows.

Permutation importance (Breiman 2001, "Random forests", section 10; Fisher, Rudin & Dominici 2019, "All models are
wrong, but many are useful"). A feature that others stand in for looks less important than it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from markupsafe import Markup

from rlbake.learners.heads import DiscreteHead
from rlbake.quality.plots import bars_plot
from rlbake.quality.words import shortened
from rlbake.quiet import tensorflow as tf
from rlbake.specs import Continuous
from rlbake.training.fitted import FittedAgent
from rlbake.world import Observations

REPEATS = 3  # shuffles of each feature
MOVED = 0.05  # share of the bounds' width beyond which a number is another decision

_MOST_DRAWN = 40  # features


@dataclass(frozen=True)
class Importance:
    """Of one feature, on average over the shuffles.

    Attributes:
        feature: its name.
        flips: share of greedy decisions that become others, in [0, 1]. One over Continuous actions is another if
            some number moves by more than a twentieth of its bounds' width.
        value_lost: mean of V(x, a) - V(x, a'), with a' what is decided when the feature is shuffled and V the
            agent's own values: in units of the reward where the agent learns values, else of the log-probability.
            None for Continuous actions.
    """

    feature: str
    flips: float
    value_lost: float | None


class _Decided(NamedTuple):
    """What an agent does about B rows: indices [B] and values [B, A], or numbers [B, n] and nothing."""

    action: np.ndarray
    values: np.ndarray | None


def importance(
    fitted: FittedAgent, observations: Observations, action_mask: np.ndarray | None, *, seed: int
) -> list[Importance]:
    """Of every feature, the most important one first.

    Args:
        fitted: the agent.
        observations: arrays [B] by feature, B ≥ 1; best of environments that it was not trained on.
        action_mask: bool [B, A], allowed actions; None: all are.
        seed: of the shuffles.
    """
    decide = _decider(fitted, action_mask)
    before = decide(observations)
    random = np.random.default_rng(seed)
    rows = np.arange(len(before.action))
    orders = [random.permutation(rows) for _ in range(REPEATS)]
    found = []
    for feature in fitted.observation:
        flips, lost = [], []
        for order in orders:
            after = decide({**observations, feature.name: observations[feature.name][order]})
            flips.append(_differs(fitted, before.action, after.action).mean())
            if before.values is not None:
                lost.append((before.values[rows, before.action] - before.values[rows, after.action]).mean())
        found.append(Importance(feature.name, float(np.mean(flips)), float(np.mean(lost)) if lost else None))
    return sorted(found, key=lambda one: (-one.flips, -(one.value_lost or 0.0)))


def table(found: Sequence[Importance]) -> pd.DataFrame:
    """One row per feature."""
    return pd.DataFrame([vars(one) for one in found])


def plot(found: Sequence[Importance]) -> Markup:
    """The shares of decisions that flip, as bars from the top."""
    shown = found[:_MOST_DRAWN]
    changed = "decisions that change when the feature is shuffled"
    described = f"Share of {changed}: " + ", ".join(f"{one.feature} {one.flips:.0%}" for one in shown)
    return bars_plot(
        [shortened(one.feature) for one in shown],
        [one.flips for one in shown],
        x_label=changed,
        y_label="",
        described=described,
    )


def _decider(fitted: FittedAgent, action_mask: np.ndarray | None) -> Callable[[Observations], _Decided]:
    """What the agent does when it does not explore."""
    greedy, own = tf.constant(False), tf.constant(0.0)

    def decide(observations: Observations) -> _Decided:
        features = tf.constant(fitted.preprocessing.apply(observations))
        if not isinstance(fitted.head, DiscreteHead):
            assert isinstance(fitted.action, Continuous)  # what other heads are for
            unused = tf.zeros([len(features), len(fitted.action.names)], tf.float64)
            return _Decided(fitted.head.choose(features, unused, greedy, own).action.numpy(), None)
        mask = np.ones(fitted.head.values(features).shape, bool) if action_mask is None else action_mask
        values, probabilities = fitted.head.prefer(features, tf.constant(mask), greedy, own)
        return _Decided(probabilities.numpy().argmax(axis=1), values.numpy().astype(np.float64))

    return decide


def _differs(fitted: FittedAgent, before: np.ndarray, after: np.ndarray) -> np.ndarray:
    if not isinstance(fitted.action, Continuous):
        return before != after
    width = np.subtract(fitted.action.high, fitted.action.low)
    return (np.abs(after - before) > MOVED * width).any(axis=1)
