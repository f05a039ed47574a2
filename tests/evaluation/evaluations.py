"""Evaluations made by hand: a good agent, a harmful one, one that the logs know nothing about, and an empty one."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from rlbake.evaluation.evaluation import (
    AGENT,
    BANDIT,
    CHAMPION,
    CLONE,
    FIXED,
    LOGGED,
    RULES,
    Evaluation,
    Figure,
    Propensities,
    Segment,
    Simulated,
    Support,
)

HOURS = [f"{hour:02d}:00" for hour in range(24)]
PER_DECISION = "reward per decision"

VALUES = {
    AGENT: 0.125,
    CHAMPION: 0.1,
    LOGGED: 0.09,
    RULES: 0.095,
    FIXED: 0.124,
    CLONE: 0.0905,
    BANDIT: 0.131,
}
BIASES = {"dr": 0.0, "ips": 0.002, "snips": -0.001, "dm": 0.004, "switch_dr": 0.001, "clipped_ips": -0.006}


@dataclass(frozen=True)
class Told:
    """What a rule of a gate says."""

    name: str
    passed: bool
    message: str


def around(value: float, half: float, claims_coverage: bool = True) -> Figure:
    return Figure(value, value - half, value + half, claims_coverage)


def support(**changed: Any) -> Support:
    return replace(Support(20_000, 1_900, 6_543.2, 812.5, 0.998, 23.9, 0.31, 0.0), **changed)


def evaluation(**changed: Any) -> Evaluation:
    """The agent earns 0.025 more than the champion, certainly 0.015; the rest is as rich as it gets."""
    estimates = {
        name: {e: around(value + bias, 0.005, e not in ("dm", "clipped_ips")) for e, bias in BIASES.items()}
        for name, value in VALUES.items()
        if name != LOGGED
    }
    made = Evaluation(
        model="main.rl.shop/8",
        model_id="m-0123456789abcdef",
        champion="main.rl.shop/7",
        champion_id="m-fedcba9876543210",
        application="shop",
        windows=("2026-01-01", "2026-01-02", "2026-01-03"),
        dataset_digest="sha256:8d1f",
        decisions=20_000,
        environments=1_900,
        gamma=0.0,
        primary="dr",
        unit=PER_DECISION,
        estimates={**estimates, LOGGED: {LOGGED: around(VALUES[LOGGED], 0.002)}},
        differences={
            name: around(VALUES[AGENT] - value, 0.01 if name == CHAMPION else 0.008)
            for name, value in VALUES.items()
            if name != AGENT
        },
        metrics={
            "click": {AGENT: around(0.12, 0.004), CHAMPION: around(0.1, 0.004)},
            "unsubscribe": {AGENT: around(0.0021, 0.0004), CHAMPION: around(0.001, 0.0004)},
            "minutes": {AGENT: around(12.5, 1.0), CHAMPION: around(12.4, 1.0)},
        },
        metric_differences={
            "click": around(0.02, 0.006),
            "unsubscribe": around(0.0011, 0.0005),
            "minutes": around(0.1, 0.5),
        },
        segments=tuple(
            _segment("country", f"C{at:02d}", 4_000 // (at + 1), 0.025 + 0.012 * math.sin(at)) for at in range(12)
        ),
        support={
            AGENT: support(),
            CHAMPION: support(ess=9_876.0),
            FIXED: support(ess=830.4, overlap=1.01, warnings=("The logs took 18:00 in 4 % of the decisions only.",)),
        },
        propensities=Propensities(
            "mixed",
            0.25,
            {"main.rl.shop/7": 0.8, "rules": 0.15, "unknown": 0.05},
            {hour: 1 + 0.08 * math.sin(at) for at, hour in enumerate(HOURS)},
            [(0.05 + 0.1 * at, 0.06 + 0.09 * at, 3_000 // (at + 1)) for at in range(8)],
        ),
        fixed_action="18:00",
        flips=0.321,
        kl=0.87,
        drift={"age": 0.02, "spend": 0.14, "country": 0.31, "payer": 0.0},
        loads=True,
        loads_in="fresh",
        simulated=Simulated(0.31, 0.3, 0.32, 0.4, 0.1, 0.7),
        champion_simulated=Simulated(0.25, 0.24, 0.26, 0.4, 0.1, 0.5),
    )
    return replace(made, **changed)


def harmful() -> Evaluation:
    """Certainly worse than the champion, above all in Germany."""
    good = evaluation()
    return replace(
        good,
        estimates={
            **good.estimates,
            AGENT: {
                name: around(figure.value - 0.075, 0.005, figure.claims_coverage)
                for name, figure in good.estimates[AGENT].items()
            },
        },
        differences={CHAMPION: around(-0.05, 0.01), RULES: around(-0.045, 0.01), FIXED: around(-0.07, 0.02)},
        segments=(
            _segment("country", "DE", 9_000, -0.09),
            _segment("country", "US", 9_000, -0.011),
            _segment("country", "FR", 2_000, 0.001),
        ),
        loads=False,
        loads_message="ModuleNotFoundError: No module named 'shop'.",
        kl=math.inf,
        flips=1.0,
    )


def refused() -> Evaluation:
    """The logs never explored, and an estimate looks good all the same."""
    never = "Every logged decision was certain (propensity 1): the logs say nothing about other actions."
    return evaluation(
        champion=None,
        champion_id=None,
        flips=None,
        kl=None,
        drift=None,
        champion_simulated=None,
        differences={LOGGED: around(0.4, 0.1), FIXED: Figure(math.nan, math.nan, math.nan)},
        metrics={"click": {AGENT: around(0.3, math.inf), LOGGED: around(0.1, 0.004)}},
        metric_differences={"click": Figure(0.2, -math.inf, math.inf)},
        support={AGENT: support(ess=1.0, overlap=0.03, max_weight=math.inf, tail=math.inf, deterministic=1.0)},
        propensities=Propensities("logged", 0.0, {"rules": 1.0}, {}, (), ("Every probability is 1.",)),
        refusals=(never,),
    )


def minimal() -> Evaluation:
    """As little as a record may hold."""
    return Evaluation(
        "m-1", "m-1", None, None, "shop", (), "", 0, 0, 0.99, "sequential_sndr", "discounted return per episode",
        {}, {}, {}, {},
    )  # fmt: skip


def verdict() -> list[Told]:
    return [
        Told("evidence", True, "the evaluation is of m-0123456789abcdef."),
        Told("better", True, "main.rl.shop/8 earns +0.025, at least +0.015."),
        Told("drift", False, "country has drifted by 0.31, above 0.25. Train anew."),
    ]


def _segment(feature: str, part: str, decisions: int, difference: float) -> Segment:
    values = {AGENT: around(0.1 + difference, 0.01), CHAMPION: around(0.1, 0.01)}
    return Segment(feature, part, decisions, values, around(difference, 0.01 + 20 / decisions))
