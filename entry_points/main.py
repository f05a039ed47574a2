"""One whole period: build, train, evaluate, promote if the gate passes, score."""

import click

from entry_points.terminal import common_options, exploration_options, gate_options, run, training_options
from rlbake.period import open_period
from rlbake.period.main import run_period
from rlbake.period.train import training_config
from rlbake.policies.exploration import Exploration
from rlbake.registry.config import read_gate


@click.command(help=__doc__)
@common_options
@training_options
@gate_options
@exploration_options
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
    gate: str | None,
    margin: float | None,
    explore: bool,
    temperature: float,
    epsilon: float,
    floor: float,
) -> None:
    period = open_period(application, tables, date, seed, name)
    rules = read_gate(period.application.gate, gate, margin)
    run_period(
        period,
        training_config(period, agent, config, set),
        rules,
        Exploration(explore, temperature, epsilon, floor),
        warm_start=warm_start,
        tensorboard=tensorboard,
    )


if __name__ == "__main__":
    run(command)
