"""The network's forward and backward pass on a processor by kernels of our own, built for its streams.

What torch does layer by layer, each time through memory, a fused kernel does for a few points at a time, all layers one
after the other: products, activation and what goes back stay in the nearest caches. Between forward and backward pass
stand the residuals, which stay Python's. The formulas are those of `pinntk.network.propagation`, traced
(`pinntk.network.fused.source`).
"""

from __future__ import annotations

import copy
import ctypes
import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from pinntk.network.fused.library import libraries
from pinntk.network.fused.source import NotFused, source
from pinntk.network.network import Network
from pinntk.network.propagation import activate
from pinntk.network.streams import Streams

GROUP = 32
"""Points that go through all layers together."""
ALLOWED = {torch.float32: 1e-4, torch.float64: 1e-12}
"""Relative difference from plain torch with which a kernel is used."""


class Passed(NamedTuple):
    """What the way back needs of the way there.

    Attributes:
        features: streams of the inputs, (S, N, F).
        record: the kernel's own, of all hidden layers.
    """

    features: Tensor
    record: Tensor


class Kernel:
    """Forward and backward pass of one network for some streams.

    Args:
        network: on a processor; slopes of its layers are not trained.
        streams: which.
        library: built for them.

    Example::

        >>> from pinntk.network import NetworkSettings
        >>> network = Network(NetworkSettings(width=5, depth=2), ["x"], [0.0], [1.0])
        >>> streams = Streams(["u_xx"], ["x"])
        >>> (kernel,) = kernels(network, [streams])
        >>> features = network.prepare(torch.rand(7, 1, dtype=torch.float64), streams).features
        >>> carried, passed = kernel.forward(features)
        >>> carried.shape  # u, u_x, u_xx at seven points, of one field
        torch.Size([3, 7, 1])
        >>> gradient, squares = kernel.backward(passed, torch.ones_like(carried), squares=True)
        >>> [tuple(part.shape) for part in gradient], squares.shape
        ([(5, 1), (5,), (5, 5), (5,), (1, 5), (1,)], torch.Size([7]))
    """

    def __init__(self, network: Network, streams: Streams, library: ctypes.CDLL) -> None:
        self._layers = [layer for layer in network.layers if isinstance(layer, nn.Linear)]
        self._streams, self._library = len(streams), library
        sizes = [self._layers[0].in_features, *(layer.out_features for layer in self._layers)]
        self._fields = sizes[-1]
        self._sizes = (ctypes.c_int64 * len(sizes))(*sizes)
        self._scales = (ctypes.c_double * len(self._layers))(*network.scales)
        library.record_size.restype = ctypes.c_int64
        self._record: Tensor | None = None

    def forward(self, features: Tensor) -> tuple[Tensor, Passed]:
        """Streams of the inputs, (S, N, F) -> the streams that the last layer gives, (S, N, fields).

        What the way back needs is overwritten by the next call.
        """
        features = features.contiguous()
        points, like = features.shape[1], self._layers[0].weight
        size = self._library.record_size(*self._counts(points), self._sizes)
        if self._record is None or len(self._record) < size or self._record.dtype != like.dtype:
            self._record = like.new_empty(size)  # kept: new memory from the system costs as much as the products
        out = like.new_empty(self._streams, points, self._fields)
        weights, biases = ([p.detach().contiguous() for p in kind] for kind in zip(*self._parameters(), strict=True))
        self._library.forward(
            *(*self._counts(points), self._sizes, _at(features), _all(weights), _all(biases), self._scales),
            *(_at(self._record), _at(out), _number(torch.get_num_threads())),
        )
        return out, Passed(features, self._record)

    def backward(
        self, passed: Passed, cotangents: Tensor, factors: Tensor | None = None, *, squares: bool = False
    ) -> tuple[list[Tensor], Tensor | None]:
        """Cotangents of the last layer's streams, (S, N, fields) -> gradients of all weights and biases, in order.

        Args:
            passed: of `forward`.
            cotangents: of what it gave.
            factors: of every point's part of the sum, (N,).
            squares: whether the squared norm of every point's part, without its factor, is wanted, (N,).
        """
        cotangents = cotangents.contiguous()
        points = cotangents.shape[1]
        weights = [weight.detach().contiguous() for weight, _ in self._parameters()]
        to = [(torch.empty_like(weight), torch.empty_like(bias)) for weight, bias in self._parameters()]
        found = cotangents.new_empty(points) if squares else None
        factors = None if factors is None else factors.contiguous()
        self._library.backward(
            *(*self._counts(points), self._sizes, _at(passed.features), _all(weights), self._scales),
            *(_at(passed.record), _at(cotangents), _at(factors), _at(found)),
            *(_all([weight for weight, _ in to]), _all([bias for _, bias in to]), _number(torch.get_num_threads())),
        )
        return [part for pair in to for part in pair], found

    def _counts(self, points: int) -> tuple[ctypes.c_int64, ...]:
        return _number(points), _number(len(self._layers)), _number(GROUP)

    def _parameters(self) -> list[tuple[Tensor, Tensor]]:
        return [(layer.weight, layer.bias) for layer in self._layers]


def kernels(network: Network, wanted: Sequence[Streams]) -> list[Kernel]:
    """A kernel for each of the streams, built where it is not in the cache, and checked.

    Raises:
        NotFused: why there are none.
    """
    like = next(network.parameters())
    if like.device.type != "cpu":
        raise NotFused(f"they are for processors, not for {like.device.type}")
    if network.settings.slopes:
        raise NotFused("network.slopes=true")
    programs = [source(streams, network.activation, like.dtype) for streams in wanted]
    built = list(zip(wanted, libraries(programs), strict=True))
    for streams, library in built:
        _check(library, network, streams)
    return [Kernel(network, streams, library) for streams, library in built]


def _check(library: ctypes.CDLL, network: Network, streams: Streams) -> None:
    """A first pass against plain torch: a compiler's mistake must not become a result.

    With parameters of its own: what a network has been trained to must not decide how it is trained on, or a resumed
    run might go another way than the uninterrupted one.
    """
    network = copy.deepcopy(network)
    generator = torch.Generator().manual_seed(0)
    like = next(network.parameters())
    with torch.no_grad():
        for layer, scale in zip(network.layers, network.scales, strict=True):
            assert isinstance(layer, nn.Linear)
            for parameter, size in ((layer.weight, scale * math.sqrt(layer.in_features)), (layer.bias, 1.0)):
                parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64) / size)
    kernel = Kernel(network, streams, library)
    shape = (len(streams), 3 * GROUP // 2, network.features.size)
    features = torch.randn(shape, generator=generator, dtype=torch.float64).to(like)
    carried, passed = kernel.forward(features)
    cotangents = torch.randn(carried.shape, generator=generator, dtype=torch.float64).to(like)
    gradient, _ = kernel.backward(passed, cotangents)
    leaves = [p.detach().double().requires_grad_() for pair in kernel._parameters() for p in pair]
    h = features.double()
    with torch.enable_grad():
        for i, scale in enumerate(network.scales):
            z = scale * (h @ leaves[2 * i].T)
            z = torch.cat([z[:1] + leaves[2 * i + 1], z[1:]])
            h = z if i == len(network.scales) - 1 else activate(z, streams, network.activation)
        expected = torch.autograd.grad((h * cotangents).sum(), leaves)
    for ours, theirs in zip([carried, *gradient], [h.detach(), *expected], strict=True):
        if not float((ours - theirs).abs().max()) <= ALLOWED[like.dtype] * max(1.0, float(theirs.abs().max())):
            raise NotFused("it does not compute what torch computes")


def _number(value: int) -> ctypes.c_int64:
    return ctypes.c_int64(value)


def _at(tensor: Tensor | None) -> ctypes.c_void_p | None:
    return None if tensor is None else ctypes.c_void_p(tensor.data_ptr())


def _all(tensors: Sequence[Tensor]) -> ctypes.Array[ctypes.c_void_p]:
    return (ctypes.c_void_p * len(tensors))(*(tensor.data_ptr() for tensor in tensors))
