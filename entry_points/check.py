"""Checks an application on real data: what its logs break, and what would become of them."""

import click

from entry_points.terminal import common_options, run
from rlbake.period import open_period
from rlbake.period.check import check


@click.command(help=__doc__)
@common_options
def command(application: str, tables: str, date: str, seed: int) -> None:
    check(open_period(application, tables, date, seed))


if __name__ == "__main__":
    run(command)
