"""Numbers of a problem that are found in training, as parameters beside the network's."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import torch
from pydantic import BeforeValidator, Discriminator, StrictBool, Tag, model_validator
from torch import Tensor, nn

from pinntk.common.errors import show
from pinntk.common.settings import Strict


class Unknown(Strict):
    """A number that is to be found, in the place of one that is given: ``pde.nu=unknown``.

    Example::

        >>> Unknown(unknown=True, start=2.0, positive=True)
        Unknown(unknown=True, start=2.0, positive=True)
    """

    unknown: StrictBool = True
    start: float = 1.0
    positive: StrictBool = False
    """Its logarithm is the parameter."""

    @model_validator(mode="after")
    def _starts_where_it_may(self) -> Unknown:
        if not self.unknown:
            raise ValueError("unknown=false; allowed is true, or a number in the place of all this")
        if self.positive and self.start <= 0:
            raise ValueError(f"start={self.start:g}; allowed with positive=true is a number greater than 0")
        return self


def _read(value: Any) -> Any:
    if value == "unknown":
        return {"unknown": True}
    if isinstance(value, bool) or not isinstance(value, float | int | Mapping | Unknown):
        allowed = "a number, unknown, or {unknown: true, start: 1.0, positive: true}"
        raise ValueError(f"came {show(value)}; allowed is {allowed}")
    return value


def _kind(value: Any) -> str:
    # No key of a model, so that an error has no such step in its key.
    return "a number" if isinstance(value, float | int) else "to be found"


# With the kinds told apart what is wrong is a line about the one that was meant.
Coefficient = Annotated[
    Annotated[float, Tag("a number")] | Annotated[Unknown, Tag("to be found")],
    Discriminator(_kind),
    BeforeValidator(_read),
]
"""A number of a problem, or ``unknown``, or ``{unknown: true, start: 1.0, positive: true}``: the type of a field of it.
In a term's streams its name stands for the number, whichever of these it is."""


class Coefficients(nn.Module):
    """The numbers of a problem by name; those to be found are parameters, float64 until the network has another dtype.

    Args:
        given: by name.

    Example::

        >>> coefficients = Coefficients({"c": 3.0, "nu": Unknown(start=2.0, positive=True)})
        >>> coefficients.values(["nu", "c"]).tolist(), coefficients.unknown
        ([2.0, 3.0], ('nu',))
    """

    def __init__(self, given: Mapping[str, float | Unknown]) -> None:
        super().__init__()
        self.given = dict(given)
        self.names = tuple(given)
        self.unknown = tuple(name for name, value in given.items() if isinstance(value, Unknown))
        self.trained = nn.ParameterDict()
        for name, value in given.items():
            if isinstance(value, Unknown):
                start = math.log(value.start) if value.positive else value.start
                self.trained[name] = nn.Parameter(torch.tensor(start, dtype=torch.float64))
        self.register_buffer("_like", torch.zeros((), dtype=torch.float64), persistent=False)

    def values(self, names: Sequence[str]) -> Tensor:
        """The numbers themselves, (n,)."""
        return torch.stack([self._value(name) for name in names]) if names else self._like.new_empty(0)

    def _value(self, name: str) -> Tensor:
        given = self.given[name]
        if not isinstance(given, Unknown):
            return self._like.new_full((), given)
        trained: Tensor = self.trained[name]
        return trained.exp() if given.positive else trained

    def slope(self, name: str) -> Tensor | float:
        """The derivative of an unknown number by its parameter."""
        given = self.given[name]
        return self.trained[name].detach().exp() if isinstance(given, Unknown) and given.positive else 1.0

    def columns(self, names: Sequence[str], cotangents: Tensor, like: Tensor) -> list[Tensor]:
        """``dr_i`` by each of the parameters, (N,).

        Args:
            names: of the numbers that the residual has.
            cotangents: dr_i by each of these, (n, N).
            like: (N,), for those that it has not.
        """
        of = dict(zip(names, cotangents, strict=True))
        return [of[name] * self.slope(name) if name in of else torch.zeros_like(like) for name in self.unknown]

    def estimates(self) -> dict[str, float]:
        """The unknown numbers as they are now."""
        return {name: float(self._value(name).detach()) for name in self.unknown}

    # Registered by name above; the annotation tells the type checker what it is.
    _like: Tensor
