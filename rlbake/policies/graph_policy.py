"""A policy whose decisions are a TensorFlow graph: raw columns in, decisions with their propensities out."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from rlbake.errors import DataError, NotFoundError, SpecError, nearest
from rlbake.policies.exploration import Exploration
from rlbake.policies.export import graph_of
from rlbake.policies.graph import ACTION_MASK, EPSILON, EXPLORE, FLOOR, NOISE, TEMPERATURE, UNDECIDED
from rlbake.policies.policy import Decisions, refuse_mask
from rlbake.quiet import tensorflow as tf
from rlbake.specs import Action, Binary, Category, Continuous, Discrete, Feature
from rlbake.training.fitted import FittedAgent


class GraphPolicy:
    """A policy in this process.

    Args:
        graph: tensors by name → tensors by name, as `export_policy` says of its signature.
        observation: the features it reads.
        action: what it decides on.
        version: who decides, as logged.
        exploration: how it explores.

    Attributes:
        version, observation, action: as given.

    Raises:
        ConfigError: exploration is out of range, or epsilon or floor are given for Continuous actions.
    """

    def __init__(
        self,
        graph: Callable[..., dict[str, tf.Tensor]],
        observation: tuple[Feature, ...],
        action: Action,
        version: str,
        exploration: Exploration,
    ) -> None:
        self.version, self.observation, self.action = version, observation, action
        exploration.refuse_for(action)
        self._actions = 0 if isinstance(action, Continuous) else len(action.joint())
        self._graph = graph
        self._how = {
            EXPLORE: tf.constant(exploration.explore),
            TEMPERATURE: tf.constant(exploration.temperature, tf.float32),
        }
        if self._actions:
            self._how |= {
                EPSILON: tf.constant(exploration.epsilon, tf.float64),
                FLOOR: tf.constant(exploration.floor, tf.float64),
            }

    @classmethod
    def of(cls, fitted: FittedAgent, version: str, exploration: Exploration) -> GraphPolicy:
        """What a trained agent would be once exported and loaded, without the way through files.

        Raises:
            SpecError: a feature has the name of one of the graph's other inputs.
        """
        module = graph_of(fitted)

        def graph(**inputs: tf.Tensor) -> dict[str, tf.Tensor]:
            return module.signature(**inputs)  # as long as the module lives, its variables do

        return cls(graph, fitted.observation, fitted.action, version, exploration)

    def exploring(self, exploration: Exploration) -> GraphPolicy:
        """The same policy, exploring in another way. Raises a ConfigError as the constructor does."""
        return GraphPolicy(self._graph, self.observation, self.action, self.version, exploration)

    def decide(
        self, observations: dict[str, np.ndarray], noise: np.ndarray, action_mask: np.ndarray | None = None
    ) -> Decisions:
        """The inverse of the policy's cumulative distribution at `noise`.

        Raises:
            NotFoundError: there is no column of a feature.
            DataError: a value of a feature that is not optional is missing (NaN, None or the empty
                string), a number is not finite or so large that values are not, the mask has another shape
                than [B, A] or a row of it allows nothing or too many actions for the floor, or there is one
                though the action is not Discrete.
        """
        outputs = self._outputs(observations, noise, action_mask)
        log_probability = outputs["log_probability"].numpy()
        if isinstance(self.action, Continuous):
            return Decisions(outputs["action"].numpy(), log_probability)
        return Decisions(self.action.split(outputs["action_index"].numpy()), log_probability)

    def probabilities(self, observations: dict[str, np.ndarray], action_mask: np.ndarray | None = None) -> np.ndarray:
        """The distribution that `decide` draws from, float32 [B, A]; of MultiDiscrete over all combinations.

        Raises as `decide`; and SpecError: the action is Continuous.
        """
        return self._of_each("probabilities", observations, action_mask)

    def values(self, observations: dict[str, np.ndarray], action_mask: np.ndarray | None = None) -> np.ndarray:
        """Values of all actions, float32 [B, A], allowed or not. Raises as `probabilities`."""
        return self._of_each("values", observations, action_mask)

    def _of_each(self, output: str, observations: dict[str, np.ndarray], action_mask: np.ndarray | None) -> np.ndarray:
        if isinstance(self.action, Continuous):
            raise SpecError(
                f"policy {self.version} decides on numbers ({', '.join(self.action.names)}), so there are no {output} "
                "of single actions: decide says which it chooses, and how densely they lie there."
            )
        rows = len(next(iter(observations.values())))
        return self._outputs(observations, np.zeros(rows), action_mask)[output].numpy()

    def _outputs(
        self, observations: dict[str, np.ndarray], noise: np.ndarray, action_mask: np.ndarray | None
    ) -> dict[str, tf.Tensor]:
        columns = {f.name: _column(f, observations) for f in self.observation}
        try:
            outputs = self._graph(
                **{name: tf.constant(column) for name, column in columns.items()},
                **self._mask(action_mask, len(noise)),
                **{NOISE: tf.constant(np.asarray(noise, np.float64))},
                **self._how,
            )
        except tf.errors.InvalidArgumentError as error:
            raise DataError(f"the policy refuses {len(noise):,} rows: {_reason(error)}.") from None
        self._refuse_undecided(outputs)
        return outputs

    def _refuse_undecided(self, outputs: dict[str, tf.Tensor]) -> None:
        if self._actions:
            undecided = outputs["action_index"].numpy() == UNDECIDED
        else:
            undecided = ~np.isfinite(outputs["action"].numpy()).all(axis=1)
        if undecided.any():
            raise DataError(
                f"the policy has no finite values for {undecided.sum():,} of {len(undecided):,} rows, for example row "
                f"{undecided.argmax()}: a number among their features is far out of range."
            )

    def _mask(self, given: np.ndarray | None, rows: int) -> dict[str, tf.Tensor]:
        if not isinstance(self.action, Discrete):
            refuse_mask(given, self.action)
        if not self._actions:
            return {}
        shape = (rows, self._actions)
        mask = np.ones(shape, bool) if given is None else np.asarray(given, bool)
        if mask.shape != shape:
            raise DataError(f"action mask: shape {list(mask.shape)}, expected {list(shape)}.")
        return {ACTION_MASK: tf.constant(mask)}


def _column(feature: Feature, observations: dict[str, np.ndarray]) -> np.ndarray:
    if feature.name not in observations:
        raise NotFoundError(f"feature {feature.name!r} is missing. {nearest(feature.name, observations)}")
    column = np.asarray(observations[feature.name])
    if isinstance(feature, Category):
        column = np.array([text if isinstance(text, str) else "" for text in column.tolist()], object)
        missing = column == ""
    elif isinstance(feature, Binary):
        missing = np.isnan(column.astype(np.float64))
    else:
        return column.astype(np.float64)  # the graph names those that are not finite
    if missing.any() and not feature.optional:
        raise DataError(
            f"feature {feature.name!r}: {missing.sum():,} of {len(column):,} values are missing, for example in row "
            f"{missing.argmax()}. Fill them, or declare the feature optional and train again."
        )
    if isinstance(feature, Binary):
        return column.astype(np.float64 if feature.optional else bool)
    return column


def _reason(error: tf.errors.InvalidArgumentError) -> str:
    """The assertion's own words, without the names of nodes."""
    for line in str(error.message).splitlines():
        _, separator, said = line.partition("assertion failed: ")
        if separator:
            return said.strip().strip("[]")
    return str(error.message)
