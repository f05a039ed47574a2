"""What scoring runs on the executors. They need numpy, pyarrow and TensorFlow, nothing of rlbake.

This module travels by value inside the Spark job, together with the policy. So it may import
nothing of this package, and what must outlive a task is kept in `sys.modules`.
"""

from __future__ import annotations

import contextlib
import gc
import io
import os
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa

# Rows per call of the graph, two calls for one of Spark's batches. Always as many, padded where there are
# fewer: float32 sums depend on the shape in their last bit, and a row's decision must not depend on its neighbours.
CHUNK = 5120

# Columns of the batches; positional, so that no name that a user chose is in the way.
FEATURE = "feature_{}"
ACTION_MASK, NOISE = "action_mask", "noise"
ACTION_INDEX, LOG_PROBABILITY = "action_index", "log_probability"
ACTION, NUMBER = "action", "number_{}"

_LOADED = "rlbake_loaded_policies"
_MOST_LOADED = 32


@dataclass(frozen=True)
class Policy:
    """An exported policy on its way to the executors.

    Attributes:
        archive: zip of the SavedModel's folder.
        digest: names the archive's content.
        features: name, kind ("Number", "Binary" or "Category"), column number of each one it reads,
            and whether it may be missing.
        actions: number of actions, or of their combinations; 0 where it decides on numbers.
        numbers: how many it decides on; 0 where it chooses among actions.
        explore, temperature, epsilon, floor: as `rlbake.policies.exploration` has them.
    """

    archive: bytes
    digest: str
    features: tuple[tuple[str, str, int, bool], ...]
    actions: int
    numbers: int
    explore: bool
    temperature: float
    epsilon: float
    floor: float


def decider(policy: Policy) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """A function for `mapInArrow` that appends the decision and drops the noise it was made with.

    Reads the features (float32, boolean or string, NULL only where they may be missing), the noise
    (float64) and the mask (lists of booleans, NULL or empty = all allowed) where there is one; passes
    everything else through.
    The decision is an index, or one column for each number, and NULL where the policy has no finite values for
    the row, or its graph refused it or one next to it. The log-probability is NULL where numbers have no density, too.
    """
    added = [*decision(policy), LOG_PROBABILITY]

    def decided(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            kept = [name for name in batch.schema.names if name != NOISE]
            yield pa.RecordBatch.from_arrays(
                [*(batch.column(name) for name in kept), *_decisions(policy, batch)], names=[*kept, *added]
            )

    return decided


def decision(policy: Policy) -> list[str]:
    """The columns that `decider` puts a decision in."""
    return [NUMBER.format(n) for n in range(policy.numbers)] or [ACTION_INDEX]


def _decisions(policy: Policy, batch: pa.RecordBatch) -> list[pa.Array]:
    wanted = ACTION if policy.numbers else ACTION_INDEX
    (chosen, log_probability), refused = outputs(policy, batch, (wanted, LOG_PROBABILITY))
    columns = chosen.T if policy.numbers else [chosen]
    return [
        *(pa.array(column, mask=refused) for column in columns),
        pa.array(log_probability, mask=refused | np.isnan(log_probability)),
    ]


def outputs(
    policy: Policy, batch: pa.RecordBatch, wanted: Sequence[str], feature: str = FEATURE, mask: str = ACTION_MASK
) -> tuple[list[np.ndarray], np.ndarray]:
    """What the graph says of each of B rows.

    Args:
        policy: or any other model that takes some of a policy's inputs.
        batch: the features, and where there are any the noise and the mask.
        wanted: names of the graph's outputs.
        feature: pattern of the features' columns.
        mask: the mask's column.

    Returns:
        Arrays [B, …], one for each name, and bool [B]: whether a policy has no finite values for the row, or the
        graph refused it or one next to it; the outputs are 0 there.
    """
    tf, graph = _loaded(policy)
    rows = -(-batch.num_rows // CHUNK) * CHUNK
    inputs, categories = _inputs(tf, policy, batch, rows, feature, mask)
    constants = {
        "explore": tf.constant(policy.explore),
        "temperature": tf.constant(policy.temperature, tf.float32),
        "epsilon": tf.constant(policy.epsilon, tf.float64),
        "floor": tf.constant(policy.floor, tf.float64),
    }
    taken = set(graph.structured_input_signature[1])
    specs = [graph.structured_outputs[name] for name in wanted]
    found = [np.zeros((rows, *spec.shape[1:]), spec.dtype.as_numpy_dtype) for spec in specs]
    refused = np.zeros(rows, bool)
    for start in range(0, rows, CHUNK):
        chunk = slice(start, start + CHUNK)
        tensors = {name: tf.constant(values[chunk]) for name, values in inputs.items() if name in taken}
        tensors |= {name: tf.gather(words, inputs[name][chunk]) for name, words in categories.items()}
        tensors |= {name: value for name, value in constants.items() if name in taken}
        try:
            said = graph(**tensors)
        except tf.errors.InvalidArgumentError:
            refused[chunk] = True
            continue
        refused[chunk] = _undecided(said)
        for values, name in zip(found, wanted, strict=True):
            values[chunk] = said[name].numpy()
    for values in found:
        values[refused] = 0
    return [values[: batch.num_rows] for values in found], refused[: batch.num_rows]


def _undecided(said: Mapping[str, Any]) -> Any:
    """bool [B], or one for all: where a policy's graph has no decision, which other models do not make."""
    if ACTION_INDEX in said:
        return said[ACTION_INDEX].numpy() < 0
    return ~np.isfinite(said[ACTION].numpy()).all(axis=1) if ACTION in said else False


def _inputs(
    tf: Any, policy: Policy, batch: pa.RecordBatch, rows: int, feature: str, mask: str
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The graph's inputs, padded to so many rows; a category is an index into its words, a string tensor."""
    inputs, categories = {}, {}
    for name, kind, number, optional in policy.features:
        column = batch.column(feature.format(number))
        if kind == "Category":
            encoded = column.dictionary_encode()
            words = encoded.dictionary.to_pylist()
            categories[name] = tf.constant([*words, ""], tf.string)  # the last is what is missing
            inputs[name] = _padded(encoded.indices.fill_null(len(words)).to_numpy(), rows, 0)
        elif kind == "Binary" and not optional:
            inputs[name] = _padded(column.to_numpy(zero_copy_only=False), rows, False)
        else:  # NULL becomes NaN
            numbers = column.cast(pa.float64()).to_numpy(zero_copy_only=False)
            inputs[name] = _padded(numbers, rows, 0.0)
    noise = batch.column(NOISE).to_numpy() if NOISE in batch.schema.names else np.zeros(batch.num_rows)
    inputs[NOISE] = _padded(noise, rows, 0.0)
    inputs[ACTION_MASK] = np.ones((rows, policy.actions), bool)
    inputs[ACTION_MASK][batch.num_rows :, 1:] = False  # where nobody is, one action: no floor is too much for it
    if mask in batch.schema.names:
        inputs[ACTION_MASK][: batch.num_rows] = allowed(batch.column(mask), policy.actions)
    return inputs, categories


def allowed(column: pa.Array, actions: int) -> np.ndarray:
    """bool [B, A]: what a column of masks, lists of booleans, allows; NULL and an empty list are everything."""
    mask = np.ones((len(column), actions), bool)
    given = column.value_lengths().fill_null(0).to_numpy(zero_copy_only=False) > 0
    mask[given] = column.flatten().to_numpy(zero_copy_only=False).reshape(-1, actions)
    return mask


def _padded(values: np.ndarray, rows: int, filler: Any) -> np.ndarray:
    padded = np.full((rows, *values.shape[1:]), filler, values.dtype)
    padded[: len(values)] = values
    return padded


def _loaded(policy: Policy) -> tuple[Any, Any]:
    """TensorFlow and the policy's graph, loaded once per Python worker and kept between tasks, the latest few."""
    kept = sys.modules.setdefault(_LOADED, ModuleType(_LOADED)).__dict__.setdefault("graphs", {})
    if policy.digest not in kept:
        with _without_native_logs():
            graph = _load(policy.archive)
        gc.unfreeze()
        while len(kept) >= _MOST_LOADED:
            del kept[next(iter(kept))]
        kept[policy.digest] = graph
        gc.collect()
        gc.freeze()  # Spark's workers look for garbage after every task: 0.15 s with all that TensorFlow holds
    import tensorflow as tf

    return tf, kept[policy.digest]


def _load(archive: bytes) -> Any:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import tensorflow as tf

    with contextlib.suppress(RuntimeError):  # a worker that has run TensorFlow before keeps its settings
        tf.config.set_visible_devices([], "GPU")
        tf.config.threading.set_intra_op_parallelism_threads(1)  # Spark runs one worker per core
        tf.config.threading.set_inter_op_parallelism_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        zipfile.ZipFile(io.BytesIO(archive)).extractall(folder)
        model = tf.saved_model.load(folder)
    graph = model.signatures["serving_default"]
    graph.owner = model  # a signature alone does not keep the model's variables alive
    return graph


@contextlib.contextmanager
def _without_native_logs() -> Iterator[None]:
    """Keeps TensorFlow's start-up remarks about this machine off the executor's stderr; errors still raise."""
    sys.stderr.flush()
    stderr = os.dup(2)
    with open(os.devnull, "wb") as nothing:
        os.dup2(nothing.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
