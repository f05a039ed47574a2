"""What the held-out logs say about a model, and about whoever else could decide."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rlbake.application import Application
from rlbake.dataset.reading import Rows as Loaded
from rlbake.dataset.reading import read
from rlbake.dataset.snapshot import Snapshot
from rlbake.dataset.split import split_environments
from rlbake.dataset.transitions import Reading, Transitions
from rlbake.evaluation.candidates import Candidate, bandit, behavior_clone, best_fixed_action, ruled, saved
from rlbake.evaluation.change import Change, change
from rlbake.evaluation.comparison import PER_DECISION, compare
from rlbake.evaluation.evaluation import AGENT, CHAMPION, Figure, Propensities, Segment, Support
from rlbake.evaluation.propensity import diagnosed, logging_policy
from rlbake.evaluation.target import distribution
from rlbake.features.profile import Profiles
from rlbake.period.features import drift_metrics, known_profiles
from rlbake.period.off_policy_on_spark import off_policy_on_spark
from rlbake.period.period import Period
from rlbake.registry.versions import ResolvedModel, policy_dir
from rlbake.specs import Continuous, Discrete, MultiDiscrete
from rlbake.training.config import TrainConfig, resolve
from rlbake.training.fitted import DESCRIPTION

_logger = logging.getLogger(__name__)

MOST_LEARNED_FROM = 1_000_000  # rows that value models and clones are fitted on

NUMBERS = (
    "Continuous actions are not evaluated from logs, only Discrete and MultiDiscrete ones. A simulated world can tell "
    "(the application's `world()`, with `primary: simulated` in the gate)."
)


@dataclass
class OffPolicy:
    """The part of an `Evaluation` that the logs answer; where they cannot, `refusals` says why."""

    decisions: int = 0
    environments: int = 0
    primary: str = ""
    unit: str = PER_DECISION
    estimates: Mapping[str, Mapping[str, Figure]] = field(default_factory=dict)
    differences: Mapping[str, Figure] = field(default_factory=dict)
    metrics: Mapping[str, Mapping[str, Figure]] = field(default_factory=dict)
    metric_differences: Mapping[str, Figure] = field(default_factory=dict)
    segments: tuple[Segment, ...] = ()
    support: Mapping[str, Support] = field(default_factory=dict)
    propensities: Propensities | None = None
    fixed_action: str | None = None
    flips: float | None = None
    kl: float | None = None
    drift: Mapping[str, float] | None = None
    refusals: tuple[str, ...] = ()


def off_policy(
    period: Period, snapshot: Snapshot, model: ResolvedModel, champion: ResolvedModel | None, *, primary: str | None
) -> OffPolicy:
    """Compares everybody who could decide on the environments that no training has seen.

    Args:
        snapshot: the trajectories.
        model: the agent.
        champion: whom it may replace.
        primary: estimator that decides; None: the comparison's choice.

    Raises:
        ConfigError: there is no such estimator.
        DataError: the trajectories are not as the application describes them.
        NotFoundError: a model's files are gone.
    """
    application, action = period.application, period.application.action
    share = min(_held_out(known) for known in (model, champion) if known is not None)
    profiles = known_profiles(period, snapshot)
    drift = _drift(period, profiles) if champion else None
    if isinstance(action, Continuous):
        return OffPolicy(drift=drift, refusals=(NUMBERS,))
    if not share:
        refusal = "no environment was held out of training: train with holdout=0.1 or more."
        return OffPolicy(drift=drift, refusals=(refusal,))
    budget = _config(model).memory
    with read(snapshot, _reading(application), holdout=share, budget=budget) as (training, holdout):
        if not len(holdout):
            refusal = f"none of the environments held out ({share:.0%}) is in these windows."
            return OffPolicy(drift=drift, refusals=(refusal,))
        learned = _sample(training)
        held = holdout if isinstance(holdout, Transitions) else None
    if held is None:
        _logger.info("They are evaluated on Spark: the model, the champion and the logs, but nobody else.")
        models = {AGENT: model} | ({CHAMPION: champion} if champion else {})
        known = off_policy_on_spark(period, snapshot, models, learned, share=share, primary=primary, profiles=profiles)
        return OffPolicy(**known, drift=drift)
    joint = action.joint()  # of several sets, every combination is one action
    logging = logging_policy(held, observation=application.observation, action=joint, seed=period.seed)
    everybody, fixed = _candidates(period, model, champion, learned, profiles, action)
    found = compare(
        learned,
        held,
        everybody,
        propensity=logging.probability,
        observation=application.observation,
        action=joint,
        metrics=application.metrics,
        segments=application.segments,
        primary=primary,
        profiles=profiles,
        seed=period.seed,
    )
    changed = _changed(held, everybody, len(joint))
    return OffPolicy(
        decisions=len(held),
        **vars(found),
        propensities=diagnosed(logging, held, joint),
        fixed_action=fixed,
        flips=changed.flips if changed else None,
        kl=changed.kl if changed else None,
        drift=drift,
    )


def _held_out(model: ResolvedModel) -> float:
    """The share of environments that a model's training has not seen."""
    description = json.loads((policy_dir(model) / DESCRIPTION).read_text())
    return float(description["training"]["holdout"])


def _reading(application: Application) -> Reading:
    """Steps as the application values them, whatever agents were trained on."""
    return Reading(
        observation=application.observation,
        action=application.action,
        metrics=application.metrics,
        reward=application.reward,
        gamma=application.gamma,
        kept_metrics=application.metrics,
        keeps_policy=True,
    )


def _sample(rows: Loaded) -> Transitions:
    """Whole environments with at most `MOST_LEARNED_FROM` rows."""
    rows = rows if isinstance(rows, Transitions) else next(rows.parts())
    if len(rows) <= MOST_LEARNED_FROM:
        return rows
    share = MOST_LEARNED_FROM / len(rows)
    return split_environments(rows, share)[1]


def _candidates(
    period: Period,
    model: ResolvedModel,
    champion: ResolvedModel | None,
    training: Transitions,
    profiles: Profiles | None,
    action: Discrete | MultiDiscrete,
) -> tuple[list[Candidate], str]:
    """Who is compared, the model first; and the name of the best fixed action."""
    application, seed = period.application, period.seed
    observation, joint = application.observation, action.joint()
    known = {AGENT: model} | ({CHAMPION: champion} if champion else {})
    everybody = [saved(name, policy_dir(of)) for name, of in known.items()]
    if type(application).rules is not Application.rules:
        everybody.append(ruled(application.rules, action))
    tried = logging_policy(training, observation=observation, action=joint, seed=seed)
    fixed, name = best_fixed_action(training, tried.probability, joint)
    everybody += [fixed, behavior_clone(training, observation=observation, action=joint, seed=seed)]
    if application.gamma:
        _logger.info("Training the same agent without foresight, to compare with.")
    shortsighted = bandit(training, _config(model), observation=observation, action=joint, seed=seed, profiles=profiles)
    return [*everybody, *([shortsighted] if shortsighted else [])], name


def _config(model: ResolvedModel) -> TrainConfig:
    """How a model was trained."""
    description = json.loads((policy_dir(model) / DESCRIPTION).read_text())
    training = description["training"]
    nested = {**training, "agent": description["agent"]}
    return resolve(nested, gamma=training["gamma"], reward=training["reward"])


def _changed(held: Transitions, everybody: Sequence[Candidate], actions: int) -> Change | None:
    """What would change if the model took over from the champion, as both are deployed."""
    deployed = {c.name: c for c in everybody if c.name in (AGENT, CHAMPION)}
    if len(deployed) < 2:
        return None
    agent, champion = (
        distribution(deployed[name].probabilities, held.observation, held.action_mask, actions=actions, who=name)
        for name in (AGENT, CHAMPION)
    )
    return change(agent, champion)


def _drift(period: Period, profiles: Profiles | None) -> dict[str, float] | None:
    """The population stability index of every feature since the champion's training; None if it is not known."""
    found = drift_metrics(period, profiles) if profiles else {}
    indices = {name.split("/")[1]: value for name, value in found.items() if name.endswith("/psi")}
    return indices or None
