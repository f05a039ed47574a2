"""CartPole-v0 learned offline from uniformly random pushes, through the whole path, for many seeds.

python -m benchmarks.cartpole [--first 0] [--seeds 10]

simulated   30,000 random transitions of the shipped application, simulated anew for every seed
recorded    the 10,000 of tests/data/cartpole_random_10k.parquet

Each is built, trained at the default settings for 5,000, 10,000 and 20,000 gradient steps, and the last
weights are played for 1,000 episodes. Nothing looks at the simulator before the end.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import click

APPLICATIONS = {
    "simulated": "rlbake.scenarios.cartpole:CartPole",
    "recorded": f"{Path(__file__).parent.parent}/tests/data/recorded_cartpole.py:RecordedCartPole",
}
STEPS = (5_000, 10_000, 20_000)
GOAL = 195.0  # mean return of an episode; the best is 200


def mean_returns(application: str, folder: str, seed: int) -> list[float]:
    """The mean return of a training of each length."""
    from rlbake.period.evaluate import evaluate
    from rlbake.period.period import open_period
    from rlbake.period.train import train, training_config

    period = open_period(application, f"{folder}/{seed}", "2026-01-01", seed)
    trained = (train(period, training_config(period, set_=f"steps={steps}")) for steps in STEPS)
    return [evaluate(period, model.uri).mean for model in trained]


@click.command()
@click.option("--first", default=0, help="The first seed.")
@click.option("--seeds", default=10, help="How many of them.")
def main(first: int, seeds: int) -> None:
    columns = "".join(f"{steps:>10,}" for steps in STEPS)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
        for name, application in APPLICATIONS.items():
            click.echo(f"{name:<10} seed {columns}  (gradient steps; goal {GOAL:g})")
            for seed in range(first, first + seeds):
                returns = mean_returns(application, folder, seed)
                click.echo(f"{name:<10} {seed:>4} " + "".join(f"{mean:>10.1f}" for mean in returns))


if __name__ == "__main__":
    main()
