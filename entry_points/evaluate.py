"""Compares a model with the champion and with whoever else could decide: off-policy, and simulated where possible."""

import click

from entry_points.terminal import common_options, optional, run
from rlbake.period import open_period
from rlbake.period.evaluate import evaluate
from rlbake.registry.config import read_gate


@click.command(help=__doc__)
@common_options
@optional("--model", "Model URI; the challenger if not given.")
@optional("--name", "Registered model whose champion it is compared with; main.rl.<application> if not given.")
@optional("--gate", "YAML file of rules that differ from rlbake/registry/gate.yaml.")
def command(
    application: str, tables: str, date: str, seed: int, model: str | None, name: str | None, gate: str | None
) -> None:
    period = open_period(application, tables, date, seed, name)
    evaluate(period, model, rules=read_gate(period.application.gate, gate))


if __name__ == "__main__":
    run(command)
