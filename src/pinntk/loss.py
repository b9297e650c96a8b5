"""The weighted loss and its gradient, block by block.

On a processor a training step spends its time in matrix products and in reading and writing what lies between them.
Blocks of points whose streams stay in the cache are forward and backward before the next block's turn; the gradient is
the sum. A GPU wants everything at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from pinntk.residuals import Batch, Normalization, Residuals, term_losses

ELEMENTS = 400_000
"""Of one layer's streams in a block, stream by point by neuron: 1.6 MB in single precision."""


class BlockedLoss:
    """``L = sum over terms of w L_term`` and its gradient.

    Args:
        residuals: the residual function.
        normalization: of the terms' losses, see `term_losses`.
        compile: use torch.compile.
    """

    def __init__(self, residuals: Residuals, normalization: Normalization, *, compile: bool) -> None:
        self.residuals = residuals
        self.normalization = normalization
        compiled: Callable[..., tuple[Tensor, Tensor]] = (
            torch.compile(self._block, dynamic=False) if compile else self._block
        )
        self._compute = compiled
        self._split: tuple[object, list[tuple[str, Batch, float]]] | None = None

    def backward(self, batches: Mapping[str, Batch], weights: Tensor) -> Tensor:
        """Add the gradient of L to the parameters' ``grad``.

        Args:
            batches: by region, as `Residuals.prepare` makes them.
            weights: of the terms, (T,), in their order.

        Returns:
            the unweighted losses of the terms, (T,).
        """
        names = self.residuals.names
        weight = dict(zip(names, weights.unbind(), strict=True))
        found = dict.fromkeys(names, torch.zeros((), dtype=weights.dtype, device=weights.device))
        for region, block, share in self._blocks(batches):
            terms = [term.name for term in self.residuals.terms_of[region]]
            total, losses = self._compute(region, block, torch.stack([weight[name] for name in terms]), share)
            total.backward()
            for name, loss in zip(terms, losses.unbind(), strict=True):
                found[name] = found[name] + loss
        return torch.stack([found[name] for name in names])

    def _block(self, region: str, block: Batch, weights: Tensor, share: float) -> tuple[Tensor, Tensor]:
        """A block's part of the weighted loss, and of the losses of the region's terms (detached)."""
        found = self.residuals.of_region(region, block)
        losses = share * term_losses(list(found.values()), self.normalization)
        return (weights * losses).sum(), losses.detach()

    def _blocks(self, batches: Mapping[str, Batch]) -> list[tuple[str, Batch, float]]:
        """(region, block, its share of a mean over the region's points); kept until other batches come."""
        if self._split is None or self._split[0] is not batches:
            self._split = (
                batches,
                [
                    (region, block, len(block.points) / len(batch.points) if self.normalization == "mean" else 1.0)
                    for region, batch in batches.items()
                    for block in batch.split(self._count(region, batch), pairs=region == "periodic")
                ],
            )
        return self._split[1]

    def _count(self, region: str, batch: Batch) -> int:
        """Number of blocks."""
        if batch.points.device.type != "cpu":
            return 1
        streams, width = len(self.residuals.streams_of[region]), self.residuals.network.width
        return max(1, round(streams * len(batch.points) * width / ELEMENTS))
