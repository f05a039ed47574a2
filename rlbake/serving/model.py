"""The version that decides now, and how the next one takes its place while requests go on."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

import numpy as np

from rlbake import vocabulary as v
from rlbake.application import Application
from rlbake.errors import ConfigError, DataError, RlbakeError, SpecError
from rlbake.policies.exploration import Exploration
from rlbake.policies.saved import SavedPolicy
from rlbake.registry.versions import ResolvedModel, policy_dir, resolve
from rlbake.scoring.shipment import pack
from rlbake.serving.chosen import Chosen, Row, columns, each, mask
from rlbake.specs import Binary, Feature, Number

_WARM_UP = (1, 2, 64)  # rows of the calls before the first request
_PERMANENT = (SpecError, ConfigError)  # why a version will never do

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Version:
    """A version that is loaded.

    Attributes:
        resolved: where it came from.
        policy: what decides.
        since: when it took over in this process.
    """

    resolved: ResolvedModel
    policy: SavedPolicy
    since: datetime


class LiveModel:
    """Decides with the latest version that an alias named, if it was fit to.

    Args:
        uri: of a registered model, such as `models:/main.rl.lamp@champion`.
        application: what is decided on, and of what.
        exploration: of the decisions.
        on_swap: told of every version that takes over.
        on_refusal: told of every version that may not, once.

    Attributes:
        uri: as given.
        current: the version that decides; None until one could be loaded.
    """

    def __init__(
        self,
        uri: str,
        application: Application,
        exploration: Exploration,
        *,
        on_swap: Callable[[Version], None],
        on_refusal: Callable[[str], None],
    ) -> None:
        self.uri = uri
        self.current: Version | None = None
        self._application = application
        self._exploration = exploration
        self._on_swap, self._on_refusal = on_swap, on_refusal
        self._refused: str | None = None  # URI of the version that will never do
        self._told = ""
        self._noise = np.random.default_rng()

    def decide(self, rows: Sequence[Row]) -> list[Chosen | None]:
        """One decision for each row, all by the same version; None where it has none.

        To be called by one thread at a time.
        """
        version = self.current
        if version is None:
            return [None] * len(rows)
        return self._decide(version, rows)

    def refresh(self) -> bool:
        """Looks where the alias points, and lets another version take over if it is fit; tells whether one did.

        What stands in the way is said once, and the version of before goes on.
        """
        version = ""
        try:
            resolved = resolve(self.uri)
            version = resolved.uri
            if (self.current and self.current.resolved.uri == version) or self._refused == version:
                return False
            loaded = self._loaded(resolved)
        except Exception as error:  # whatever a registry, a file or a graph raises, somebody must go on deciding
            if isinstance(error, _PERMANENT):
                self._refused = version
            said = str(error) if isinstance(error, RlbakeError) else f"{type(error).__name__}: {error}"
            self._refuse(f"{version or self.uri}: {said}")
            return False
        self.current, self._told, self._refused = loaded, "", None
        self._on_swap(loaded)
        return True

    def _refuse(self, reason: str) -> None:
        if reason == self._told:
            return
        self._told = reason
        current = f"{self.current.policy.version} goes on" if self.current else "the fallback decides"
        _logger.error("No other version takes over, %s: %s", current, reason)
        self._on_refusal(reason)

    def _loaded(self, resolved: ResolvedModel) -> Version:
        """A version that has decided already.

        Raises:
            SpecError: it is for other features or actions.
            ConfigError: it cannot explore as it should.
            NotFoundError: its files are gone.
            DataError: it has no finite values for an ordinary row.
        """
        application, folder = self._application, policy_dir(resolved)
        pack(folder, observation=application.observation, action=application.action, exploration=self._exploration)
        policy = SavedPolicy(folder, resolved.policy_version, **asdict(self._exploration))
        for rows in _WARM_UP:
            policy.decide(columns([_ordinary(application.observation)] * rows, policy.observation), np.zeros(rows))
        return Version(resolved, policy, datetime.now(UTC))

    def _decide(self, version: Version, rows: Sequence[Row]) -> list[Chosen | None]:
        """A row that the graph refuses takes the others in its call with it, so a call that fails is cut in two."""
        policy = version.policy
        seen, allowed = columns(rows, policy.observation), mask(rows, policy.action, v.ACTION_MASK)
        try:
            decided = policy.decide(seen, self._noise.random(len(rows)), allowed)
        except DataError:
            if len(rows) == 1:
                return [None]
            half = len(rows) // 2
            return self._decide(version, rows[:half]) + self._decide(version, rows[half:])
        return list(each(decided, policy.version))


def _ordinary(observation: Sequence[Feature]) -> Row:
    return {feature.name: _typical(feature) for feature in observation}


def _typical(feature: Feature) -> float | bool | str:
    if isinstance(feature, Number):
        return float(min(max(0.0, feature.low), feature.high))
    return False if isinstance(feature, Binary) else feature.values[0]
