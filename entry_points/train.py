"""Trains an agent on the training window that ends at a date, and registers it as challenger."""

import click

from entry_points.terminal import NONE_FROM_EMPTY, common_options, run
from rlbake.period import open_period
from rlbake.period.train import train, training_config


@click.command(help=__doc__)
@common_options
@click.option("--agent", default="double_dqn", help="Name of the agent.")
@click.option("--config", **NONE_FROM_EMPTY, help="YAML file of hyperparameters.")
@click.option("--set", **NONE_FROM_EMPTY, help="Hyperparameters, such as agent.learning_rate=1e-3,n_step=3.")
@click.option("--name", **NONE_FROM_EMPTY, help="Registered model; main.rl.<application> if not given.")
def command(application, tables, date, seed, agent, config, set, name):
    period = open_period(application, tables, date, seed, name)
    train(period, training_config(period, agent, config, set))


if __name__ == "__main__":
    run(command)
