"""The experience log that a server writes."""

from __future__ import annotations

from rlbake.application import Application
from rlbake.experience.log import Experience
from rlbake.serving.settings import Settings


def experience_log(settings: Settings, application: Application) -> Experience:
    """Opened for this process. Raises as `Experience` does."""
    return Experience(
        settings.log,
        keys=application.keys,
        observation=application.observation,
        action=application.action,
        metrics=application.metrics,
        spool=settings.spool,
    )
