"""How often intervals hold the true value, on tabular worlds in which it is known exactly.

python -m benchmarks.ope_coverage [--draws 500]

Worlds are those of tests/evaluation/worlds.py, "near" with a target policy that the logs know well and
"far" with one that they hardly know. "decisions" is the t interval that takes every decision for
independent. "width" is the median, "too low" the share of t intervals that lie below the true value, "skewed"
that of those which say of themselves that there are too few environments, "warned" that of draws with a
warning about support.
"""

from __future__ import annotations

from collections.abc import Sequence

import click
import numpy as np

from rlbake.evaluation.estimators import ONE_STEP, SEQUENTIAL, Estimator
from rlbake.evaluation.intervals import Bounded, Interval, bootstrap, empirical_bernstein, linearised
from rlbake.evaluation.support import support
from tests.evaluation.worlds import GAMMA, Draws, bandit, decision_process

ENVIRONMENTS, HORIZON, NEAR, FAR = 200, 6, 1.0, 4.0
HEADER = (
    "| world | estimator | claims it | t | bootstrap | decisions | too low | bias | width of t | skewed | warned |\n"
    "|---|---|---|---|---|---|---|---|---|---|---|"
)


def coverage(intervals: Sequence[Interval], truth: float) -> float:
    """Share of intervals that hold the truth."""
    return float(np.mean([i.low <= truth <= i.high for i in intervals]))


def row(world: str, drawn: Draws, estimator: Estimator, warned: float) -> str:
    """One line of the table."""
    components = drawn.components(estimator)
    t = [linearised(estimator, c) for c in components]
    draws = [bootstrap(estimator, c, seed) for seed, c in enumerate(components)]
    alone = ""
    if drawn.one_step:
        alone = f"{coverage([linearised(estimator, c) for c in drawn.of_each_row(estimator)], drawn.truth):.1%}"
    low = np.mean([i.high < drawn.truth for i in t])
    bias = np.mean([i.value for i in t]) - drawn.truth
    width = np.median([i.high - i.low for i in t])
    skewed = np.mean([i.skewed for i in t])
    claims = "yes" if estimator.claims_coverage else "no"
    return (
        f"| {world} | {estimator.name} | {claims} | {coverage(t, drawn.truth):.1%} | "
        f"{coverage(draws, drawn.truth):.1%} | {alone} | {low:.1%} | {bias:+.3f} | {width:.3f} | "
        f"{skewed:.0%} | {warned:.0%} |"
    )


@click.command()
@click.option("--draws", default=500, help="Of each world.")
def main(draws: int) -> None:
    click.echo(HEADER)
    for name, sharpness in (("near", NEAR), ("far", FAR)):
        one_step = bandit(draws, ENVIRONMENTS, seed=1, sharpness=sharpness)
        sequences = decision_process(draws, ENVIRONMENTS, seed=2, horizon=HORIZON, sharpness=sharpness)
        for world, drawn, registry in (("bandit", one_step, ONE_STEP), ("sequences", sequences, SEQUENTIAL)):
            sequential = registry is SEQUENTIAL
            arguments = {"gamma": GAMMA, "horizon": HORIZON} if sequential else {}
            warned = float(np.mean([bool(support(r, sequential=sequential).warnings) for r in drawn.each()]))
            for key, make in registry.items():
                if key != "logged":  # of another policy
                    click.echo(row(f"{name} {world}", drawn, make(**arguments), warned))
    many = bandit(draws, 1000, seed=3)
    bounded = Bounded(low=0, high=1, clip=5)
    found = [empirical_bernstein(bounded, c) for c in many.components(bounded)]
    width = np.median([i.high - i.low for i in found])
    click.echo(
        f"\nEmpirical Bernstein, near bandit, 1,000 environments, weights cut at 5: {coverage(found, many.truth):.1%}, "
        f"median width {width:.3f}"
    )


if __name__ == "__main__":
    main()
