"""The table in the docs says of every agent what its code says."""

from pathlib import Path

import pytest

from rlbake.agents import AGENTS
from rlbake.errors import SpecError
from rlbake.learners.facts import refuse_unsuitable
from rlbake.specs import Continuous, Discrete, MultiDiscrete

DOCS = Path(__file__).parents[2] / "docs" / "agents.md"
FACTS = {name: module.FACTS for name, module in AGENTS.items()}
ACTIONS = (Discrete(["a", "b"]), MultiDiscrete({"x": ["a", "b"], "y": ["c", "d"]}), Continuous([0], [1], ["price"]))


def table() -> str:
    lines = ["| agent | decides on | looks ahead | learns from | on logs |", "|---|---|---|---|---|"]
    for name, facts in FACTS.items():
        kinds = ", ".join(kind.__name__ for kind in facts.actions)
        source = "its own decisions" if facts.on_policy else "anybody's"
        lines.append(f"| `{name}` | {kinds} | {'yes' if facts.foresight else 'no'} | {source} | {facts.on_logs} |")
    return "\n".join(lines)


def test_the_docs_show_every_agent():
    assert table() in DOCS.read_text(), f"docs/agents.md should hold:\n{table()}"


@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: type(action).__name__)
@pytest.mark.parametrize("name", AGENTS)
def test_who_cannot_decide_says_who_can(name, action):
    suitable = [other for other, facts in FACTS.items() if isinstance(action, facts.actions)]
    assert suitable
    if name in suitable:
        refuse_unsuitable(name, action, FACTS)
        return
    with pytest.raises(SpecError, match=f"agent '{name}' decides on .* not on {type(action).__name__}") as error:
        refuse_unsuitable(name, action, FACTS)
    assert all(other in str(error.value) for other in suitable)
