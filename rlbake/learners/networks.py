"""Networks of dense layers, and their seeded start."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from tf_agents.networks import sequential

from rlbake.quiet import tensorflow as tf


def dense_layers(layers: Sequence[int], outputs: int) -> list[tf.keras.layers.Layer]:
    """ReLU layers of so many units each, and a linear one."""
    hidden = [tf.keras.layers.Dense(units, activation="relu") for units in layers]
    return [*hidden, tf.keras.layers.Dense(outputs)]


def dense_network(layers: Sequence[int], size: int, outputs: int) -> sequential.Sequential:
    """Features float32 [B, size] → ReLU layers → float32 [B, outputs], by TF-Agents' convention (output, state)."""
    network = sequential.Sequential(dense_layers(layers, outputs))
    network.create_variables(tf.TensorSpec([size], tf.float32))
    return network


def restart(network: tf.Module, seed: int) -> None:
    """Fresh weights by seed: every dense layer's kernel Glorot uniform, its bias 0."""
    dense = [part for part in network.submodules if isinstance(part, tf.keras.layers.Dense)]
    seeds = np.random.SeedSequence(seed).generate_state(len(dense))
    for layer, layer_seed in zip(dense, seeds, strict=True):
        layer.kernel.assign(tf.keras.initializers.GlorotUniform(int(layer_seed))(layer.kernel.shape))
        layer.bias.assign(tf.zeros_like(layer.bias))
