"""State compression: an autoencoder learns a short code of the observations before an agent is trained on it.

Hinton and Salakhutdinov, "Reducing the dimensionality of data with neural networks", Science 313
(2006): D inputs → hidden → code → hidden → D inputs, trained on the squared error of what comes out.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from rlbake.features.compression import Compressed
from rlbake.features.preprocessing import Preprocessing
from rlbake.learners.networks import dense_network, restart
from rlbake.quiet import tensorflow as tf

STEPS, BATCH_SIZE, HIDDEN, LEARNING_RATE = 4_000, 256, 64, 2e-3


class Code(NamedTuple):
    """What was learned.

    Attributes:
        encoder: raw features → code.
        error: squared error of the reconstruction on rows that were not trained on, as a share of what always
            reconstructing the mean would leave: 0 is perfect, 1 is useless.
    """

    encoder: Compressed
    error: float


def learn_code(preprocessing: Preprocessing, vectors: np.ndarray, unseen: np.ndarray, size: int, seed: int) -> Code:
    """Trains an autoencoder. The same arguments on the same kind of machine give the same weights.

    The code is standardised over `vectors`, for the networks that read it.

    Args:
        preprocessing: what made the vectors.
        vectors: float32 [N, D], to learn from.
        unseen: float32 [M, D], to measure the error on; `vectors` if there are none.
        size: of the code.
        seed: of the initial weights and of the batches.
    """
    width = vectors.shape[1]
    encoder, decoder = dense_network((HIDDEN,), width, size), dense_network((HIDDEN,), size, width)
    first, second = np.random.SeedSequence(seed).generate_state(2)
    restart(encoder, int(first))
    restart(decoder, int(second))
    optimizer = tf.keras.optimizers.Adam(tf.keras.optimizers.schedules.CosineDecay(LEARNING_RATE, STEPS))
    weights = [*encoder.trainable_variables, *decoder.trainable_variables]
    optimizer.build(weights)
    known = tf.constant(vectors)

    @tf.function(autograph=False)
    def train() -> tf.Tensor:
        drawn = tf.random.stateless_uniform((STEPS, BATCH_SIZE), [seed % 2**31, 1], 0, len(vectors), tf.int32)

        def step(number: tf.Tensor) -> tuple[tf.Tensor]:
            batch = tf.gather(known, drawn[number])
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean(tf.math.squared_difference(decoder(encoder(batch)[0])[0], batch))
            optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights, strict=True))
            return (number + 1,)

        return tf.while_loop(lambda number: number < STEPS, step, (0,))

    train()
    code = encoder(known)[0].numpy()
    mean, deviation = code.mean(axis=0), np.maximum(code.std(axis=0), 1e-6)
    kernel, bias, out, shift = encoder.get_weights()
    measured = unseen if len(unseen) else vectors
    rebuilt = decoder(encoder(tf.constant(measured))[0])[0].numpy()
    spread = float(((measured - vectors.mean(axis=0)) ** 2).sum())
    error = float(((rebuilt - measured) ** 2).sum()) / spread if spread > 0 else 0.0
    return Code(Compressed(preprocessing, [kernel, bias, out / deviation, (shift - mean) / deviation]), error)
