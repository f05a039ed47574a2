"""The dueling network (Wang et al., 2016, https://arxiv.org/abs/1511.06581), of distributions."""

from __future__ import annotations

from typing import Any

from tf_agents.networks.network import Network

from rlbake.quiet import tensorflow as tf


class DuelingNetwork(Network):
    """Features float32 [B, size] → logits float32 [B, actions, atoms]: V(s) + A(s, a) - mean over a' of A(s, a').

    Args:
        layers: units of each hidden layer (ReLU), which both streams share.
        size: number of features.
        actions: to choose among.
        atoms: of each action's distribution.
    """

    def __init__(self, layers: tuple[int, ...], size: int, actions: int, atoms: int) -> None:
        super().__init__(input_tensor_spec=tf.TensorSpec([size], tf.float32), name="DuelingNetwork")
        self.num_atoms = atoms
        self._shape = actions, atoms
        self._hidden = [tf.keras.layers.Dense(units, activation="relu") for units in layers]
        self._value = tf.keras.layers.Dense(atoms)
        self._advantage = tf.keras.layers.Dense(actions * atoms)

    def call(
        self, observation: tf.Tensor, step_type: Any = None, network_state: Any = (), training: bool = False
    ) -> tuple[tf.Tensor, Any]:
        shared = observation
        for layer in self._hidden:
            shared = layer(shared)
        advantage = tf.reshape(self._advantage(shared), [-1, *self._shape])
        advantage -= tf.reduce_mean(advantage, axis=1, keepdims=True)
        return self._value(shared)[:, None] + advantage, network_state
