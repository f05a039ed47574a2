"""The page of an evaluation says what the record supports, in numbers and in words, and no more."""

from __future__ import annotations

import math
from dataclasses import replace
from xml.etree import ElementTree

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from rlbake.evaluation.evaluation import AGENT, BANDIT, CHAMPION, CLONE, FIXED, LOGGED, RULES, Evaluation, Figure
from rlbake.evaluation.page import page
from rlbake.evaluation.words import MINUS, amount, interval, relative, signed
from tests.evaluation.evaluations import (
    Told,
    around,
    evaluation,
    harmful,
    minimal,
    refused,
    support,
    verdict,
)
from tests.quality.test_page import Page

NO_PLOT = {"segments": (), "propensities": None, "drift": None, "simulated": None, "champion_simulated": None}


def text(made: Evaluation, rules: list[Told] | None = None) -> str:
    return Page(page(made, rules or [])).text.replace(MINUS, "-")


def test_a_better_agent():
    said = text(evaluation(), verdict())
    for fact in (
        "Is main.rl.shop/8 better than what runs today? shop · 3 windows, 2026-01-01 to 2026-01-03 (UTC)",
        "better The agent is better than the champion main.rl.shop/7. The estimate is +0.025 reward per decision (95 % "
        "interval +0.015 to +0.035), about 25 % more than the champion main.rl.shop/7 earns.",
        "this can be told from the logs.",
        "A caution: 25.0 % of the probabilities of the logged decisions were estimated, not logged.",
        "The gate stops it: 1 of 3 rules not met. not met drift country has drifted by 0.31, above 0.25. Train "
        "anew. met evidence",
        "The agent is measurably better than 2 of 4 simpler ways to decide.",
        "Whether the agent is better than always “18:00” cannot be told from the logs: The logs took 18:00 in 4 %",
        "Looking ahead earns nothing measurable: the difference to the bandit is -0.006 (95 % interval -0.014 to "
        "+0.002, which holds 0).",
        "The agent does better than imitate: the agent earns 0.0345 more than the imitation",
        "click 0.12 0.1 +0.02 +0.014 to +0.026 +20 % higher",
        "minutes 12.5 12.4 +0.1 -0.4 to +0.6 +0.806 % cannot tell",
        "12 segments were looked at. By chance alone, about 5 % of such intervals miss the truth (0.6 of 12)",
        "the agent is still better than the champion main.rl.shop/7 in 2 segments: country C00, country C01.",
        "Who decided in the logs: main.rl.shop/7 (80.0 %), rules (15.0 %), unknown (5.0 %).",
        "agent 20,000 1,900 6,543 812.5 0.998 23.9 0.31 0 %",
        "By 6 of 6 estimators the agent is estimated above the champion main.rl.shop/7.",
        "dm 0.129† 0.124 to 0.134",
        "average of the logs 0.09 0.088 to 0.092",
        "agent 0.31 0.3 to 0.32 0.1 0.4 0.7 champion 0.25 0.24 to 0.26 0.1 0.4 0.5",
        "In 32.1 % of the decisions the agent's first choice is another than the champion's.",
        "0.87 nats",
        "Yes, in a fresh environment of its own pinned requirements.",
        "country 0.31 much spend 0.14 some age 0.02 little payer 0 little",
        "windows 2026-01-01, 2026-01-02, 2026-01-03 held out 20,000 decisions of 1,900 environments dataset "
        "sha256:8d1f unit reward per decision, gamma 0 estimator dr",
        "m-0123456789abcdef",
        "m-fedcba9876543210",
    ):
        assert fact in said, fact


def test_a_harmful_agent():
    said = text(harmful())
    for fact in (
        "worse The agent is worse than the champion main.rl.shop/7.",
        "about 50 % less than",
        "Worse than the rules: the agent earns 0.045 less than the rules (95 % interval -0.055 to -0.035).",
        "still worse than the champion main.rl.shop/7 in 1 segment: country DE.",
        "By 0 of 6 estimators",
        "Unbounded: the agent does things that the champion never does.",
        "In 100 % of the decisions",
        "No, in a fresh environment of its own pinned requirements. ModuleNotFoundError: No module named 'shop'.",
    ):
        assert fact in said, fact
    assert "agent is better" not in said.replace("Whether the agent is better", "")


def test_a_good_estimate_that_the_logs_cannot_support_is_no_claim():
    made = page(refused())
    said = Page(made).text.replace(MINUS, "-")
    for fact in (
        "cannot tell It cannot be told from the logs whether the agent is better than what was logged. Why not: Every "
        "logged decision was certain (propensity 1): the logs say nothing about other actions.",
        "tail is unbounded, where 0.7 is the most that can be trusted.",
        "+0.4 agent - what was logged for diagnosis, not a claim; 95 %: +0.3 to +0.5",
        "The logs cannot support this comparison:",
        "none of these is a claim",
        "click 0.3 0.1 +0.2 unbounded +200 % cannot tell",
        "Every probability is 1.",
        "agent 20,000 1,900 1 812.5 0.03 unbounded unbounded 100 %",
        "Not known: there is no champion to compare with.",
        "Drift of the inputs is not known",
    ):
        assert fact in said, fact
    assert "this can be told from the logs" not in said
    assert "agent better" not in said
    assert 'class="much"' not in made


def test_nothing_is_known():
    said = text(minimal())
    for fact in (
        "shop · no window ·",
        "It cannot be told from the logs whether the agent is better than what was logged.",
        "The agent was not compared with what was logged.",
        "The logs cannot support this comparison: Nothing is known about how well the logs cover",
        "No outcome beside the reward was evaluated.",
        "No segment was looked at.",
        "Nothing is known about where the probabilities",
        "There is no estimate.",
        "Not tried.",
        "windows none held out 0 decisions of 0 environments dataset not known",
    ):
        assert fact in said, fact
    assert "The gate" not in said
    assert "No simpler way to decide was compared." in text(replace(minimal(), support={AGENT: support()}))


@pytest.mark.parametrize(
    ("difference", "said"),
    [
        (Figure(0.02, 0.0001, 0.04), "better The agent is better than the champion"),
        (Figure(0.02, 0.0, 0.04), "cannot tell The agent and the champion main.rl.shop/7 cannot be told apart."),
        (Figure(0.02, -0.01, 0.05), "That is not proof that they are equal"),
        (Figure(-0.02, -0.04, 0.0), "cannot tell The agent and"),
        (Figure(-0.02, -math.inf, -0.001), "worse The agent is worse than the champion"),
        (Figure(0.0, 0.0, 0.0), "the same No difference: the agent earns exactly what the champion main.rl.shop/7"),
        (Figure(0.02, 0.01, 0.03, claims_coverage=False), "The estimator dr is biased by design"),
        (Figure(math.nan, math.nan, math.nan), "There is no estimate of the difference to the champion"),
        (Figure(0.02, 0.01, math.nan), "There is no estimate of the difference to the champion"),
    ],
)
def test_the_headline_claims_what_the_interval_supports(difference: Figure, said: str):
    assert said in text(evaluation(**NO_PLOT, differences={CHAMPION: difference}))


@pytest.mark.parametrize(
    ("lacking", "said"),
    [
        ({AGENT: support(warnings=("Too little overlap.",))}, "Too little overlap."),
        ({AGENT: support(), CHAMPION: support(warnings=("Only 3 environments.",))}, "Only 3 environments."),
        ({AGENT: support(tail=0.71)}, "tail is 0.71"),
        ({AGENT: support(tail=math.nan)}, "tail is not known"),
        ({}, "Nothing is known about how well the logs cover what the agent would do."),
    ],
)
def test_no_claim_without_support(lacking: dict, said: str):
    made = text(evaluation(**NO_PLOT, support=lacking))
    assert "cannot tell It cannot be told from the logs whether the agent is better" in made
    assert said in made


def test_each_simpler_way_is_read():
    def reading(name: str, difference: Figure) -> str:
        differences = {CHAMPION: around(0.1, 0.01), name: difference}
        return text(evaluation(**NO_PLOT, differences=differences, support={AGENT: support()}))

    more, unclear, less = around(0.1, 0.01), around(0.0, 0.01), around(-0.1, 0.01)
    assert "RL is worth it here: the agent is measurably better than each of 1 simpler way" in reading(FIXED, more)
    assert "Personalisation pays: the agent earns 0.1 more than always “18:00”" in reading(FIXED, more)
    assert "Personalisation earns nothing measurable: the difference to always “18:00” is 0" in reading(FIXED, unclear)
    assert "Personalisation loses: the agent earns 0.1 less" in reading(FIXED, less)
    assert "Looking ahead pays" in reading(BANDIT, more)
    assert "Looking ahead loses" in reading(BANDIT, less)
    assert "An imitation of whoever decided is better" in reading(CLONE, less)
    assert "Learning earns nothing measurable over the rules" in reading(RULES, unclear)
    assert "measurably better than none of 1 simpler way to decide." in reading(RULES, less)
    assert "Better than what was logged" in reading(LOGGED, more)
    assert "The agent against a friend: better: the agent earns 0.1 more" in reading("a friend", more)


def test_bonferroni_of_segments():
    """z(0.975) = 1.960 and z(1 - 0.025/2) = 2.241: ±0.0098 becomes ±0.0112 with two segments."""
    first, second = evaluation().segments[:2]
    made = evaluation(
        segments=(replace(first, difference=around(0.0105, 0.0098)), replace(second, difference=around(0.0115, 0.0098)))
    )
    said = text(made)
    assert "+0.0105 +0.0007 to +0.0203 -0.0007 to +0.0217" in said
    assert "+0.0115 +0.0017 to +0.0213 +0.0003 to +0.0227" in said
    assert "still better than the champion main.rl.shop/7 in 1 segment: country C01." in said


def test_names_are_text():
    evil = ["<script>alert(1)</script>", "$\\frac{$", "a\x00b\nc", "日本", "x" * 500, "&amp;", "]]>", "\ud800"]
    made = evaluation()
    made = replace(
        made,
        model=evil[0],
        champion=evil[0],
        application=evil[5],
        windows=(evil[0], evil[2]),
        dataset_digest=evil[0],
        primary="dr",
        unit=evil[0],
        estimates={name: dict.fromkeys(evil, around(0.1, 0.1)) for name in (*made.estimates, *evil)},
        differences=dict.fromkeys((CHAMPION, FIXED, *evil), around(0.1, 0.2)),
        metrics={name: {AGENT: around(0.1, 0.1)} for name in evil},
        metric_differences=dict.fromkeys(evil, around(0.1, 0.1)),
        segments=tuple(replace(made.segments[0], feature=name, part=name) for name in evil),
        support=dict.fromkeys((AGENT, *evil), support(warnings=(evil[0], evil[7]))),
        propensities=replace(
            made.propensities, source=evil[0], policies=dict.fromkeys(evil, 0.1), by_action=dict.fromkeys(evil, 1.1)
        ),
        fixed_action=evil[0],
        drift=dict.fromkeys(evil, 0.3),
        loads_in=evil[0],
        loads_message=evil[0],
        refusals=(evil[0],),
    )
    html = page(made, [Told(evil[0], False, evil[0]), Told(evil[7], True, evil[2])])
    found = Page(html)
    html.encode()
    assert "\x00" not in html
    assert "script" not in found.tags
    assert "Is <script>alert(1)</script> better than what runs today?" in found.text
    assert "&amp; ·" in found.text
    for part in html.split("<svg")[1:]:
        ElementTree.fromstring("<svg" + part.split("</svg>")[0] + "</svg>")


def test_the_page_needs_nothing_from_elsewhere():
    html = page(evaluation(), verdict())
    tags = Page(html).tags
    assert not {"script", "link", "img", "iframe", "object"} & set(tags)
    assert not [url for url in html.split('"') if url.startswith(("http", "//")) and "w3.org" not in url]
    assert tags.count("svg") == 8


def test_many_of_everything_stay_readable():
    made = evaluation()
    segments = tuple(
        replace(made.segments[0], feature="hour", part=f"part {at}", decisions=1_000 + at) for at in range(60)
    )
    made = replace(
        made,
        segments=segments,
        drift={f"feature {at}": 0.001 * at for at in range(90)},
        propensities=replace(made.propensities, by_action={f"action {at}": 1 + 0.001 * at for at in range(60)}),
        estimates={AGENT: {**made.estimates[AGENT], "wild": Figure(0.1, -1e300, 1e6)}},
    )
    said = text(made)
    assert "The 40 segments of most decisions are drawn; the table has all 60." in said
    assert "The 40 most drifted are drawn; the table has all 90." in said
    assert "The 40 of 60 actions that are furthest from 1." in said
    assert "hour: part 59" in said
    assert "hour: part 19" not in said.replace("hour part", "")
    assert "part 19 1,019" in said
    plot = page(made).split("<figcaption>Each estimator", 1)[1]
    assert "0.12" in plot.split("</figure>")[0]


@pytest.mark.parametrize(
    ("figure", "said"),
    [
        (Figure(0.5, 0.25, 0.75), "0.25 to 0.75"),
        (Figure(0.0266934, -0.0033072, 0.0566934), "-0.0033 to 0.0567"),
        (Figure(0.03, 0.00002, 0.06), "2e-05 to 0.06"),
        (Figure(1.0, 1.0, math.inf), "1 or more"),
        (Figure(1.0, -math.inf, 2.0), "2 or less"),
        (Figure(1.0, -math.inf, math.inf), "unbounded"),
        (Figure(1.0, math.nan, 2.0), "not known"),
    ],
)
def test_intervals(figure: Figure, said: str):
    assert interval(figure).replace(MINUS, "-") == said


def test_numbers():
    assert [amount(x) for x in (-0.0, 1234567.0, math.nan, math.inf, None)] == [
        "0",
        "1,234,567",
        "not known",
        "unbounded",
        "not known",
    ]
    assert [signed(x).replace(MINUS, "-") for x in (0.5, -0.5, 0.0, math.inf)] == ["+0.5", "-0.5", "0", "unbounded"]
    assert relative(around(0.25, 1), around(0.5, 1)) == "+50\N{NO-BREAK SPACE}%"
    assert relative(around(0.25, 1), around(-0.5, 1)) == ""


FLOATS = st.floats()
FIGURES = st.builds(Figure, FLOATS, FLOATS, FLOATS, st.booleans())
NAMES = st.sampled_from([AGENT, CHAMPION, LOGGED, FIXED, BANDIT]) | st.text(max_size=5)
BY_NAME = st.dictionaries(NAMES, FIGURES, max_size=4)
MADE = st.builds(
    Evaluation,
    model=st.text(max_size=9),
    model_id=st.text(max_size=9),
    champion=st.none() | st.text(max_size=9),
    champion_id=st.none() | st.text(max_size=9),
    application=st.text(max_size=9),
    windows=st.lists(st.text(max_size=9), max_size=3).map(tuple),
    dataset_digest=st.text(max_size=9),
    decisions=st.integers(0, 10**12),
    environments=st.integers(0, 10**12),
    gamma=FLOATS,
    primary=st.sampled_from(["dr", "ips"]),
    unit=st.just("reward per decision"),
    estimates=st.dictionaries(NAMES, st.dictionaries(st.sampled_from(["dr", "ips", LOGGED]), FIGURES), max_size=3),
    differences=BY_NAME,
    metrics=st.dictionaries(st.text(max_size=5), BY_NAME, max_size=2),
    metric_differences=BY_NAME,
    support=st.sampled_from([{}, {AGENT: support()}]),
    drift=st.none() | st.dictionaries(st.text(max_size=5), FLOATS, max_size=3),
)


@given(made=MADE, refusals=st.lists(st.text(max_size=9), max_size=1))
@settings(
    max_examples=40,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),  # pages are too slow to shrink
    suppress_health_check=[HealthCheck.too_slow],
)
def test_any_evaluation_renders_and_claims_no_more_than_it_holds(made: Evaluation, refusals: list[str]):
    html = page(replace(made, refusals=tuple(refusals)))
    html.encode()
    said = Page(html).text
    today = CHAMPION if made.champion or CHAMPION in made.differences else LOGGED
    difference = made.differences.get(today)
    for claim, excluded in (("better", lambda d: d.low > 0), ("worse", lambda d: d.high < 0)):
        if f"The agent is {claim} than" in said:
            assert difference is not None
            assert excluded(difference)
            assert difference.claims_coverage
            assert made.support
            assert not refusals
