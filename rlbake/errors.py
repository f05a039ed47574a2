"""Errors that a user can act on.

Anything that a user can cause is an `RlbakeError`: entry points print its message as one line
without a traceback, tag the MLflow run with it and exit non-zero. Every other exception is a
defect of rlbake and keeps its traceback.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches


class RlbakeError(Exception):
    """Something the user can put right. The message says what, where and what to do."""


class SpecError(RlbakeError):
    """An application, or one of its specs, contradicts itself."""


class ConfigError(RlbakeError):
    """A parameter is unknown, of the wrong type or out of range."""


class DataError(RlbakeError):
    """Logged data breaks the application's contract."""


class EmptyWindowError(DataError):
    """A window has no rows at all: its logs are missing, or the date is wrong."""


class NotFoundError(RlbakeError):
    """A table, window, model or run that was asked for does not exist."""


class StorageError(RlbakeError):
    """A table or a tracking store cannot be read or written."""


class GateRefused(RlbakeError):
    """A challenger was not promoted; the message holds every reason."""


def failed_check(
    problem: str, *, where: str, count: int, of: int | None = None, examples: Sequence[str], fix: str
) -> DataError:
    """A refusal that says what is wrong, where, how often, with up to five examples and the remedy."""
    return DataError(described_check(problem, where=where, count=count, of=of, examples=examples, fix=fix))


def described_check(
    problem: str, *, where: str, count: int, of: int | None = None, examples: Sequence[str], fix: str
) -> str:
    """What is wrong, where, how often, with up to five examples and the remedy, in one line."""
    total = "" if of is None else f" of {of:,}"
    shown = "; ".join(examples[:5])
    return f"{problem} ({where}): {count:,}{total} rows, for example {shown}. {fix}"


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint for a misspelt name: the nearest known one, then all of them."""
    known = sorted(known)
    close = get_close_matches(name, known, n=1)
    return (f"Did you mean {close[0]!r}? " if close else "") + f"Known: {', '.join(known)}."
