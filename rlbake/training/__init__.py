"""From transitions to a fitted agent: replay, training, checkpoints and warm starts."""
