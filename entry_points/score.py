"""Scores the application's population with the champion."""

import click

from entry_points.terminal import common_options, exploration_options, optional, run
from rlbake.period import open_period
from rlbake.period.score import score
from rlbake.policies.exploration import Exploration


@click.command(help=__doc__)
@common_options
@optional("--model", "Model URI; the champion if not given.")
@optional("--output", "URI of the table; scores beside the application's others if not given.")
@exploration_options
def command(
    application: str,
    tables: str,
    date: str,
    seed: int,
    model: str | None,
    output: str | None,
    explore: bool,
    temperature: float,
    epsilon: float,
    floor: float,
) -> None:
    exploration = Exploration(explore, temperature, epsilon, floor)
    score(open_period(application, tables, date, seed), model, output, exploration)


if __name__ == "__main__":
    run(command)
