"""Physics-informed neural networks: optimisers, kernels, preconditioners and Hessians of one residual function."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from pinntk.common.errors import BadInput
from pinntk.common.moved import find_moved

if TYPE_CHECKING:
    from pinntk.launch.python import Interrupted, Sweep, TrainingFailed, compose, sweep, train
    from pinntk.runs.trained import Run, load

__version__ = "0.2.0.dev0"
__all__ = [
    "BadInput",
    "Interrupted",
    "Run",
    "Sweep",
    "TrainingFailed",
    "__version__",
    "compose",
    "load",
    "sweep",
    "train",
]

_PLACES = {
    **dict.fromkeys(("Interrupted", "Sweep", "TrainingFailed", "compose", "sweep", "train"), "pinntk.launch.python"),
    **dict.fromkeys(("Run", "load"), "pinntk.runs.trained"),
}
"""Where to find what is not imported before somebody asks for it, for it imports Hydra, or torch and Lightning."""

find_moved()


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'pinntk' has no attribute {name!r}")
    found = globals()[name] = getattr(importlib.import_module(_PLACES[name]), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
