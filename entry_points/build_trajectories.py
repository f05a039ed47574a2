"""Builds the trajectories of the windows from a start to a date."""

import click

from entry_points.terminal import NONE_FROM_EMPTY, common_options, run
from rlbake.period import open_period
from rlbake.period.build import build_trajectories


@click.command(help=__doc__)
@common_options
@click.option("--start", **NONE_FROM_EMPTY, help="First window, ISO; only the date's own if not given.")
def command(application, tables, date, seed, start):
    period = open_period(application, tables, date, seed)
    build_trajectories(period, start)


if __name__ == "__main__":
    run(command)
