"""Which code made a run: the commit, and whether the working tree differed from it."""

from __future__ import annotations

from pathlib import Path

from mlflow.utils.mlflow_tags import MLFLOW_GIT_COMMIT

from rlbake import vocabulary as v


def tags() -> dict[str, str]:
    """Git tags for a run made in the working folder; none outside a repository."""
    try:
        from git import Repo
        from git.exc import GitError
    except ImportError:  # there is no git executable
        return {}
    try:
        with Repo(Path.cwd(), search_parent_directories=True) as repository:
            return {
                MLFLOW_GIT_COMMIT: repository.head.commit.hexsha,
                v.TAG_GIT_DIRTY: str(repository.is_dirty()).lower(),
            }
    except (GitError, ValueError, OSError):  # no repository here, or one without a commit
        return {}
