"""An exported policy, read on the driver and packed for the executors. Needs no TensorFlow."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from rlbake.errors import NotFoundError, SpecError
from rlbake.policies.exploration import Exploration
from rlbake.scoring.worker import Policy
from rlbake.specs import Action, Continuous, Discrete, Feature, from_json

DESCRIPTION, SAVED_MODEL = "policy.json", "saved_model"


def pack(directory: str | Path, *, observation: Sequence[Feature], action: Action, exploration: Exploration) -> Policy:
    """The policy in a folder that `policies.export.export_policy` wrote.

    It may read fewer features than the application has now, but none that the application lacks,
    and it must decide on just the application's actions.

    Args:
        directory: holds `saved_model/` and `policy.json`.
        observation: the application's features, in the order of the worker's columns.
        action: the application's actions.
        exploration: of the decisions.

    Raises:
        NotFoundError: there is no policy in the folder.
        SpecError: the policy is for other features or actions.
        ConfigError: exploration is out of range, or epsilon or floor are given for Continuous actions.
    """
    exploration.refuse_for(action)
    root = Path(directory)
    if not (root / DESCRIPTION).is_file() or not (root / SAVED_MODEL).is_dir():
        raise NotFoundError(f"there is no policy in {root}: it needs {DESCRIPTION} and {SAVED_MODEL}/.")
    description = json.loads((root / DESCRIPTION).read_text())
    _refuse_others(from_json(description["action"]), action)
    actions, numbers = (0, len(action.names)) if isinstance(action, Continuous) else (len(action.joint()), 0)
    read = [from_json(feature) for feature in description["observation"]]
    model = pack_model(root / SAVED_MODEL, read, observation=observation, actions=actions)
    return replace(model, numbers=numbers, **asdict(exploration))


def pack_model(
    saved_model: str | Path, features: Sequence[Feature], *, observation: Sequence[Feature], actions: int
) -> Policy:
    """Any SavedModel that takes features, and maybe some other of a policy's inputs.

    Args:
        saved_model: its folder.
        features: those that it reads.
        observation: the application's features, in the order of the worker's columns.
        actions: how many there are; of several sets, all combinations.

    Raises:
        SpecError: the model reads features that the application does not have.
    """
    archive = _zipped(Path(saved_model))
    digest, inputs = hashlib.sha256(archive).hexdigest(), _inputs(features, observation)
    return Policy(archive, digest, inputs, actions, numbers=0, **asdict(Exploration()))


def _refuse_others(trained: Action, action: Action) -> None:
    if trained != action:
        raise SpecError(
            f"the policy decides on other actions than the application's: {_said(trained)} instead of {_said(action)}. "
            "Train a model on the actions as they are now."
        )


def _said(action: Action) -> str:
    if isinstance(action, Discrete):
        return _listed(action.names)
    if isinstance(action, Continuous):
        ranges = zip(action.names, action.low, action.high, strict=True)
        return _listed([f"{name} in [{low:g}, {high:g}]" for name, low, high in ranges])
    return _listed([f"{name} ({_listed(names)})" for name, names in action.sets])


def _inputs(trained: Sequence[Feature], observation: Sequence[Feature]) -> tuple[tuple[str, str, int, bool], ...]:
    """Of each feature it reads: name, kind, position among the application's features, whether it may be missing."""
    known = {feature.name: (type(feature).__name__, number) for number, feature in enumerate(observation)}
    needed = {feature.name: type(feature).__name__ for feature in trained}
    may_be_missing = {feature.name for feature in observation if feature.optional}
    optional = {feature.name for feature in trained if feature.optional}
    wrong = [f"{name} ({kind})" for name, kind in needed.items() if name not in known or known[name][0] != kind]
    if wrong:
        raise SpecError(
            f"the policy reads features that the application does not have: {_listed(wrong)}. "
            f"The application has {_listed([f'{name} ({kind})' for name, (kind, _) in known.items()])}. "
            "Train a model on the features as they are now."
        )
    unprepared = [name for name in needed if name in may_be_missing - optional]
    if unprepared:
        raise SpecError(
            f"the policy was trained when these features were never missing, and now they are optional: "
            f"{_listed(unprepared)}. Train a model on the features as they are now."
        )
    return tuple((name, kind, known[name][1], name in optional) for name, kind in needed.items())


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")


def _zipped(folder: Path) -> bytes:
    """The same bytes for the same files."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.writestr(zipfile.ZipInfo(str(path.relative_to(folder))), path.read_bytes())
    return buffer.getvalue()
