"""What a point of a space is worth, and what must be known to judge that."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import mean, median
from typing import Any, Protocol

Point = Mapping[str, Any]
"""Hyperparameters by their path in a training's configuration, such as {"agent.learning_rate": 1e-3}."""

GoOn = Callable[[Sequence[float]], bool]
"""Told the mean score after every cycle so far, says whether the rest is worth the time."""

DONE, STOPPED, FAILED = "done", "stopped", "failed"


@dataclass(frozen=True)
class Curve:
    """How one seed of one task went.

    Attributes:
        task: a scenario's name, or that of what else was learned.
        seed: of the run.
        scores: after every cycle; 0 is chance and 1 is the best there is.
    """

    task: str
    seed: int
    scores: tuple[float, ...]

    @property
    def level(self) -> float:
        """The score in the end."""
        return self.scores[-1]

    @property
    def speed(self) -> float:
        """The mean score over the cycles: the area under the learning curve."""
        return mean(self.scores)

    @property
    def score(self) -> float:
        """Half of it for what is reached, half for how soon."""
        return (self.level + self.speed) / 2


@dataclass(frozen=True)
class Outcome:
    """What an objective found out about a point.

    Attributes:
        curves: one per task and seed; shorter ones where the trial was stopped.
        stopped: it was not worth finishing; `score` then takes it that nothing would have changed any more.
        seconds: that it took, by what for: "train", "act", "judge" and "all".
        doubts: why the scores may not be what they seem, in words.
    """

    curves: tuple[Curve, ...]
    stopped: bool = False
    seconds: Mapping[str, float] = field(default_factory=dict)
    doubts: tuple[str, ...] = ()

    @property
    def score(self) -> float:
        """The mean over tasks and seeds, each task as often as it has seeds."""
        return mean(curve.score for curve in self.curves)

    @property
    def level(self) -> float:
        """The mean score in the end."""
        return mean(curve.level for curve in self.curves)

    @property
    def speed(self) -> float:
        """The mean area under the learning curves."""
        return mean(curve.speed for curve in self.curves)

    @property
    def by_task(self) -> dict[str, float]:
        """The mean score of each task."""
        return {task: mean(c.score for c in self.curves if c.task == task) for task in _tasks(self.curves)}

    @property
    def worst(self) -> tuple[str, float]:
        """The task that went worst, and its score."""
        return min(self.by_task.items(), key=lambda item: item[1])

    @property
    def by_seed(self) -> dict[int, float]:
        """The mean score of each seed over the tasks."""
        seeds = dict.fromkeys(curve.seed for curve in self.curves)
        return {seed: mean(c.score for c in self.curves if c.seed == seed) for seed in seeds}

    @property
    def median(self) -> float:
        """Of the seeds."""
        return median(self.by_seed.values())

    @property
    def spread(self) -> float:
        """Between the best and the worst seed."""
        return max(self.by_seed.values()) - min(self.by_seed.values())

    @property
    def learning_curve(self) -> list[float]:
        """The mean score after every cycle."""
        return [mean(scores) for scores in zip(*(curve.scores for curve in self.curves), strict=True)]


@dataclass(frozen=True)
class Trial:
    """One point that was tried.

    Attributes:
        number: from 0, in the order in which points were proposed.
        point: what was tried.
        status: DONE, STOPPED or FAILED.
        outcome: None if it failed.
        reason: why it failed.
        seconds: from when to when, wall clock.
    """

    number: int
    point: Point
    status: str
    outcome: Outcome | None
    reason: str = ""
    seconds: float = 0.0

    @property
    def name(self) -> str:
        """As people count."""
        return f"trial {self.number + 1}"

    def to_json(self) -> str:
        """All of it; `read_trial` is the inverse."""
        return json.dumps(asdict(self), indent=2) + "\n"


def read_trial(text: str) -> Trial:
    """What `Trial.to_json` wrote."""
    known = json.loads(text)
    if known["outcome"]:
        curves = tuple(Curve(c["task"], c["seed"], tuple(c["scores"])) for c in known["outcome"].pop("curves"))
        doubts = tuple(known["outcome"].pop("doubts"))
        known["outcome"] = Outcome(curves, doubts=doubts, **known["outcome"])
    return Trial(**known)


def best_of(trials: Sequence[Trial]) -> Trial | None:
    """The finished trial with the highest score, the earliest of equal ones; None if none was finished."""
    finished = [(t.outcome.score, -t.number, t) for t in trials if t.status == DONE and t.outcome]
    return max(finished, key=lambda item: item[:2])[2] if finished else None


class Objective(Protocol):
    """What is maximised. It knows nothing of who searches."""

    def __call__(self, point: Point, go_on: GoOn) -> Outcome:
        """Tries a point.

        Raises:
            RlbakeError: it cannot be tried, or does not work: its training diverges, say.
        """
        ...


def _tasks(curves: Sequence[Curve]) -> list[str]:
    return list(dict.fromkeys(curve.task for curve in curves))
