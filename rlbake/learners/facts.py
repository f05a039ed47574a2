"""What an agent can do, and what it cannot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rlbake.errors import SpecError
from rlbake.specs import Action


@dataclass(frozen=True)
class Facts:
    """For choosing an agent; docs/agents.md shows them as a table.

    Attributes:
        actions: the kinds of action specs that it decides on.
        foresight: whether what follows the next decision counts: gamma and n_step matter.
        on_policy: whether it learns only from decisions of the very version that is trained further.
        on_logs: what to expect of it on logged data, in a few words.
        unread: fields of TrainConfig that change nothing about it, so that setting them is refused. One that
            looks no step ahead and yet reads gamma learns what a decision earns at once: gamma must be 0.
    """

    actions: tuple[type, ...]
    foresight: bool
    on_logs: str
    on_policy: bool = False
    unread: tuple[str, ...] = ()


def refuse_unsuitable(name: str, action: Action, facts: Mapping[str, Facts]) -> None:
    """Says which agents would do.

    Args:
        name: of the agent.
        action: what is decided on.
        facts: of every agent.

    Raises:
        SpecError: the agent cannot decide on such actions.
    """
    if isinstance(action, facts[name].actions):
        return
    suitable = [other for other, known in facts.items() if isinstance(action, known.actions)]
    decides = " or ".join(kind.__name__ for kind in facts[name].actions)
    raise SpecError(
        f"agent {name!r} decides on {decides} actions, not on {type(action).__name__}. "
        f"These do: {', '.join(suitable) or 'none'}."
    )
