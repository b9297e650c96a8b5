"""The components that a configuration names: their classes, their validated settings, and the problem before all else.

Nothing here imports Lightning, which takes longer than all the rest: a problem that cannot be trained is refused first.
"""

from __future__ import annotations

import importlib
import inspect
import json
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from pinntk.common.cells import MAIN
from pinntk.network import DTYPES
from pinntk.pdes import PDE, declaration
from pinntk.residual.terms import Problem
from pinntk.runs.validation import errors_of

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)


def check_problem(config: Mapping[str, Any]) -> None:
    """Check what the problem of a composed configuration declares (`pinntk.pdes.declaration.check`).

    A problem that cannot be made is left to ``RunSettings.read``, which says so beside all other errors.

    Raises:
        BadInput: it cannot be trained; a line per fault.
    """
    messages: list[str] = []
    # mypy wants a class that can be instantiated for type[T]; `component` only compares with this abstract one.
    found = component(config.get("pde"), "pde", PDE, messages)  # type: ignore[type-abstract]
    pde = validated(config["pde"], "pde", found, messages) if found else None
    precision = config.get("precision")
    if pde is not None and isinstance(precision, str) and precision in DTYPES:
        declaration.check(pde, DTYPES[precision])


def validated(values: Mapping[str, Any], key: str, model: type[M], messages: list[str]) -> M | None:
    """The model made of these values, ``_target_`` apart; None and messages where they are wrong."""
    values = {name: value for name, value in values.items() if name != "_target_"}
    if issubclass(model, Problem):
        values = model.as_declared(values)
    try:
        # JSON, so that a list may stand for a tuple while 1 is not true and "1" not a number.
        return model.model_validate_json(json.dumps(values), strict=True)
    except ValidationError as error:
        messages.extend(errors_of(error, model, values, key))
        return None


def component(values: Any, key: str, base: type[T], messages: list[str]) -> type[T] | None:
    """The class that ``_target_`` names, or None and a message."""
    target = values.get("_target_") if isinstance(values, Mapping) else None
    if not isinstance(target, str):
        messages.append(f"{key}: must be a mapping with _target_, the name of a class; came {values!r}")
        return None
    module, _, name = target.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except Exception as error:  # whatever somebody's file may raise
        text = str(error).strip().split("\n")[0]
        if not isinstance(error, ImportError | AttributeError | ValueError):
            text = f"{type(error).__name__}: {text}"
        elif module == MAIN:
            text = "it stood in a notebook or script, and has to be defined in this one, too"
        messages.append(f"{key}._target_={target}: cannot be imported ({text}); allowed: a {base.__qualname__} class")
        return None
    if not (isinstance(found, type) and issubclass(found, base)):
        messages.append(f"{key}._target_={target}: must be a subclass of {base.__module__}.{base.__qualname__}")
        return None
    if inspect.isabstract(found):
        lacking = ", ".join(sorted(getattr(found, "__abstractmethods__", ())))
        messages.append(f"{key}._target_={target}: has no {lacking}; allowed is a class that defines them")
        return None
    return found
