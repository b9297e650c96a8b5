"""What tests of streams and kernel share: every problem at a few points, derivatives and Jacobians by autograd."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev

from pinntk.network import Network, NetworkSettings
from pinntk.pdes.base import PDE
from pinntk.pdes.burgers import Burgers
from pinntk.pdes.convection import Convection
from pinntk.pdes.heat2d import Heat2D
from pinntk.pdes.poisson1d import Poisson1D
from pinntk.pdes.reaction import Reaction
from pinntk.pdes.wave import Wave
from pinntk.residual.points import PointSettings, sample
from pinntk.residual.residuals import Batch, Normalization, Residuals
from pinntk.residual.terms import Problem, Term

PDES: dict[str, PDE] = {
    pde.name: pde
    for pde in (
        Convection(beta=3.0),
        Wave(a=2, C=0.5),
        Reaction(rho=2.5),
        Burgers(nu=0.1),
        Heat2D(k=1.7, m1=3, m2=5),
        Poisson1D(a=2),
    )
}
"""With coefficients that are not the defaults."""
POINTS = PointSettings(interior=7, initial=5, boundary=6)
PERIODIC: dict[str, Any] = {"kind": "periodic", "period": 1.3, "harmonics": 2}
FREQUENCIES: dict[str, Any] = {"kind": "frequencies", "frequencies": [0.7, 2.5]}
DECAY: dict[str, Any] = {"kind": "decay", "times": [0.4, 3.0]}


def features(pde: PDE) -> list[dict[str, Any]]:
    """One of each kind; on the last coordinate, which is x where there is no t."""
    first, last = pde.coordinates[0], pde.coordinates[-1]
    return [
        {**PERIODIC, "input": first},
        {**FREQUENCIES, "input": last, "replace": pde.name == "burgers"},
        {**DECAY, "input": last},
        {"kind": "mode", "frequencies": {first: 0.9, last: 1.6}},
    ]


def residuals_of(
    pde: Problem, *, dtype: torch.dtype = torch.float64, terms: Sequence[Term] | None = None, **network: Any
) -> Residuals:
    """The problem's residuals on a small network, whose biases are not zero: that would hide a mistake in them."""
    settings = NetworkSettings.model_validate({"width": 6, **network})
    made = Network(settings, pde.coordinates, pde.lower, pde.upper, seed=3, dtype=dtype)
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if name.endswith("bias"):
                parameter.add_(torch.linspace(-0.3, 0.4, len(parameter), dtype=dtype))
    return Residuals(pde, made, terms)


def batches_of(pde: PDE, residuals: Residuals, points: PointSettings = POINTS, draw: int = 0) -> dict[str, Batch]:
    drawn = sample(points, pde.coordinates, pde.lower, pde.upper, residuals.regions, seed=2, draw=draw)
    dtype = next(residuals.network.parameters()).dtype
    return residuals.prepare({region: torch.from_numpy(x).to(dtype) for region, x in drawn.items()})


class _Whole(nn.Module):
    def __init__(self, residuals: Residuals) -> None:
        super().__init__()
        self.network, self.residuals = residuals.network, residuals

    def forward(self, batches: dict[str, Batch]) -> Tensor:
        return torch.cat(list(self.residuals(batches).values()))


def dense_jacobian(residuals: Residuals, batches: dict[str, Batch]) -> Tensor:
    """J by torch.func, (N, P): rows in the order of the terms, columns in that of the parameters."""
    whole = _Whole(residuals)
    now = {name: p.detach() for name, p in whole.named_parameters()}
    parts = jacrev(lambda parameters: functional_call(whole, parameters, (batches,)))(now)
    return torch.cat([parts[name].reshape(len(parts[name]), -1) for name in now], dim=1)


def values_of(residuals: Residuals, batches: dict[str, Batch]) -> Tensor:
    """r(theta), (N,)."""
    return torch.cat(list(residuals(batches).values())).detach()


def loss_at(
    theta: Tensor, residuals: Residuals, batches: dict[str, Batch], weights: Tensor, normalization: Normalization
) -> Tensor:
    """The weighted loss written out, as a function of the parameters theta, (P,), for automatic differentiation."""
    whole, start, parameters = _Whole(residuals), 0, {}
    for name, p in whole.named_parameters():
        parameters[name] = theta[start : start + p.numel()].view_as(p)
        start += p.numel()
    r = functional_call(whole, parameters, (batches,))
    total, start = torch.zeros((), dtype=theta.dtype), 0
    for name, weight in zip(residuals.names, weights.tolist(), strict=True):
        (term,) = (term for term in residuals.terms if term.name == name)
        count = len(batches[term.where].points) // (2 if term.region == "periodic" else 1)
        squares = (r[start : start + count] ** 2).sum()
        total = total + weight * (0.5 * squares if normalization == "sum" else squares / count)
        start += count
    assert start == len(r)
    return total


def nested(u: Tensor, x: Tensor, name: str, coordinates: Sequence[str]) -> Tensor:
    """A stream of u (N,) at the points x (N, d), by one torch.autograd.grad per letter behind ``u_``."""
    for letter in name[2:]:
        u = torch.autograd.grad(u.sum(), x, create_graph=True)[0][:, list(coordinates).index(letter)]
    return u


def assert_close(found: Tensor, expected: Tensor, tolerance: float = 1e-10) -> None:
    """Equal up to rounding, relative to the largest entry; without a graph, and not zero, where all would be equal."""
    assert found.shape == expected.shape
    assert not found.requires_grad
    scale = float(expected.abs().max())
    assert scale > 0
    assert float((found - expected).abs().max()) <= tolerance * scale
