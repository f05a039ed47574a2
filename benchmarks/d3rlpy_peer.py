"""d3rlpy's double DQN on the rows of `benchmarks.training`: what that file compares with.

Runs in `.venv-d3rlpy` (`make bench-d3rlpy`), whose packages cannot live beside rlbake's: d3rlpy needs a newer gym.
It reads settings from the standard input as JSON and prints {"cpu": …, "wall": …}: steps per second of each.
"""

import json
import sys
import time

import d3rlpy
import numpy as np
import torch


def main() -> None:
    given = json.load(sys.stdin)
    rows, features, actions = given["rows"], given["features"], given["actions"]
    random = np.random.default_rng(0)
    terminals = random.random(rows) < 0.05
    terminals[-1] = True
    dataset = d3rlpy.dataset.MDPDataset(
        random.normal(size=(rows, features)).astype(np.float32),
        random.integers(0, actions, (rows, 1)),
        np.ones((rows, 1), np.float32),
        terminals.astype(np.float32),
    )
    config = d3rlpy.algos.DoubleDQNConfig(
        batch_size=given["batch_size"],
        learning_rate=given["learning_rate"],
        target_update_interval=given["target_update_period"],
        encoder_factory=d3rlpy.models.VectorEncoderFactory(given["layers"]),
        gamma=given["gamma"],
    )
    torch.set_num_threads(given["threads"])
    learner = config.create(device="cpu:0")
    train(learner, dataset, 200)
    cpu, wall = time.process_time(), time.perf_counter()
    train(learner, dataset, given["steps"])
    rates = {"cpu": given["steps"] / (time.process_time() - cpu), "wall": given["steps"] / (time.perf_counter() - wall)}
    sys.stdout.write(json.dumps(rates) + "\n")


def train(learner: d3rlpy.algos.QLearningAlgoBase, dataset: d3rlpy.dataset.MDPDataset, steps: int) -> None:
    learner.fit(
        dataset,
        n_steps=steps,
        n_steps_per_epoch=steps,
        logger_adapter=d3rlpy.logging.NoopAdapterFactory(),
        show_progress=False,
    )


if __name__ == "__main__":
    main()
