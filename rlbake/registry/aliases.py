"""The aliases of a registered model, moved only while they are what they were when the decision was made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST, ErrorCode
from mlflow.tracking import MlflowClient

from rlbake import vocabulary as v
from rlbake.errors import StorageError


@dataclass(frozen=True)
class Aliases:
    """Which versions bear which alias; None if none does.

    Attributes:
        champion: decides.
        previous: what a rollback goes back to.
        challenger: wants to become champion.
    """

    champion: str | None
    previous: str | None
    challenger: str | None


def read_aliases(name: str) -> Aliases:
    """The aliases of a registered model; all None if there is no such model yet.

    Raises:
        StorageError: the registry does not answer.
    """
    try:
        found = MlflowClient().get_registered_model(name).aliases
    except MlflowException as error:
        if error.error_code == ErrorCode.Name(RESOURCE_DOES_NOT_EXIST):
            found = {}
        else:
            raise StorageError(f"the aliases of {name} cannot be read: {error}") from error
    return Aliases(*(None if x is None else str(x) for x in map(found.get, (v.CHAMPION, v.PREVIOUS, v.CHALLENGER))))


def move_champion(
    name: str, version: str, *, expected: Aliases, previous: str | None, tags: Mapping[str, Mapping[str, str]]
) -> None:
    """Makes a version champion and another one `previous`, and tags versions, if nobody was faster.

    The registry knows no transactions, so the aliases are compared right before they move and checked
    afterwards. A crash in between leaves a champion, and a right version to go back to: tags come
    first, then `previous`, then `champion`.

    Args:
        version: the new champion; it loses the alias `challenger`.
        expected: what the aliases were when the decision was made; of them, champion and previous count.
        previous: version that gets that alias; None: the alias goes.
        tags: by version.

    Raises:
        StorageError: the aliases changed meanwhile, or the registry refuses.
    """
    client = MlflowClient()
    try:
        _compare(name, expected, read_aliases(name), "while the decision was made, so nothing was moved")
        for number, of_version in tags.items():
            for key, text in of_version.items():
                client.set_model_version_tag(name, number, key, text)
        if previous is not None:
            client.set_registered_model_alias(name, v.PREVIOUS, previous)
        client.set_registered_model_alias(name, v.CHAMPION, version)
        if previous is None and expected.previous is not None:
            client.delete_registered_model_alias(name, v.PREVIOUS)
        moved = read_aliases(name)
        _compare(name, Aliases(version, previous, None), moved, "while they were moved")
        if moved.challenger == version:
            client.delete_registered_model_alias(name, v.CHALLENGER)
    except MlflowException as error:
        raise StorageError(f"the registry refuses to make {name}/{version} champion: {error}") from error


def _compare(name: str, expected: Aliases, found: Aliases, when: str) -> None:
    for alias in (v.CHAMPION, v.PREVIOUS):
        before, now = getattr(expected, alias), getattr(found, alias)
        if before != now:
            raise StorageError(
                f"the {alias} of {name} changed from {before or 'none'} to {now or 'none'} {when}. "
                f"Look at what the other run has done, then promote again."
            )
