"""A sweep in pictures: interactive ones by Plotly for a browser, still ones by matplotlib for a document."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from rlbake.sweep.importance import Importance
from rlbake.sweep.objective import DONE, Trial
from rlbake.sweep.space import CHOICE, LOGARITHMIC, Parameter, Space

BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#9a9a9a"  # of Okabe and Ito's palette
_COLOURS = "viridis"
_TICKS = 5


def coordinates_page(trials: Sequence[Trial], space: Space) -> str:
    """Parallel coordinates as a web page of its own: every trial with a score is a line, coloured by it."""
    scored = _scored(trials)
    scores = [score for _, score in scored]
    axes = [_axis(parameter, [trial for trial, _ in scored]) for parameter in space]
    dimensions = [
        {"label": label, "values": places, "tickvals": at, "ticktext": texts, "range": [0, 1]}
        for label, places, at, texts in axes
    ]
    dimensions.append({"label": "score", "values": scores})
    line = {"color": scores, "colorscale": _COLOURS, "showscale": True, "colorbar": {"title": "score"}}
    figure = go.Figure(go.Parcoords(line=line, dimensions=dimensions, labelangle=-15))
    return _page(figure, "Every trial is a line. Drag along an axis to look at a part of them.")


def coordinates_picture(trials: Sequence[Trial], space: Space) -> bytes:
    """The same as PNG."""
    scored = sorted(_scored(trials), key=lambda one: one[1])  # the best ones are drawn last, on top
    figure, axes = _figure(max(6.0, 1.3 * (len(space) + 1)), 4.2)
    scores = [score for _, score in scored]
    low, high = min(scores), max(scores)
    norm = Normalize(low, high if high > low else low + 1)
    colours = colormaps[_COLOURS](norm(np.array(scores)))
    columns = [_axis(parameter, [trial for trial, _ in scored]) for parameter in space]
    places = np.array([column[1] for column in columns] + [[_between(score, low, high) for score in scores]])
    for line, colour in zip(places.T, colours, strict=True):
        axes.plot(range(len(places)), line, color=colour, linewidth=1.1, alpha=0.85)
    names = [*(column[0].removeprefix("agent.") for column in columns), "score"]
    axes.set_xticks(range(len(places)), names, rotation=15, ha="right")
    axes.set_yticks([])
    axes.set_ylim(-0.05, 1.05)
    ticks = [(at, texts) for _, _, at, texts in columns] + [([0.0, 1.0], [f"{low:.3g}", f"{high:.3g}"])]
    for number, (at, texts) in enumerate(ticks):
        axes.axvline(number, color=GREY, linewidth=0.6)
        for place, text in zip(at, texts, strict=True):
            axes.text(number + 0.03, place, text, fontsize=7, va="center")
    figure.colorbar(ScalarMappable(norm, _COLOURS), ax=axes, label="score")
    return _png(figure)


def curves_page(trials: Sequence[Trial], best: Trial, x_label: str) -> str:
    """The learning curve of every trial as a web page of its own, the best one's on top."""
    figure = go.Figure()
    for trial in sorted(_with_curves(trials), key=lambda trial: trial.number == best.number):
        curve, is_best = _curve(trial), trial.number == best.number
        colour = BLUE if is_best else GREY if trial.status == DONE else ORANGE
        told = "<br>".join(f"{path} = {_text(value)}" for path, value in trial.point.items())
        figure.add_scatter(
            x=list(range(1, len(curve) + 1)),
            y=curve,
            mode="lines+markers",
            name=f"{trial.name}{'' if trial.status == DONE else ', stopped'}{', best' if is_best else ''}",
            line={"color": colour, "width": 3 if is_best else 1},
            hovertemplate=f"{trial.name}: %{{y:.3f}}<br>{told}<extra></extra>",
        )
    figure.update_layout(xaxis_title=x_label, yaxis_title="mean score", xaxis={"dtick": 1})
    return _page(figure, "The mean score of every trial. A click on a name hides it; a double click leaves it alone.")


def curves_picture(trials: Sequence[Trial], best: Trial, x_label: str) -> bytes:
    """The same as PNG."""
    figure, axes = _figure(6.0, 3.8)
    for trial in _with_curves(trials):
        curve = _curve(trial)
        colour = GREY if trial.status == DONE else ORANGE
        axes.plot(range(1, len(curve) + 1), curve, color=colour, linewidth=0.8, marker=".", markersize=4)
    curve, named = _curve(best), f"{best.name}, the best"
    axes.plot(range(1, len(curve) + 1), curve, color=BLUE, linewidth=2.2, marker="o", label=named)
    axes.plot([], [], color=GREY, label="finished")
    axes.plot([], [], color=ORANGE, label="stopped early")
    axes.set_xlabel(x_label)
    axes.set_ylabel("mean score")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False, fontsize=8)
    return _png(figure)


def importance_picture(found: Sequence[Importance]) -> bytes:
    """One bar for every hyperparameter, the most important on top, as PNG."""
    figure, axes = _figure(7.0, 1.0 + 0.32 * len(found))
    places = range(len(found))
    axes.barh(places, [one.fall for one in found], xerr=[one.spread for one in found], color=BLUE, ecolor=GREY)
    axes.set_yticks(places, [one.path for one in found])
    axes.invert_yaxis()
    axes.set_xlabel("fall of R² when shuffled (whiskers: spread over shuffles)")
    return _png(figure)


def _scored(trials: Sequence[Trial]) -> list[tuple[Trial, float]]:
    return [(trial, trial.outcome.score) for trial in trials if trial.outcome]


def _with_curves(trials: Sequence[Trial]) -> list[Trial]:
    return [trial for trial in trials if trial.outcome]


def _curve(trial: Trial) -> list[float]:
    assert trial.outcome is not None  # of those with curves
    return trial.outcome.learning_curve


def _axis(parameter: Parameter, trials: Sequence[Trial]) -> tuple[str, list[float], list[float], list[str]]:
    """A hyperparameter's name, where in [0, 1] each trial has it, and the ticks: where, and what they say."""
    values: list[Any] = [trial.point[parameter.path] for trial in trials]
    if parameter.prior == CHOICE:
        steps = max(1, len(parameter.values) - 1)
        return (
            parameter.path,
            [parameter.values.index(value) / steps for value in values],
            [number / steps for number in range(len(parameter.values))],
            [_text(value) for value in parameter.values],
        )
    scale = math.log if parameter.prior in LOGARITHMIC else float
    low, high = scale(parameter.low), scale(parameter.high)
    at = list(np.linspace(0, 1, _TICKS))
    unscaled = np.exp if parameter.prior in LOGARITHMIC else float
    texts = [f"{unscaled(low + place * (high - low)):.3g}" for place in at]
    return parameter.path, [_between(scale(value), low, high) for value in values], at, texts


def _between(value: float, low: float, high: float) -> float:
    return (value - low) / (high - low) if high > low else 0.5


def _text(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else value if isinstance(value, str) else json.dumps(value)


def _page(figure: go.Figure, explained: str) -> str:
    figure.update_layout(template="plotly_white", title={"text": explained, "font": {"size": 14}}, margin={"t": 110})
    return figure.to_html(include_plotlyjs=True, full_html=True)  # by itself, without a network


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure((width, height), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()
