"""The loss at points that are not trained on: it tells a solution from an over-fitted sample, without a reference."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from pinntk.residual.form import ResidualForm
from pinntk.residual.loss import blocks
from pinntk.residual.points import PointSettings, sample
from pinntk.residual.residuals import Batch, Residuals, term_losses

DRAW = 2**31
"""Number of the draw: no training comes to so many, so that these points are trained on by no run with this seed."""
MOST = 5000
"""Points at most: enough that the mean of squares is known to a few per cent, and less work than one training step."""


def fresh_counts(settings: PointSettings) -> PointSettings:
    """As many points as are trained on, `MOST` at most; a grid, of which there is one draw, gives way to uniform ones.

    Example::

        >>> from pinntk.residual.points import PointSettings
        >>> counts = fresh_counts(PointSettings(interior=10_000, initial=257, boundary=20_000))
        >>> counts.interior, counts.initial, counts.boundary
        (3493, 257, 1250)
        >>> fresh_counts(PointSettings(interior=30, boundary=2, sampling="grid")).sampling
        'uniform'
    """
    # The conditions have a quarter each at most, so that the equation keeps the half.
    initial, boundary = (min(count, MOST // 4) for count in (settings.initial, settings.boundary))
    interior = min(settings.interior, MOST - initial - boundary)
    sampling = "uniform" if settings.sampling == "grid" else settings.sampling
    counts = {"interior": interior, "initial": initial, "boundary": boundary}
    return settings.model_copy(update={**counts, "sampling": sampling})


class FreshPoints:
    """One fixed set of points, a function of the seed alone, drawn as the trained ones are but never trained on.

    Those of a table are the table's own. Points that training draws by residual have no counterpart here: fresh points
    stand for the whole domain.

    Args:
        residuals: for which.
        settings: of the run's points.
        seed: of the run.

    Example::

        >>> from pinntk.network import Network, NetworkSettings
        >>> from pinntk.pdes.poisson1d import Poisson1D
        >>> from pinntk.residual.form import ResidualForm
        >>> from pinntk.residual.points import PointSettings
        >>> from pinntk.residual.residuals import Residuals
        >>> pde = Poisson1D(a=1)
        >>> network = Network(NetworkSettings(width=1, depth=1), pde.coordinates, pde.lower, pde.upper)
        >>> network.assign(torch.tensor([0.0, 0.0, 0.0, 2.0]))  # u = 2: residual pi^2 sin pi x, 2 at both ends
        >>> functions = Residuals(pde, network)
        >>> trained = functions.prepare({"interior": torch.ones(1, 1).double(), "boundary": torch.ones(1, 1).double()})
        >>> fresh = FreshPoints(functions, PointSettings(sampling="sobol"), seed=0)
        >>> round(fresh.loss(ResidualForm(functions, trained)), 1)  # mean of pi^4 sin^2 pi x, and 4
        52.7
        >>> round(math.pi**4 / 2 + 4, 1)
        52.7
    """

    def __init__(self, residuals: Residuals, settings: PointSettings, seed: int) -> None:
        self.residuals, self.settings, self.seed = residuals, fresh_counts(settings), seed
        self._batches: dict[str, Batch] | None = None

    def batches(self) -> Mapping[str, Batch]:
        """The points by region, on the network's device and in its dtype."""
        like = next(self.residuals.network.parameters())
        if self._batches is None or any(batch.points.device != like.device for batch in self._batches.values()):
            pde, regions = self.residuals.pde, self.residuals.region_of.values()
            drawn = sample(self.settings, pde.coordinates, pde.lower, pde.upper, regions, seed=self.seed, draw=DRAW)
            self._batches = self.residuals.prepare({name: torch.from_numpy(x).to(like) for name, x in drawn.items()})
        return self._batches

    def loss(self, objective: ResidualForm) -> float:
        """The objective's total with the fixed weights, as its `report` has it, at these points.

        With ``normalization=sum`` a term's sum is scaled to the number of residuals that are trained on. The objective
        stays as it is, its count of evaluations too.
        """
        residuals, fresh = self.residuals, self.batches()
        terms: dict[str, Tensor] = {}
        with torch.no_grad():
            for region, block, share in blocks(residuals, fresh, objective.normalization):
                if objective.normalization == "sum":
                    share = len(objective.batches[region].points) / len(fresh[region].points)
                found = residuals.of_region(region, block)
                losses = share * term_losses(list(found.values()), objective.normalization).double()
                for name, loss in zip(found, losses, strict=True):
                    terms[name] = terms[name] + loss if name in terms else loss
        weights: list[float] = objective.fixed.tolist()
        return sum(w * float(terms[name]) for name, w in zip(objective.names, weights, strict=True))
