"""A lineage as a tree to read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from rlbake.tracking.dataset import Source, span
from rlbake.tracking.lineage import BuildNode, DatasetNode, Lineage, ModelNode, ParentNode, RunNode


@dataclass
class Branch:
    """A line, and those below it."""

    text: str
    below: list[Branch] = field(default_factory=list)

    def lines(self, first: str = "", rest: str = "") -> Iterator[str]:
        yield first + self.text
        for i, branch in enumerate(self.below):
            last = i == len(self.below) - 1
            yield from branch.lines(rest + ("└─ " if last else "├─ "), rest + ("   " if last else "│  "))


def lineage_tree(lineage: Lineage) -> Branch:
    """Back to the sources first, then forward to what used the model and its data."""
    model = lineage.model
    aliases = f" ({', '.join(lineage.aliases)})" if lineage.aliases else ""
    back = Branch(
        f"trained by {_run(lineage.training)}" if lineage.training else f"training run {model.run_id} is gone",
        [_dataset(node) for node in lineage.datasets],
    )
    back.below += [_parent(node) for node in lineage.started_from]
    if not lineage.datasets:
        back.below.append(Branch("no trajectory dataset is recorded"))
    uses = Branch("used by" if lineage.uses else "not used by any run yet", [Branch(_run(r)) for r in lineage.uses])
    below = [Branch(f"artifacts in {model.source}"), back, uses]
    if lineage.siblings:
        below.append(Branch("trained on the same data", [model_branch(m) for m in lineage.siblings]))
    return Branch(f"{model.policy_version}{aliases}: logged model {model.model_id}", below)


def model_branch(model: ModelNode) -> Branch:
    """One line for a model."""
    registered = ", ".join(model.versions) or "not registered"
    return Branch(f"{registered}: logged model {model.model_id}, run {model.run_id}")


def _parent(node: ParentNode) -> Branch:
    if node.model is None:
        return Branch(f"started from logged model {node.model_id}, which is gone")
    return Branch(f"started from {model_branch(node.model).text}", [_parent(other) for other in node.started_from])


def _dataset(node: DatasetNode) -> Branch:
    dataset = node.dataset
    text = (
        f"{node.context} on {dataset.name}: {dataset.rows:,} transitions of {span(dataset.windows)}, "
        f"digest {dataset.digest}"
    )
    table = Branch(f"version {dataset.version} of {dataset.uri}")
    return Branch(text, [table, *(_build(build) for build in node.builds)])


def _build(build: BuildNode) -> Branch:
    if build.run is None:
        return Branch(f"built by run {build.run_id}, which is gone")
    read = [Branch(line) for line in _sources(build.sources)]
    return Branch(f"built by {_run(build.run)}", read or [Branch("no source is recorded")])


def _sources(sources: Sequence[Source]) -> Iterator[str]:
    ordered = sorted(sources, key=lambda s: (s.name, s.location, s.window))
    for (name, location), group in groupby(ordered, key=lambda s: (s.name, s.location)):
        parts = list(group)
        counted = [s.rows for s in parts if s.rows is not None]
        rows = f"{sum(counted):,} rows" if len(counted) == len(parts) else "uncounted rows"
        yield f"read {name}: {rows} of {location}, {span([s.window for s in parts])}"


def _run(run: RunNode) -> str:
    code = f", commit {run.commit[:10]}{' with changes' if run.dirty else ''}" if run.commit else ""
    window = f" {run.window}" if run.window else ""
    status = "" if run.status == "FINISHED" else f", {run.status}"
    return f"{run.stage or 'run'}{window}: run {run.run_id}{code}{status}"
