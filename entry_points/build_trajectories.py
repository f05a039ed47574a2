"""Builds the trajectories of the windows from a start to a date."""

import click

from entry_points.terminal import common_options, optional, run
from rlbake.period import open_period
from rlbake.period.build import build_trajectories


@click.command(help=__doc__)
@common_options
@optional("--start", "First window, ISO; only the date's own if not given.")
def command(application: str, tables: str, date: str, seed: int, start: str | None) -> None:
    period = open_period(application, tables, date, seed)
    build_trajectories(period, start)


if __name__ == "__main__":
    run(command)
