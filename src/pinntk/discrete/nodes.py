"""Nodes of a discrete problem's grid, draw by draw, with the values that a network is compared with there."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from pinntk.common.arrays import Array
from pinntk.discrete.discretization import DiscreteProblem
from pinntk.residual.points import PointSettings, redrawn, unit_points
from pinntk.residual.residuals import Batch, Residuals

CANDIDATES = 64
"""Nodes that are looked at for every one that is drawn by residual, one of them on the first level."""


class NodeDraws:
    """A draw is a function of seed and number alone, unless nodes are drawn by residual.

    Args:
        problem: whose grid.
        residuals: with one term, the difference between network and target, on the region "interior".
        points: how nodes are spread, and which share of them is drawn by residual.
        batch: nodes per draw.
        seed: of the run.
    """

    def __init__(
        self, problem: DiscreteProblem, residuals: Residuals, points: PointSettings, batch: int, seed: int
    ) -> None:
        self.problem, self.residuals, self.points, self.batch, self.seed = problem, residuals, points, batch, seed
        self.target = torch.empty(0)
        self.drawn: tuple[int, Tensor] | None = None
        """Number of the current draw, and of its nodes, (batch,)."""
        self._batches: dict[str, Batch] = {}

    def numbers(self, n: int, *stream: int) -> Tensor:
        """Numbers of n nodes, spread over the grid as ``points.sampling`` says; a function of seed and stream alone.

        Evenly spread nodes are worth more than the same number drawn one by one, which leave holes.
        """
        rng, axes = np.random.default_rng([self.seed, *stream]), self.problem.axes
        if self.points.sampling == "uniform":
            return torch.from_numpy(rng.integers(math.prod(axes), size=n))
        places = np.floor(unit_points(self.points.sampling, n, len(axes), rng) * axes).astype(np.int64)
        return torch.from_numpy(np.ravel_multi_index(tuple(places.T), axes))

    def placed(self, nodes: Array, draw: int) -> tuple[Tensor, Tensor]:
        """Nodes (n, d), each in an image drawn for it (`DiscreteProblem.image`): points (n, d), signs (n,)."""
        rng = np.random.default_rng([self.seed, draw, 2])
        found = self.problem.image(nodes, rng.integers(self.problem.images, size=len(nodes)))
        points, signs = (torch.from_numpy(x).to(next(self.residuals.network.parameters())) for x in found)
        return points, signs

    def aim(self, target: Tensor) -> None:
        """Compare with this target from now on, (N,), at the nodes drawn before as well."""
        self.target = target
        if self.drawn is not None:
            self.take(*self.drawn)

    def batches(self, draw: int) -> dict[str, Batch]:
        """The nodes of a draw with their targets, kept until another draw is asked for."""
        if self.drawn is None or self.drawn[0] != draw:
            self.take(draw, self._pick(draw))
        return self._batches

    def take(self, draw: int, numbers: Tensor) -> None:
        """Make these nodes the draw's, with the targets that they have now."""
        points, signs = self.placed(self.problem.nodes[numbers.numpy()], draw)
        with torch.no_grad():
            inputs = self.residuals.network.prepare(points, self.residuals.streams_of["interior"])
        field = signs * self.target[numbers.to(self.target.device)]
        self.drawn, self._batches = (draw, numbers), {"interior": Batch(points, inputs, ((field,),))}

    def _pick(self, draw: int) -> Tensor:
        """The last of them by the network's distance from the target, if so wanted, from the second draw on."""
        picked, count = self.numbers(self.batch, draw), self.points.count_by_residual(self.batch)
        if not count or not draw:
            return picked
        among = self.numbers(CANDIDATES * count, draw, 1).numpy()
        # One of as many is put on the first level, of which a draw over thousands of levels sees next to nothing.
        among[:count] %= math.prod(self.problem.axes[1:])
        u, target = self.residuals.network.predict(self.problem.nodes[among]), self.target.double().cpu().numpy()
        size = np.abs(u - target[among])
        return torch.from_numpy(redrawn(picked.numpy(), among, size, count, seed=self.seed, draw=draw))
