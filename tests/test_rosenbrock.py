"""Steps in time: orders on equations with closed solutions, and one step against dense numpy."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from pinntk.common.arrays import Array
from pinntk.optim.rosenbrock import RODAS3, Linear, NormalEquations, increment


def linear(u: Tensor, t: float) -> Linear:
    """Of ``u' = u (1 - u) + cos t`` at every point by itself, the parameters being the values."""

    def rate(streams: Tensor, t: float) -> Tensor:
        return streams * (1 - streams) + math.cos(t)

    identity = torch.eye(len(u), dtype=u.dtype)
    slope = torch.diag(1 - 2 * u)
    in_time = torch.full_like(u[None], -math.sin(t))
    return Linear(identity, slope, u[None], lambda v: v[None], rate, in_time, 0.0)


def at_one(steps: int, *, embedded: bool = False) -> Tensor:
    u, h = torch.tensor([0.1, 0.5, 1.2], dtype=torch.float64), 1 / steps
    for n in range(steps):
        found = increment(linear(u, n * h), n * h, h)
        assert found is not None
        u = u + found.w - (found.error[0] if embedded else 0)
    return u


@pytest.mark.parametrize(("embedded", "order"), [(False, 3), (True, 2)])
def test_orders(embedded: bool, order: int) -> None:
    exact = at_one(4096)
    errors = [float((at_one(n, embedded=embedded) - exact).abs().max()) for n in (32, 64, 128)]
    for coarse, fine in pairwise(errors):
        assert math.log2(coarse / fine) == pytest.approx(order, abs=0.25)
    assert errors[-1] < (1e-6 if order == 3 else 1e-4)


def test_it_damps_what_is_stiff() -> None:
    """u' = -1e6 u: one step of length 1 leaves next to nothing, where an explicit one would leave 1e12 or more."""
    one = torch.ones(1, dtype=torch.float64)
    zero = 0 * one[None]
    stiff = Linear(one[None], -1e6 * one[None], one[None], lambda v: v[None], lambda s, t: -1e6 * s, zero, 0.0)
    found = increment(stiff, 0.0, 1.0)
    assert found is not None
    assert abs(1 + found.w.item()) < 1e-4


def test_a_step_against_dense_numpy() -> None:
    """Stages as damped least squares by numpy's SVD, for a rate that depends on two streams."""
    rng = np.random.default_rng(0)
    n, p, h, mu, t = 40, 12, 0.07, 1e-3, 0.3
    J, JL = rng.standard_normal((2, n, p))
    u, L = rng.standard_normal((2, n))

    def F(u: Array, L: Array, t: float) -> Array:
        return np.asarray(L + np.sin(u) * (1 + t**2))

    slope = JL + (np.cos(u) * (1 + t**2))[:, None] * J
    in_time = np.sin(u) * 2 * t
    # KPP's form of the method, whose matrix is 1/(gamma h) - F'.
    a, c = np.zeros((4, 4)), np.zeros((4, 4))
    a[2, 0] = a[3, 0] = 2
    a[3, 2] = 1
    c[1, 0], c[2, 0], c[2, 1], c[3] = 4, 1, -1, [1, -1, -8 / 3, 0]
    A = np.vstack([J / (0.5 * h) - slope, math.sqrt(mu) / (0.5 * h) * np.eye(p)])
    k = np.zeros((4, p))
    for i, (alpha, gamma) in enumerate(zip((0, 0, 1, 1), (0.5, 1.5, 0, 0), strict=True)):
        at = a[i] @ k
        right = F(u + J @ at, L + JL @ at, t + alpha * h) + J @ (c[i] @ k) / h + gamma * h * in_time
        k[i] = np.linalg.lstsq(A, np.concatenate([right, np.zeros(p)]), rcond=None)[0]
    w, error = 2 * k[0] + k[2] + k[3], J @ k[3]

    tensor = torch.from_numpy
    both = torch.stack([tensor(J), tensor(JL)])
    found = increment(
        Linear(
            tensor(J),
            tensor(slope),
            torch.stack([tensor(u), tensor(L)]),
            lambda v: both @ v,
            lambda s, t: (s[1] + torch.sin(s[0]) * (1 + t**2))[None],
            tensor(in_time)[None],
            mu,
        ),
        t,
        h,
    )
    assert found is not None
    np.testing.assert_allclose(found.w.numpy(), w, rtol=0, atol=1e-8 * np.abs(w).max())
    np.testing.assert_allclose(found.values[0].numpy(), J @ w, rtol=0, atol=1e-8 * np.abs(J @ w).max())
    np.testing.assert_allclose(found.error[0].numpy(), error, rtol=0, atol=1e-8 * np.abs(J @ w).max())


def test_equations_that_cannot_be_solved_are_no_step() -> None:
    A = torch.zeros(3, 2, dtype=torch.float64)
    assert not NormalEquations(A, 0.0).solvable
    assert NormalEquations(A, 1e-3).solvable
    zero = torch.zeros(1, 3, dtype=torch.float64)
    assert increment(Linear(A, A, zero, lambda v: zero, lambda s, t: zero, zero, 0.0), 0.0, 0.1) is None
    assert RODAS3.gamma == 0.5
