"""The lid-driven cavity: a closed box of fluid, stirred from above."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from pinntk.common.arrays import Array
from pinntk.pdes.base import PDE, Term
from pinntk.pdes.references import Reference
from pinntk.pdes.zoo import cavity_reference
from pinntk.pdes.zoo.navier_stokes import navier_stokes
from pinntk.residual.regions import Points
from pinntk.residual.terms import prescribed, zero


def corner(unit: Array) -> Array:
    """The point (0, 0) for each point of the unit interval, (n, 1) to (n, 2)."""
    return np.zeros((len(unit), 2))


class Cavity(PDE):
    """``(u, v) . grad (u, v) + grad p = Laplace (u, v) / Re``, ``u_x + v_y = 0`` on [0, 1]^2, at rest on the walls.

    On the lid y = 1 ``u = 4 x (1 - x)``, ``v = 0``; p is 0 in the corner (0, 0), which fixes its constant. u and v are
    continuous in the two upper corners, their gradients are not, and p grows like the logarithm of the distance from
    them. No closed form: the reference is `pinntk.pdes.zoo.cavity_reference`, compared with at the middles of 64 x 64
    cells, where all is finite.

    Source: the lid and the pressure's condition are those of Hao et al., PINNacle (2023), there with Re = 100, too.

    Example::

        >>> lid = next(term for term in Cavity().terms() if term.name == "lid_u")
        >>> lid.fields(torch.tensor([[0.5, 1.0], [0.25, 1.0]]))[0].tolist()
        [1.0, 0.75]
    """

    name: ClassVar[str] = "cavity"
    coordinates: ClassVar[tuple[str, ...]] = ("x", "y")
    fields: ClassVar[tuple[str, ...]] = ("u", "v", "p")
    lower: ClassVar[tuple[float, ...]] = (0.0, 0.0)
    upper: ClassVar[tuple[float, ...]] = (1.0, 1.0)
    evaluation_shape: ClassVar[tuple[int, ...]] = (64, 64)

    # The reference's resolution ends above.
    Re: Annotated[float, Field(ge=1, le=400)] = 100.0

    def evaluation_axes(self) -> tuple[Array, ...]:
        """The middles of cells."""
        return tuple((np.arange(n) + 0.5) / n for n in self.evaluation_shape)

    def terms(self) -> tuple[Term, ...]:
        walls = {"left": "x = lower", "right": "x = upper", "floor": "y = lower"}
        return (
            *navier_stokes(1 / self.Re),
            Term("lid_u", "y = upper", ("u",), prescribed("u"), lambda x: (4 * x[:, 0] * (1 - x[:, 0]),)),
            *(Term(f"{wall}_u", face, ("u",), zero("u")) for wall, face in walls.items()),
            Term("walls_v", "boundary", ("v",), zero("v")),
            Term("corner_p", Points("corner", corner, dimension=1, count=1), ("p",), zero("p")),
        )

    def lift(self, x: Tensor) -> Tensor:
        """``4 x (1 - x) y`` for u, which is right on all walls; nothing for v and p."""
        u = 4 * x[:, 0] * (1 - x[:, 0]) * x[:, 1]
        return torch.stack([u, torch.zeros_like(u), torch.zeros_like(u)], dim=1)

    def factor(self, x: Tensor) -> Tensor:
        """``16 x (1 - x) y (1 - y)`` for u and v, 1 for p: its value in the corner is trained."""
        walls = 16 * (x * (1 - x)).prod(dim=1)
        return torch.stack([walls, walls, torch.ones_like(walls)], dim=1)

    def reference(self) -> Reference:
        return cavity_reference.reference(self.Re, *self.evaluation_axes())
