"""A method's collocation points, draw by draw, prepared for the network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from pinntk.common.arrays import Array
from pinntk.residual.points import PointSettings, candidates, redrawn, sample
from pinntk.residual.residuals import Batch, Residuals


class Collocation:
    """The points of the current draw, kept until another is asked for.

    A draw is a function of the seed, its number and, with ``by_residual``, of the parameters at the moment when it is
    first asked for; then ``state`` has the points, or else a resumed run would see others.

    Args:
        residuals: for which.
        settings: how many points, drawn how.
        seed: of the run.
    """

    def __init__(self, residuals: Residuals, settings: PointSettings, seed: int) -> None:
        self.residuals, self.settings, self.seed = residuals, settings, seed
        self._current: tuple[int, dict[str, Batch]] | None = None

    def batches(self, draw: int) -> dict[str, Batch]:
        """The points of a draw by region, on the network's device and in its dtype."""
        if self._current is None or self._current[0] != draw:
            pde, regions = self.residuals.pde, self.residuals.region_of.values()
            drawn = sample(self.settings, pde.coordinates, pde.lower, pde.upper, regions, seed=self.seed, draw=draw)
            if self.settings.by_residual and draw and "interior" in drawn:
                drawn["interior"] = self._by_residual(drawn["interior"], draw)
            self._keep(draw, drawn)
        assert self._current is not None
        return self._current[1]

    def place(self) -> None:
        """Prepare the same points again: the network may have moved to another device since."""
        if self._current is not None:
            draw, batches = self._current
            self._keep(draw, {region: batch.points.double().cpu().numpy() for region, batch in batches.items()})

    def state(self) -> dict[str, Any] | None:
        """The points, where they cannot be drawn again."""
        if not self.settings.by_residual or self._current is None:
            return None
        draw, batches = self._current
        return {"draw": draw, "points": {region: batch.points.double().cpu() for region, batch in batches.items()}}

    def load(self, state: Mapping[str, Any] | None) -> None:
        """Go on with the points of ``state``."""
        self._current = None
        if state is not None:
            self._keep(state["draw"], {region: x.numpy() for region, x in state["points"].items()})

    def _keep(self, draw: int, points: Mapping[str, Array]) -> None:
        self._current = draw, self.residuals.prepare({region: self._placed(x) for region, x in points.items()})

    def _placed(self, points: Array) -> Tensor:
        return torch.from_numpy(points).to(next(self.residuals.network.parameters()))

    def _by_residual(self, interior: Array, draw: int) -> Array:
        """The interior points of a draw, some of them drawn by the size of the residuals at this moment."""
        pde = self.residuals.pde
        shape = None if pde.shape is None else self.residuals.region_of["interior"]
        points = candidates(self.settings, pde.lower, pde.upper, seed=self.seed, draw=draw, shape=shape)
        with torch.no_grad():
            batch = self.residuals.prepare_region("interior", self._placed(points))
            found = self.residuals.of_region("interior", batch)
            own = [found[term.name] for term in self.residuals.terms_of["interior"] if term.along is None]
            size = torch.stack([r.abs() for r in own]).sum(0).double().cpu().numpy()
        count = self.settings.count_by_residual(len(interior))
        return redrawn(interior, points, size, count, seed=self.seed, draw=draw)
