"""A loss that several processes share: threads stand for processes here, tests/test_team.py has real ones."""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from jacobians import PDES
from torch import Tensor

from pinntk.common.processes import Connected
from pinntk.network import Network, NetworkSettings
from pinntk.optim.gauss_newton import GaussNewtonSettings, GaussNewtonSteps
from pinntk.optim.natural_gradient import NaturalGradient, NaturalGradientSettings
from pinntk.pdes.base import PDE
from pinntk.pdes.zoo.schroedinger import Schroedinger
from pinntk.residual.collocation import Collocation
from pinntk.residual.form import ResidualForm
from pinntk.residual.ntk import Jacobian
from pinntk.residual.points import PointSettings
from pinntk.residual.residuals import Normalization, Residuals
from pinntk.residual.shared import Share, SharedForm, follow
from pinntk.residual.weighting import TraceWeighting

PROBLEMS: dict[str, PDE] = {**{name: PDES[name] for name in ("poisson1d", "convection")}, "system": Schroedinger()}
"""With two points at the ends, with pairs of points, with two fields."""
POINTS = PointSettings(interior=400, initial=30, boundary=20, by_residual=0.2)


class Threads:
    """`Group` of threads of this process."""

    def __init__(self, rank: int, size: int, together: Threads | None = None) -> None:
        self.rank, self.size = rank, size
        self.barrier: threading.Barrier = threading.Barrier(size, timeout=60) if together is None else together.barrier
        self.slots: list[Any] = [None] * size if together is None else together.slots
        queues = [queue.Queue[Any]() for _ in range(size)] if together is None else together.queues
        self.queues: list[queue.Queue[Any]] = queues
        self.ordered: list[str] = []

    def order(self, *message: Any) -> None:
        self.ordered.append(message[0])
        for other in self.queues[1:]:
            other.put(message)

    def _all(self, x: Tensor) -> list[Any]:
        self.slots[self.rank] = x.clone()
        self.barrier.wait()
        found = list(self.slots)
        self.barrier.wait()
        return found

    def spread(self, x: Tensor) -> Tensor:
        found: Tensor = self._all(x)[0].clone()
        return found

    def total(self, x: Tensor) -> Tensor:
        return torch.stack(self._all(x)).sum(0)

    def collect(self, x: Tensor, rows: Sequence[int]) -> list[Tensor]:
        found = self._all(x)
        assert self.rank or [len(one) for one in found] == list(rows)
        return [] if self.rank else found


def form_of(pde: PDE, points: PointSettings = POINTS, **settings: Any) -> ResidualForm:
    network = Network.of(pde, NetworkSettings(width=4, depth=2), seed=3, dtype=torch.float64)
    residuals = Residuals(pde, network)
    weights = {residuals.names[-1]: 3.0}
    return ResidualForm(residuals, points=Collocation(residuals, points, seed=5), weights=weights, **settings)


@pytest.fixture
def shared() -> Iterator[Callable[..., tuple[ResidualForm, SharedForm, list[Share]]]]:
    """The objective of one process, the same shared out, and the shares of the others."""
    groups, workers = [], []

    def make(pde: PDE, size: int, **settings: Any) -> tuple[ResidualForm, SharedForm, list[Share]]:
        leader = Threads(0, size)
        groups.append(leader)
        shares = []
        for rank in range(1, size):
            form = form_of(pde, **settings)
            share = Share(form.functions, form.normalization, rank, size)
            orders = iter(leader.queues[rank].get, None)
            arguments = share, form.points, Threads(rank, size, leader), orders
            workers.append(threading.Thread(target=follow, args=arguments, daemon=True))
            workers[-1].start()
            shares.append(share)
        return form_of(pde, **settings), SharedForm(form_of(pde, **settings), leader), shares

    yield make
    for group in groups:
        for one in group.queues[1:]:
            one.put(None)
    for worker in workers:
        worker.join(60)
        assert not worker.is_alive()


def close(found: Tensor, expected: Tensor, tolerance: float = 1e-12) -> None:
    assert found.shape == expected.shape
    assert float((found - expected).abs().max()) <= tolerance * float(expected.abs().max())


def normal(form: ResidualForm) -> tuple[Tensor, Tensor, Tensor]:
    """Losses, ``J^T J`` and ``J^T r``."""
    losses, r, jacobian = form.jacobian()
    assert form.residuals().shape == r.shape
    return losses, *normal_of((r, jacobian))


def normal_of(found: tuple[Tensor, Jacobian]) -> tuple[Tensor, Tensor]:
    r, jacobian = found
    rows = jacobian.dense()
    return rows.T @ rows, rows.T @ r


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("normalization", ["mean", "sum"])
@pytest.mark.parametrize("name", PROBLEMS)
def test_parts_add_up(name: str, normalization: Normalization, size: int, shared: Any) -> None:
    """Losses, gradient, traces and least squares are those of one process, for few points and for many."""
    one, several, shares = shared(PROBLEMS[name], size, normalization=normalization)
    for draw in range(2):
        for form in (one, several):
            form.renew(draw, draw)
        before = one.parameters()
        for found, expected in zip(several.gradient(), one.gradient(), strict=True):
            close(found, expected)
        close(several.losses(), one.losses())
        close(several.traces(), one.traces())
        for found, expected in zip(normal(several), normal(one), strict=True):
            close(found, expected)
        close(several.residuals().square().sum(), one.residuals().square().sum())
        v = torch.linspace(-1, 1, len(before), dtype=before.dtype)
        close(several.curvature("gauss_newton") @ v, one.curvature("gauss_newton") @ v)
        assert several.evaluations == one.evaluations
        for share in shares:
            assert torch.equal(share.residuals.network.vector(), several.parameters())
        for form in (one, several):
            form.assign(before + 0.1 * v)


def test_a_term_with_many_rows_comes_as_triangles(shared: Any) -> None:
    _, several, _ = shared(PROBLEMS["poisson1d"], 2)
    several.renew(0, 0)
    _, jacobian = several.linearized()
    parameters = jacobian.shape[1]
    assert {name: s.stop - s.start for name, s in jacobian.slices.items()} == {
        "residual": 2 * (parameters + 1),
        "boundary": 2,
    }


@pytest.mark.parametrize("balance", ["blocks", "terms"])
def test_algorithm_1(balance: Any, shared: Any) -> None:
    """Traces come with the gradient, and weights from them; also where J brings them."""
    weighting = TraceWeighting(balance, 2)
    one, several, _ = shared(PROBLEMS["convection"], 2, weighting=weighting)
    for iteration in range(3):
        for form in (one, several):
            form.renew(iteration, 0)
        for found, expected in zip(several.gradient(), one.gradient(), strict=True):
            close(found, expected)
        close(several.lambdas, one.lambdas)
        close(several.last_traces, one.last_traces)
    several.renew(4, 0)
    several.jacobian()
    close(several.lambdas, one.lambdas)


@pytest.mark.parametrize("settings", [{}, {"balance": "rows"}, {"sketch": 0.5}])
@pytest.mark.parametrize("name", ["poisson1d", "system"])
def test_gauss_newton_steps(name: str, settings: dict[str, Any], shared: Any) -> None:
    one, several, _ = shared(PROBLEMS[name], 2)
    for form in (one, several):
        form.renew(0, 0)
        optimizer = GaussNewtonSteps(form, GaussNewtonSettings(**settings), seed=1)
        for _ in range(5):
            optimizer.step()
    close(several.parameters(), one.parameters(), 1e-10)
    assert float(one.loss()) < 0.5 * float(form_of(PROBLEMS[name]).loss())


@pytest.mark.parametrize("solver", ["orthogonal", "kernel", "parameters", "iterative"])
def test_natural_gradient_steps(solver: Any, shared: Any) -> None:
    one, several, _ = shared(PROBLEMS["convection"], 2)
    for form in (one, several):
        form.renew(0, 0)
        optimizer = NaturalGradient(form, NaturalGradientSettings(solver=solver, tolerance=1e-10))
        for _ in range(4):
            optimizer.step()
    close(several.parameters(), one.parameters(), 1e-8)


def test_points_travel_once_a_draw(shared: Any) -> None:
    _, several, _ = shared(PROBLEMS["poisson1d"], 2)
    for iteration in range(4):
        several.renew(iteration, iteration // 2)
        several.gradient()
    assert several.group.ordered == ["points", *["gradient"] * 2, "points", *["gradient"] * 2]


def test_state_goes_from_several_to_one_and_back(shared: Any) -> None:
    one, several, _ = shared(PROBLEMS["convection"], 2, weighting=TraceWeighting("blocks", 2))
    several.renew(0, 1)
    several.gradient()
    one.points.load(several.points.state())
    one.load(several.state())
    one.renew(1, 1)
    several.renew(1, 1)
    for found, expected in zip(several.gradient(), one.gradient(), strict=True):
        close(found, expected)


def test_dismissed_it_computes_alone(shared: Any) -> None:
    one, several, _ = shared(PROBLEMS["poisson1d"], 2)
    for form in (one, several):
        form.renew(0, 0)
    several.gradient()
    asked = list(several.group.ordered)
    group = several.group
    several.dismiss()
    assert torch.equal(several.losses(), one.losses())
    assert torch.equal(several.residuals(), one.residuals())
    assert torch.equal(several.jacobian()[2].dense(), one.jacobian()[2].dense())
    for found, expected in zip(several.gradient(), one.gradient(), strict=True):
        assert torch.equal(found, expected)
    assert group.ordered == asked


class Unheard(Connected):
    """A leader whose followers know their orders beforehand."""

    def order(self, *message: Any) -> None:
        return


STEPS = 5
FIXED = PointSettings(interior=400, initial=30, boundary=20)


def following(folder: Path) -> None:
    """What the other process of the next test does."""
    form = form_of(PROBLEMS["convection"], FIXED)
    assert isinstance(form.points, Collocation)
    share = Share(form.functions, form.normalization, 1, 2)
    group = Connected(1, 2, folder / "store", torch.device("cpu"))
    follow(share, form.points, group, [("points", 0, None), *[("gradient",)] * STEPS, ("factored",)])
    torch.save(share.residuals.network.vector(), folder / "theta.pt")
    group.close()


@pytest.mark.slow
def test_two_processes_have_the_same_parameters(tmp_path: Path) -> None:
    """Bit for bit, after steps that are those of one process."""
    code = f"from pathlib import Path; import test_shared; test_shared.following(Path({str(tmp_path)!r}))"
    tests = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    with subprocess.Popen([sys.executable, "-c", code], env=tests) as other:
        group = Unheard(0, 2, tmp_path / "store", torch.device("cpu"))
        one = form_of(PROBLEMS["convection"], FIXED)
        several = SharedForm(form_of(PROBLEMS["convection"], FIXED), group)
        for form in (one, several):
            form.renew(0, 0)
            for _ in range(STEPS):
                _, gradient = form.gradient()
                form.assign(form.parameters() - 0.1 * gradient)
        for found, expected in zip(normal_of(several.jacobian()[1:]), normal_of(one.jacobian()[1:]), strict=True):
            close(found, expected)
        group.close()
        assert other.wait(60) == 0
    assert torch.equal(torch.load(tmp_path / "theta.pt"), several.parameters())
    close(several.parameters(), one.parameters())


def test_a_group_of_one(tmp_path: Path) -> None:
    """torch.distributed gives back what it got, in the dtype in which it came."""
    alone = Connected(0, 1, tmp_path / "store", torch.device("cpu"))
    x = torch.tensor([1.0, 1 / 3], dtype=torch.float32)
    assert torch.equal(alone.total(x), x)
    assert torch.equal(alone.spread(x), x)
    assert all(torch.equal(one, x[:, None]) for one in alone.collect(x[:, None], [2]))
    one, several = form_of(PROBLEMS["poisson1d"]), SharedForm(form_of(PROBLEMS["poisson1d"]), alone)
    for form in (one, several):
        form.renew(0, 0)
    for found, expected in zip(several.gradient(), one.gradient(), strict=True):
        close(found, expected)
    alone.close()
