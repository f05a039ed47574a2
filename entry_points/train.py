"""Trains an agent on the training window that ends at a date, and registers it as challenger."""

import click

from entry_points.terminal import common_options, run, training_options
from rlbake.period import open_period
from rlbake.period.train import train, training_config


@click.command(help=__doc__)
@common_options
@training_options
def command(
    application: str,
    tables: str,
    date: str,
    seed: int,
    agent: str | None,
    config: str | None,
    set: str | None,
    name: str | None,
    warm_start: str | None,
    tensorboard: str | None,
) -> None:
    period = open_period(application, tables, date, seed, name)
    train(period, training_config(period, agent, config, set), warm_start=warm_start, tensorboard=tensorboard)


if __name__ == "__main__":
    run(command)
