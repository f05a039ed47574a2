"""Plays a model in its application's simulated world and logs its return."""

import click

from entry_points.terminal import common_options, optional, run
from rlbake.period import open_period
from rlbake.period.evaluate import evaluate


@click.command(help=__doc__)
@common_options
@optional("--model", "Model URI; the challenger if not given.")
def command(application: str, tables: str, date: str, seed: int, model: str | None) -> None:
    evaluate(open_period(application, tables, date, seed), model)


if __name__ == "__main__":
    run(command)
