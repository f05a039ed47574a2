"""Plays a model in its application's simulated world and logs its return."""

import click

from entry_points.terminal import NONE_FROM_EMPTY, common_options, run
from rlbake.period import open_period
from rlbake.period.evaluate import evaluate


@click.command(help=__doc__)
@common_options
@click.option("--model", **NONE_FROM_EMPTY, help="Model URI; the challenger if not given.")
def command(application, tables, date, seed, model):
    evaluate(open_period(application, tables, date, seed), model)


if __name__ == "__main__":
    run(command)
