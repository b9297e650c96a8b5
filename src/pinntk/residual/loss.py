"""The weighted loss, its gradient and the kernel's traces, block by block.

On a processor a training step spends its time in matrix products and in reading and writing what lies between them.
Blocks of points whose streams stay in the cache go forward and backward before the next block's turn; the gradient is
the sum. A GPU wants everything at once. The backward pass is written out (`Network.backpropagate`), not recorded, and
the same pass gives the factors of the kernel (`pinntk.residual.ntk`).

There are four ways for a block. ``fused_compiled``: network and back by a kernel of our own, made for processors
(`pinntk.network.fused`), and between them the residuals, compiled by torch. ``fused``: the residuals are not
compiled, which takes torch longer than a short run has. ``compiled``: all of it one graph compiled by torch, where
there is no such kernel: on a GPU, with slopes that are trained, with an activation that cannot be traced, without a C++
compiler. ``plain``: nothing compiled. On a GPU, what ``compiled`` or ``plain`` launches is recorded once and replayed
(`Replayed`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import torch
from torch import Tensor

from pinntk.network.fused import Kernel, NotFused, kernels
from pinntk.network.streams import Streams
from pinntk.residual.ntk import cotangents_by_term, factor_region, gradient_of
from pinntk.residual.replayed import Replayed
from pinntk.residual.residuals import Batch, Normalization, Residuals, term_losses
from pinntk.residual.traced import Traced

ELEMENTS = 400_000
"""Of one layer's streams in a block, stream by point by neuron: 1.6 MB in single precision."""
RECORDED = 30_000
"""Bytes of a block of a fused kernel for each neuron of a layer, of all streams, points and hidden layers: what is kept
for the way back stays near at a width of 50, and what a block costs besides is little at every width."""


Way = Literal["fused_compiled", "fused", "compiled", "plain"]


class BlockedLoss:
    """``L = sum over terms of w L_term`` and its gradient.

    Args:
        residuals: the residual function.
        normalization: of the terms' losses, see `term_losses`.
        way: how a block is computed; where there is no fused kernel, all is ``compiled``, or ``plain``.

    Attributes:
        way: that which was taken.
        reason: why it is not the one that was wanted, in a line; else empty.
    """

    def __init__(self, residuals: Residuals, normalization: Normalization, *, way: Way) -> None:
        self.residuals = residuals
        self.normalization = normalization
        self.parameters = list(residuals.network.parameters())
        self.way, self.reason = way, ""
        self._kernels: dict[str, Kernel] = {}
        if way in ("fused_compiled", "fused"):
            try:
                streams = list(residuals.streams_of.values())
                self._kernels = dict(zip(residuals.streams_of, kernels(residuals.network, streams), strict=True))
            except NotFused as reason:
                self.way, self.reason = "compiled" if way == "fused_compiled" else "plain", str(reason)
        self._weighted, self._by_term = self._weighted_block, self._term_block
        if self.way == "compiled":
            # A process keeps eight compiled versions of a function, and quietly runs it uncompiled from the ninth on:
            # the ninth setting of a sweep would be slower, and other numbers than the same run alone.
            torch.compiler.reset()
            self._weighted = torch.compile(self._weighted_block, dynamic=False)
            self._by_term = torch.compile(self._term_block, dynamic=False)
        self._replayed_loss = Replayed(self._summed, self.parameters)
        self._replayed_terms = Replayed(self._summed_by_term, self.parameters)
        self._between: dict[tuple[str, str, float, int], Traced] = {}
        self._split: tuple[object, list[tuple[str, Batch, float]]] | None = None

    def backward(self, batches: Mapping[str, Batch], weights: Tensor) -> Tensor:
        """Add the gradient of L to the parameters' ``grad``.

        Args:
            batches: by region, as `Residuals.prepare` makes them.
            weights: of the terms, (T,), in their order.

        Returns:
            the unweighted losses of the terms, (T,).
        """
        with torch.no_grad():
            losses, *gradient = self._replayed_loss(batches, weights)
            self._accumulate(gradient)
            return losses.clone()

    def _summed(self, batches: Mapping[str, Batch], weights: Tensor) -> tuple[Tensor, ...]:
        """The unweighted losses of the terms, (T,), and the gradient of L."""
        names = self.residuals.names
        weight = dict(zip(names, weights.unbind(), strict=True))
        found = dict.fromkeys(names, torch.zeros((), dtype=weights.dtype, device=weights.device))
        gradient: list[Tensor] = []
        for region, block, share in self._blocks(batches):
            terms = [term.name for term in self.residuals.terms_of[region]]
            block_of = self._fused_block if region in self._kernels else self._weighted
            losses, part = block_of(region, block, share, torch.stack([weight[n] for n in terms]))
            for total, more in zip(gradient, part, strict=bool(gradient)):
                total += more
            gradient = gradient or part
            for name, loss in zip(terms, losses.unbind(), strict=True):
                found[name] = found[name] + loss
        return torch.stack([found[name] for name in names]), *gradient

    def by_term(self, batches: Mapping[str, Batch]) -> tuple[Tensor, Tensor, Tensor]:
        """Losses, traces of the kernel's diagonal blocks and gradients of every term, unweighted.

        Returns:
            losses (T,); traces (T,), sums or means over the term's residuals as ``normalization`` has it; gradients
            (T, P), parameters in their order.
        """
        with torch.no_grad():
            losses, traces, gradients = self._replayed_terms(batches)
            return losses.clone(), traces.clone(), gradients

    def _summed_by_term(self, batches: Mapping[str, Batch]) -> tuple[Tensor, ...]:
        found: dict[str, list[Tensor]] = {}
        for region, block, share in self._blocks(batches):
            terms = [term.name for term in self.residuals.terms_of[region]]
            # A residual of a pair of points has its squares over both: not the kernel's.
            alone = region in self._kernels and not self.residuals.region_of[region].pairs
            block_of = self._fused_by_term if alone else self._by_term
            for name, parts in zip(terms, block_of(region, block, share), strict=True):
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
        cotangents, losses = self._of_outputs(region, block, share, weights, stacked)
        gradient = []
        layers, columns = network.backpropagate(record, streams, block.inputs, cotangents)
        for (h, _), d, scale in zip(record, layers, network.scales, strict=True):
            weight = d.flatten(0, 1).T @ h.flatten(0, 1)
            gradient += [weight if scale == 1.0 else scale * weight, d[0].sum(0)]
        if columns is not None:
            gradient += self._behind(columns.sum(0))
        return losses, gradient

    def _fused_block(self, region: str, block: Batch, share: float, weights: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The same by a kernel, with the residuals between its passes."""
        kernel, streams = self._kernels[region], self.residuals.streams_of[region]

        def between(block: Batch, carried: Tensor, values: Tensor, weights: Tensor) -> tuple[Tensor, ...]:
            stacked = streams.readout.outputs(carried, block.inputs, values)
            cotangents, losses = self._of_outputs(region, block, share, weights, stacked)
            back, of_coefficients = streams.readout.cotangents(cotangents, block.inputs)
            return losses, back, of_coefficients.sum(1)

        carried, passed = kernel.forward(block.inputs.features)
        losses, cotangents, sums = self._traced("loss", region, share, between, block, carried, weights)
        gradient, _ = kernel.backward(passed, cotangents)
        return losses, gradient + self._behind(self._of_parameters(streams, sums))

    def _of_parameters(self, streams: Streams, numbers: Tensor) -> Tensor:
        """Of derivatives by the streams' coefficients, (n,), those by the parameters behind them."""
        network = self.residuals.network
        if not network.coefficients.unknown:
            return numbers[:0]
        return torch.cat(network.coefficients.columns(streams.coefficients, numbers[:, None], numbers.new_empty(1)))

    def _traced(
        self,
        what: str,
        region: str,
        share: float,
        function: Callable[..., tuple[Tensor, ...]],
        block: Batch,
        carried: Tensor,
        *more: Tensor,
    ) -> tuple[Tensor, ...]:
        """``function(block, carried, values of the coefficients, *more)``, compiled for blocks of this size."""
        values = self.residuals.network.coefficients.values(self.residuals.streams_of[region].coefficients)
        if self.way == "fused":
            return function(block, carried, values, *more)
        key = (what, region, share, len(block.points))
        if key not in self._between:
            self._between[key] = Traced(function, block)
        return self._between[key](block, carried, values, *more)

    def _of_outputs(
        self, region: str, block: Batch, share: float, weights: Tensor, stacked: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Cotangents of the streams' outputs, (outputs, N), and the losses."""

        def loss(stacked: Tensor) -> tuple[Tensor, Tensor]:
            found = self.residuals.of_streams(region, block, stacked)
            losses = share * term_losses(list(found.values()), self.normalization)
            return (weights * losses).sum(), losses

        return gradient_of(loss, stacked)

    def _behind(self, numbers: Tensor) -> list[Tensor]:
        """Of the gradient, what belongs to the parameters behind those of the layers."""
        behind = self.parameters[2 * len(self.residuals.network.layers) :]
        parts = numbers.split([parameter.numel() for parameter in behind])
        return [part.view_as(parameter) for part, parameter in zip(parts, behind, strict=True)]

    def _term_block(self, region: str, block: Batch, share: float) -> list[list[Tensor]]:
        """A block's part of every term of the region: loss, trace, gradient (P,)."""
        parts = []
        for term in factor_region(self.residuals, region, block).values():
            loss, slope, count = self._counted(term.residuals, share)
            squares = torch.stack([factors.squares().sum() for factors in term.blocks]).sum()
            gradient = torch.cat([factors.transposed(slope) for factors in term.blocks])
            parts.append([loss, squares * count, gradient])
        return parts

    def _fused_by_term(self, region: str, block: Batch, share: float) -> list[list[Tensor]]:
        """The same by a kernel."""
        kernel, streams = self._kernels[region], self.residuals.streams_of[region]

        def between(block: Batch, carried: Tensor, values: Tensor) -> tuple[Tensor, ...]:
            stacked = streams.readout.outputs(carried, block.inputs, values)
            found: list[Tensor] = []
            for cotangents, r in cotangents_by_term(self.residuals, region, block, stacked).values():
                loss, slope, _ = self._counted(r, share)
                back, of_coefficients = streams.readout.cotangents(cotangents, block.inputs)
                norms = of_coefficients.square().sum(1).sqrt()
                found += [loss, slope, back, (slope * of_coefficients).sum(1), norms]
            return tuple(found)

        carried, passed = kernel.forward(block.inputs.features)
        found = self._traced("terms", region, share, between, block, carried)
        parts = []
        for i in range(0, len(found), 5):
            loss, slope, cotangents, sums, norms = found[i : i + 5]
            gradient, squares = kernel.backward(passed, cotangents, slope, squares=True)
            assert squares is not None
            trace = squares.sum() + self._of_parameters(streams, norms).square().sum()
            behind = self._of_parameters(streams, sums)
            count = self._counted(slope, share)[2]
            parts.append([loss, count * trace, torch.cat([*(part.flatten() for part in gradient), behind])])
        return parts

    def _counted(self, r: Tensor, share: float) -> tuple[Tensor, Tensor, float]:
        """The loss of a term's residuals, its slope in each of them, and what a square counts in the trace."""
        loss = share * term_losses([r], self.normalization)[0]
        if self.normalization == "mean":
            return loss, 2 * share / len(r) * r, share / len(r)
        return loss, r, 1.0

    def _blocks(self, batches: Mapping[str, Batch]) -> list[tuple[str, Batch, float]]:
        """The blocks; kept until other batches come."""
        if self._split is None or self._split[0] is not batches:
            self._split = batches, blocks(self.residuals, batches, self.normalization, fused=bool(self._kernels))
        return self._split[1]


def blocks(
    residuals: Residuals, batches: Mapping[str, Batch], normalization: Normalization, *, fused: bool = False
) -> list[tuple[str, Batch, float]]:
    """Blocks of points that stay in the cache: (region, block, its share of a mean over the region's points)."""
    return [
        (region, block, len(block.points) / len(batch.points) if normalization == "mean" else 1.0)
        for region, batch in batches.items()
        for block in batch.split(_count(residuals, region, batch, fused), pairs=residuals.region_of[region].pairs)
    ]


def _count(residuals: Residuals, region: str, batch: Batch, fused: bool) -> int:
    """Number of blocks."""
    if batch.points.device.type != "cpu":
        return 1
    if fused:
        depth, size = len(residuals.network.layers) - 1, batch.points.element_size()
        return max(1, round(len(residuals.streams_of[region]) * len(batch.points) * depth * size / RECORDED))
    return max(1, round(len(residuals.streams_of[region]) * len(batch.points) * residuals.network.width / ELEMENTS))
