"""Runs every benchmark, one after the other, each in a process of its own: `make bench`."""

import subprocess
import sys

import click

BENCHMARKS = ("trajectories", "days", "reading", "training", "scoring", "serving", "evaluation", "tuning")


def main() -> None:
    for name in BENCHMARKS:
        click.secho(f"\n# benchmarks.{name}", bold=True)
        subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=True)


if __name__ == "__main__":
    main()
