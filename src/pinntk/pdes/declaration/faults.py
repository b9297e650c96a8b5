"""How a fault in a declaration is found and told, whatever a problem's author may have written."""

from __future__ import annotations

import math
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from pinntk.pdes.base import PDE

T = TypeVar("T")


class Fault(ValueError):
    """What is wrong, and what is allowed, in one line."""

    def __init__(self, text: str) -> None:
        super().__init__(one_line(text))


def one_line(text: str) -> str:
    """A text without the line breaks that a value in it may have."""
    return " ".join(text.split())


def called(pde: PDE, what: str, function: Callable[[], T]) -> T:
    """What a function of the problem returns.

    Raises:
        Fault: it raised anything; the line names the place in the problem's file.
        ValueError: one of the problem's own about its coefficients, which begins with the key, ``pde.nu=...``.
    """
    try:
        with torch.enable_grad():
            return function()
    except Exception as error:  # whatever somebody's file may raise
        text = str(error).strip().split("\n")[0]
        if isinstance(error, ValueError) and text.startswith("pde."):
            raise
        file = getattr(sys.modules.get(type(pde).__module__), "__file__", None)
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
        where = f" ({Path(file).name}, line {lines[-1]})" if file and lines else ""
        raise Fault(f"{what} ended in {type(error).__name__}: {text}{where}") from error


def listed(value: Any) -> bool:
    """Whether it is a tuple or a list."""
    return isinstance(value, tuple | list)


def number(value: Any) -> bool:
    """Whether it is a finite number; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def kind(value: Any) -> str:
    """What a value is, in words."""
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    inside = sorted({type(one).__name__ for one in value}) if listed(value) else []
    return f"a {type(value).__name__}" + (f" of {', '.join(inside)}" if inside else "")
