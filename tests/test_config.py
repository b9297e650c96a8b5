"""The configuration files: they compose, they validate, and they list every key of the models behind them."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import slow_unless
from omegaconf import DictConfig, OmegaConf
from pydantic import BaseModel

import pinntk
from pinntk.launch.cli import compose, configuration_folder, groups
from pinntk.runs.settings import RunSettings

CONF = configuration_folder()
CHOICES = groups(CONF)
PDES, METHODS, BUDGETS = CHOICES["pde"], CHOICES["method"], CHOICES["budget"]
PHASES = "method.phases=[{adam: {steps: 10}}]"  # a plan has none of its own
DISCRETE = {"convection", "wave", "reaction", "burgers", "heat2d", "poisson1d"}
DISCRETE |= {"allen_cahn", "kdv", "helmholtz2d", "poisson2d_multiscale"}
"""Problems with a discrete form."""
EVOLVING = {"allen_cahn", "kdv", "kuramoto_sivashinsky", "schroedinger", "gray_scott"}
CLOSED = {"helmholtz2d", "poisson2d_multiscale", "poisson_nd", "kovasznay", "taylor_green", "heat_inverse", "cavity"}
SUPPORTED = {name: set(PDES) for name in ("adam", "adam_lbfgs", "gdnd", "gdnd_theory", "pinn_ntk")}
SUPPORTED["pcpinn"] = DISCRETE
"""Problems by method; a method that is not named here supports heat2d at least."""


def supports(method: str, pde: str) -> bool:
    return pde in SUPPORTED.get(method, {"heat2d"})


def keys(model: type[BaseModel]) -> set[str]:
    return {name for name, field in model.model_fields.items() if not field.exclude}


def missing_keys(values: dict[str, Any], model: BaseModel, where: str) -> list[str]:
    """Keys of a model, and of the models in it, that the composed configuration does not list."""
    found = [f"{where}.{name}" for name in keys(type(model)) - values.keys()]
    for name, value in model:
        if isinstance(value, BaseModel) and name in values:
            found += missing_keys(values[name], value, f"{where}.{name}")
    return found


def test_all_the_groups_and_choices_are_there() -> None:
    assert set(PDES) == DISCRETE | EVOLVING | CLOSED
    assert {pde for pde in PDES if (CONF / f"pde/{pde}.yaml").read_text().count("discretization:")} == DISCRETE
    assert {"adam", "pcpinn"} <= set(METHODS)
    assert set(BUDGETS) == {"smoke", "laptop", "paper"}
    assert CHOICES["width"] == [f"w{n}" for n in (50, 100, 200, 400, 500, 1000, 2000, 5000, 10000)]


@pytest.mark.parametrize("budget", [slow_unless(name == "laptop", name) for name in BUDGETS])
@pytest.mark.parametrize(
    ("pde", "method"), [slow_unless(p in ("burgers", "heat2d"), p, m) for p in PDES for m in METHODS if supports(m, p)]
)
def test_every_combination_is_valid_and_lists_all_keys(pde: str, method: str, budget: str) -> None:
    config = compose([f"pde={pde}", f"method={method}", f"budget={budget}", *([PHASES] if method == "plan" else [])])
    settings = RunSettings.read(config)
    assert (settings.pde.name, settings.method_class.name, settings.budget.name) == (pde, method, budget)
    # A key that no file lists could not be set on the command line.
    parts = ("pde", "method", "network", "points", *(["discretization"] if pde in DISCRETE else []))
    for part in parts:
        assert missing_keys(config[part], getattr(settings, part), part) == []
    assert keys(RunSettings) == set(config)


@pytest.mark.parametrize("pde", PDES)
def test_coefficients_in_the_files_are_those_of_the_classes(pde: str) -> None:
    settings = RunSettings.read(compose([f"pde={pde}", "method=adam"]))
    assert settings.pde == type(settings.pde)()


@pytest.mark.parametrize("width", CHOICES["width"])
def test_widths(width: str) -> None:
    assert compose([f"width={width}"])["network"]["width"] == int(width[1:])


@pytest.mark.parametrize("name", [slow_unless("heat2d" in c, c) for c in CHOICES["tuned"] if "/" in c])
def test_tuned_settings_apply_and_the_command_line_wins(name: str) -> None:
    method, pde, budget = name.split("/")
    words = [f"method={method}", f"pde={pde}", f"budget={budget}"]
    own = OmegaConf.load(CONF / "tuned" / f"{name}.yaml")
    assert isinstance(own, DictConfig)
    taken_over = [OmegaConf.load(f"{CONF}{other}.yaml") for other in own.pop("defaults", [])]
    tuned = OmegaConf.to_container(OmegaConf.merge(*taken_over, own))
    assert tuned
    config, without = compose(words), compose([*words, "tuned=null"])

    def contains(whole: Any, part: Any) -> bool:
        if isinstance(part, dict):
            return all(key in whole and contains(whole[key], value) for key, value in part.items())
        return bool(whole == part)

    assert contains(config, tuned)
    assert config != without
    assert compose([*words, "width=37"])["network"]["width"] == 37
    assert compose([*words, "width=500"])["network"]["width"] == 500
    RunSettings.read(config)


@pytest.mark.parametrize("name", CHOICES["experiment"])
def test_experiments_are_valid(name: str) -> None:
    RunSettings.read(compose([f"experiment={name}"]))


def test_plain_network_has_no_features() -> None:
    assert compose(["pde=heat2d"])["network"]["features"]
    for words in (["pde=heat2d"], ["pde=convection", "method=pcpinn_ssbroyden"]):  # of the problem, of tuned settings
        assert compose([*words, "network=plain"])["network"]["features"] == []


def test_two_budgets_do_not_share_steps() -> None:
    steps = {b: compose(["method=adam", "pde=poisson1d", f"budget={b}"])["method"]["steps"] for b in BUDGETS}
    assert steps["smoke"] < steps["laptop"] < steps["paper"]


def test_the_version_stands_in_one_place() -> None:
    root = Path(__file__).parents[1]
    project = tomllib.loads((root / "pyproject.toml").read_text())
    assert project["project"]["dynamic"] == ["version"]
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "pinntk.__version__"}
    citation = yaml.safe_load((root / "CITATION.cff").read_text())
    assert citation["version"] == pinntk.__version__  # a document that cannot refer to it
    released = pinntk.__version__.split(".dev")[0]
    assert (root / "CHANGELOG.md").read_text().split("\n## ")[1].startswith(released)
