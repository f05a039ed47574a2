"""CartPole-v0 learned offline from uniformly random pushes, through the whole path, for many seeds.

python -m benchmarks.cartpole [--first 0] [--seeds 10]
python -m benchmarks.cartpole --ablation [--first 0] [--seeds 3]

simulated   30,000 random transitions of the shipped application, simulated anew for every seed
recorded    the 10,000 of tests/data/cartpole_random_10k.parquet

Each is built, trained at the default settings for 5,000, 10,000 and 20,000 gradient steps, and the last
weights are played for 1,000 episodes. Nothing looks at the simulator before the end.

With --ablation one part of the defaults after the other is switched off, on the recorded data: that has fewer
transitions, and falls first.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import click

RECORDED = f"{Path(__file__).parent.parent}/tests/data/recorded_cartpole.py:RecordedCartPole"
APPLICATIONS = {"simulated": "rlbake.scenarios.cartpole:CartPole", "recorded": RECORDED}
STEPS = (5_000, 10_000, 20_000)
GOAL = 195.0  # mean return of an episode; the best is 200
HEADER = "".join(f"{steps:>10,}" for steps in STEPS)
ABLATIONS = {
    "the defaults": "",
    "no weight decay": "agent.weight_decay=0",
    "no averaging of weights": "agent.averaging=0",
    "one step of reward": "n_step=1",
    "none of these three": "agent.weight_decay=0,agent.averaging=0,n_step=1",
    "soft target updates": "agent.target_update_tau=0.005,agent.target_update_period=1",
    "no early end": "overfit=null",
}


def mean_returns(application: str, tables: str, seed: int, changed: str = "") -> list[float]:
    """The mean return after a training of each length."""
    from rlbake.evaluation.simulated import simulate
    from rlbake.period.evaluate import EPISODES, SEED
    from rlbake.period.models import policy_of
    from rlbake.period.period import open_period
    from rlbake.period.train import train, training_config

    period = open_period(application, tables, "2026-01-01", seed)
    world, returns = period.application.world(), []
    assert world is not None
    for steps in STEPS:
        asked = ",".join(filter(None, (f"steps={steps}", changed)))
        policy = policy_of(train(period, training_config(period, set_=asked)))
        played = simulate(world, policy, reward=period.application.reward, episodes=EPISODES, seed=SEED)
        returns.append(played.mean)
    return returns


def shown(returns: list[float]) -> str:
    return "".join(f"{mean:>10.1f}" for mean in returns)


def ablation(folder: str, seeds: range) -> None:
    """The worst of the seeds, and how many of all trainings miss the goal, with each part switched off."""
    click.echo(f"{f'worst of {len(seeds)} seeds':<26} {HEADER}  below {GOAL:g}")
    for name, changed in ABLATIONS.items():
        found = [mean_returns(RECORDED, folder, seed, changed) for seed in seeds]
        worst = [min(column) for column in zip(*found, strict=True)]
        missed = sum(mean < GOAL for returns in found for mean in returns)
        click.echo(f"{name:<26} {shown(worst)}  {missed} of {len(seeds) * len(STEPS)}")


def every_seed(folder: str, seeds: range) -> None:
    for name, application in APPLICATIONS.items():
        click.echo(f"{name:<10} seed {HEADER}  (gradient steps; goal {GOAL:g})")
        for seed in seeds:
            returns = mean_returns(application, f"{folder}/{seed}", seed)
            click.echo(f"{name:<10} {seed:>4} {shown(returns)}")


@click.command()
@click.option("--first", default=0, help="The first seed.")
@click.option("--seeds", default=None, type=int, help="How many of them: 10, or 3 with --ablation.")
@click.option("--ablation", "ablated", is_flag=True, help="Switch off one part of the defaults after the other.")
def main(first: int, seeds: int | None, ablated: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
        if ablated:
            ablation(folder, range(first, first + (seeds or 3)))
        else:
            every_seed(folder, range(first, first + (seeds or 10)))


if __name__ == "__main__":
    main()
