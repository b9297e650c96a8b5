"""Neumann and Robin conditions in one line: normal derivatives on faces, on a disc and on a polygon, by autograd."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pinntk.network import Network, NetworkSettings
from pinntk.pdes import PDE, Disc, Operator, Polygon, Term, prescribed
from pinntk.residual.ntk import FactoredJacobian
from pinntk.residual.points import draw_region
from pinntk.residual.residuals import Residuals

LAPLACE = Term("residual", "interior", (Operator("L", {"u_xx": 1.0, "u_yy": 1.0}),), lambda s: s["L"])


def flux(x: Tensor) -> tuple[Tensor, ...]:
    return (torch.sin(3 * x[:, 0]) + x[:, 1],)


class Plate(PDE):
    name = "plate"
    coordinates = ("x", "y")
    lower, upper = (-1.0, -1.0), (1.0, 1.0)
    evaluation_shape = (5, 5)
    place: str = "boundary"

    def terms(self) -> tuple[Term, ...]:
        neumann = Term("neumann", self.place, ("u_n",), prescribed("u_n"), flux)
        robin = Term("robin", self.place, ("u_n", "u"), lambda s, g: s["u_n"] + 2 * s["u"] - g, flux)
        return LAPLACE, neumann, robin

    def factor(self, x: Tensor) -> Tensor:
        return 1 + x[:, 0] * x[:, 1] ** 2


def outward(kind: str, x: np.ndarray) -> Any:
    """Normals by the geometry, not by the regions."""
    if kind == "disc":
        return (x - np.array([0.1, -0.2])) / 0.7
    if kind == "x = upper":
        return np.tile([1.0, 0.0], (len(x), 1))
    if kind == "y = lower":
        return np.tile([0.0, -1.0], (len(x), 1))
    normals = {"left": (-1, 0), "right": (1, 0), "bottom": (0, -1), "top": (0, 1)}
    found = []
    for a, b in x:
        if kind == "boundary":
            side = "left" if a == -1 else "right" if a == 1 else "bottom" if b == -1 else "top"
        else:  # the L-shape without the quadrant x > 0, y < 0
            edges = {"left": a + 1, "right": a - 1 if b > 0 else a, "bottom": b + 1 if a < 0 else b, "top": b - 1}
            side = min(edges, key=lambda e: abs(edges[e]))
        found.append(normals[side])
    return np.array(found, dtype=float)


SHAPES: dict[str, dict[str, Any]] = {
    "boundary": {},
    "x = upper": {},
    "y = lower": {},
    "disc": {"shape": Disc((0.1, -0.2), 0.7)},
    "polygon": {"shape": Polygon([(-1, -1), (0, -1), (0, 0), (1, 0), (1, 1), (-1, 1)])},
}


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("kind", SHAPES)
def test_residuals_and_jacobian_equal_autograd(kind: str, hard: bool) -> None:
    pde = type("Case", (Plate,), {"__module__": __name__, **SHAPES[kind]})(place=kind if "=" in kind else "boundary")
    network = Network.of(pde, NetworkSettings(width=5, depth=2, hard=hard))
    residuals = Residuals(pde, network, pde.terms()[1:])
    (where,) = residuals.regions
    x = draw_region(residuals.region_of[where], 24, "uniform", seed=1, draw=0)
    points = torch.from_numpy(x)
    r, J = FactoredJacobian.with_residuals(residuals, residuals.prepare({where: points}))

    leaf = points.clone().requires_grad_()
    u = network(leaf)
    (gradient,) = torch.autograd.grad(u.sum(), leaf, create_graph=True)
    u_n = (torch.from_numpy(outward(kind, x)) * gradient).sum(1)
    g = torch.sin(3 * points[:, 0]) + points[:, 1]
    expected = torch.cat([u_n - g, u_n + 2 * u - g])
    assert float((r - expected.detach()).abs().max()) < 1e-12
    rows = [
        torch.autograd.grad(e, list(network.parameters()), retain_graph=True, materialize_grads=True) for e in expected
    ]
    dense = torch.stack([torch.cat([part.flatten() for part in row]) for row in rows])
    assert float((J.dense() - dense).abs().max()) < 1e-11 * float(dense.abs().max())


def test_a_known_solution_on_the_disc() -> None:
    """u = x^2 - y^2 about the middle: u_n = 2 u / r there."""
    angle = torch.linspace(0, 2 * math.pi, 9, dtype=torch.float64)[:-1]
    x = torch.stack([0.1 + 0.7 * torch.cos(angle), -0.2 + 0.7 * torch.sin(angle)], dim=1)
    normals = Disc((0.1, -0.2), 0.7).normals(x.numpy())
    gradient = torch.stack([2 * (x[:, 0] - 0.1), -2 * (x[:, 1] + 0.2)], dim=1)
    u = (x[:, 0] - 0.1) ** 2 - (x[:, 1] + 0.2) ** 2
    assert torch.allclose((torch.from_numpy(normals) * gradient).sum(1), 2 * u / 0.7)
