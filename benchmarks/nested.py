"""Contestant of ``step.py`` beside ours: plain PyTorch, as most scripts for PINNs are written."""

from __future__ import annotations

import time
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from pinntk.residual.terms import Term

if TYPE_CHECKING:
    from benchmarks.step import Case


class Nested:
    """Plain PyTorch: one network call per region, derivatives by nested ``autograd.grad``, a sum of mean squares.

    What does not change from step to step (points, data) is prepared once, as a careful author would. Not compiled:
    torch.compile cannot differentiate through a backward pass.
    """

    def __init__(self, case: Case) -> None:
        layers = [nn.Linear(m, n, dtype=case.dtype) for m, n in pairwise(case.sizes)]
        case.load(layers)
        self.network = nn.Sequential(*[part for layer in layers for part in (layer, nn.Tanh())][:-1])
        self.coordinates = case.pde.coordinates
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=case.learning_rate, fused=True)
        self.regions: list[tuple[Tensor, set[str], list[tuple[Term, tuple[Tensor, ...]]]]] = []
        for region in case.pde.regions():
            points = case.tensor(region)
            terms = [(term, term.fields(points)) for term in case.pde.terms() if term.region == region]
            wanted = {name for term, _ in terms for name in term.derivatives}
            self.regions.append((points.requires_grad_(wanted != {"u"}), wanted, terms))

    def derivatives(self, points: Tensor, wanted: set[str]) -> dict[str, Tensor]:
        """u and its wanted derivatives by name, each (N,)."""
        u = self.network(points)
        values = {"u": u[:, 0]}
        if wanted == {"u"}:
            return values
        (gradient,) = torch.autograd.grad(u, points, torch.ones_like(u), create_graph=True)
        for c, name in enumerate(self.coordinates):
            first = gradient[:, c]
            values[f"u_{name}"] = first
            if f"u_{name}{name}" in wanted:
                (second,) = torch.autograd.grad(first, points, torch.ones_like(first), create_graph=True)
                values[f"u_{name}{name}"] = second[:, c]
        return values

    def step(self) -> dict[str, Tensor]:
        """One step; the loss of every term before it."""
        losses: dict[str, Tensor] = {}
        for points, wanted, terms in self.regions:
            values = self.derivatives(points, wanted)
            for term, fields in terms:
                losses[term.name] = term.of_derivatives(values, *fields).square().mean()
        self.optimizer.zero_grad(set_to_none=True)
        torch.stack(list(losses.values())).sum().backward()
        self.optimizer.step()
        return losses

    def first(self) -> dict[str, float]:
        return {name: float(loss) for name, loss in self.step().items()}

    def run(self, steps: int) -> float:
        started = time.perf_counter()
        for _ in range(steps):
            self.step()
        return time.perf_counter() - started
