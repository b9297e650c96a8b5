"""The network's value and input derivatives, carried through its layers together.

A *stream* is the network's value or one of its derivatives with respect to an input, carried through the layers
together with all the others (Taylor mode). With ``z = W h + b`` and ``a = tanh(z)`` a layer maps::

    value                             a
    first derivative                  (1 - a^2) z_x
    L = sum_c b_c d_c + a_c d_cc      (1 - a^2) L z - 2 a (1 - a^2) sum_c a_c z_c^2

(a second derivative is such an L), so one matrix product per layer serves every stream, and one ordinary backward pass
gives the gradient of any residual with respect to the parameters. Nested automatic differentiation, the usual way,
builds a graph per derivative instead. Streams are stacked in one tensor of shape (S, N, width): stream, point, neuron.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Operator:
    """A linear differential operator of at most second order without mixed derivatives, carried as one stream.

    ``L u = sum_c b_c u_c + a_c u_cc``, for example ``Operator("L", {"u_t": 1.0, "u_xx": -nu})``. A residual that needs
    its terms only in this combination costs one stream instead of one for each.

    Example::

        >>> heat = Operator("L", {"u_t": 1.0, "u_xx": -0.5})
        >>> heat.of({"u_t": torch.tensor([3.0]), "u_xx": torch.tensor([4.0])}).tolist()  # 3 - 4/2
        [1.0]
    """

    name: str
    coefficients: Mapping[str, float]
    """By the derivative's name, ``u_x`` or ``u_xx``."""

    def of(self, values: Mapping[str, Tensor]) -> Tensor:
        """L u from the derivatives themselves."""
        return torch.stack([factor * values[name] for name, factor in self.coefficients.items()]).sum(0)


class Streams:
    """Which derivatives are wanted, in the order in which they are stacked: value, first derivatives, operators.

    Names are ``u`` (the value), ``u_x`` (first derivative in coordinate x), ``u_xx`` (second) and those of operators.
    What a wanted stream needs on its way through the layers is added: the value always, and the first derivative below
    each second one.

    Args:
        wanted: names of streams, or operators.
        coordinates: names of the inputs, in order.

    Raises:
        ValueError: a name, or a derivative in an operator, is not ``u``, ``u_<c>`` or ``u_<c><c>`` for a coordinate c;
            or two operators have the same name.

    Example::

        >>> Streams(["u_xx"], ["x", "t"]).names  # u_xx needs u_x below it
        ('u', 'u_x', 'u_xx')
        >>> Streams(["u_t", Operator("L", {"u_t": 1.0, "u_xx": -0.5})], ["x", "t"]).names
        ('u', 'u_x', 'u_t', 'L')
        >>> Streams(["u_xt"], ["x", "t"])
        Traceback (most recent call last):
            ...
        ValueError: stream 'u_xt': allowed are u, u_x, u_t, u_xx, u_tt
    """

    def __init__(self, wanted: Iterable[str | Operator], coordinates: Sequence[str]) -> None:
        once, twice = ([f"u_{c * n}" for c in coordinates] for n in (1, 2))
        operators: dict[str, Operator] = {}
        needed: set[int] = set()
        for one in wanted:
            if isinstance(one, str):
                if one in once:
                    needed.add(once.index(one))
                if one in [*once, "u"]:
                    continue
                one = Operator(one, {one: 1.0})
            for name in one.coefficients:
                if name not in [*once, *twice]:
                    allowed = ", ".join(["u", *once, *twice])
                    raise ValueError(f"stream {name!r}: allowed are {allowed}")
            if operators.setdefault(one.name, one) != one:
                raise ValueError(f"stream {one.name!r}: two operators have this name; allowed are names that differ")
        bent = {twice.index(n) for o in operators.values() for n in o.coefficients if n in twice}
        # First derivatives that enter a second one stand in front.
        self.first = (*sorted(bent), *sorted(needed - bent))
        self.operators = tuple(
            (
                [o.coefficients.get(name, 0.0) for name in once],
                [o.coefficients.get(name, 0.0) for name in twice],
            )
            for o in operators.values()
        )
        """Coefficients of the first and of the second derivatives, one per coordinate."""
        self.names = ("u", *(once[c] for c in self.first), *operators)

    def __len__(self) -> int:
        return len(self.names)


def tanh_streams(z: Tensor, streams: Streams) -> Tensor:
    """Push stacked streams through tanh: the three formulas of the module's docstring. (S, N, m) -> (S, N, m).

    Example::

        >>> z = torch.tensor([math.atanh(0.5), 2.0, 0.0]).view(3, 1, 1)  # z, z_x, z_xx of z = atanh(1/2) + 2 x at x = 0
        >>> a = tanh_streams(z, Streams(["u_xx"], ["x"]))
        >>> [round(float(stream), 4) for stream in a]  # a, (1 - a^2) z_x, -2 a (1 - a^2) z_x^2
        [0.5, 1.5, -3.0]
    """
    if len(streams) == 1:
        return torch.tanh(z)
    value, *rest = z.unbind(0)
    a = torch.tanh(value)
    slope = 1 - a * a
    first, operators = rest[: len(streams.first)], rest[len(streams.first) :]
    parts = [a, *(slope * z_c for z_c in first)]
    for z_o, (_, second) in zip(operators, streams.operators, strict=True):
        squares = [second[c] * z_c.square() for c, z_c in zip(streams.first, first, strict=True) if second[c]]
        parts.append(slope * (z_o - 2 * a * sum(squares)) if squares else slope * z_o)
    return torch.stack(parts)


def tanh_cotangents(z: Tensor, a: Tensor, g: Tensor, streams: Streams) -> Tensor:
    """The transposed derivative of `tanh_streams`, written out so that a compiler fuses it to one pass over memory.

    Args:
        z: what went in, (S, N, m).
        a: the value that came out, (N, m).
        g: cotangents of what came out, (S, N, m).
        streams: which.

    Returns:
        cotangents of z, (S, N, m).

    Example::

        >>> streams = Streams(["u_xx"], ["x"])
        >>> z = torch.tensor([0.5, 2.0, -1.0]).view(3, 1, 1).requires_grad_()
        >>> (automatic,) = torch.autograd.grad(tanh_streams(z, streams).sum(), z)
        >>> torch.allclose(tanh_cotangents(z, z[0].tanh(), torch.ones(3, 1, 1), streams), automatic)
        True
    """
    slope = 1 - a * a
    if len(streams) == 1:
        return slope * g
    last = 1 + len(streams.first)
    bend = -2 * a * slope  # the second derivative of tanh
    third = 2 * slope * (3 * a * a - 1)  # the third
    value = slope * g[0]
    firsts = {c: (z[i], g[i]) for i, c in enumerate(streams.first, start=1)}
    for z_c, g_c in firsts.values():
        value = value + bend * z_c * g_c
    bent: dict[int, Tensor] = {}
    for i, (_, second) in enumerate(streams.operators, start=last):
        value = value + bend * z[i] * g[i]
        for c, (z_c, _) in firsts.items():
            if second[c]:
                value = value + second[c] * third * z_c.square() * g[i]
                bent[c] = bent.get(c, 0) + 2 * second[c] * bend * z_c * g[i]
    below = [slope * g_c + bent[c] if c in bent else slope * g_c for c, (_, g_c) in firsts.items()]
    return torch.stack([value, *below, *(slope * g[i] for i in range(last, len(streams)))])
