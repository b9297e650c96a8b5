"""Weights of the equation's points from their residuals: the recursion by hand, the weighted loss by plain autograd."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.func import functional_call, hessian, jacrev

from pinntk.methods.settings import MethodSettings
from pinntk.network import Network, NetworkSettings
from pinntk.pdes.burgers import Burgers
from pinntk.residual.attention import Attention, AttentionSettings, attended
from pinntk.residual.form import ResidualForm
from pinntk.residual.loss import Way
from pinntk.residual.residuals import Batch, Residuals

PDE = Burgers(nu=0.1)


def drawn(seed: int, n: int = 24) -> dict[str, Tensor]:
    x = torch.from_numpy(np.random.default_rng(seed).random((n, 2)))
    x[:, 0] = 2 * x[:, 0] - 1
    start, end = x[:6].clone(), x[:4].clone()
    start[:, 1], end[:, 0] = 0.0, 1.0
    return {"interior": x, "initial": start, "boundary": end}


class Draws:
    """Points that are a function of the draw's number."""

    def __init__(self, residuals: Residuals) -> None:
        self.residuals, self.made = residuals, dict[int, dict[str, Batch]]()

    def batches(self, draw: int) -> dict[str, Batch]:
        if draw not in self.made:
            self.made[draw] = self.residuals.prepare(drawn(draw))
        return self.made[draw]


def network() -> Network:
    return Network(NetworkSettings(width=4, depth=2), PDE.coordinates, PDE.lower, PDE.upper, seed=5)


def form(every: int | None = 10, **settings: Any) -> ResidualForm:
    residuals = Residuals(PDE, network(), attended(PDE.terms()))
    attention = Attention(AttentionSettings(**settings), every)
    weights = {"initial": 3.0}
    return ResidualForm(residuals, points=Draws(residuals), attention=attention, weights=weights)


def plain(net: Network, draw: int) -> dict[str, np.ndarray[Any, Any]]:
    """The problem's own residuals, without factors."""
    own = Residuals(PDE, net)
    with torch.no_grad():
        return {name: r.numpy() for name, r in own(own.prepare(drawn(draw))).items()}


def counted(r: np.ndarray[Any, Any], potential: str, look: int, share: float) -> np.ndarray[Any, Any]:
    """``phi q / max q + 1 - phi`` as it is written."""
    size = np.abs(r)
    beta = math.log(look + 2) / size.max()
    q = beta * np.exp(beta * size) if potential == "exponential" else size
    found: np.ndarray[Any, Any] = share * q / q.max() + 1 - share
    return found


@pytest.mark.parametrize("potential", ["exponential", "quadratic"])
def test_the_factors_are_those_of_the_recursion(potential: str) -> None:
    objective = form(every=2, potential=potential, memory=0.75, share=0.8)
    generator = torch.Generator().manual_seed(1)
    expected = np.zeros(0)
    look = 0
    for iteration, draw in enumerate([0, 0, 0, 0, 0, 3, 3, 3]):
        theta = objective.parameters()
        objective.assign(theta + 0.1 * torch.randn(len(theta), generator=generator, dtype=theta.dtype))
        r = plain(objective.network, draw)["residual"]
        if iteration in (0, 5):  # another draw
            expected, look = counted(r, potential, 0, 0.8), 0
        elif iteration % 2 == 0:
            look += 1
            expected = 0.75 * expected + 0.25 * counted(r, potential, look, 0.8)
        before = objective.version
        objective.renew(iteration, draw)
        assert objective.version == before + (iteration in (0, 2, 4, 5, 6))
        found = objective.by_term()
        np.testing.assert_allclose(found["residual"].detach().numpy(), expected * r, rtol=1e-12)
        np.testing.assert_allclose(found["initial"].detach().numpy(), plain(objective.network, draw)["initial"])


@pytest.mark.parametrize("way", ["plain", "fused"])
def test_loss_gradient_jacobian_and_hessian_are_those_of_the_weighted_residuals(way: Way) -> None:
    objective = form()
    objective.place(way)
    assert objective.way == way, objective.reason
    objective.renew(0, 1)
    net = objective.network
    r = plain(net, 1)
    factor = torch.from_numpy(counted(r["residual"], "exponential", 0, 1.0))
    own = Residuals(PDE, net)
    batches = own.prepare(drawn(1))
    shapes = {name: p.shape for name, p in net.named_parameters()}

    def weighted(theta: Tensor) -> Tensor:
        parts = theta.split([math.prod(shape) for shape in shapes.values()])
        named = {name: part.view(shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)}

        class Caller(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.net = net

            def forward(self) -> Tensor:
                found = own(batches)
                weights = {"residual": 1.0, "initial": 3.0, "boundary": 1.0}
                rows = {name: (2 * w / len(found[name])) ** 0.5 * found[name] for name, w in weights.items()}
                rows["residual"] = factor * rows["residual"]
                return torch.cat([rows[name] for name in own.names])

        called: Tensor = functional_call(Caller(), {f"net.{name}": value for name, value in named.items()}, ())
        return called

    theta = objective.parameters()
    rows = weighted(theta)
    J = jacrev(weighted)(theta)
    losses, gradient = objective.gradient()
    torch.testing.assert_close(losses[0], rows.detach().square().sum() / 2, rtol=1e-12, atol=0)
    torch.testing.assert_close(gradient, (J.T @ rows).detach(), rtol=1e-10, atol=1e-12)
    _, found, jacobian = objective.jacobian()
    torch.testing.assert_close(found, rows.detach(), rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(jacobian.dense(), J.detach(), rtol=1e-10, atol=1e-12)
    H = hessian(lambda x: weighted(x).square().sum() / 2)(theta).detach()
    eye = torch.eye(len(theta), dtype=theta.dtype)
    torch.testing.assert_close(objective.curvature() @ eye, H, rtol=1e-8, atol=1e-9)


def test_the_losses_that_are_reported_are_without_the_factors() -> None:
    objective = form()
    objective.renew(0, 2)
    r = plain(objective.network, 2)
    expected = {name: float(np.mean(values**2)) for name, values in r.items()}
    reported = objective.report()
    assert {name: reported[name] for name in expected} == pytest.approx(expected, rel=1e-12)
    assert reported["loss"] == pytest.approx(expected["residual"] + 3 * expected["initial"] + expected["boundary"])
    assert float(objective.losses()[0]) < reported["loss"]  # with them: most points count less


def test_it_goes_on_with_the_same_factors() -> None:
    whole, second = form(every=3), form(every=3)
    for iteration in range(4):
        whole.renew(iteration, 0)
        whole.assign(1.01 * whole.parameters())
    second.load(whole.state())
    second.assign(whole.parameters())
    for objective in (whole, second):
        for iteration in range(4, 8):
            objective.renew(iteration, 0)
            objective.assign(1.01 * objective.parameters())
    assert torch.equal(whole.gradient()[1], second.gradient()[1])


def test_residuals_that_vanish_all_count_the_same() -> None:
    assert Attention(AttentionSettings()).first(torch.zeros(3)).tolist() == [1.0, 1.0, 1.0]


def test_keys_that_count_for_nothing_are_named() -> None:
    assert "attention.memory" in MethodSettings().without_effect()
    assert "attention.memory" not in MethodSettings(weighting="residual").without_effect()
    assert "balance" in MethodSettings(weighting="residual").without_effect()
