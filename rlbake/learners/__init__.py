"""What agents are made of: learners over TF-Agents, the graph loop that trains them, and heads that decide."""

from rlbake.quiet import quietly

with quietly():
    import tf_agents.agents  # noqa: F401 # and gym with it, which talks when it is imported first
