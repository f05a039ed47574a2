"""Fitted Q evaluation: a model of what an action is worth if a given policy decides from then on.

Le, Voloshin & Yue (2019), "Batch policy learning under constraints", https://arxiv.org/abs/1903.08738:
regression of

    Q(s, a)  on  r + discount · Σ_a' π(a'|s') Q⁻(s', a')

with Q⁻ an earlier Q. It is TF-Agents' DQN with the expectation under π in the place of the maximum, so
it trains in the same graph loop as every agent; π(·|s') travels with the row, so that one trace serves
every policy. Without a discount nothing of π is left: one model of the reward serves them all.

Cross-fitted (Chernozhukov et al. 2018, https://doi.org/10.1111/ectj.12097): no row is predicted by a network
that has seen its environment, so that the model's errors and the row's noise are independent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from rlbake.dataset.transitions import Transitions
from rlbake.errors import DataError, RlbakeError
from rlbake.evaluation.target import ROWS_AT_ONCE, Target, distribution
from rlbake.features.identify import identify
from rlbake.features.preprocessing import Preprocessing
from rlbake.features.profile import Profiles, profile_of
from rlbake.learners.loop import CHUNK
from rlbake.learners.q_learning import QLearner, QLearningConfig, number_of_actions
from rlbake.quiet import quietly
from rlbake.quiet import tensorflow as tf
from rlbake.specs import Action, Feature
from rlbake.training.replay import Columns, InMemory
from rlbake.world import Observations

with quietly():
    from tf_agents.agents.dqn import dqn_agent
    from tf_agents.networks.network import Network

STEPS, BATCH_SIZE = 3000, 256
CONFIG = QLearningConfig(name="fitted_q", layers=(128, 64), target_update_period=20, averaging=0.998)

_DECAY_ROWS, _LEAST_DECAY, _MOST_DECAY = 30_000, 0.1, 2.0
"""Weight decay is that of so many rows, inversely to their number: a prior counts less the more rows speak.
In message_timing it halves the error of what 5,000 rows teach, and costs a tabular world's nothing."""

_RUNAWAY = 1e3  # standard deviations of the target that no prediction may be away from its mean


@dataclass(frozen=True)
class QModel:
    """Networks, one per fold, none of which has seen its fold's rows.

    Attributes:
        preprocessing: raw features → float32 [B, D].
        networks: float32 [B, D] → standardised values, float32 [B, A].
        levels: of each network, added to its values,
        deviation: after they are multiplied by this.
    """

    preprocessing: Preprocessing
    networks: Sequence[Network]
    levels: Sequence[float]
    deviation: float

    def values(self, observations: Observations, fold: np.ndarray | None = None) -> np.ndarray:
        """Values of all actions, float64 [N, A], allowed or not.

        Args:
            observations: arrays [N] by feature.
            fold: int [N], of each row, -1 for rows that no network has seen: those get the average
                over the networks. None: no row was seen.
        """
        features = self.preprocessing.apply(observations)
        of_each = [
            level + self.deviation * _standardised(network, features).astype(np.float64)
            for network, level in zip(self.networks, self.levels, strict=True)
        ]
        found = np.mean(of_each, axis=0)
        for number, values in enumerate(of_each):
            if fold is not None:
                found[fold == number] = values[fold == number]
        return found

    def export(self, directory: str | Path) -> None:
        """Writes a SavedModel: tensors [B] by feature as `Preprocessing.signature` → `values`, float64 [B, A].

        They are those of rows that no network has seen.
        """
        graph = _Graph(self)
        tf.saved_model.save(graph, str(directory), signatures={"serving_default": graph.signature})


def needs_policy(transitions: Transitions) -> bool:
    """Whether a model of these rows depends on the policy: some row is discounted by more than 0."""
    return bool(transitions.discount.any())


def fit_q(
    transitions: Transitions,
    target: Target,
    *,
    observation: Sequence[Feature],
    action: Action,
    folds: int,
    fold_of: np.ndarray,
    seed: int,
    profiles: Profiles | None = None,
    steps: int = STEPS,
) -> QModel:
    """Fits a policy's action values. The same arguments on the same kind of machine give the same model.

    Args:
        transitions: N one-step transitions; `discount` holds the discount of the values.
        target: the policy, asked about the next observations; not asked where nothing is discounted.
        observation: the features.
        action: what is decided on.
        folds: K ≥ 1, the number of networks.
        fold_of: int [N], in [0, K); -1 for rows that all networks learn from. All rows of an environment
            are of one fold.
        seed: of the initial weights and the batches.
        profiles: of the features, which decide how networks read them; None: those of the rows.
        steps: gradient steps per network.

    Raises:
        SpecError: the action is not Discrete.
        DataError: there is nothing to learn from without some fold, or the policy is no distribution
            over the allowed actions.
        RlbakeError: the values diverged.
    """
    actions = number_of_actions("fitted Q evaluation", action)
    for fold in range(folds):
        if (fold_of == fold).all():
            raise DataError(
                f"fitted Q evaluation: fold {fold} of {folds} holds all {len(transitions):,} rows, and there is "
                "nothing left to learn from. Evaluate on more environments."
            )
    looks_ahead = needs_policy(transitions)
    preprocessing = Preprocessing(
        observation, identify(observation, profiles or profile_of(transitions.observation, observation))
    )
    columns, mean, deviation = _columns(transitions, preprocessing)
    columns["next_mask"] = (
        _next_policy(transitions, target, actions) if looks_ahead else np.zeros((len(transitions), 0), bool)
    )
    columns["mask"] = np.ones_like(columns["next_mask"])
    networks, levels = [], []
    learner = _learner(CONFIG.layers, preprocessing.size, actions, looks_ahead)
    with learner.lock:
        for fold in range(folds):
            rows = np.flatnonzero(fold_of != fold)
            seen = {name: column[rows] for name, column in columns.items()}
            network = _fitted(learner, dict(seen), steps, seed + fold)
            networks.append(network)
            levels.append(mean + deviation * _level(network, seen))
    return QModel(preprocessing, networks, levels, deviation)


class _Evaluation(dqn_agent.DqnAgent):
    """DQN that bootstraps from what a policy would do, which comes with the observation; or from nothing."""

    def __init__(self, time_step_spec: Any, *args: Any, **kwargs: Any) -> None:
        if kwargs["observation_and_action_constraint_splitter"] is not None:
            features, mask = time_step_spec.observation
            probabilities = tf.TensorSpec(mask.shape, tf.float32)
            time_step_spec = time_step_spec._replace(observation=(features, probabilities))
        super().__init__(time_step_spec, *args, **kwargs)

    def _compute_next_q_values(self, next_time_steps: Any, info: Any) -> tf.Tensor:
        if self._observation_and_action_constraint_splitter is None:
            return tf.zeros_like(next_time_steps.reward)
        features, probabilities = next_time_steps.observation
        values, _ = self._target_q_network(features, step_type=next_time_steps.step_type)
        return tf.reduce_sum(probabilities * values, axis=1)


@lru_cache(maxsize=4)
def _learner(layers: tuple[int, ...], size: int, actions: int, looks_ahead: bool) -> QLearner:
    """Traced once per shape and process."""
    return QLearner(_Evaluation, layers, size, actions, looks_ahead)


def _fitted(learner: QLearner, columns: Columns, steps: int, seed: int) -> Network:
    decay = np.clip(_DECAY_ROWS / len(columns["action"]), _LEAST_DECAY, _MOST_DECAY)
    learner.start(replace(CONFIG, weight_decay=float(decay)), seed)
    replay = InMemory(columns)
    for first in range(0, steps, CHUNK):
        for part in replay.segments(first, min(CHUNK, steps - first)):
            loss = learner.run(part.rows, batch_size=BATCH_SIZE, first_step=part.first, steps=part.steps, seed=seed)
        if not loss <= _RUNAWAY**2:  # NaN too
            raise RlbakeError(
                f"fitted Q evaluation diverged within {first + CHUNK:,} steps (loss {loss:.3g}). Lower gamma, or look "
                "for outliers among the features and metrics."
            )
    return learner.head().network


def _level(network: Network, columns: Columns) -> float:
    """What to add to all values so that the rows' temporal differences are 0 on average.

    c with mean(r + d (v' + c) - (q + c)) = 0. A value's level is what random batches and weight decay miss most,
    by as many times as there are steps to look ahead; this is LSTD (Bradtke & Barto 1996) for a constant.
    """
    discount = columns["discount"].astype(np.float64)
    lost = float(np.mean(1 - discount))
    if lost <= 0:
        return 0.0
    q = _standardised(network, columns["features"])[np.arange(len(discount)), columns["action"]]
    difference = columns["reward"] - q.astype(np.float64)
    if discount.any():
        difference += discount * (columns["next_mask"] * _standardised(network, columns["next_features"])).sum(axis=1)
    return float(difference.mean()) / lost


def _standardised(network: Network, features: np.ndarray) -> np.ndarray:
    """What a network says, float32 [N, A], a slice at a time."""
    slices = range(0, max(len(features), 1), ROWS_AT_ONCE)
    return np.concatenate([network(tf.constant(features[at : at + ROWS_AT_ONCE]))[0].numpy() for at in slices])


def _columns(transitions: Transitions, preprocessing: Preprocessing) -> tuple[Columns, float, float]:
    """What the loop reads, and the mean m and deviation s of Q = m + s z, with z what the networks learn.

    Q = r + d Q' is s z = r - (1 - d) m + d s z' for any m and s: m is the value that an average row repeated for
    ever has, and s the deviation of what is left of the rewards.
    """
    reward, discount = transitions.reward, transitions.discount
    lost = 1 - discount.mean()
    mean = float(reward.mean() / lost) if lost > 0 else 0.0
    left = reward - (1 - discount) * mean
    deviation = float(left.std()) or 1.0
    features = preprocessing.apply(transitions.observation)
    columns = {
        "features": features,
        "action": transitions.action.astype(np.int32),
        "reward": (left / deviation).astype(np.float32),
        "discount": discount.astype(np.float32),
        "next_features": preprocessing.apply(transitions.next_observation) if discount.any() else features,
    }
    return columns, mean, deviation


def _next_policy(transitions: Transitions, target: Target, actions: int) -> np.ndarray:
    """π(·|s'), float32 [N, A]; zeros where nothing follows."""
    rows = np.flatnonzero(transitions.discount)
    observations = {name: column[rows] for name, column in transitions.next_observation.items()}
    mask = None if transitions.next_action_mask is None else transitions.next_action_mask[rows]
    found = np.zeros((len(transitions), actions), np.float32)
    found[rows] = distribution(target, observations, mask, actions=actions, who="the policy")
    return found


class _Graph(tf.Module):
    """A model as one graph of plain tensors."""

    def __init__(self, model: QModel) -> None:
        super().__init__(name="q_model")
        self._preprocessing, self._networks = model.preprocessing, list(model.networks)
        self._level, self._deviation = float(np.mean(model.levels)), model.deviation
        self._variables = [network.variables for network in self._networks]
        self.predict = tf.function(self._predict, autograph=False)
        self.signature = self.predict.get_concrete_function(**model.preprocessing.signature())

    def _predict(self, **features: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        read = self._preprocessing(features)
        of_each = [tf.cast(network(read)[0], tf.float64) for network in self._networks]
        return {"values": self._level + self._deviation * tf.add_n(of_each) / len(of_each)}
