"""One whole period: build, train, evaluate, promote if the gate passes, score."""

import click

from entry_points.terminal import common_options, run, training_options
from rlbake.period import open_period
from rlbake.period.main import run_period
from rlbake.period.train import training_config


@click.command(help=__doc__)
@common_options
@training_options
@click.option("--margin", type=float, default=0.0, help="How much better than the champion it must be, in return.")
def command(
    application: str,
    tables: str,
    date: str,
    seed: int,
    agent: str | None,
    config: str | None,
    set: str | None,
    name: str | None,
    margin: float,
) -> None:
    period = open_period(application, tables, date, seed, name)
    run_period(period, training_config(period, agent, config, set), margin=margin)


if __name__ == "__main__":
    run(command)
