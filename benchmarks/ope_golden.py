"""Our estimates beside those of Open Bandit Pipeline and SCOPE-RL, on the same rows.

python -m benchmarks.ope_golden

The peers' figures are recorded (tests/data/ope_golden.json); SCOPE-RL adds 1e-10 to what its self-normalised
estimators divide by, which is their difference.
"""

from __future__ import annotations

import click

from tests.evaluation.golden import CASES, every_golden


def main() -> None:
    click.echo("| case | estimator | peer's name | ours | peer's | relative difference |\n|---|---|---|---|---|---|")
    for golden in every_golden():
        ours, theirs = golden.value(), golden.expected["value"]
        peer = f"{CASES[golden.case]['by']} {golden.theirs}"
        click.echo(
            f"| {golden.case} | {golden.ours.name} | {peer} | {ours:.12f} | {theirs:.12f} | "
            f"{abs(ours / theirs - 1):.1e} |"
        )


if __name__ == "__main__":
    main()
