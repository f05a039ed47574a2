"""Plots of estimates with their intervals, in the style of all pages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from rlbake.evaluation.evaluation import Figure
from rlbake.quality.plots import BLUE, GREY, INK, WIDTH, drawing
from rlbake.quality.words import number, rounded, shortened

CIRCLE, SQUARE, DIAMOND = "o", "s", "D"

_DRAWABLE = 1e100  # numbers beyond it would overflow the axis
_FAR = 8.0
"""An interval that reaches further than so many usual lengths goes on beyond the edge, as an arrow."""


@dataclass(frozen=True)
class Mark:
    """An estimate to draw: what it is called in the legend, and how it looks."""

    figure: Figure
    colour: str = GREY
    shape: str = SQUARE
    name: str = ""


def forest_plot(
    rows: Sequence[tuple[str, Sequence[Mark]]],
    *,
    x_label: str,
    described: str,
    lines: Sequence[float] = (),
    wide: bool = False,
) -> Markup:
    """Estimates with intervals, one row each, from the top; hollow and dashed where coverage is not claimed.

    Args:
        rows: label and marks, which stand below each other.
        lines: numbers to compare with, drawn across all rows.
        wide: twice the width.
    """
    marks = [mark for _, several in rows for mark in several]
    low, high = _limits([mark.figure for mark in marks], lines)
    most = max((len(several) for _, several in rows), default=1)
    row = (0.1 if len(rows) <= 12 else 0.04) + 0.14 * max(most, 1)
    height = 0.75 + row * max(len(rows), 1) + (0.2 if _legend(marks) else 0)
    with drawing(described, width=2 * WIDTH if wide else WIDTH, height=height) as (axes, svg):
        for line in lines:
            axes.axvline(line, color=INK, linewidth=0.8, linestyle=(0, (2, 2)), zorder=1)
        for place, (_, several) in enumerate(rows):
            for at, mark in enumerate(several):
                _draw(axes, mark, place + (at - (len(several) - 1) / 2) * 0.6 / most, low, high)
        axes.set_xlim(low, high)
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.set_yticks(range(len(rows)), [shortened(label, 40 if wide else 26) for label, _ in rows])
        axes.tick_params(axis="y", length=0)
        axes.grid(visible=True, axis="x")
        axes.grid(visible=False, axis="y")
        axes.xaxis.set_major_locator(MaxNLocator(7 if wide else 4))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: number(float(f"{x:.6g}"))))
        axes.set_xlabel(x_label)
        if names := _legend(marks):
            handles = [
                Line2D([], [], color=colour, marker=shape, linestyle="-", markersize=4, label=name)
                for name, (colour, shape) in names.items()
            ]
            axes.legend(
                handles=handles, loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False, borderaxespad=0
            )
    return svg()


def reliability_plot(bins: Sequence[tuple[float, float, int]], *, described: str) -> Markup:
    """Predicted probabilities against how often it was so; the larger the dot, the more rows."""
    predicted, observed, rows = np.array(bins, np.float64).T
    sizes = 12 + 90 * rows / max(rows.max(), 1)
    with drawing(described, height=2.6) as (axes, svg):
        axes.plot([0, 1], [0, 1], color=INK, linewidth=0.8, linestyle=(0, (2, 2)))
        axes.scatter(predicted, observed, sizes, color=BLUE, alpha=0.75, linewidths=0)
        axes.set_xlim(-0.03, 1.03)
        axes.set_ylim(-0.03, 1.03)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(5))
            axis.set_major_formatter(FuncFormatter(lambda share, _: rounded(share)))
        axes.set_xlabel("estimated probability")
        axes.set_ylabel("share that was so")
    return svg()


def _legend(marks: Sequence[Mark]) -> dict[str, tuple[str, str]]:
    return {mark.name: (mark.colour, mark.shape) for mark in marks if mark.name}


def _draw(axes: Axes, mark: Mark, place: float, low: float, high: float) -> None:
    figure = mark.figure
    if np.isnan(figure.value):
        axes.text((low + high) / 2, place, "not known", va="center", ha="center", fontsize=7, color=GREY)
        return
    dashed = "solid" if figure.claims_coverage else (0, (3, 2))
    if not np.isnan(figure.low) and not np.isnan(figure.high):
        ends = np.clip([figure.low, figure.high], low, high)
        axes.plot(ends, [place, place], color=mark.colour, linewidth=1.4, linestyle=dashed, zorder=2)
        for beyond, edge, arrow in ((figure.low < low, low, "<"), (figure.high > high, high, ">")):
            if beyond:
                axes.plot(edge, place, arrow, color=mark.colour, markersize=4, clip_on=False, zorder=3)
    if low <= figure.value <= high:
        filled = mark.colour if figure.claims_coverage else "white"
        axes.plot(figure.value, place, mark.shape, color=filled, markeredgecolor=mark.colour, markersize=4.5, zorder=3)
    else:
        edge, arrow = (low, "<") if figure.value < low else (high, ">")
        axes.plot(edge, place, arrow, color=mark.colour, markersize=6, clip_on=False, zorder=3)


def _limits(figures: Sequence[Figure], lines: Sequence[float]) -> tuple[float, float]:
    """An axis that shows the usual intervals whole, and no outlier makes them unreadable."""
    values = _drawable([figure.value for figure in figures])
    inner = [*values, *_drawable(lines)]
    if not inner:
        return 0.0, 1.0
    lengths = _drawable([figure.high - figure.low for figure in figures])
    spread = max(float(np.median(lengths)) if lengths else 0.0, float(np.subtract(*np.percentile(inner, [75, 25]))))
    reach = _FAR * spread if spread > 0 else np.inf
    middle = float(np.median(inner))
    ends = [*values, *_drawable([end for figure in figures for end in (figure.low, figure.high)])]
    shown = [*(end for end in ends if abs(end - middle) <= reach), middle, *_drawable(lines)]
    low, high = min(shown), max(shown)
    margin = 0.05 * (high - low) or 0.05 * abs(low) or 1.0
    return low - margin, high + margin


def _drawable(numbers: Sequence[float]) -> list[float]:
    return [x for x in numbers if abs(x) < _DRAWABLE]
