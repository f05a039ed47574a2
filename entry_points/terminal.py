"""What every entry point shares: common options, and how success and failure are told."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import Any

import click

from rlbake.errors import RlbakeError


def optional(name: str, meaning: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """An option that may be empty, which means None: an MLproject parameter cannot be absent."""
    return click.option(name, callback=lambda _context, _parameter, value: value or None, help=meaning)


def gate_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that decide what a challenger must show."""
    margin = (
        "How much better than the champion it must be, in the unit of the estimate; what the gate says if not given."
    )
    for option in (
        click.option("--margin", default="", callback=_number, help=margin),
        optional("--gate", "YAML file of rules that differ from rlbake/registry/gate.yaml."),
    ):
        command = option(command)
    return command


def _number(context: click.Context, parameter: click.Parameter, value: str) -> float | None:
    try:
        return float(value) if value else None
    except ValueError:
        raise click.BadParameter(f"{value!r} is not a number.", context, parameter) from None


def exploration_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that decide how the champion explores."""
    for option in (
        click.option("--floor", default=0.0, help="Least probability of every allowed action."),
        click.option("--epsilon", default=-1.0, help="Share of random actions; -1: as the agent explores by itself."),
        click.option("--temperature", default=0.0, help="Of the softmax over action values; 0: as the agent explores."),
        click.option("--explore", type=bool, default=True, help="Explore as the agent does by itself."),
    ):
        command = option(command)
    return command


def common_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that every entry point has."""
    for option in (
        click.option("--seed", type=int, default=0, help="Of every random choice."),
        click.option(
            "--date", default="latest", help="The period to work on, ISO; the latest complete one if not given."
        ),
        click.option("--tables", default="tables", help="Folder or object storage URI that holds the tables."),
        click.option(
            "--application",
            default="rlbake.scenarios.cartpole:CartPole",
            help="package.module:Class or path/to/file.py:Class.",
        ),
    ):
        command = option(command)
    return command


def training_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that decide what is trained and under which name it is registered."""
    for option in (
        optional("--tensorboard", "Folder for TensorBoard event files of the training's metrics; none if not given."),
        optional("--warm_start", "Model URI to go on from, such as models:/main.rl.cartpole@champion."),
        optional("--name", "Registered model; main.rl.<application> if not given."),
        optional("--set", "Hyperparameters, such as agent.learning_rate=1e-3,n_step=3."),
        optional("--config", "YAML file of hyperparameters."),
        optional("--agent", "Name of the agent; double_dqn, or what the config says, if not given."),
    ):
        command = option(command)
    return command


def run(command: click.Command) -> None:
    """Runs a command; a user's mistake ends in one line, a tag on the run and exit code 1."""
    told = logging.getLogger("rlbake")
    told.handlers = [logging.StreamHandler(sys.stderr)]
    told.setLevel(logging.INFO)
    told.propagate = False  # libraries set up the root logger, and everything would be said twice
    try:
        command.main(standalone_mode=False)
    except click.ClickException as error:
        _fail(error.format_message())
    except RlbakeError as error:
        _fail(str(error))


def _fail(reason: str) -> None:
    from rlbake.tracking.runs import record_failure

    record_failure(reason)
    click.echo(f"Error: {reason}", err=True)
    sys.exit(1)
