"""The direct form of the preconditioned loss: ``P^-1 R(u_theta)`` on the whole grid, differentiated at every step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from pinntk.common.arrays import Array
from pinntk.common.doing import doing
from pinntk.discrete.discretization import DiscreteProblem, apply_inverse
from pinntk.discrete.nodes import NodeDraws
from pinntk.discrete.objective import TERM, OnGrid
from pinntk.discrete.preconditioner import Preconditioner
from pinntk.network import Inputs
from pinntk.residual.hessian import Hessian
from pinntk.residual.loss import Way
from pinntk.residual.ntk import FactoredJacobian
from pinntk.residual.residuals import Batch

ELEMENTS = 400_000
"""Points times width of the blocks in which the network goes over the grid on a CPU: they stay in the cache."""
COLUMNS = 64
"""Of the Jacobian, made at a time."""


class DirectForm(OnGrid):
    """``L = mean y^2`` of ``y(theta) = P^-1 R(u_theta)``, (N,), N nodes on the grid; P is held between two refreshes.

    Where the problem has symmetries the network is read, for every node, in an image drawn for it: so it is trained on
    the whole domain, though the grid covers a part of it.

    Args:
        problem: the discrete problem.
        nodes: what places its nodes in images.
        refresh_every: iterations between two linearisations.

    Attributes:
        preconditioner: P.
    """

    preconditioner: Preconditioner

    def __init__(self, problem: DiscreteProblem, nodes: NodeDraws, refresh_every: int) -> None:
        super().__init__(nodes.residuals.network, (TERM.name,))
        self._begin_on_grid(problem, refresh_every)
        self.nodes, self.streams = nodes, self.network.value
        self._draw = 0
        self._placed: tuple[int, list[Inputs], Tensor] | None = None
        self._block = self._read

    def place(self, way: Way) -> None:
        self.way = "compiled" if way in ("fused_compiled", "compiled") else "plain"
        self._placed = None
        self._block = self._read
        if self.way == "compiled":
            torch.compiler.reset()  # as in `pinntk.residual.loss`
            self._block = torch.compile(self._read, dynamic=False)

    def renew(self, iteration: int, draw: int) -> None:
        draw = draw if self.problem.images > 1 else 0
        self.version += draw != self._draw
        self._draw = draw

    def state(self) -> dict[str, Any]:
        return {**super().state(), "draw": self._draw}

    def load(self, state: Mapping[str, Any]) -> None:
        super().load(state)
        self._draw = state["draw"]

    def _make(self, values: Array) -> dict[str, Any]:
        self._prepare(values)
        return {"factor_seconds": self.preconditioner.factor_seconds}

    def _prepare(self, base: Array) -> None:
        self.base = base
        with doing(f"factors the linearisation, {base.size:,} unknowns"):
            self.preconditioner = self.problem.linearize(base)

    def _difference(self, values: Array) -> Array:
        return self.preconditioner.solve(self.problem.residual(torch.from_numpy(values)).numpy())

    def _y(self) -> Tensor:
        """y, a graph of the parameters, in the network's dtype; R and P^-1 are computed in float64."""
        solved = apply_inverse(self.preconditioner, self.problem.residual(self._grid()))
        return solved.flatten().to(self._like.dtype)

    def by_term(self) -> dict[str, Tensor]:
        return {TERM.name: self._y()}

    def backward(self) -> Tensor:
        self.evaluations += 1
        self.network.zero_grad(set_to_none=True)
        loss = self._y().square().mean()
        loss.backward()
        return loss.detach().repeat(2)

    def linearized(self) -> tuple[Tensor, PreconditionedJacobian]:
        _, inputs, signs = self._inputs()
        batch = {"interior": Batch(signs[:, None], Inputs.joined(inputs), ((torch.zeros_like(signs),),))}
        of_values = FactoredJacobian.of(self.nodes.residuals, batch).scaled(signs)
        with torch.no_grad():
            y, grid = self._y(), self._grid()
        return y, PreconditionedJacobian(self.problem, self.preconditioner, grid, of_values)

    def hessian(self, *, remainder: bool = False) -> Hessian:
        def whole() -> Tensor:
            return self._y().square().mean()

        def beyond() -> Tensor:
            y = self._y()
            return (2 / len(y) * y.detach() * y).sum()

        return Hessian([beyond if remainder else whole], list(self.network.parameters()))

    def _grid(self) -> Tensor:
        """The network's values, (levels, nodes), float64."""
        _, inputs, signs = self._inputs()
        values = torch.cat([self._block(block) for block in inputs])
        return (signs * values).double().reshape(self.problem.shape)

    def _read(self, inputs: Inputs) -> Tensor:
        return self.network.propagate(inputs, self.streams)[0]

    def _inputs(self) -> tuple[int, list[Inputs], Tensor]:
        """The draw of images, the streams of the network's inputs in blocks, the signs, (N,)."""
        if self._placed is None or self._placed[0] != self._draw:
            points, signs = self.nodes.placed(self.problem.nodes, self._draw)
            rows = max(1, ELEMENTS // self.network.width) if points.device.type == "cpu" else len(points)
            count = -(-len(points) // rows)
            with torch.no_grad():
                # Blocks of two sizes at most: every size is compiled once.
                inputs = [self.network.prepare(part, self.streams) for part in points.tensor_split(count)]
            self._placed = self._draw, inputs, signs
        return self._placed


class PreconditionedJacobian:
    """``P^-1 R'(u) J_u``, (N, P), by products; rows and columns as of `FactoredJacobian`.

    Args:
        problem: whose R.
        preconditioner: P.
        grid: u, (levels, nodes), float64.
        of_values: J_u, (N, P).
        scales: factors on the rows, (N,); None: 1.
    """

    def __init__(
        self,
        problem: DiscreteProblem,
        preconditioner: Preconditioner,
        grid: Tensor,
        of_values: FactoredJacobian,
        scales: Tensor | None = None,
    ) -> None:
        self.problem, self.preconditioner, self.grid, self.of_values = problem, preconditioner, grid, of_values
        self.scales = scales
        self.shape, self.slices = of_values.shape, of_values.slices

    def scaled(self, factors: Tensor) -> PreconditionedJacobian:
        """``diag(factors)`` times it, factors (N,)."""
        scales = factors if self.scales is None else factors * self.scales
        return PreconditionedJacobian(self.problem, self.preconditioner, self.grid, self.of_values, scales)

    def matvec(self, v: Tensor) -> Tensor:
        """(P,) to (N,)."""
        return self._forward(self.of_values.matvec(v)[:, None])[:, 0]

    def rmatvec(self, a: Tensor) -> Tensor:
        """The transpose: (N,) to (P,)."""
        right = (a if self.scales is None else a * self.scales).double().cpu().reshape(self.grid.shape)
        solved = torch.from_numpy(self.preconditioner.solve_transposed(right.numpy())).to(self.grid)
        with torch.enable_grad():
            u = self.grid.detach().requires_grad_()
            (found,) = torch.autograd.grad(self.problem.residual(u), u, solved)
        return self.of_values.rmatvec(found.flatten().to(a))

    def dense(self) -> Tensor:
        """The matrix itself, (N, P)."""
        return torch.cat([self._forward(part) for part in self.of_values.dense().split(COLUMNS, dim=1)], dim=1)

    def gram(self) -> Tensor:
        """``K``, (N, N)."""
        rows = self.dense()
        return rows @ rows.T

    def traces(self) -> dict[str, Tensor]:
        """Trace of K, by the name of the one term."""
        return {name: self.dense().square().sum() for name in self.slices}

    def _forward(self, columns: Tensor) -> Tensor:
        """``P^-1 R'(u)`` times the columns of (N, k)."""
        directions = columns.T.double().reshape(-1, *self.grid.shape)

        def along(direction: Tensor) -> Tensor:
            found: Tensor = torch.func.jvp(self.problem.residual, (self.grid,), (direction,))[1]
            return found

        changes = torch.func.vmap(along)(directions) if len(directions) > 1 else along(directions[0])[None]
        solved = torch.from_numpy(self.preconditioner.solve(changes.movedim(0, -1).cpu().numpy()))
        found = solved.to(columns).reshape(columns.shape)
        return found if self.scales is None else found * self.scales[:, None]
