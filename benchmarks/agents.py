"""Agents × scenarios: the score of every agent in every scenario that it suits, at default settings.

python -m benchmarks.agents [--seeds 3] [--scenario bundle] [--agent td3] [--out matrix.jsonl]
python -m benchmarks.agents --show matrix.jsonl

For every seed a scenario is simulated anew: its first `warm_up` windows (of message_timing nine, for two weekdays
say nothing about weekends), decided at random, through the real path (Spark, Delta). Every agent learns from
the same trajectories and then plays the scenario's world greedily; 0 is chance, 1 the best there is. An agent
that learns on-policy learns from the first window, plays the next one itself, goes on from there, and so on for
PERIODS windows: it is rehearsed in memory, as `tune` rehearses. Nothing looks at the world before the end.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any

import click

from rlbake import vocabulary as v

if TYPE_CHECKING:
    from rlbake.period.period import Period
    from rlbake.training.fitted import FittedAgent

EPISODES = 20_000  # a score is then known to within 0.01
PERIODS, DECISIONS = 10, 50_000  # windows, and decisions in each, of an agent that learns on-policy
WINDOWS = {"message_timing": 9}  # where the first ones hold too little; else the scenario's own warm_up


def suitable(scenario: str) -> list[str]:
    """The agents that can decide a scenario; those that learn what is earned at once only where that is the goal."""
    from rlbake.agents import AGENTS
    from rlbake.application import load_application
    from rlbake.scenarios import SHIPPED

    application = load_application(SHIPPED[scenario], "tables")
    facts = {name: module.FACTS for name, module in AGENTS.items()}
    return [
        name
        for name, known in facts.items()
        if isinstance(application.action, known.actions)
        and (known.foresight or "gamma" in known.unread or application.gamma == 0)
    ]


def records(scenario: str, agents: list[str], seed: int, folder: str) -> Iterator[dict[str, Any]]:
    """What every agent reaches, one record each."""
    from rlbake.agents import AGENTS

    on_policy = [agent for agent in agents if AGENTS[agent].FACTS.on_policy]
    period = random_logs(scenario, seed, folder) if len(on_policy) < len(agents) else None
    for agent in agents:
        began = time.perf_counter()
        with tempfile.TemporaryDirectory() as policy:
            if period is None or agent in on_policy:
                score = rehearsed(scenario, agent, seed)
            else:
                score = scored(period, trained(period, agent), policy)
        yield {
            "scenario": scenario, "agent": agent, "seed": seed, "score": score, "seconds": time.perf_counter() - began,
        }  # fmt: skip


def random_logs(scenario: str, seed: int, folder: str) -> Period:
    """A scenario's first windows, decided at random and built."""
    from rlbake.period.build import build_trajectories
    from rlbake.period.period import open_period
    from rlbake.period.simulate import simulate
    from rlbake.scenarios import SHIPPED

    target, tables = SHIPPED[scenario], f"{folder}/{scenario}-{seed}"
    application = open_period(target, tables, "2026-01-01", seed).application
    windows = WINDOWS.get(scenario, application.warm_up)
    warmed_up = application.cadence.following(application.cadence.first, windows - 1)
    period = open_period(target, tables, warmed_up.ds, seed)
    simulate(period, windows, 0, v.RANDOM_POLICY)
    build_trajectories(period, start=application.cadence.first.ds)
    return period


def trained(period: Period, agent: str) -> FittedAgent:
    """The agent at its defaults, on the training window that ends with the period's."""
    from rlbake.dataset.reading import read
    from rlbake.period.dataset import pinned
    from rlbake.period.train import training_config
    from rlbake.training.fit import fit
    from rlbake.training.reading import reading

    config = training_config(period, agent)
    with read(pinned(period), reading(period.application, config), holdout=config.holdout) as (training, holdout):
        return fit(
            training,
            holdout,
            observation=period.application.observation,
            action=period.application.action,
            config=config,
            seed=period.seed,
        )


def scored(period: Period, fitted: FittedAgent, folder: str) -> float:
    """Played greedily in the world of the next window."""
    from rlbake.evaluation.simulated import simulate
    from rlbake.policies.export import export_policy
    from rlbake.policies.saved import SavedPolicy

    application = period.application
    policy = SavedPolicy(export_policy(fitted, folder), "trained")
    world = application.world_at(application.cadence.following(period.window))
    return simulate(world, policy, reward=application.reward, episodes=EPISODES, seed=1_000_000 + period.seed).score


def rehearsed(scenario: str, agent: str, seed: int) -> float:
    """Every window is decided by what the one before has made of the agent, and nothing else is learned from."""
    from rlbake.scenarios import SHIPPED
    from rlbake.sweep.hopeless import always
    from rlbake.sweep.scenarios import Scenarios

    lives = Scenarios(
        (SHIPPED[scenario],),
        {"agent": {"name": agent}},
        cycles=PERIODS,
        rows=DECISIONS,
        seeds=(seed,),
        episodes=EPISODES // 4,  # which it plays after every window
    )
    return lives({}, always).level


def table(records: list[dict[str, Any]]) -> str:
    """Markdown: mean score over the seeds, and the lowest of them."""
    found = defaultdict(list)
    for record in records:
        found[record["agent"], record["scenario"]].append(record["score"])
    scenarios = list(dict.fromkeys(record["scenario"] for record in records))
    lines = ["| agent | " + " | ".join(scenarios) + " |", "|---" * (len(scenarios) + 1) + "|"]
    for agent in sorted({record["agent"] for record in records}):
        cells = [found.get((agent, scenario)) for scenario in scenarios]
        shown = (f"{mean(cell):.2f} ({min(cell):.2f})" if cell else "" for cell in cells)
        lines.append(f"| `{agent}` | " + " | ".join(shown) + " |")
    return "\n".join(lines)


@click.command()
@click.option("--seeds", default=3, help="How many.")
@click.option("--scenario", multiple=True, help="Only these.")
@click.option("--agent", multiple=True, help="Only these.")
@click.option("--out", default="", help="File that every record is appended to, as JSON.")
@click.option("--show", default="", help="Such a file, to show as a table instead of measuring.")
def main(seeds: int, scenario: tuple[str, ...], agent: tuple[str, ...], out: str, show: str) -> None:
    if show:
        click.echo(table([json.loads(line) for line in Path(show).read_text().splitlines()]))
        return
    from rlbake.scenarios import SHIPPED

    found = []
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
        for name in scenario or SHIPPED:
            agents = [one for one in suitable(name) if not agent or one in agent]
            for seed in range(seeds if agents else 0):
                for record in records(name, agents, seed, folder):
                    click.echo("{scenario:<18} {agent:<22} seed {seed} {score:7.3f} {seconds:6.1f} s".format(**record))
                    found.append(record)
                    if out:
                        with open(out, "a") as file:
                            file.write(json.dumps(record) + "\n")
    click.echo(table(found))


if __name__ == "__main__":
    main()
