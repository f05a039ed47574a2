import pytest

import rlbake
from rlbake.application import load_application
from rlbake.errors import ConfigError, SpecError

GOOD = {
    "name": "lamp",
    "keys": ("lamp_id",),
    "cadence": rlbake.Cadence(start="2026-01-01"),
    "observation": (rlbake.Number("brightness"),),
    "action": rlbake.Discrete(["off", "on"]),
    "metrics": ("comfort",),
    "reward": {"comfort": 1.0},
}


def define(**changes):
    return type("Lamp", (rlbake.Application,), {k: v for k, v in (GOOD | changes).items() if v is not None})


def test_a_sound_application_is_accepted():
    assert define().name == "lamp"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"metrics": None}, "metrics not set"),
        ({"name": "desk lamp"}, "not an identifier"),
        ({"keys": "lamp_id"}, "tuple of column names"),
        ({"observation": ("brightness",)}, "Number, Binary and Category"),
        ({"action": ["off", "on"]}, "Discrete, Continuous or MultiDiscrete"),
        ({"cadence": "1d"}, "rlbake.Cadence"),
        ({"reward": {"comfrt": 1.0}}, "Did you mean 'comfort'"),
        ({"reward": {"comfort": float("nan")}}, "nan"),
        ({"gamma": 1.5}, "gamma 1.5"),
        ({"metrics": ("brightness",), "reward": {}}, "'brightness' is used twice"),
    ],
)
def test_an_application_that_contradicts_itself_is_refused_where_it_is_written(changes, says):
    with pytest.raises(SpecError, match=says):
        define(**changes)


def write(folder, text):
    path = folder / "lamps.py"
    path.write_text(text)
    return path


def test_an_application_is_loaded_from_a_file_or_a_module(tmp_path):
    path = write(
        tmp_path,
        "import rlbake\n"
        "class Lamp(rlbake.Application):\n"
        "    name = 'lamp'\n"
        "    keys = ('lamp_id',)\n"
        "    cadence = rlbake.Cadence(start='2026-01-01')\n"
        "    observation = (rlbake.Number('brightness'),)\n"
        "    action = rlbake.Discrete(['off', 'on'])\n"
        "    metrics = ('comfort',)\n"
        "    reward = {'comfort': 1.0}\n",
    )
    lamp = load_application(f"{path}:Lamp", "somewhere/tables/")
    assert (lamp.name, lamp.tables) == ("lamp", "somewhere/tables")
    with pytest.raises(ConfigError, match="Did you mean 'Lamp'"):
        load_application(f"{path}:Lmap", "tables")


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("cartpole", "package.module:Class"),
        ("no.such.module:Class", "no module 'no'"),
        ("no/such/file.py:Class", "no file no/such/file.py"),
        ("rlbake.cadence:Cadence", "holds no Application"),
    ],
)
def test_an_unknown_application_is_refused(target, says):
    with pytest.raises(ConfigError, match=says):
        load_application(target, "tables")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("class Lamp(:\n    pass\n", r"lamps.py, line 1: invalid syntax: class Lamp\(:"),
        ("\nimport nothing_like_it\n", "no module 'nothing_like_it'"),
        ("\n1 / 0\n", r"lamps.py, line 2: ZeroDivisionError"),
    ],
)
def test_a_file_that_does_not_run_is_told_with_its_line(tmp_path, text, says):
    path = write(tmp_path, text)
    with pytest.raises(ConfigError, match=says):
        load_application(f"{path}:Lamp", "tables")
