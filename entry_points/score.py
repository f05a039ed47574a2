"""Scores the application's population with the champion."""

import click
from rlbake.period.score import score

from entry_points.terminal import NONE_FROM_EMPTY, common_options, run
from rlbake.period import open_period


@click.command(help=__doc__)
@common_options
@click.option("--model", **NONE_FROM_EMPTY, help="Model URI; the champion if not given.")
@click.option(
    "--output", **NONE_FROM_EMPTY, help="URI of the table; scores beside the application's others if not given."
)
def command(application, tables, date, seed, model, output):
    score(open_period(application, tables, date, seed), model, output)


if __name__ == "__main__":
    run(command)
