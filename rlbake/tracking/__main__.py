"""`python -m rlbake.tracking models:/main.rl.cartpole@champion` prints where a model comes from.

`python -m rlbake.tracking reproduce models:/main.rl.cartpole@champion` trains it again and compares.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click

from rlbake.errors import RlbakeError
from rlbake.tracking.lineage import trained_from_build, walk
from rlbake.tracking.store import connect
from rlbake.tracking.tree import Branch, lineage_tree, model_branch


class _LineageUnlessNamed(click.Group):
    """A first word that is no command is a reference, whose lineage is asked for."""

    def resolve_command(
        self, context: click.Context, arguments: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if arguments[0] not in self.commands:
            arguments = ["lineage", *arguments]
        return super().resolve_command(context, arguments)


@click.group(cls=_LineageUnlessNamed)
def main() -> None:
    """Where a model comes from, and whether it comes out again.

    A REFERENCE alone asks for its lineage.
    """


@main.command()
@click.argument("reference")
def lineage(reference: str) -> None:
    """Print the lineage of REFERENCE, back to the source tables and forward to what came of them.

    REFERENCE is a model (models:/name@alias, models:/name/version or models:/m-id), or the id of
    a build run, whose models are listed.
    """
    with _told():
        connect(experiment=None)
        if re.fullmatch(r"[0-9a-f]{32}", reference):
            models = [model_branch(model) for model in trained_from_build(reference)]
            tree = Branch(f"run {reference}: models trained on what it built: {len(models)}", models)
        else:
            tree = lineage_tree(walk(reference))
    for line in tree.lines():
        click.echo(line)


@main.command()
@click.argument("reference")
@click.option("--anyway", is_flag=True, help="Train although the code differs from the one that trained the model.")
def reproduce(reference: str, anyway: bool) -> None:
    """Train the model REFERENCE again, from the recorded data, configuration and seed, and compare.

    Exits with 0 if every variable is the same, bit for bit. Refuses where the data differs from what is
    recorded or, without --anyway, the code.
    """
    with _told():
        from rlbake.period import reproduce as work  # with it comes TensorFlow, which lineage does without

        found = work.reproduce(reference, anyway=anyway)
    for said in found.code:
        click.echo(f"Other code: {said}")
    for difference in found.differences:
        click.echo(f"{difference.name}: {difference.said}")
    who = found.model.policy_version
    if found.same:
        click.echo(f"{who} comes out again: all {found.compared} variables are the same, bit for bit.")
        return
    click.echo(f"{who} does not come out again: {len(found.differences)} of {found.compared} variables differ.")
    sys.exit(1)


@contextmanager
def _told() -> Iterator[None]:
    """A user's mistake ends in one line and exit code 1."""
    try:
        yield
    except RlbakeError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main(prog_name="python -m rlbake.tracking")
