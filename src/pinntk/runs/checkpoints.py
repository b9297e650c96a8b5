"""Reading checkpoints: one that cannot be used is bad input, named, and nothing is overwritten because of it."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from pinntk.common.doing import doing
from pinntk.common.errors import BadInput, show
from pinntk.methods import Method
from pinntk.network import NetworkSettings
from pinntk.runs.folder import CONFIG, read_yaml
from pinntk.runs.settings import RunSettings


def read_checkpoint(path: Path, remedy: str) -> dict[str, Any]:
    """Load a checkpoint on the CPU.

    Args:
        path: the file.
        remedy: what the user can do where it is broken; ends the message.

    Raises:
        BadInput: it cannot be read or is not one of ours.
    """
    try:
        with doing(f"reads {path}"):
            with zipfile.ZipFile(path) as file:  # torch reads past its check sums: a turned bit is another number
                if damaged := file.testzip():
                    raise ValueError(f"{damaged} in it is damaged")
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        complete = {"state_dict", "pinntk"} <= checkpoint.keys() and "iteration" in checkpoint["pinntk"]
    except Exception as error:  # a broken file can raise anything
        text = str(error).split("\n")[0]
        message = f"checkpoint {path} cannot be read ({type(error).__name__}: {text}); {remedy}"
        raise BadInput(message) from error
    if not complete:
        raise BadInput(f"checkpoint {path} is not one of pinntk; {remedy}")
    assert isinstance(checkpoint, dict)
    return checkpoint


def check_same_network(saved: Mapping[str, torch.Tensor], method: Method, path: Path) -> None:
    """Check that saved parameters fit a network. Those that the method makes when it starts may be there besides.

    Raises:
        BadInput: naming what differs first.
    """
    own = method.state_dict()
    for name in [*own, *(name for name in saved if name not in own and name.startswith("network."))]:
        here = tuple(own[name].shape) if name in own else "absent"
        there = tuple(saved[name].shape) if name in saved else "absent"
        if here != there:
            raise BadInput(f"checkpoint {path}: not the same network: {name} is {there} there and {here} here")


def start_from(settings: RunSettings, method: Method) -> None:
    """Give a new method the parameters that ``init_from`` names, if it does.

    Raises:
        BadInput: they cannot be read, or are not those of such a network.
    """
    if settings.init_from is None:
        return
    path = settings.initial_checkpoint

    def initial() -> Mapping[str, torch.Tensor]:
        saved: Mapping[str, torch.Tensor] = read_checkpoint(path, "init_from takes a run folder")["state_dict"]
        return saved

    state = initial()
    check_same_network(state, method, path)
    _check_same_function(settings, path)
    # What the other run's method has made besides is not this one's.
    method.load_state_dict({name: state[name] for name in method.state_dict()})
    method.initial_state = initial


def _check_same_function(settings: RunSettings, path: Path) -> None:
    """Parameters of one shape may be another function: of other inputs, another activation, other hard conditions.

    Raises:
        BadInput: naming what differs first. A folder that does not tell is taken as it is.
    """
    config = path.parent / CONFIG
    if not config.is_file():
        return
    there = read_yaml(config).get("network") or {}
    here = settings.network.model_dump(mode="json")
    defaults = NetworkSettings().model_dump(mode="json")
    known = NetworkSettings.model_validate({key: value for key, value in there.items() if key in defaults})
    for key, value in known.model_dump(mode="json").items():
        if value != here[key]:
            raise BadInput(
                f"init_from={settings.init_from}: network.{key}={show(value)} there and {show(here[key])} here;"
                " allowed is a run with the same network"
            )
