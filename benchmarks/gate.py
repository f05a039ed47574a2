"""How often the gate is right: `python -m benchmarks.gate --seeds 20`.

For every seed message_timing is simulated anew: three days that nobody decides (uniformly random), and on them a
champion that has learned for a moment only. Three challengers are trained, evaluated and judged as `main` does it:
a harmful one (its rewards have the wrong sign), a lucky one (it has seen 50 players) and one that has learned
properly. The simulated world takes no part in the judgement; afterwards it says who was really better.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import click
import mlflow
from mlflow.tracking import MlflowClient

from rlbake import vocabulary as v
from rlbake.errors import GateRefused
from rlbake.evaluation.evaluation import CHAMPION
from rlbake.evaluation.simulated import simulate
from rlbake.period import open_period
from rlbake.period.build import build_period
from rlbake.period.evaluate import evaluate
from rlbake.period.models import policy_of
from rlbake.period.period import Period
from rlbake.period.promote import promote
from rlbake.period.train import train, training_config
from rlbake.registry.config import read_gate
from rlbake.registry.versions import ResolvedModel, register
from rlbake.scenarios.message_timing import MessageTiming

TRUTH = 20_000  # simulated players who say who is really better
CHAMPION_STEPS = 150
PLAYERS_OF_THE_LUCKY = 50

CHALLENGERS = {
    "harmful": "reward.click=-1,reward.unsubscribe=2",
    "lucky": f"holdout={1 - PLAYERS_OF_THE_LUCKY / MessageTiming.units},batch_size=32",
    "better": "steps=10000",
}


class Unseen(MessageTiming):
    """message_timing without a simulated world: the logs decide."""

    def world(self) -> None:  # type: ignore[override]
        return None


@dataclass(frozen=True)
class Judged:
    """What became of one challenger.

    Attributes:
        gain: its true return minus the champion's.
        estimate, low: what the evaluation said of it, per decision.
        promoted: whether the gate let it pass.
    """

    gain: float
    estimate: float
    low: float
    promoted: bool

    @property
    def right(self) -> bool:
        return self.promoted == (self.gain > 0)


def judged(seed: int, folder: Path) -> dict[str, Judged]:
    """The three challengers of one seed, each against the same champion."""
    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    target, tables = "benchmarks.gate:Unseen", str(folder / "tables")
    period = open_period(target, tables, "latest", seed, "bench.champion")
    build_period(period)
    champion = train(period, training_config(period, set_=f"steps={CHAMPION_STEPS},overfit=null"))
    found = {}
    for name, set_ in CHALLENGERS.items():
        contest = replace(period, model_name=f"bench.{name}")
        register(champion, contest.model_name)
        MlflowClient().set_registered_model_alias(contest.model_name, v.CHAMPION, "1")
        found[name] = _judged(contest, champion, train(contest, training_config(contest, set_=set_)))
    return found


def _judged(period: Period, champion: ResolvedModel, challenger: ResolvedModel) -> Judged:
    rules = read_gate({"loads_in": "process"})
    difference = evaluate(period, challenger.uri, rules=rules).differences[CHAMPION]
    try:
        promote(period, str(challenger.version), rules=rules)
        promoted = True
    except GateRefused:
        promoted = False
    return Judged(_true(challenger) - _true(champion), difference.value, difference.low, promoted)


def _true(model: ResolvedModel) -> float:
    """Mean reward per decision of the policy as it is deployed."""
    world = MessageTiming().world()
    played = simulate(world, policy_of(model, explore=True), reward=MessageTiming.reward, episodes=TRUTH, seed=1)
    return played.mean / world.horizon


@click.command(help=__doc__)
@click.option("--seeds", default=20, help="How many.")
@click.option("--first", default=0, help="The first of them.")
def main(seeds: int, first: int) -> None:
    right: dict[str, list[bool]] = {name: [] for name in CHALLENGERS}
    click.echo("| seed | challenger | true gain per decision | estimated | at least | decided | rightly |")
    click.echo("|---|---|---|---|---|---|---|")
    for seed in range(first, first + seeds):
        with tempfile.TemporaryDirectory() as folder:
            for name, of in judged(seed, Path(folder)).items():
                right[name].append(of.right)
                decided, rightly = "promoted" if of.promoted else "refused", "yes" if of.right else "NO"
                click.echo(
                    f"| {seed} | {name} | {of.gain:+.4f} | {of.estimate:+.4f} | {of.low:+.4f} | {decided} | {rightly} |"
                )
    for name, answers in right.items():
        click.echo(f"{name}: decided rightly {sum(answers)} of {len(answers)}")


if __name__ == "__main__":
    main()
