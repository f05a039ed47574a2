"""Writing a trained agent as a policy that needs nothing but TensorFlow.

<directory>/saved_model/   PolicyGraph as a TF SavedModel
<directory>/policy.json    what it decides on and about, for people and for SavedPolicy
<directory>/checkpoint/    the agent's and its optimiser's variables, for a warm start
"""

from __future__ import annotations

from pathlib import Path

from rlbake.errors import SpecError
from rlbake.learners.heads import ContinuousHead
from rlbake.policies.graph import INPUTS, ContinuousGraph, DiscreteGraph
from rlbake.quiet import tensorflow as tf
from rlbake.specs import Continuous, MultiDiscrete
from rlbake.training.fitted import FittedAgent

SAVED_MODEL = "saved_model"
SIGNATURE = "serving_default"


def export_policy(fitted: FittedAgent, directory: str | Path) -> Path:
    """Writes a fitted agent below `directory`, which need not exist.

    The SavedModel's signature `serving_default` takes one tensor [B] per feature (Number float64,
    Binary bool, Category string), `action_mask` bool [B, A], `noise` float64 [B] uniform in
    [0, 1), and the scalars `explore` bool and `temperature` float32. It returns `action_index`
    int32 [B], `log_probability` float32 [B], `probabilities` and `values` float32 [B, A]; of a
    MultiDiscrete action, A counts all combinations and the index is the joint one. For a Continuous
    action there is no mask, and it returns `action` float32 [B, n] and `log_probability` float32 [B].
    A mask row that allows nothing, a negative temperature and a value that is not finite raise
    tf.errors.InvalidArgumentError.

    Returns:
        The directory.

    Raises:
        SpecError: a feature has the name of one of the other inputs.
    """
    graph = graph_of(fitted)
    fitted.save(directory)
    tf.saved_model.save(graph, str(Path(directory) / SAVED_MODEL), signatures={SIGNATURE: graph.signature})
    return Path(directory)


def graph_of(fitted: FittedAgent) -> DiscreteGraph | ContinuousGraph:
    """A fitted agent as one graph.

    Raises:
        SpecError: a feature has the name of one of the other inputs.
    """
    clash = [f.name for f in fitted.observation if f.name in INPUTS]
    if clash:
        raise SpecError(f"feature {clash[0]!r}: a policy's own inputs are {', '.join(INPUTS)}. Rename the feature.")
    if isinstance(fitted.action, Continuous):
        assert isinstance(fitted.head, ContinuousHead)  # what agents for such actions leave behind
        return ContinuousGraph(fitted.preprocessing, fitted.head, size=len(fitted.action.names))
    actions = len(fitted.action.joint() if isinstance(fitted.action, MultiDiscrete) else fitted.action)
    return DiscreteGraph(fitted.preprocessing, fitted.choosing(), actions=actions)
