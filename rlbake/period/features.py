"""What is known about the features of a training window, and how far they are from the champion's."""

from __future__ import annotations

import json
import logging
from pathlib import Path

from rlbake.dataset.snapshot import Snapshot
from rlbake.errors import NotFoundError
from rlbake.features import stored
from rlbake.features.drift import drift
from rlbake.features.profile import Profiles, merge_all, of_feature
from rlbake.period.models import champion_of
from rlbake.period.period import Period
from rlbake.registry.versions import ResolvedModel, policy_dir

PROFILES, FEATURES = "profiles.json", "features.json"
"""The training window's profiles, beside the model's policy, and the features' transforms, an artifact of the run."""

_logger = logging.getLogger(__name__)


def known_profiles(period: Period, snapshot: Snapshot) -> Profiles | None:
    """The merged profiles of a snapshot's windows; None, and a word about it, if one is missing or stale."""
    try:
        merged = merge_all(stored.read_profiles(period.folder, snapshot.windows, snapshot.version))
    except NotFoundError as missing:
        _logger.warning("Features are profiled in memory: %s", missing)
        return None
    unknown = [f.name for f in period.application.observation if of_feature(f.name) not in merged]
    if unknown:
        _logger.warning("Features are profiled in memory: the profiles lack %s.", ", ".join(unknown[:5]))
        return None
    return merged


def save_profiles(profiles: Profiles, policy: Path) -> None:
    """Writes them beside an exported policy, so that later windows can be compared with them."""
    (policy / PROFILES).write_text(json.dumps(stored.to_rows(profiles)) + "\n")


def profiles_kept(model: ResolvedModel) -> Profiles | None:
    """Those of a model's training window; None if it kept none.

    Raises:
        NotFoundError: the model's files are gone.
    """
    kept = Path(policy_dir(model)) / PROFILES
    return stored.from_rows(json.loads(kept.read_text())) if kept.is_file() else None


def drift_metrics(period: Period, current: Profiles) -> dict[str, float]:
    """`drift/<feature>/psi` and `drift/<feature>/wasserstein` against the champion's training window.

    Empty if there is no champion, or one that kept no profiles. See `rlbake.features.drift`.
    """
    try:
        kept = profiles_kept(champion_of(period))
    except NotFoundError:
        return {}
    moved = drift(kept, current) if kept else {}
    metrics = {}
    for feature in period.application.observation:
        if found := moved.get(of_feature(feature.name)):
            metrics[f"drift/{feature.name}/psi"] = found.psi
            if found.wasserstein is not None:
                metrics[f"drift/{feature.name}/wasserstein"] = found.wasserstein
    return metrics
