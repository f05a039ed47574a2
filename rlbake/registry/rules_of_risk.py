"""Rules about what could go wrong on the day of the change."""

from __future__ import annotations

from rlbake.registry.config import FRESH
from rlbake.registry.contest import AGAIN, Contest, RuleResult


def drift(contest: Contest) -> RuleResult:
    """The largest population stability index of a feature, against the champion's training, keeps to the limit."""
    limit, ignored = contest.config.max_drift, contest.config.ignored_drift
    if contest.champion is None:
        return RuleResult("drift", True, "there is no champion whose inputs could have drifted.")
    known = contest.evaluation.drift or {}
    found = {feature: index for feature, index in known.items() if feature not in ignored}
    if known and not found:
        return RuleResult("drift", True, "all features may drift as they like.")
    if not found:
        said = f"the drift of the inputs since the training of {contest.against} is not known. {AGAIN}."
        return RuleResult("drift", False, said)
    worst = max(found, key=lambda feature: (not found[feature] <= limit, found[feature]))
    passed = found[worst] <= limit
    said = (
        f"{worst} has drifted most since {contest.against} was trained: stability index {found[worst]:.4g}, "
        f"{'not ' if passed else ''}above {limit:g}."
    )
    return RuleResult("drift", passed, said, dict(found))


def environment(contest: Contest) -> RuleResult:
    """The model loads and predicts outside of the process that trained it."""
    found, wanted = contest.evaluation, contest.config.loads_in
    places = {"fresh": "a fresh environment of its own requirements", "process": "a process of its own"}
    if found.loads is None or (wanted == FRESH and found.loads_in != FRESH):
        said = f"{contest.who} has not been tried in {places[wanted]}. {AGAIN} with the same gate."
        return RuleResult("environment", False, said)
    place = places.get(found.loads_in or "", "a process of its own")
    if not found.loads:
        return RuleResult("environment", False, f"{contest.who} does not work in {place}: {found.loads_message}")
    return RuleResult("environment", True, f"{contest.who} loads and predicts in {place}.")


def change(contest: Contest) -> RuleResult:
    """Share of changed greedy decisions and KL divergence from the champion keep to the budget."""
    found, config = contest.evaluation, contest.config
    if contest.champion is None:
        return RuleResult("change", True, "there is no champion to differ from.")
    numbers = {name: n for name, n in (("flips", found.flips), ("kl", found.kl)) if n is not None}
    limits = {name: n for name, n in (("flips", config.max_flips), ("kl", config.max_kl)) if n is not None}
    missing = [name for name in limits if name not in numbers]
    if missing:
        said = f"it is not known how much {contest.who} changes ({', '.join(missing)}). {AGAIN}."
        return RuleResult("change", False, said, numbers)
    broken = [name for name, limit in limits.items() if not numbers[name] <= limit]
    forms = {"flips": f"decides otherwise than {contest.against} in {{:.1%}} of cases", "kl": "differs by {:.4g} nats"}
    told = [f"{forms[name].format(n)}{_budget(limits.get(name), name in broken)}" for name, n in numbers.items()]
    sentence = f"{contest.who} {', and '.join(told)}." if told else "no budget for changes is set."
    return RuleResult("change", not broken, sentence, numbers)


def _budget(limit: float | None, broken: bool) -> str:
    return "" if limit is None else f", {'more than' if broken else 'within'} the budget {limit:g}"
