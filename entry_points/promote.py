"""Makes a version the champion, if it passes the gate; or goes back to the one before (version=previous)."""

import click

from entry_points.terminal import common_options, gate_options, optional, run
from rlbake.period import open_period
from rlbake.period.promote import promote
from rlbake.registry.config import read_gate


@click.command(help=__doc__)
@common_options
@optional("--name", "Registered model; main.rl.<application> if not given.")
@click.option("--version", default="challenger", help="Version number or alias; previous rolls back, without the gate.")
@optional("--source", "Version of another registered model, such as models:/dev.rl.lamp/3, to copy here and promote.")
@gate_options
@click.option("--force", type=bool, default=False, help="Promote although the gate refuses; recorded.")
@click.option("--dry_run", type=bool, default=False, help="Tell what would happen and move nothing.")
def command(
    application: str,
    tables: str,
    date: str,
    seed: int,
    name: str | None,
    version: str,
    source: str | None,
    gate: str | None,
    margin: float | None,
    force: bool,
    dry_run: bool,
) -> None:
    period = open_period(application, tables, date, seed, name)
    rules = read_gate(period.application.gate, gate, margin)
    promote(period, version, rules=rules, source=source, force=force, dry_run=dry_run)


if __name__ == "__main__":
    run(command)
