"""`python -m rlbake.tracking models:/main.rl.cartpole@champion` prints where a model comes from."""

from __future__ import annotations

import re
import sys

import click

from rlbake.errors import RlbakeError
from rlbake.tracking.lineage import trained_from_build, walk
from rlbake.tracking.store import connect
from rlbake.tracking.tree import Branch, lineage_tree, model_branch


@click.command()
@click.argument("reference")
def main(reference: str) -> None:
    """Print the lineage of REFERENCE, back to the source tables and forward to what came of them.

    REFERENCE is a model (models:/name@alias, models:/name/version or models:/m-id), or the id of
    a build run, whose models are listed.
    """
    try:
        connect(experiment=None)
        if re.fullmatch(r"[0-9a-f]{32}", reference):
            models = [model_branch(model) for model in trained_from_build(reference)]
            tree = Branch(f"run {reference}: models trained on what it built: {len(models)}", models)
        else:
            tree = lineage_tree(walk(reference))
    except RlbakeError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(1)
    for line in tree.lines():
        click.echo(line)


if __name__ == "__main__":
    main()
