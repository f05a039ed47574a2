"""What a sweep costs beyond its trials, and what stopping hopeless trials buys.

python -m benchmarks.tuning [--trials 12] [--searches 5]

overhead   a sweep with its MLflow runs, against the time that its trials took themselves; once warm. Pages and
           pictures are made once, at its end
processes  the same points, each in a process of its own, as a shell loop would try them
stopping   random search with and without the median rule, until both have lived through as many cycles: how good the
           best finished trial is, played again on seeds that the searches have not seen
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean

import click
import numpy as np
from mlflow import MlflowClient

from rlbake.period.tune import tune
from rlbake.period.tuning import Tuning
from rlbake.scenarios import SHIPPED
from rlbake.sweep.hopeless import always
from rlbake.sweep.objective import Outcome, Point, Trial, best_of
from rlbake.sweep.scenarios import Scenarios
from rlbake.sweep.search import Hyperopt
from rlbake.sweep.space import Space, read_space
from rlbake.sweep.sweep import Sweep
from rlbake.tracking.store import connect

OBJECTIVE = Scenarios((SHIPPED["level_difficulty"],), {"steps": 500}, cycles=4, rows=5_000, seeds=(0,), episodes=500)
SPACE = """
agent.learning_rate: {prior: loguniform, low: 1.0e-5, high: 1.0e-2}
agent.weight_decay: {prior: loguniform, low: 1.0e-2, high: 30.0}
gamma: {prior: uniform, low: 0.0, high: 1.0}
n_step: {prior: integer, low: 1, high: 5}
"""
ALONE = """
import json, sys
from benchmarks.tuning import OBJECTIVE
from rlbake.sweep.hopeless import always
print(OBJECTIVE(json.loads(sys.argv[1]), always).score)
"""
BOUND = 0.05  # of the trials' own time
UNSEEN = (900, 901, 902)


def space() -> Space:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "space.yaml"
        file.write_text(SPACE)
        return read_space(file)


def overhead(trials: int) -> Sequence[Trial]:
    OBJECTIVE({}, always)  # warm: what a process pays once is not a trial's
    tuning = Tuning(OBJECTIVE, space(), max_evals=trials, prune=False, held_out=0)
    began, made = time.perf_counter(), []
    tuned = tune(tuning)
    whole, made = time.perf_counter() - began, tuned.trials
    spent = {what: sum(t.outcome.seconds[what] for t in made if t.outcome) for what in ("all", "train", "act", "judge")}
    shares = ", ".join(f"{what} {spent[what] / spent['all']:.0%}" for what in ("train", "act", "judge"))
    driven = MlflowClient().get_run(tuned.run_id).data.metrics["time/sweep_s"]
    each, trial = (driven - spent["all"]) / len(made), spent["all"] / len(made)
    click.echo(f"{len(made)} trials of {trial:.2f} s ({shares}); the sweep took {whole:.1f} s")
    click.echo(
        f"driver: {each:.2f} s per trial, {each / trial:.1%} of these short ones; at most {BOUND:.0%} of trials from "
        f"{each / BOUND:.1f} s on. Pages and pictures, once: {whole - driven:.1f} s"
    )
    return made


def processes(made: Sequence[Trial]) -> None:
    few = made[:4]
    began = time.perf_counter()
    for trial in few:
        subprocess.run([sys.executable, "-c", ALONE, json.dumps(dict(trial.point))], check=True, capture_output=True)
    alone = (time.perf_counter() - began) / len(few)
    together = mean(trial.seconds for trial in made)
    click.echo(
        f"trials per hour: {3600 / together:,.0f} in one process, {3600 / alone:,.0f} as processes of their own: "
        f"{alone / together:.1f} times as many"
    )


def lived(trials: Sequence[Trial]) -> int:
    return sum(len(trial.outcome.learning_curve) for trial in trials if trial.outcome)


def searched(seed: int, cycles: int, prune: bool) -> list[Trial]:
    """Random search until so many cycles have been lived."""
    sweep = Sweep(prune=prune)
    evals = 0
    while lived(sweep.trials) < cycles:
        evals += 1
        sweep.run(Hyperopt(space(), "rand", evals, seed), OBJECTIVE)
    return sweep.trials


def again(point: Point) -> Outcome:
    return replace(OBJECTIVE, seeds=UNSEEN)(point, always)


def stopping(searches: int, cycles: int = 48) -> None:
    found = {}
    for prune in (False, True):
        scores, tried = [], []
        for seed in range(searches):
            trials = searched(seed, cycles, prune)
            best = best_of(trials)
            assert best is not None
            tried.append(len(trials))
            scores.append(again(best.point).score)
        found[prune] = scores
        name = "median rule" if prune else "full trials"
        click.echo(f"{name}, {cycles} cycles: {mean(tried):.1f} points tried, best on unseen seeds {mean(scores):.3f}")
    apart = np.subtract(found[True], found[False])
    click.echo(f"difference {apart.mean():+.3f} ± {apart.std(ddof=1) / np.sqrt(searches):.3f} (standard error)")


@click.command()
@click.option("--trials", default=12, help="Of the sweep whose overhead is measured.")
@click.option("--searches", default=5, help="With and without the median rule.")
def main(trials: int, searches: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
        connect(experiment="tuning")
        processes(overhead(trials))
        stopping(searches)


if __name__ == "__main__":
    main()
