"""What an environment shows and what may be done in it.

Specs are plain data: they know nothing of Spark or TensorFlow, travel as JSON inside a saved
model and take part in the digest of everything that is built from them.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rlbake.errors import SpecError, nearest


def _identifier(name: str, what: str) -> str:
    if not isinstance(name, str) or not name.isidentifier():
        raise SpecError(f"{what} name {name!r} is not an identifier: use letters, digits and underscores.")
    return name


def _names(values: Iterable[str], what: str, least: int) -> tuple[str, ...]:
    names = tuple(values)
    wrong = [n for n in names if not isinstance(n, str) or not n]
    if wrong:
        raise SpecError(f"{what}: {wrong[0]!r} is not a non-empty string.")
    if len(set(names)) < len(names):
        twice = next(n for n in names if names.count(n) > 1)
        raise SpecError(f"{what}: {twice!r} is named twice.")
    if len(names) < least:
        raise SpecError(f"{what}: needs at least {least} values, got {len(names)}.")
    return names


TRANSFORMS = (
    "raw",  # as it is
    "standard",  # minus the mean, by the standard deviation
    "probability",  # its log-odds
    "binary",  # 0 or 1
    "category",  # one-hot over the few whole numbers that it takes
    "box_cox",  # a power that makes it as normal as can be, then standardised; positive values only
    "yeo_johnson",  # the same for values of either sign
    "quantile",  # its rank, uniform in [-1, 1]
    "clipped_log",  # log(1 + x), clipped to what was seen, then standardised; not for negative values
)
"""How a network may read a `Number`; chosen from the data unless the feature says."""


@dataclass(frozen=True)
class Number:
    """A real-valued feature, finite, within [low, high] where given.

    Attributes:
        optional: it may be missing; the agent then sees that it is, not a made-up value.
        transform: how a network reads it, one of `TRANSFORMS`; None: what its distribution suggests.
    """

    name: str
    low: float = -math.inf
    high: float = math.inf
    optional: bool = False
    transform: str | None = None

    def __post_init__(self) -> None:
        _identifier(self.name, "feature")
        if not self.low < self.high:
            raise SpecError(f"feature {self.name!r}: low {self.low} is not below high {self.high}.")
        if self.transform is not None and self.transform not in TRANSFORMS:
            hint = nearest(str(self.transform), TRANSFORMS)
            raise SpecError(f"feature {self.name!r}: there is no transform {self.transform!r}. {hint}")


@dataclass(frozen=True)
class Binary:
    """A yes-or-no feature, logged as a boolean; `optional`: it may be missing."""

    name: str
    optional: bool = False

    def __post_init__(self) -> None:
        _identifier(self.name, "feature")


REJECT, OTHER = "reject", "other"


@dataclass(frozen=True, init=False)
class Category:
    """A feature that takes one of a known set of strings.

    Attributes:
        values: all it may take; with `unknown="other"`, the last of them is "other".
        unknown: what becomes of any other string: its row is rejected, or it counts as "other".
        optional: it may be missing.
    """

    name: str
    values: tuple[str, ...]
    unknown: str
    optional: bool

    def __init__(self, name: str, values: Iterable[str], unknown: str = REJECT, optional: bool = False) -> None:
        checked = _names(values, f"feature {name!r}", least=1)
        if unknown not in (REJECT, OTHER):
            raise SpecError(f"feature {name!r}: unknown {unknown!r}. {nearest(str(unknown), (REJECT, OTHER))}")
        if unknown == OTHER:
            checked = (*(value for value in checked if value != OTHER), OTHER)
        set_ = object.__setattr__
        set_(self, "name", _identifier(name, "feature"))
        set_(self, "values", checked)
        set_(self, "unknown", unknown)
        set_(self, "optional", optional)


Feature = Number | Binary | Category


@dataclass(frozen=True, init=False)
class Discrete:
    """One choice out of named actions. Stored as the index, shown as the name."""

    names: tuple[str, ...]

    def __init__(self, names: Iterable[str]) -> None:
        object.__setattr__(self, "names", _names(names, "Discrete action", least=2))

    def __len__(self) -> int:
        return len(self.names)

    def index(self, action: str | int) -> int:
        """The index of an action given by name or index.

        Raises:
            SpecError: there is no such action; the message names the nearest.
        """
        if isinstance(action, str):
            if action in self.names:
                return self.names.index(action)
            raise SpecError(f"unknown action {action!r}. {nearest(action, self.names)}")
        if 0 <= action < len(self.names):
            return int(action)
        raise SpecError(f"unknown action index {action}: there are {len(self.names)} actions, counted from 0.")

    def joint(self) -> Discrete:
        """Itself; with `flat` and `split` it can be used as a `MultiDiscrete` is."""
        return self

    def flat(self, action: np.ndarray) -> np.ndarray:
        """The same indices."""
        return action

    def split(self, number: np.ndarray) -> np.ndarray:
        """The same indices."""
        return number


@dataclass(frozen=True, init=False)
class Continuous:
    """A vector of real numbers, each within its own [low, high]."""

    low: tuple[float, ...]
    high: tuple[float, ...]
    names: tuple[str, ...]

    def __init__(self, low: Sequence[float], high: Sequence[float], names: Iterable[str]) -> None:
        object.__setattr__(self, "low", tuple(float(x) for x in low))
        object.__setattr__(self, "high", tuple(float(x) for x in high))
        object.__setattr__(self, "names", _names(names, "Continuous action", least=1))
        if not len(self.low) == len(self.high) == len(self.names):
            raise SpecError("Continuous action: low, high and names differ in length.")
        for name, low_, high_ in zip(self.names, self.low, self.high, strict=True):
            if not (math.isfinite(low_) and math.isfinite(high_) and low_ < high_):
                raise SpecError(f"Continuous action {name!r}: [{low_}, {high_}] is not a finite interval.")


LARGEST_JOINT = 4096  # combinations that one choice may be made of


@dataclass(frozen=True, init=False)
class MultiDiscrete:
    """One choice out of each of several named sets, made at once.

    A learner sees it as one choice out of all n₁ n₂ … combinations: `joint`, `flat` and `split`
    go there and back. The first set varies slowest: combination (a₁, a₂) is number a₁ n₂ + a₂.
    """

    sets: tuple[tuple[str, tuple[str, ...]], ...]

    def __init__(self, sets: Mapping[str, Iterable[str]]) -> None:
        checked = tuple(
            (_identifier(n, "action set"), _names(v, f"action set {n!r}", least=2)) for n, v in sets.items()
        )
        if not checked:
            raise SpecError("MultiDiscrete action: needs at least one set.")
        object.__setattr__(self, "sets", checked)

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many choices each set has."""
        return tuple(len(names) for _, names in self.sets)

    def joint(self) -> Discrete:
        """All combinations as one choice, named like "sword+10%".

        Raises:
            SpecError: there are more than 4,096, or two of them have the same name.
        """
        self._joint_size()
        names = ["+".join(choice) for choice in itertools.product(*(names for _, names in self.sets))]
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise SpecError(f"MultiDiscrete action: two combinations are called {twice!r}. Leave + out of the names.")
        return Discrete(names)

    def flat(self, action: np.ndarray) -> np.ndarray:
        """The numbers in `joint`, int32 [B], of choices given as integers [B, n], one column per set.

        Raises:
            SpecError: the shape or type is another, an index is unknown, or there are too many combinations.
        """
        self._joint_size()
        chosen, sizes = np.asarray(action), np.array(self.sizes)
        if chosen.ndim != 2 or chosen.shape[1] != len(sizes) or not np.issubdtype(chosen.dtype, np.integer):
            raise SpecError(
                f"MultiDiscrete action: got {chosen.dtype} {list(chosen.shape)}. "
                f"Give integers of shape [B, {len(sizes)}], one column per set."
            )
        wrong = np.flatnonzero(((chosen < 0) | (chosen >= sizes)).any(axis=1))
        if len(wrong):
            raise SpecError(
                f"MultiDiscrete action: {len(wrong):,} of {len(chosen):,} rows hold an unknown index, for example row "
                f"{wrong[0]}: {chosen[wrong[0]].tolist()}. The sets have {self.sizes} choices, counted from 0."
            )
        return np.ravel_multi_index(tuple(chosen.T), self.sizes).astype(np.int32)

    def split(self, number: np.ndarray) -> np.ndarray:
        """The choices, int32 [B, n], of combinations given by their numbers in `joint`, integers [B].

        Raises:
            SpecError: the shape or type is another, a number is unknown, or there are too many combinations.
        """
        size, given = self._joint_size(), np.asarray(number)
        if given.ndim != 1 or not np.issubdtype(given.dtype, np.integer):
            raise SpecError(
                f"MultiDiscrete action: got numbers as {given.dtype} {list(given.shape)}. Give integers of shape [B]."
            )
        wrong = np.flatnonzero((given < 0) | (given >= size))
        if len(wrong):
            raise SpecError(
                f"MultiDiscrete action: {len(wrong):,} of {len(given):,} numbers are unknown, for example row "
                f"{wrong[0]}: {given[wrong[0]]}. There are {size:,} combinations, counted from 0."
            )
        return np.stack(np.unravel_index(given, self.sizes), axis=1).astype(np.int32)

    def _joint_size(self) -> int:
        size = math.prod(self.sizes)
        if size > LARGEST_JOINT:
            raise SpecError(
                f"MultiDiscrete action: {' x '.join(map(str, self.sizes))} choices make {size:,} combinations, and at "
                f"most {LARGEST_JOINT:,} can be told apart as one choice. Leave out choices or whole sets, or merge "
                "the ones that work alike."
            )
        return size


Action = Discrete | Continuous | MultiDiscrete

_KINDS: dict[str, type] = {c.__name__: c for c in (Number, Binary, Category, Discrete, Continuous, MultiDiscrete)}


_UNSAID = {"optional": False, "transform": None, "unknown": REJECT}  # defaults that JSON leaves out


def to_json(spec: Feature | Action) -> dict[str, Any]:
    """A spec as JSON-ready data. `from_json` is the inverse."""
    fields = {k: list(v) if isinstance(v, tuple) else v for k, v in vars(spec).items() if v != _UNSAID.get(k)}
    if isinstance(spec, Number):
        fields = {k: v for k, v in fields.items() if not (isinstance(v, float) and math.isinf(v))}
    if isinstance(spec, MultiDiscrete):
        fields = {"sets": [[name, list(values)] for name, values in spec.sets]}  # their order numbers combinations
    return {"kind": type(spec).__name__, **fields}


def from_json(data: Mapping[str, Any]) -> Any:
    """The spec that `to_json` wrote."""
    fields = {k: v for k, v in data.items() if k != "kind"}
    if data.get("kind") not in _KINDS:
        raise SpecError(f"unknown spec kind {data.get('kind')!r}. {nearest(str(data.get('kind')), _KINDS)}")
    if "sets" in fields:
        fields["sets"] = dict(fields["sets"])
    return _KINDS[data["kind"]](**fields)
