"""The models that a period works with: challenger, champion, or one that the user names."""

from __future__ import annotations

from rlbake import vocabulary as v
from rlbake.period.period import Period
from rlbake.policies.policy import Policy
from rlbake.registry.versions import ResolvedModel, policy_dir, resolve


def challenger_of(period: Period) -> ResolvedModel:
    """Raises NotFoundError if there is none."""
    return resolve(v.CHALLENGER, name=period.model_name)


def champion_of(period: Period) -> ResolvedModel:
    """Raises NotFoundError if there is none."""
    return resolve(v.CHAMPION, name=period.model_name)


def policy_of(model: ResolvedModel, *, explore: bool = False) -> Policy:
    """The model's policy, in this process.

    Raises:
        NotFoundError: its files are gone.
    """
    from rlbake.policies.saved import SavedPolicy  # with it comes TensorFlow, which building does without

    return SavedPolicy(policy_dir(model), model.policy_version, explore=explore)
