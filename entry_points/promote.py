"""Makes a version the champion, if it passes the gate."""

import click

from entry_points.terminal import common_options, optional, run
from rlbake.period import open_period
from rlbake.period.promote import promote


@click.command(help=__doc__)
@common_options
@optional("--name", "Registered model; main.rl.<application> if not given.")
@click.option("--version", default="challenger", help="Version number or alias.")
@click.option("--margin", type=float, default=0.0, help="How much better than the champion it must be, in return.")
@click.option("--force", type=bool, default=False, help="Promote although the gate refuses; recorded.")
def command(
    application: str, tables: str, date: str, seed: int, name: str | None, version: str, margin: float, force: bool
) -> None:
    promote(open_period(application, tables, date, seed, name), version, margin=margin, force=force)


if __name__ == "__main__":
    run(command)
