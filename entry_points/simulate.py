"""Plays a shipped scenario for some windows and writes the logs that its application reads."""

import click

from entry_points.terminal import common_options, run
from rlbake.period import open_period
from rlbake.period.simulate import simulate


@click.command(help=__doc__)
@common_options
@click.option("--days", type=click.IntRange(min=1), default=1, help="How many windows to play, up to the date.")
@click.option("--units", type=click.IntRange(min=0), default=0, help="Environments per window; 0: the scenario's own.")
@click.option("--policy", default="random", help="random, rules or a model URI.")
def command(application: str, tables: str, date: str, seed: int, days: int, units: int, policy: str) -> None:
    period = open_period(application, tables, date, seed, ahead=days)
    simulate(period, days, units, policy)


if __name__ == "__main__":
    run(command)
