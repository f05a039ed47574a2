"""One file per agent, each with `FACTS`, a `Config` and a `learner`; a new agent is a new file beside them."""

from types import ModuleType

from rlbake.quiet import quietly

with quietly():
    from rlbake.agents import (
        behavioral_cloning,
        categorical_dqn,
        cql_sac,
        ddpg,
        double_dqn,
        dqn,
        lin_ucb,
        linear_thompson,
        neural_epsilon_greedy,
        neural_linucb,
        ppo,
        rainbow,
        reinforce,
        sac,
        td3,
    )

_MODULES = (
    behavioral_cloning,
    categorical_dqn,
    cql_sac,
    ddpg,
    double_dqn,
    dqn,
    lin_ucb,
    linear_thompson,
    neural_epsilon_greedy,
    neural_linucb,
    ppo,
    rainbow,
    reinforce,
    sac,
    td3,
)

AGENTS: dict[str, ModuleType] = {module.Config.name: module for module in _MODULES}
