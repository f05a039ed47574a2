"""The page says what the report holds, whatever that is."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest

from rlbake import vocabulary as v
from rlbake.quality.page import PLOTTED, render
from rlbake.quality.report import QualityReport, facts
from rlbake.specs import Category, Continuous, Discrete, MultiDiscrete, Number
from tests.quality.reports import ROWS, empty, labels, messy, number, report, shop

VOID = ("meta", "br", "hr", "img", "input", "link")


class Page(HTMLParser):
    """The text of a page, and the tags in it; refuses tags that are not closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).replace("\N{NO-BREAK SPACE}", " ").split())


def text(made: QualityReport) -> str:
    return Page(render(made)).text


def test_the_facts_of_a_messy_build():
    page = text(messy())
    for fact in (
        "2 windows, 2026-01-01 to 2026-01-02 (UTC) · built by run 0123abcd",
        "built again: the logs have changed since it was built",
        "nothing changed",
        "2026-01-03 0 no rows: left out",
        "Of 5,000 outcomes, 400 belong to no decision; 3 decisions had no observation at or before them.",
        "300 out_of_range age number outside [0, 120] Clip it. ann at 2026-01-01T10:00:00: 121.0",
        "/tables/shop/quarantine",
        "click: 1 in 10.0 %, else 0",
        "Time to the next decision: always 1 h",
        "1.0 % of the transitions have none: the world ended with them.",
        "Episodes: half have up to 100 steps, the longest 200",
        "Propensities: always 0.04167",
        "spend: 0 in 90.",
        "Missing in 12.5 % of the rows (2,500).",
        "the training window of the champion, main.rl.shop/7 (20,000 transitions)",
    ):
        assert fact in page, fact


def test_the_window_table_holds_every_count():
    table = text(messy()).split("timed out stray", 1)[1].split("A decision becomes", 1)[0]
    assert "2026-01-01 20,000 301 7 20,000 40 0 0 0" in table
    assert "2026-01-02 20,000 0 0 20,000 1,234 2,000 1,000 900" in table


def test_values_from_logs_are_text():
    evil = ["<script>alert(1)</script>", "$\\frac{$", "a\x00b\nc", "日本", "x" * 500, "&amp;", "]]>"]
    profiles = {**shop(), "observation.country": labels(dict.fromkeys(evil, 10)), "action": labels({evil[0]: 10})}
    made = report(profiles=profiles, action=Discrete(evil), observation=(Category("country", evil),))
    page = Page(render(made))
    assert "script" not in page.tags
    assert "country: <script>alert(1)</script> in 14.3 %" in page.text
    assert "<b>bob</b>: <script>" in text(messy())
    json.dumps(facts(made), allow_nan=False)


def test_the_page_needs_nothing_else():
    html = render(messy())
    assert not re.search(r'(?:src|href)="(?!#)', html)
    assert not re.search(r"@import|url\((?!#)", html)
    assert "<script" not in html


def test_every_plot_is_well_formed_with_labelled_axes_and_a_description():
    html = render(messy())
    plots = re.findall(r"<svg.*?</svg>", html, re.DOTALL)
    assert len(plots) == 1 + 2 + 3 + 2 + 4
    for plot in plots:
        root = ElementTree.fromstring(plot)
        assert root.get("aria-label")
        assert root.get("viewBox")
    named = re.findall(r' id="([^"]*)"', html)
    assert len(named) == len(set(named))
    assert html.count("<figcaption>") == len(plots)


def test_the_same_report_gives_the_same_page():
    assert render(messy()) == render(messy())


def test_a_build_without_a_transition():
    page = text(empty())
    assert "There is no transition: 20,000 decisions left open." in page
    assert "Episodes: none has ended in these windows" in page
    assert "Actions: nothing was done" in page
    assert "age: no rows" in page
    json.dumps(facts(empty()), allow_nan=False)


def test_nothing_to_compare_with():
    page = text(report())
    assert "Not measured: there is nothing to compare with yet." in page
    assert "drift (PSI)" not in page
    assert "max_psi" not in report().metrics()


def test_no_propensities():
    page = text(report(profiles={**shop(), v.LOG_PROBABILITY: number([], ROWS)}))
    assert "Propensities: none is known Unknown for 100 % of the decisions (20,000 of 20,000)." in page


def test_continuous_actions():
    rng = np.random.default_rng(0)
    parts = {f"action.{name}": number(rng.normal(size=ROWS)) for name in ("price", "delay")}
    profiles = {name: profile for name, profile in shop().items() if name != v.ACTION} | parts
    page = text(report(profiles=profiles, action=Continuous([-9, -9], [9, 9], ["price", "delay"])))
    assert "action.price: half between" in page
    assert "action.delay: half between" in page
    assert "Densities: always 0.04167" in page
    assert "Propensities: always" not in page


def test_densities_above_one():
    profiles = {**shop(), v.LOG_PROBABILITY: number(np.repeat(np.log([5.0, 20.0]), ROWS // 2))}
    profiles["action.share"] = number(np.full(ROWS, 0.05))
    page = text(report(profiles=profiles, action=Continuous([0.0], [0.1], ["share"])))
    assert "Densities: from 5 to 20" in page


def test_multi_discrete_actions():
    parts = {"action.channel": labels({"mail": ROWS}), "action.tone": labels({"warm": 5_000, "dry": 15_000})}
    profiles = {name: profile for name, profile in shop().items() if name != v.ACTION} | parts
    action = MultiDiscrete({"channel": ["mail", "push"], "tone": ["warm", "dry"]})
    page = text(report(profiles=profiles, action=action))
    assert "channel: mail most often, in 100 % of the decisions" in page
    assert "Never taken: push." in page
    assert "tone: dry most often, in 75.0 % of the decisions" in page


def test_many_actions_are_summed():
    names = [f"item{i:04d}" for i in range(1000)]
    profiles = {**shop(), "action": labels({name: 1 + (i == 7) for i, name in enumerate(names)})}
    page = text(report(profiles=profiles, action=Discrete(names)))
    assert "Actions: item0007 most often" in page
    assert "The other 960 values: 95.9 %." in page


def test_two_hundred_features():
    rng = np.random.default_rng(0)
    names = [f"feature_{i}" for i in range(200)]
    seen = {f"observation.{name}": number(rng.lognormal(0, 1, 2_000)) for name in names}
    before = {**seen, "observation.feature_150": number(rng.lognormal(1, 1, 2_000))}
    rest = {name: profile for name, profile in shop().items() if not name.startswith("observation.")}
    made = report(
        profiles={**seen, **rest},
        reference={**before, **rest},
        relative_to="the window before",
        observation=tuple(map(Number, names)),
    )
    html = render(made)
    page = Page(html).text
    assert len(html) < 2_000_000
    assert f"The {PLOTTED} that have drifted or miss most are drawn; the table has all 200." in page
    assert "feature_150: half between" in page
    assert all(name in page for name in names)


@pytest.mark.parametrize(
    "values",
    [
        [0.0],
        [1e-37, 3e38],
        [-3e38, 3e38],
        [3.14] * 5,
        list(range(1000)),
        [1e15, 1e15 + 1],
        [0.0] * 999 + [1e9],
        [2**60] * 2,
    ],
)
def test_extreme_numbers(values):
    made = report(
        profiles={**shop(), "observation.age": number(values), "time_gap": number(np.abs(values) + 1e-6)},
        reference={**shop(), "observation.age": number([1.0, 2.0, 2.0])},
        relative_to="the window before",
    )
    assert "age" in text(made)
    json.dumps(facts(made), allow_nan=False)
