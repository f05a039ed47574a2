"""Reports made by hand: a messy shop, and variations of it."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from rlbake.features.profile import BINARY, CATEGORY, NUMBER, Profile, Profiles, number_profile
from rlbake.quality.report import Joined, QualityReport, Rejection, WindowFacts
from rlbake.specs import Binary, Category, Discrete, Number

ROWS = 20_000
HOURS = [f"{hour:02d}:00" for hour in range(24)]


def number(values: Any, rows: int | None = None) -> Profile:
    """Of values, and of as many missing ones as make `rows` of them."""
    values = np.asarray(values, np.float64)
    rows = len(values) if rows is None else rows
    return number_profile(values, rows, rows - len(values))


def labels(counts: dict[str, int], missing: int = 0, kind: str = CATEGORY) -> Profile:
    return Profile(kind, sum(counts.values()) + missing, missing, counts=counts)


def shop(seed: int = 0, older: float = 0.0) -> Profiles:
    """Of the transitions of a shop; `older` moves the ages."""
    rng = np.random.default_rng(seed)
    hours = Counter(HOURS[hour] for hour in rng.integers(0, 24, ROWS))
    return {
        "observation.age": number(rng.normal(40 + older, 10, ROWS)),
        "observation.spend": number(np.where(rng.random(ROWS) < 0.9, 0, rng.lognormal(3, 1, ROWS))),
        "observation.payer": labels({"false": 15_000, "true": 2_500}, 2_500, BINARY),
        "observation.country": labels({"US": 15_000, "DE": 5_000}),
        "metrics.click": number(np.arange(ROWS) % 10 == 0),
        "reward": number((np.arange(ROWS) % 10 == 0) * 2.0),
        "time_gap": number(np.full(ROWS - 200, 3600.0), ROWS),
        "log_probability": number(np.full(ROWS, np.log(1 / 24))),
        "end": labels({"none": ROWS - 200, "terminated": 200}),
        "action": labels(dict(hours)),
    }


def window(ds: str = "2026-01-01", **facts: Any) -> WindowFacts:
    zero = dict.fromkeys(("rejected", "duplicates", "open", "unobserved", "timed_out", "stray"), 0)
    return WindowFacts(**{"ds": ds, "rows_in": ROWS, "transitions": ROWS, **zero, **facts})


def report(**facts: Any) -> QualityReport:
    """Of a shop that is in order, but for what is said."""
    good = {
        "application": "shop",
        "run_id": "0123abcd",
        "observation": (
            Number("age"),
            Number("spend"),
            Binary("payer", optional=True),
            Category("country", ["US", "DE"]),
        ),
        "action": Discrete(HOURS),
        "windows": (window(),),
        "profiles": shop(),
        "lengths": number(np.arange(1, 201)),
    }
    return QualityReport(**{**good, **facts})


def empty() -> QualityReport:
    """Of a window in which every decision is left open."""
    profiles = {
        name: Profile(profile.kind, 0, 0)
        for name, profile in shop().items()
        if profile.kind in (NUMBER, CATEGORY, BINARY)
    }
    return report(windows=(window(transitions=0, open=ROWS),), profiles=profiles, lengths=Profile(NUMBER, 0, 0))


def messy() -> QualityReport:
    """Of two windows with all that can be wrong."""
    rejections = (
        Rejection(
            "out_of_range", "number outside [0, 120]", "age", 300, ("ann at 2026-01-01T10:00:00: 121.0",), "Clip it."
        ),
        Rejection("unknown_category", "unknown category", "country", 1, ("<b>bob</b>: <script>",), "Add it."),
    )
    return report(
        windows=(
            window("2026-01-01", rejected=301, duplicates=7, open=40, stale="the logs have changed since it was built"),
            window("2026-01-02", changed=False, unobserved=2_000, timed_out=1_000, stray=900, open=1_234),
        ),
        missing=("2026-01-03",),
        rejections=rejections,
        quarantine="/tables/shop/quarantine",
        reference=shop(1, older=10),
        relative_to="the training window of the champion, main.rl.shop/7",
        joined=Joined(outcomes=5_000, unmatched=400, unseen=3),
    )
