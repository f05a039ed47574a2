"""One file per agent, each with `FACTS`, a `Config` and a `learner`; a new agent is a new file beside them."""

from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType

from rlbake.quiet import quietly

with quietly():
    _MODULES = [import_module(f"{__name__}.{found.name}") for found in iter_modules(__path__)]

AGENTS: dict[str, ModuleType] = {module.Config.name: module for module in _MODULES}
"""Every agent's module, by its name."""
