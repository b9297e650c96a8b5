"""A default is one: what a class does without a setting is what the configuration files say.

So a run from Python, without the files, computes the same numbers.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator, Mapping
from typing import Any, get_args

import hydra
import pytest
from omegaconf import DictConfig, OmegaConf
from pydantic import BaseModel

from pinntk.launch.cli import configuration_folder, groups
from pinntk.network import NetworkSettings
from pinntk.residual.points import PointSettings

CONF = configuration_folder()
CHOICES = groups(CONF)
NOTHING = inspect.Parameter.empty


def composed(*words: str) -> DictConfig:
    """The configuration with its interpolations unresolved."""
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        return hydra.compose("config", overrides=["~tuned", *words])


def of_target(target: str) -> Any:
    module, _, name = target.rpartition(".")
    return getattr(importlib.import_module(module), name)


def leaves(values: Mapping[str, Any], model: type[BaseModel] | BaseModel, key: str) -> Iterator[tuple[str, Any, Any]]:
    """Key, value in the files and default, of every leaf that has both, interpolations left out.

    With a class, its own defaults are meant, which count where a mapping is given in part; with an instance, which is
    the default of a whole block, its values.
    """
    for name, field in (model if isinstance(model, type) else type(model)).model_fields.items():
        if name not in values:
            continue
        here, given = f"{key}.{name}", values[name]
        inner = [t for t in (field.annotation, *get_args(field.annotation)) if _is_model(t)]
        if isinstance(model, type):
            default = field.get_default(call_default_factory=True)
            has = not field.is_required()
        else:
            default, has = getattr(model, name), True
        if inner and isinstance(given, Mapping):
            yield from leaves(given, inner[0], here)
            if has and default is not None:
                yield from leaves(given, default, here)
        elif has and not (isinstance(given, str) and given.startswith("${")):
            yield here, given, _plain(default)


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _plain(default: Any) -> Any:
    if isinstance(default, BaseModel):
        return default.model_dump(mode="json")
    return list(default) if isinstance(default, tuple) else default


def plain(values: Any) -> dict[str, Any]:
    """A mapping with its interpolations as they stand."""
    found: Any = OmegaConf.to_container(values)
    return {str(key): value for key, value in found.items()}


def disagreeing(values: Any, model: type[BaseModel], key: str) -> list[str]:
    found = list(leaves(plain(values), model, key))
    assert found
    return sorted(
        {f"{where}: {given} in conf, {default} in the class" for where, given, default in found if given != default}
    )


@pytest.mark.parametrize("name", CHOICES["method"])
def test_methods(name: str) -> None:
    values = composed(f"method={name}").method
    assert disagreeing(values, of_target(values._target_).Settings, "method") == []


@pytest.mark.parametrize("name", CHOICES["pde"])
def test_problems_and_their_discrete_forms(name: str) -> None:
    config = composed(f"pde={name}")
    problem = of_target(config.pde._target_)
    assert disagreeing(config.pde, problem, "pde") == []
    if problem.Discretization is None:
        assert config.discretization is None
    else:
        assert disagreeing(config.discretization, problem.Discretization, "discretization") == []


@pytest.mark.parametrize(("key", "model"), [("network", NetworkSettings), ("points", PointSettings)])
def test_network_and_points(key: str, model: type[BaseModel]) -> None:
    assert disagreeing(OmegaConf.select(OmegaConf.load(CONF / "config.yaml"), key), model, key) == []


@pytest.mark.parametrize("path", [f"{g}/{c}" for g in ("callbacks", "logger") for c in CHOICES[g] if c != "none"])
def test_callbacks_and_loggers(path: str) -> None:
    compared = 0
    for name, values in plain(OmegaConf.load(CONF / f"{path}.yaml")).items():
        defaults = {n: p.default for n, p in inspect.signature(of_target(values.pop("_target_"))).parameters.items()}
        assert values.keys() <= defaults.keys(), name
        # "{folder}" and the like are filled in by the run.
        both = {k: v for k, v in values.items() if defaults[k] is not NOTHING and not str(v).startswith(("${", "{"))}
        assert both == {key: _plain(defaults[key]) for key in both}, name
        compared += len(both)
    assert compared or path.startswith("logger")
