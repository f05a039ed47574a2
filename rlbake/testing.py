"""Your application's contract as tests of your own.

    # test_my_application.py
    from rlbake.testing import ApplicationContract

    class TestMyApplication(ApplicationContract):
        application = "my_application.py:MyApplication"
        date = "2026-01-31"

Run by pytest, it checks the application on real data by the rules, and with the messages, of
`mlflow run . -e check`.
"""

from __future__ import annotations

from typing import ClassVar

import pytest

from rlbake.application import Application, load_application
from rlbake.cadence import Window
from rlbake.period.check import Findings, check_population, check_repeatable, check_rules, check_timesteps, defines
from rlbake.specs import from_json, to_json
from rlbake.warehouse.session import spark_session


class ApplicationContract:
    """Inherit it in a class that pytest collects.

    Attributes:
        application: `package.module:Class` or `path/to/file.py:Class`.
        date: ISO date of a window whose logs are there.
        tables: URI of the folder that the application finds as `self.tables`.
    """

    application: ClassVar[str]
    date: ClassVar[str]
    tables: ClassVar[str] = "tables"

    @pytest.fixture
    def loaded(self) -> Application:
        """The application, as every entry point loads it."""
        return load_application(self.application, self.tables)

    @pytest.fixture
    def window(self, loaded: Application) -> Window:
        """The window that `date` names."""
        return loaded.cadence.window(self.date)

    @pytest.fixture(autouse=True)
    def _session(self) -> None:
        spark_session()

    def test_specs_survive_json(self, loaded: Application) -> None:
        """A saved model carries them as JSON."""
        for spec in (*loaded.observation, loaded.action):
            assert from_json(to_json(spec)) == spec

    def test_timesteps_hold_the_contract(self, loaded: Application, window: Window) -> None:
        """No more rows than `max_rejected` break a rule, none a fatal one, and something can be learned."""
        assert isinstance(check_timesteps(loaded, window), Findings)

    def test_timesteps_are_the_same_when_asked_again(self, loaded: Application, window: Window) -> None:
        """A window that is built again must hold the same rows."""
        check_repeatable(loaded, window)

    def test_rules_decide_what_can_be_done(self, loaded: Application, window: Window) -> None:
        """Skipped if there are none."""
        if not defines(loaded, "rules"):
            pytest.skip("no rules")
        assert check_rules(loaded, window)

    def test_population_can_be_scored(self, loaded: Application, window: Window) -> None:
        """Skipped if there is none."""
        if not defines(loaded, "population"):
            pytest.skip("no population")
        assert check_population(loaded, window)
