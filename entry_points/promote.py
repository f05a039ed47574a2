"""Makes a version the champion, if it passes the gate."""

import click

from entry_points.terminal import NONE_FROM_EMPTY, common_options, run
from rlbake.period import open_period
from rlbake.period.promote import promote


@click.command(help=__doc__)
@common_options
@click.option("--name", **NONE_FROM_EMPTY, help="Registered model; main.rl.<application> if not given.")
@click.option("--version", default="challenger", help="Version number or alias.")
@click.option("--margin", type=float, default=0.0, help="How much better than the champion it must be, in return.")
@click.option("--force", type=bool, default=False, help="Promote although the gate refuses; recorded.")
def command(application, tables, date, seed, name, version, margin, force):
    promote(open_period(application, tables, date, seed, name), version, margin=margin, force=force)


if __name__ == "__main__":
    run(command)
