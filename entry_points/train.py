"""Trains an agent on the training window that ends at a date, and registers it as challenger."""

import click

from entry_points.terminal import common_options, optional, run
from rlbake.period import open_period
from rlbake.period.train import train, training_config


@click.command(help=__doc__)
@common_options
@optional("--agent", "Name of the agent; double_dqn, or what the config says, if not given.")
@optional("--config", "YAML file of hyperparameters.")
@optional("--set", "Hyperparameters, such as agent.learning_rate=1e-3,n_step=3.")
@optional("--name", "Registered model; main.rl.<application> if not given.")
def command(
    application: str,
    tables: str,
    date: str,
    seed: int,
    agent: str | None,
    config: str | None,
    set: str | None,
    name: str | None,
) -> None:
    period = open_period(application, tables, date, seed, name)
    train(period, training_config(period, agent, config, set))


if __name__ == "__main__":
    run(command)
