"""Searches for hyperparameters: on scenarios whose best outcome is known, or on logs (on=logs)."""

import sys
from typing import Any

import click

from entry_points.terminal import optional, run
from rlbake.period.tune import tune
from rlbake.period.tuning import tuning_of


@click.command(help=__doc__)
@click.option("--on", type=click.Choice(["scenarios", "logs"]), default="scenarios", help="What a trial is judged by.")
@click.option(
    "--scenarios",
    default="message_timing,level_difficulty,sparse_reward",
    help="Names of shipped scenarios, or applications with a world(), comma-separated.",
)
@optional("--application", "Whose logs are asked: with on=logs instead of scenarios, else to check the best ones.")
@click.option("--tables", default="tables", help="Folder or object storage URI that holds the application's tables.")
@click.option("--date", default="latest", help="Last window of the logs, ISO; the latest complete one if not given.")
@optional("--agent", "Name of the agent; double_dqn, or what the config says, if not given.")
@optional("--config", "YAML file of hyperparameters that all trials share.")
@optional("--set", "Hyperparameters that all trials share, such as steps=3000.")
@optional("--space", "YAML file of what may be chosen; rlbake/sweep/spaces.yaml has those of the agents.")
@click.option("--algorithm", default="tpe", help="tpe, rand or atpe.")
@click.option("--max_evals", default=30, help="Trials in all.")
@click.option("--parallelism", default=1, help="Trials at a time, each a Spark task if more than one.")
@click.option("--cycles", default=4, help="Windows that a trial lives through and learns from.")
@click.option("--rows", default=10_000, help="Decisions of a population in a cycle, about.")
@click.option("--seeds", default=2, help="Runs of a trial in every scenario.")
@click.option("--folds", default=3, help="Of the logs.")
@click.option("--prune", type=bool, default=True, help="Stop trials that are below the median of the others.")
@click.option("--patience", default=0, help="End after so many trials without a better one; 0: never.")
@click.option("--timeout_s", default=0.0, help="Begin no trial later; 0: no limit.")
@click.option("--resume", type=bool, default=True, help="Go on with the same sweep, if one was cut short.")
@click.option("--price_per_hour", default=0.0, help="Of a machine that makes one trial at a time.")
@click.option("--held_out", default=3, help="Seeds on which the best point is compared with the defaults; 0: none.")
@click.option("--seed", type=int, default=0, help="Of every random choice.")
def command(**options: Any) -> None:
    try:
        tune(tuning_of(**options))
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    run(command)
