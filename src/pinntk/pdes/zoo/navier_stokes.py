"""The equations of an incompressible flow in the plane, which several problems share."""

from __future__ import annotations

from torch import Tensor

from pinntk.network.streams import Operator
from pinntk.pdes.base import Term


def navier_stokes(viscosity: float, *, unsteady: bool = False) -> tuple[Term, Term, Term]:
    """``(u, v)_t + (u, v) . grad (u, v) + grad p = viscosity Laplace (u, v)`` and ``u_x + v_y = 0``, of fields u, v, p.

    Args:
        viscosity: kinematic, or one over the Reynolds number.
        unsteady: whether there are the derivatives in t.

    Example::

        >>> import torch
        >>> names = "u v u_x u_y v_x v_y p_x p_y u_xx u_yy v_xx v_yy".split()
        >>> values = dict(zip(names, torch.arange(1.0, 13.0)[:, None]))
        >>> terms = navier_stokes(0.5)
        >>> terms[0].of_derivatives(values).item()  # u u_x + v u_y + p_x - (u_xx + u_yy) / 2 = 3 + 8 + 7 - 19 / 2
        8.5
        >>> terms[1].of_derivatives(values).item()  # u v_x + v v_y + p_y - (v_xx + v_yy) / 2 = 5 + 12 + 8 - 23 / 2
        13.5
        >>> terms[2].of_derivatives(values).item()  # u_x + v_y
        9.0
    """
    first, second = ({f"{f}_t": 1.0} if unsteady else {} for f in "uv")
    along_x = Operator("X", {**first, "p_x": 1.0, "u_xx": -viscosity, "u_yy": -viscosity})
    along_y = Operator("Y", {**second, "p_y": 1.0, "v_xx": -viscosity, "v_yy": -viscosity})
    divergence = Operator("D", {"u_x": 1.0, "v_y": 1.0})

    def momentum_x(s: dict[str, Tensor]) -> Tensor:
        return s["u"] * s["u_x"] + s["v"] * s["u_y"] + s["X"]

    def momentum_y(s: dict[str, Tensor]) -> Tensor:
        return s["u"] * s["v_x"] + s["v"] * s["v_y"] + s["Y"]

    return (
        Term("momentum_x", "interior", ("u", "v", "u_x", "u_y", along_x), momentum_x),
        Term("momentum_y", "interior", ("u", "v", "v_x", "v_y", along_y), momentum_y),
        Term("continuity", "interior", (divergence,), lambda s: s["D"]),
    )
