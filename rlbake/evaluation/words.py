"""Candidates, estimates and intervals as people read them."""

from __future__ import annotations

import math
from collections.abc import Iterable

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
)
from rlbake.quality.words import NBSP, number, percent, shortened

UNKNOWN, UNBOUNDED = "not known", "unbounded"
MINUS = "\N{MINUS SIGN}"

_NAMES = {
    AGENT: "the agent",
    CHAMPION: "the champion",
    LOGGED: "what was logged",
    RULES: "the rules",
    CLONE: "the imitation",
    BANDIT: "the bandit",
}
_MEANINGS = {
    AGENT: "the evaluated model, as it would be deployed",
    CHAMPION: "the model that is deployed today",
    LOGGED: "whoever decided in the logs",
    RULES: "the application's own rules",
    FIXED: "the one action that is best for all, always",
    CLONE: "a clone of whoever decided in the logs",
    BANDIT: "the same agent, looking no step ahead (gamma 0)",
}


def candidate(name: str, evaluation: Evaluation) -> str:
    """Who a candidate is, within a sentence."""
    if name == CHAMPION and evaluation.champion:
        return f"the champion {printable(evaluation.champion, 60)}"
    if name == FIXED:
        return (
            f"always \u201c{printable(evaluation.fixed_action, 40)}\u201d"
            if evaluation.fixed_action
            else "one action for all"
        )
    return _NAMES.get(name) or printable(name, 40)


def label(name: str, evaluation: Evaluation) -> str:
    """Who a candidate is, in a table or beside a plot."""
    said = _NAMES.get(name) or candidate(name, evaluation)
    return said.removeprefix("the ")


def meaning(name: str) -> str:
    """What a candidate does; "" if it is none that is known here."""
    return _MEANINGS.get(name, "")


def ordered(names: Iterable[str]) -> list[str]:
    """The candidates in the order in which they are told, then any others by name."""
    given = set(names)
    return [*(name for name in _MEANINGS if name in given), *sorted(given - set(_MEANINGS))]


def printable(text: str | None, most: int = 2_000) -> str:
    """A name or a message out of a log: on one line, without what no page can show."""
    return shortened(text, most) if text else UNKNOWN


def amount(x: float | Figure | None) -> str:
    """A number, or an estimate's; "unbounded" if it is infinite, "not known" if it is none."""
    found = _to_scale(x.value, x) if isinstance(x, Figure) else x
    if found is None or math.isnan(found):
        return UNKNOWN
    return number(found + 0.0) if math.isfinite(found) else UNBOUNDED


def signed(x: float | Figure | None) -> str:
    """A difference: +0.5, −0.5, 0."""
    found = _to_scale(x.value, x) if isinstance(x, Figure) else x
    return f"+{amount(found)}" if found is not None and 0 < found < math.inf else amount(found)


def share(x: float | None) -> str:
    """A part of a whole as a percentage; a plain number if it is no such part."""
    return percent(x) if x is not None and 0 <= x <= 1 else amount(x)


def interval(figure: Figure | None, *, difference: bool = False) -> str:
    """ "0.1 to 0.2", "0.1 or more", "0.2 or less", "unbounded" or "not known"."""
    if figure is None or math.isnan(figure.low) or math.isnan(figure.high):
        return UNKNOWN
    said = signed if difference else amount
    low, high = _to_scale(figure.low, figure), _to_scale(figure.high, figure)
    if math.isfinite(low) and math.isfinite(high):
        return f"{said(low)} to {said(high)}"
    if math.isfinite(low):
        return f"{said(low)} or more"
    return f"{said(high)} or less" if math.isfinite(high) else UNBOUNDED


def relative(difference: Figure | None, base: Figure | None) -> str:
    """A difference as a share of what it is added to; "" where that is not positive or not known."""
    if difference is None or base is None or not 0 < base.value < math.inf or not math.isfinite(difference.value):
        return ""
    part = 100 * difference.value / base.value
    return f"{signed(float(f'{part:.3g}'))}{NBSP}%" if math.isfinite(part) else ""


def _to_scale(x: float, figure: Figure) -> float:
    """A number without the digits that its interval makes meaningless, but never rounded to 0."""
    length = figure.high - figure.low
    if not abs(x) < 1e15 or not 0 < length < math.inf:
        return x
    return round(x, 2 - math.floor(math.log10(length))) or float(f"{x:.1g}")
