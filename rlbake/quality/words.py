"""Numbers as people read them."""

from __future__ import annotations

import math
from collections.abc import Sequence

NBSP = "\u00a0"  # keeps a number and its unit on one line

_UNITS = ((86_400.0, "d"), (3_600.0, "h"), (60.0, "min"), (1.0, "s"))


def count(n: int) -> str:
    """1234567 → 1,234,567."""
    return f"{n:,}"


def counted(n: int, one: str, many: str | None = None) -> str:
    """1 → "1 row", 2 → "2 rows"."""
    return f"{n:,}{NBSP}{one if n == 1 else many or one + 's'}"


def percent(share: float) -> str:
    """0.1234 → 12.3 %; 0 % only for none and 100 % only for all."""
    if share in (0, 1):
        return f"{share * 100:.0f}{NBSP}%"
    if share < 1e-4:
        return f"<{NBSP}0.01{NBSP}%"
    if share > 1 - 1e-4:
        return f">{NBSP}99.99{NBSP}%"
    return f"{share * 100:.{1 if 0.01 <= share <= 0.99 else 2}f}{NBSP}%"


def rounded(share: float) -> str:
    """0.2 → 20 %: a round share, as on an axis."""
    return f"{share * 100:.4g}{NBSP}%"


def number(x: float) -> str:
    """Up to four significant digits, but whole numbers whole: 1234567 → 1,234,567, 0.123456 → 0.1235."""
    magnitude = abs(x)
    if not math.isfinite(x) or magnitude >= 1e15 or 0 < magnitude < 1e-4:
        text = f"{x:.3g}"
    elif magnitude >= 1000 or x == int(x):
        text = f"{x:,.0f}"
    else:
        text = f"{x:.4g}"
    return text.replace("-", "\u2212")


def length(seconds: float) -> str:
    """90 → 1.5 min; of the largest unit that it fills."""
    for size, unit in _UNITS:
        if seconds >= size:
            return f"{number(float(f'{seconds / size:.3g}'))}{NBSP}{unit}"
    return f"{number(float(f'{seconds:.3g}'))}{NBSP}s"


def listed(names: Sequence[str], most: int = 10) -> str:
    """The first of them, and how many more there are."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more:,} more" if more > 0 else "")


def shortened(text: str, most: int = 28) -> str:
    """Printable, on one line, and cut in the middle if it is long."""
    line = "".join(character if character.isprintable() else "\u2423" for character in text)
    return line if len(line) <= most else f"{line[: most // 2]}\u2026{line[-(most - most // 2 - 1) :]}"
