"""The weighted loss, its gradient and the kernel's traces, block by block.

On a processor a training step spends its time in matrix products and in reading and writing what lies between them.
Blocks of points whose streams stay in the cache go forward and backward before the next block's turn; the gradient is
the sum. A GPU wants everything at once. The backward pass is written out (`Network.backpropagate`), not recorded:
compiled, a block is one graph, and the same pass gives the factors of the kernel (`pinntk.residual.ntk`).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from pinntk.residual.ntk import factor_region, gradient_of
from pinntk.residual.residuals import Batch, Normalization, Residuals, term_losses

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
        self.parameters = list(residuals.network.parameters())
        self._weighted = torch.compile(self._weighted_block, dynamic=False) if compile else self._weighted_block
        self._by_term = torch.compile(self._term_block, dynamic=False) if compile else self._term_block
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
        with torch.no_grad():
            for region, block, share in self._blocks(batches):
                terms = [term.name for term in self.residuals.terms_of[region]]
                losses, gradient = self._weighted(region, block, share, torch.stack([weight[n] for n in terms]))
                self._accumulate(gradient)
                for name, loss in zip(terms, losses.unbind(), strict=True):
                    found[name] = found[name] + loss
        return torch.stack([found[name] for name in names])

    def by_term(self, batches: Mapping[str, Batch]) -> tuple[Tensor, Tensor, Tensor]:
        """Losses, traces of the kernel's diagonal blocks and gradients of every term, unweighted.

        Returns:
            losses (T,); traces (T,), sums or means over the term's residuals as ``normalization`` has it; gradients
            (T, P), parameters in their order.
        """
        found: dict[str, list[Tensor]] = {}
        with torch.no_grad():
            for region, block, share in self._blocks(batches):
                terms = [term.name for term in self.residuals.terms_of[region]]
                for name, parts in zip(terms, self._by_term(region, block, share), strict=True):
                    found[name] = [x + y for x, y in zip(found[name], parts, strict=True)] if name in found else parts
        losses, traces, gradients = zip(*[found[name] for name in self.residuals.names], strict=True)
        return torch.stack(losses), torch.stack(traces), torch.stack(gradients)

    def _accumulate(self, gradient: list[Tensor]) -> None:
        for parameter, part in zip(self.parameters, gradient, strict=True):
            if parameter.grad is None:
                parameter.grad = part
            else:
                parameter.grad += part

    def _weighted_block(self, region: str, block: Batch, share: float, weights: Tensor) -> tuple[Tensor, list[Tensor]]:
        """A block's part of the region's losses, and of the gradient of their weighted sum."""
        network, streams = self.residuals.network, self.residuals.streams_of[region]
        record: list[tuple[Tensor, Tensor]] = []
        stacked = network.propagate(block.inputs, streams, record)

        def loss(stacked: Tensor) -> tuple[Tensor, Tensor]:
            found = self.residuals.of_streams(region, block, stacked)
            losses = share * term_losses(list(found.values()), self.normalization)
            return (weights * losses).sum(), losses

        cotangents, losses = gradient_of(loss, stacked)
        gradient = []
        layers, columns = network.backpropagate(record, streams, block.inputs, cotangents)
        for (h, _), d, scale in zip(record, layers, network.scales, strict=True):
            weight = d.flatten(0, 1).T @ h.flatten(0, 1)
            gradient += [weight if scale == 1.0 else scale * weight, d[0].sum(0)]
        if columns is not None:
            behind = self.parameters[len(gradient) :]
            parts = columns.sum(0).split([parameter.numel() for parameter in behind])
            gradient += [part.view_as(parameter) for part, parameter in zip(parts, behind, strict=True)]
        return losses, gradient

    def _term_block(self, region: str, block: Batch, share: float) -> list[list[Tensor]]:
        """A block's part of every term of the region: loss, trace, gradient (P,)."""
        parts = []
        for term in factor_region(self.residuals, region, block).values():
            r = term.residuals
            loss = share * term_losses([r], self.normalization)[0]
            squares = torch.stack([factors.squares().sum() for factors in term.blocks]).sum()
            mean = self.normalization == "mean"
            slope, trace = (2 * share / len(r) * r, share / len(r) * squares) if mean else (r, squares)
            gradient = torch.cat([factors.transposed(slope) for factors in term.blocks])
            parts.append([loss, trace, gradient])
        return parts

    def _blocks(self, batches: Mapping[str, Batch]) -> list[tuple[str, Batch, float]]:
        """The blocks; kept until other batches come."""
        if self._split is None or self._split[0] is not batches:
            self._split = batches, blocks(self.residuals, batches, self.normalization)
        return self._split[1]


def blocks(
    residuals: Residuals, batches: Mapping[str, Batch], normalization: Normalization
) -> list[tuple[str, Batch, float]]:
    """Blocks of points that stay in the cache: (region, block, its share of a mean over the region's points)."""
    return [
        (region, block, len(block.points) / len(batch.points) if normalization == "mean" else 1.0)
        for region, batch in batches.items()
        for block in batch.split(_count(residuals, region, batch), pairs=residuals.region_of[region].pairs)
    ]


def _count(residuals: Residuals, region: str, batch: Batch) -> int:
    """Number of blocks."""
    if batch.points.device.type != "cpu":
        return 1
    return max(1, round(len(residuals.streams_of[region]) * len(batch.points) * residuals.network.width / ELEMENTS))
