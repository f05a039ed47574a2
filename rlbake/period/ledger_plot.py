"""The ledger as a picture: promised bands, earned points, and how often they agree."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from rlbake.quality.plots import BLUE, GREY, INK, ORANGE

if TYPE_CHECKING:
    from rlbake.period.ledger import Entry

NOMINAL = 0.95
_LABELS = 12  # windows that are named along the axis, at most


def draw(entries: Sequence[Entry], coverage: Mapping[str, float], title: str) -> bytes:
    """A PNG: per unit what was promised against what was earned, over windows, and below it the coverage so far."""
    units = list(dict.fromkeys(entry.unit for entry in entries))
    windows = sorted({entry.window for entry in entries})
    figure = Figure(figsize=(9, 2.9 * len(units) + 1.9), layout="constrained")
    FigureCanvasAgg(figure)
    heights = [2.9] * len(units) + [1.5]
    *above, below = figure.subplots(len(units) + 1, 1, sharex=True, height_ratios=heights, squeeze=False)[:, 0]
    for axes, unit in zip(above, units, strict=True):
        _amounts(axes, [entry for entry in entries if entry.unit == unit], windows)
        axes.set_ylabel(unit)
    above[0].set_title(f"{title}: promised and earned", color=INK, parse_math=False)
    below.plot([windows.index(w) for w in coverage], list(coverage.values()), color=BLUE, marker=".")
    below.axhline(NOMINAL, color=GREY, linestyle="--", linewidth=1)
    below.set_ylim(-0.03, 1.03)
    below.set_ylabel("share kept so far")
    step = -(-len(windows) // _LABELS)
    below.set_xticks(range(0, len(windows), step), windows[::step], rotation=30, ha="right")
    below.set_xlim(-0.6, len(windows) - 0.4)
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=110)
    return drawn.getvalue()


def _amounts(axes: Axes, entries: Sequence[Entry], windows: Sequence[str]) -> None:
    known = set()
    for version in dict.fromkeys(entry.version for entry in entries):
        own = [entry for entry in entries if entry.version == version]
        at = [windows.index(entry.window) for entry in own]
        edges = [at[0] - 0.4, at[-1] + 0.4]
        axes.fill_between(edges, own[0].promised_low, own[0].promised_high, color=GREY, alpha=0.2, linewidth=0)
        axes.hlines(own[0].promised, edges[0], edges[1], color=GREY, linewidth=1.2)
        number = version.rpartition("/")[2]
        axes.annotate(
            f"v{number}", (edges[0], own[0].promised_high), xytext=(2, 2), textcoords="offset points", color=GREY
        )
        for entry, place in zip(own, at, strict=True):
            colour, mark, label = (ORANGE, "X", "breach") if entry.breach else (BLUE, "o", "earned")
            if math.isfinite(entry.earned_low) and math.isfinite(entry.earned_high):
                axes.vlines(place, entry.earned_low, entry.earned_high, color=colour, linewidth=1.2)
            axes.plot(place, entry.earned, mark, color=colour, label=None if label in known else label)
            known.add(label)
    axes.fill_between([], [], color=GREY, alpha=0.2, label="promised, 95 %")
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
