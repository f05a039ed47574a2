"""What agents are made of: learners over TF-Agents, the graph loop that trains them, and heads that decide."""
