"""From rules to an agent without a step back: message_timing's rules cloned, then double DQN from the clone's network.

python -m benchmarks.warm_start [--logs random] [--cycles 6] [--seed 0]

The first three windows are decided at random, or by the rules. `behavioral_cloning` clones the rules; double DQN goes
on from the clone and then, cycle after cycle, from itself, on one more window that the version before has decided,
exploring. Printed is what each earns per episode in the simulated world, greedily, beside the rules.
"""

from __future__ import annotations

import os
import tempfile

import click

from rlbake import vocabulary as v

EPISODES, SEED = 20_000, 12_345


@click.command()
@click.option("--logs", type=click.Choice([v.RANDOM_POLICY, v.RULES_POLICY]), default=v.RANDOM_POLICY)
@click.option("--cycles", default=6)
@click.option("--seed", default=0, help="Of the logs and of training; the world that judges keeps its own.")
@click.option("--set", "set_", default="", help="What double DQN does otherwise, such as agent.constraint=0.1.")
def main(logs: str, cycles: int, seed: int, set_: str) -> None:
    from rlbake.evaluation.simulated import SimulatedReturn, simulate
    from rlbake.period import simulate as period_simulate
    from rlbake.period.build import build_trajectories
    from rlbake.period.models import policy_of
    from rlbake.period.period import open_period
    from rlbake.period.train import train, training_config
    from rlbake.policies.policy import Policy
    from rlbake.scenarios import SHIPPED

    def said(who: str, policy: Policy) -> SimulatedReturn:
        world = period.application.world()
        assert world is not None
        played = simulate(world, policy, reward=period.application.reward, episodes=EPISODES, seed=SEED)
        click.echo(
            f"{who:<8} {played.mean:.3f} [{played.low:.3f}, {played.high:.3f}] per episode, score {played.score:.3f}"
        )
        return played

    with tempfile.TemporaryDirectory() as folder:
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
        target = SHIPPED["message_timing"]
        application = open_period(target, folder, "2026-01-01", seed).application
        window = application.cadence.following(application.cadence.first, application.warm_up - 1)
        period = open_period(target, folder, window.ds, seed)
        period_simulate.simulate(period, application.warm_up, 0, logs)
        build_trajectories(period, start=application.cadence.first.ds)
        rules = said("rules", period_simulate.behaviour(period, v.RULES_POLICY))
        version = train(period, training_config(period, "behavioral_cloning", set_="agent.clone=rules"))
        said("clone", policy_of(version))
        for cycle in range(1, cycles + 1):
            configured = training_config(period, "double_dqn", set_=set_)
            version = train(period, configured, warm_start=f"models:/{version.name}/{version.version}")
            if said(f"cycle {cycle}", policy_of(version)).high < rules.low:
                click.echo("         below the rules")
            window = application.cadence.following(window)
            period = open_period(target, folder, window.ds, seed)
            period.application.simulate(window, policy_of(version, explore=True), application.units, seed)
            build_trajectories(period, start=window.ds)


if __name__ == "__main__":
    main()
