"""The story of one period, stage by stage: simulate, build, train, evaluate, promote, score."""

from rlbake.period.period import Period, open_period

__all__ = ["Period", "open_period"]
