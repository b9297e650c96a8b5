"""What a residual function is made of: named terms, and the problem that lists them."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from pinntk.common.settings import Strict
from pinntk.network import Ansatz, Unknown
from pinntk.network.settings import Feature
from pinntk.network.streams import Operator
from pinntk.residual.named import all_placed, name_of
from pinntk.residual.regions import Domain, Region
from pinntk.residual.shapes import Shape


def no_fields(x: Tensor) -> tuple[Tensor, ...]:
    """The fields of a term that needs none."""
    return ()


@dataclass(frozen=True)
class Term:
    """One named part of the residual function, for example "residual" or "initial".

    Example::

        >>> from pinntk.network.streams import Operator
        >>> heat = Operator("L", {"u_t": 1.0, "u_xx": -0.5})
        >>> term = Term("residual", "interior", (heat,), lambda s, f: s["L"] - f, lambda x: (x[:, 0],))
        >>> term.derivatives
        ('u_t', 'u_xx')
        >>> values = {"u_t": torch.tensor([3.0]), "u_xx": torch.tensor([4.0])}
        >>> term.of_derivatives(values, *term.fields(torch.tensor([[0.25, 0.0]]))).tolist()  # u_t - u_xx/2 - x
        [0.75]
        >>> Term("inlet", "x=lower", ("u",), prescribed("u"), lambda x: (x[:, 1],)).where  # u = t on a face
        'x = lower'
    """

    name: str
    region: str | Region
    """Where it is evaluated: one of `pinntk.residual.named.regions_of`, or an object. Terms in the interior, and on
    regions that say so, make up L_r, all others L_b."""
    streams: tuple[str | Operator, ...]
    """The streams of the network that it uses: "u", "u_x", "u_xx" ..., or linear operators."""
    residual: Callable[..., Tensor]
    """(streams by name, *fields) -> residuals. On a periodic region a stream holds the lower face's points, then their
    images on the upper face."""
    fields: Callable[[Tensor], tuple[Tensor, ...]] = no_fields
    """Points (N, d) -> the data that the residual needs there; evaluated once per draw of points."""
    along: str | None = None
    """The coordinate along which it is the derivative of another term (`pinntk.residual.derived`); None: it is none."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of its streams."""
        return tuple(s if isinstance(s, str) else s.name for s in self.streams)

    @property
    def where(self) -> str:
        """The name of its region, under which its points stand."""
        return name_of(self.region)

    @property
    def equation(self) -> bool:
        """Whether it belongs to L_r."""
        return self.region.equation if isinstance(self.region, Region) else self.where == "interior"

    @property
    def derivatives(self) -> tuple[str, ...]:
        """Names of u and its derivatives behind the streams, operators taken apart."""
        names = [[s] if isinstance(s, str) else list(s.coefficients) for s in self.streams]
        return tuple(dict.fromkeys(name for group in names for name in group))

    def of_derivatives(self, values: Mapping[str, Tensor], *fields: Tensor) -> Tensor:
        """The residual from u and its derivatives by name, for who has no streams."""
        operators = {s.name: s.of(values) for s in self.streams if isinstance(s, Operator)}
        return self.residual({**values, **operators}, *fields)


def prescribed(stream: str) -> Callable[..., Tensor]:
    """The residual function of a stream with prescribed values: stream - data.

    Example::

        >>> prescribed("u_x")({"u_x": torch.tensor([3.0])}, torch.tensor([1.0])).tolist()
        [2.0]
    """
    return lambda values, data: values[stream] - data


def zero(stream: str) -> Callable[..., Tensor]:
    """The residual function of a stream that vanishes.

    Example::

        >>> zero("u_x")({"u_x": torch.tensor([3.0])}).tolist()
        [3.0]
    """
    return lambda values: values[stream]


def jump(stream: str) -> Callable[..., Tensor]:
    """The residual function of a stream that is the same at both points of a pair: at the first minus at its image.

    Example::

        >>> jump("u_x")({"u_x": torch.tensor([5.0, 7.0, 4.0, 9.0])}).tolist()  # two points, then their images
        [1.0, -2.0]
    """

    def residual(values: Mapping[str, Tensor]) -> Tensor:
        lower, upper = values[stream].chunk(2)
        return lower - upper

    return residual


def periodic(values: dict[str, Tensor]) -> Tensor:
    """`jump` of u.

    Example::

        >>> periodic({"u": torch.tensor([5.0, 7.0, 4.0, 9.0])}).tolist()  # two points, then their images
        [1.0, -2.0]
    """
    lower, upper = values["u"].chunk(2)
    return lower - upper


def value(values: dict[str, Tensor], data: Tensor) -> Tensor:
    """`prescribed` of u: u - data.

    Example::

        >>> value({"u": torch.tensor([3.0])}, torch.tensor([1.0])).tolist()
        [2.0]
    """
    return values["u"] - data


def vanishing(values: dict[str, Tensor]) -> Tensor:
    """`zero` of u: residual of u = 0.

    Example::

        >>> vanishing({"u": torch.tensor([3.0])}).tolist()
        [3.0]
    """
    return values["u"]


class Problem(Strict, ABC):
    """A box and residual terms in it: all that kernels, losses and Hessians know of a problem.

    Class attributes: ``name``; ``coordinates``, of which t, where there is one, is the time; ``lower`` and ``upper``,
    the box; ``fields``, the unknowns; ``shape``, the domain in space where it is not all of the box. What else a
    subclass has are its coefficients.

    Example::

        >>> class Decay(Problem):
        ...     name = "decay"
        ...     coordinates, lower, upper = ("t",), (0.0,), (1.0,)
        ...     rate: float = 2.0
        ...     def terms(self):
        ...         equation = Term("residual", "interior", ("u", "u_t"), lambda s: s["u_t"] + self.rate * s["u"])
        ...         return equation, Term("initial", "initial", ("u",), lambda s: s["u"] - 1)
        >>> Decay(rate=3.0).regions()
        ('interior', 'initial')
    """

    name: ClassVar[str]
    coordinates: ClassVar[tuple[str, ...]] = ("x", "t")
    fields: ClassVar[tuple[str, ...]] = ("u",)
    lower: ClassVar[tuple[float, ...]]
    upper: ClassVar[tuple[float, ...]]
    shape: ClassVar[Shape | None] = None
    rounded_after: ClassVar[float] = 0.0
    """Where initial values have a kink, the time that `lift` needs to round it, and changes for nothing else."""

    @classmethod
    def as_declared(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """Values of a configuration, in which an unknown number keeps what the class says of it where they do not."""
        found = dict(given)
        for name, field in cls.model_fields.items():
            default, value = field.default, found.get(name)
            if isinstance(default, Unknown) and (value == "unknown" or isinstance(value, Mapping)):
                found[name] = default.model_dump() | (dict(value) if isinstance(value, Mapping) else {})
        return found

    @abstractmethod
    def terms(self) -> tuple[Term, ...]:
        """The residual terms, in the order in which they stand in the residual vector."""

    def regions(self) -> tuple[str, ...]:
        """Names of the regions on which terms live."""
        return tuple(dict.fromkeys(term.where for term in self.terms()))

    @property
    def domain(self) -> Domain:
        """Where the regions of its terms are."""
        kind = next(base for base in type(self).__mro__ if "terms" in vars(base))
        file = getattr(sys.modules.get(kind.__module__), "__file__", None)
        folder = None if file is None else Path(file).parent
        return Domain(self.coordinates, self.lower, self.upper, self.shape, folder)

    def digests(self) -> dict[str, str]:
        """Of the data on its terms' regions that no coefficient names, as measurements, by term."""
        terms = self.terms()
        regions = all_placed([term.region for term in terms], self.domain)
        found = {term.name: regions[term.where].digest for term in terms}
        return {name: digest for name, digest in found.items() if digest is not None}

    # --- hard conditions: u = lift + factor N ------------------------------------------------------------------------

    def lift(self, x: Tensor) -> Tensor:
        """What of u stands before the network: points (N, d) to (N,), or (N, fields); differentiable, in torch."""
        return torch.zeros_like(x[:, 0])

    def factor(self, x: Tensor) -> Tensor:
        """What the network is multiplied with: points (N, d) to (N,), or (N, fields); differentiable, in torch."""
        return torch.ones_like(x[:, 0])

    def inputs(self) -> Sequence[Feature]:
        """The network's inputs that belong to them: even ones of a symmetric solution, periodic ones of a periodic."""
        return []

    def ansatz(self) -> Ansatz | None:
        """The hard conditions, with ``network.hard=true``; None where the problem has none."""
        kind = type(self)
        own = kind.lift is not Problem.lift or kind.factor is not Problem.factor or kind.inputs is not Problem.inputs
        return Ansatz(self.lift, self.factor) if own else None

    def coefficients(self) -> dict[str, float | Unknown]:
        """Its numbers by name, those to be found among them."""
        values = {name: getattr(self, name) for name in type(self).model_fields}
        return {
            name: value if isinstance(value, Unknown) else float(value)
            for name, value in values.items()
            if isinstance(value, Unknown | float | int) and not isinstance(value, bool)
        }
