"""Plots as inline SVG, by matplotlib's objects: no state is shared with whoever else plots.

The colours are of Okabe and Ito's palette, which the colour-blind can tell apart
(https://jfly.uni-koeln.de/color/). Text comes from logs: it is never read as mathematics.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from rlbake.features.profile import Profile
from rlbake.quality.histogram import Histogram, histograms
from rlbake.quality.words import count, length, number, percent, rounded, shortened

BLUE, ORANGE, GREY, INK = "#0072B2", "#D55E00", "#6b6b6b", "#222222"

WIDTH, HEIGHT = 3.9, 2.1  # inches

_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "axes.formatter.use_mathtext": False,
    "font.size": 8,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": GREY,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": "#e3e3e3",
    "grid.linewidth": 0.6,
}
_LENGTHS = (0.001, 0.01, 0.1, 1, 10, 60, 600, 3_600, 6 * 3_600, 86_400, 7 * 86_400, 60 * 86_400, 365 * 86_400)
_UNREFERRED = re.compile(r' id="(?!(?:m|p|h)[0-9a-f]{10})[^"]*"')


def distribution_plot(
    profile: Profile,
    *,
    x_label: str,
    y_label: str,
    described: str,
    reference: Profile | None = None,
    log: bool = False,
    as_length: bool = False,
    within: tuple[float, float] | None = None,
) -> Markup:
    """The histogram of a number that has a value.

    Frequent values stand by themselves in orange. The dark outline and dots are the reference.

    Args:
        described: what the plot shows, for whoever cannot see it.
        log: the axis is logarithmic; all values must be positive.
        as_length: the numbers are seconds.
        within: what the axis covers at least.
    """
    profiles = [profile, *([reference] if reference is not None and reference.present else [])]
    drawn, *others = histograms(profiles, log=log, within=within)
    with drawing(described) as (axes, svg):
        if log:
            axes.set_xscale("log")
        if len(drawn.edges):
            _bins(axes, drawn, others, log)
        else:
            _values(axes, drawn, others)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: rounded(share)))
        axes.set_ylim(bottom=0)
        _number_axis(axes, as_length=as_length, log=log, few=drawn.values if not len(drawn.edges) else None)
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
    return svg()


def bars_plot(
    labels: Sequence[str],
    shares: Sequence[float],
    *,
    x_label: str,
    y_label: str,
    described: str,
    reference: Sequence[float] | None = None,
) -> Markup:
    """One horizontal bar for each label, in the order given, from the top; the dots are the reference."""
    places = range(len(labels))
    with drawing(described, height=max(1.2, 0.75 + 0.19 * len(labels))) as (axes, svg):
        axes.barh(places, shares, height=0.72, color=BLUE)
        if reference is not None:
            axes.plot(reference, places, "o", color="white", markeredgecolor=INK, markersize=4)
        most = max([*shares, *(reference or []), 1e-9])
        for place, share in zip(places, shares, strict=True):
            beside = max(share, reference[place] if reference else 0)
            axes.text(beside + 0.035 * most, place, percent(share), va="center", fontsize=7)
        axes.set_xlim(0, most * 1.25)
        axes.set_ylim(len(labels) - 0.4, -0.6)
        axes.set_yticks(places, [shortened(label) for label in labels])
        axes.tick_params(axis="y", length=0)
        axes.grid(visible=False)
        axes.xaxis.set_major_locator(FixedLocator([t for t in MaxNLocator(4).tick_values(0, most) if t <= most]))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda share, _: rounded(share)))
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
    return svg()


def windows_plot(labels: Sequence[str], parts: Sequence[tuple[str, str, Sequence[int]]], *, described: str) -> Markup:
    """Stacked bars, one for each window.

    Args:
        parts: name, colour and a number for each window, from the bottom up.
    """
    places, below = np.arange(len(labels)), np.zeros(len(labels))
    with drawing(described, width=2 * WIDTH) as (axes, svg):
        for name, colour, numbers in parts:
            axes.bar(places, numbers, bottom=below, color=colour, label=name, width=0.8)
            below = below + np.asarray(numbers)
        axes.margins(y=0.08)
        every = -(-len(labels) // 7)
        axes.set_xticks(places[::every], [shortened(label) for label in labels[::every]])
        axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda n, _: count(int(n))))
        axes.set_xlabel("window (UTC)")
        axes.set_ylabel("decisions")
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=len(parts), frameon=False, borderaxespad=0)
    return svg()


def _bins(axes: Axes, drawn: Histogram, others: Sequence[Histogram], log: bool) -> None:
    edges = drawn.edges
    axes.bar(edges[:-1], drawn.shares, np.diff(edges), align="edge", color=BLUE, edgecolor="white", linewidth=0.3)
    low, high = (np.log(edges[0]), np.log(edges[-1])) if log else (edges[0], edges[-1])
    half = 0.008 * (high - low)
    for value, share in zip(drawn.values, drawn.value_shares, strict=True):
        at = np.log(value) if log else value
        left, right = (np.exp(at - half), np.exp(at + half)) if log else (at - half, at + half)
        axes.bar(left, share, right - left, align="edge", color=ORANGE)
    margin = 0.02 * (high - low)
    axes.set_xlim(*((np.exp(low - margin), np.exp(high + margin)) if log else (low - margin, high + margin)))
    for other in others:
        axes.stairs(other.shares, edges, color=INK, linewidth=0.9, baseline=None)
        axes.plot(other.values, other.value_shares, "o", color="white", markeredgecolor=INK, markersize=4)


def _values(axes: Axes, drawn: Histogram, others: Sequence[Histogram]) -> None:
    gap = np.diff(drawn.values).min() if len(drawn.values) > 1 else 1.0
    axes.bar(drawn.values, drawn.value_shares, 0.7 * gap, color=BLUE)
    axes.set_xlim(drawn.values[0] - gap, drawn.values[-1] + gap)
    for other in others:
        axes.plot(other.values, other.value_shares, "o", color="white", markeredgecolor=INK, markersize=4)


def _number_axis(axes: Axes, *, as_length: bool, log: bool, few: np.ndarray | None) -> None:
    said: Callable[[float], str] = length if as_length else number
    low, high = axes.get_xlim()
    if log and as_length:
        ticks = [tick for tick in _LENGTHS if low <= tick <= high]
        ticks = ticks[:: -(-len(ticks) // 5) or 1]
    elif log:
        tens = 10.0 ** np.arange(np.ceil(np.log10(low)), np.floor(np.log10(high)) + 1)
        ticks = tens[:: -(-len(tens) // 6) or 1].tolist()
    elif few is not None and len(few) <= 6:
        ticks = few.tolist()
    else:
        ticks = []
    if len(ticks) >= 2 or few is not None:
        axes.xaxis.set_major_locator(FixedLocator(ticks) if ticks else MaxNLocator(6, integer=True))
    elif as_length:
        unit = next((size for size in (86_400, 3_600, 60) if high - low >= 3 * size), 1)
        axes.xaxis.set_major_locator(
            FixedLocator([t * unit for t in MaxNLocator(5).tick_values(low / unit, high / unit)])
        )
        axes.set_xlim(low, high)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: said(x)))


@contextmanager
def drawing(
    described: str, width: float = WIDTH, height: float = HEIGHT
) -> Iterator[tuple[Axes, Callable[[], Markup]]]:
    """Axes to draw on within the block, and what gives the SVG after it."""
    written = io.StringIO()

    def svg() -> Markup:
        text = written.getvalue()
        text = _UNREFERRED.sub("", text[text.index("<svg") :])
        head, rest = text.split(">", 1)
        head = re.sub(r' (?:width|height)="[^"]*"', "", head)
        return Markup(f'{head} role="img" aria-label="{Markup.escape(described)}">{rest}')

    salt = {"svg.hashsalt": described}  # so that no two plots on a page share the name of a part
    with matplotlib.rc_context(_STYLE | salt), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # the reader's fonts may have it
        figure = Figure(figsize=(width, height), layout="constrained")
        axes = figure.add_subplot()
        yield axes, svg
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        FigureCanvasSVG(figure).print_svg(written, metadata=nothing)
