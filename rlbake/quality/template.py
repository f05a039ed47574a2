"""HTML templates that share one style."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import jinja2
from markupsafe import Markup

from rlbake.quality.words import count, percent

_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Card:
    """A plot with words: a title that says what there is to see, the plot, and what it does not show."""

    title: str
    plot: Markup | None
    notes: tuple[str, ...] = ()


def template(path: Path) -> jinja2.Template:
    """The template in a file, which may include `style.css`, and `cards` from `cards.html`. What is put in is text."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([path.parent, _HERE]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"count": count, "percent": percent}
    return environment.get_template(path.name)
