"""Streams through an activation, and their cotangents back through it: the formulas of `pinntk.network.streams`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor

from pinntk.network.activations import Activation
from pinntk.network.streams import Streams


def activate(z: Tensor, streams: Streams, activation: Activation) -> Tensor:
    """Push stacked streams through an activation, (S, N, m) -> (S, N, m).

    Example::

        >>> from pinntk.network import activations
        >>> from pinntk.network.streams import Streams
        >>> z = torch.tensor([math.atanh(0.5), 2.0, 0.0]).view(3, 1, 1)  # z, z_x, z_xx of z = atanh(1/2) + 2 x at x = 0
        >>> a = activate(z, Streams(["u_xx"], ["x"]), activations.tanh)
        >>> [round(float(stream), 4) for stream in a]  # a, (1 - a^2) z_x, -2 a (1 - a^2) z_x^2
        [0.5, 1.5, -3.0]
    """
    if len(streams) == 1:
        return activation(z, 0)[0]
    return torch.stack(activated(z.unbind(0), streams, activation))


def activated(z: Sequence[Tensor], streams: Streams, activation: Activation) -> list[Tensor]:
    """The same of a tensor for every stream, of any shape."""
    if len(streams) == 1:
        return activation(z[0], 0)[:1]
    d = activation(z[0], streams.order)
    parts = [d[0]]
    for z_s, bends in zip(z[1:], streams.bends, strict=True):
        total = d[1] * z_s
        for order, products in _by_order(bends):
            total = total + d[order] * _sum(_product(z, product, factor) for product, factor in products)
        parts.append(total)
    return parts


def activation_cotangents(z: Tensor, a: Tensor, g: Tensor, streams: Streams, activation: Activation) -> Tensor:
    """The transposed derivative of `activate`, written out so that a compiler fuses it to one pass over memory.

    Args:
        z: what went in, (S, N, m).
        a: the value that came out, (N, m).
        g: cotangents of what came out, (S, N, m).
        streams: which.
        activation: which.

    Returns:
        cotangents of z, (S, N, m).

    Example::

        >>> from pinntk.network import activations
        >>> from pinntk.network.streams import Streams
        >>> streams = Streams(["u_xxt"], ["x", "t"])
        >>> z = torch.linspace(-1, 2, len(streams)).view(-1, 1, 1).requires_grad_()
        >>> (automatic,) = torch.autograd.grad(activate(z, streams, activations.sin).sum(), z)
        >>> ones = torch.ones_like(z)
        >>> torch.allclose(activation_cotangents(z, z[0].sin(), ones, streams, activations.sin), automatic)
        True
    """
    return torch.stack(cotangents(z.unbind(0), a, g.unbind(0), streams, activation))


def cotangents(
    z: Sequence[Tensor], a: Tensor, g: Sequence[Tensor], streams: Streams, activation: Activation
) -> list[Tensor]:
    """The same of a tensor for every stream, of any shape."""
    if len(streams) == 1:
        return [activation(z[0], 1, a)[1] * g[0]]
    d = activation(z[0], streams.order + 1, a)
    # Of the value: sigma^(k+1) times what sigma^(k) stands before.
    above: dict[int, list[Tensor]] = {1: [z[s] * g[s] for s in range(1, len(streams))]}
    beside: dict[int, dict[int, list[Tensor]]] = {s: {} for s in range(1, len(streams))}
    for s, bends in enumerate(streams.bends, start=1):
        for product, factor in bends:
            above.setdefault(len(product), []).append(_product(z, product, factor, g[s]))
            for i in dict.fromkeys(product):
                others = list(product)
                others.remove(i)
                rest = _product(z, others, product.count(i) * factor, g[s])
                beside[i].setdefault(len(product), []).append(rest)
    found = [_sum([d[1] * g[0], *(d[order + 1] * _sum(products) for order, products in above.items())])]
    for s in range(1, len(streams)):
        found.append(_sum([d[1] * g[s], *(d[order] * _sum(products) for order, products in beside[s].items())]))
    return found


def _by_order(
    bends: Sequence[tuple[tuple[int, ...], float]],
) -> Iterator[tuple[int, list[tuple[tuple[int, ...], float]]]]:
    for order in sorted({len(product) for product, _ in bends}):
        yield order, [bend for bend in bends if len(bend[0]) == order]


def _product(z: Tensor | Sequence[Tensor], numbers: Sequence[int], factor: float, *more: Tensor) -> Tensor:
    """``factor prod z_i``, times more."""
    found = list(more)
    for i in dict.fromkeys(numbers):
        # A square reads z once: the compiler computes it anew for every mention.
        squares, rest = divmod(numbers.count(i), 2)
        found = [z[i].square()] * squares + [z[i]] * rest + found
    total = found[0]
    for one in found[1:]:
        total = total * one
    return total if factor == 1.0 else factor * total


def _sum(terms: Iterable[Tensor]) -> Tensor:
    first, *rest = terms
    for term in rest:
        first = first + term
    return first
