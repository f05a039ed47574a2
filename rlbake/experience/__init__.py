"""Every decision that was answered and every outcome that was told, remembered durably and exactly once.

No Spark, no MLflow, no TensorFlow: it runs inside whatever decides.
"""

from rlbake.experience.log import Experience
from rlbake.experience.rows import Decision, Outcome

__all__ = ["Decision", "Experience", "Outcome"]
