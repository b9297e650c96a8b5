"""Activation functions with their derivatives, of which streams of order n need n and their cotangents n + 1."""

from __future__ import annotations

import math
from functools import cache
from importlib import import_module
from typing import Protocol

import torch
from torch import Tensor


class Activation(Protocol):
    """``sigma`` and its derivatives."""

    def __call__(self, z: Tensor, order: int, value: Tensor | None = None) -> list[Tensor]:
        """``[sigma(z), sigma'(z), ...]`` up to this order, 5 at most; shapes as of z.

        Args:
            z: any shape.
            order: the highest derivative.
            value: ``sigma(z)``, where it is known already.
        """


def tanh(z: Tensor, order: int, value: Tensor | None = None) -> list[Tensor]:
    """The derivatives are ``1 - a^2`` times polynomials in ``a = tanh z``.

    Example::

        >>> [round(float(d), 4) for d in tanh(torch.tensor(math.atanh(0.5)), 5)]
        [0.5, 0.75, -0.75, -0.375, 3.75, -4.875]
    """
    a = torch.tanh(z) if value is None else value
    if not order:
        return [a]
    slope = 1 - a * a
    found = [a, slope]
    if order > 1:
        found.append(-2 * a * slope)
    if order > 2:
        found.append(2 * slope * (3 * a * a - 1))
    if order > 3:
        found.append(8 * a * slope * (2 - 3 * a * a))
    if order > 4:
        found.append(8 * slope * (2 - 15 * a * a * slope))
    return found


def sin(z: Tensor, order: int, value: Tensor | None = None) -> list[Tensor]:
    """``sin z`` (Sitzmann et al. 2020).

    Example::

        >>> [round(float(d), 4) for d in sin(torch.tensor(math.pi / 6), 4)]
        [0.5, 0.866, -0.5, -0.866, 0.5]
    """
    s = torch.sin(z) if value is None else value
    if not order:
        return [s]
    c = torch.cos(z)
    return [s, c, -s, -c, s, c][: order + 1]


def swish(z: Tensor, order: int, value: Tensor | None = None) -> list[Tensor]:
    """``z S(z)`` with the logistic function S, whose derivatives are polynomials in S.

    Example::

        >>> [round(float(d), 4) for d in swish(torch.tensor(0.0), 4)]
        [0.0, 0.5, 0.5, 0.0, -0.5]
    """
    s = torch.sigmoid(z)
    found = [z * s]
    if not order:
        return found
    s1 = s * (1 - s)
    of_s = [s, s1]
    if order > 1:
        odd = 1 - 2 * s
        of_s.append(s1 * odd)
    if order > 2:
        of_s.append(s1 * (1 - 6 * s1))
    if order > 3:
        of_s.append(s1 * odd * (1 - 12 * s1))
    if order > 4:
        of_s.append(s1 * (1 - 30 * s1 + 120 * s1 * s1))
    return found + [z * of_s[n] + n * of_s[n - 1] for n in range(1, order + 1)]


def gelu(z: Tensor, order: int, value: Tensor | None = None) -> list[Tensor]:
    """``z Phi(z)`` with the normal distribution Phi; derivatives from the second on are polynomials times its density.

    Example::

        >>> [round(float(d), 4) for d in gelu(torch.tensor(1.0), 4)]
        [0.8413, 1.0833, 0.242, -0.7259, 0.4839]
    """
    normal = torch.special.ndtr(z)
    found = [z * normal]
    if not order:
        return found
    square = z * z
    density = torch.exp(-square / 2) / math.sqrt(2 * math.pi)
    found.append(normal + z * density)
    if order > 1:
        found.append(density * (2 - square))
    if order > 2:
        found.append(density * z * (square - 4))
    if order > 3:
        found.append(density * (square * (7 - square) - 4))
    if order > 4:
        found.append(density * z * (square * (square - 11) + 18))
    return found


def own_activation(name: str) -> tuple[Activation, ...]:
    """The function, where it is one's own: its code is part of a run's identity."""
    return () if name in ACTIVATIONS else (activation_of(name),)


ACTIVATIONS: dict[str, Activation] = {"tanh": tanh, "sin": sin, "swish": swish, "gelu": gelu}
HIGHEST = 5
"""Order up to which derivatives are asked for."""


@cache
def activation_of(name: str) -> Activation:
    """The activation of this name, or a function of one's own by its place, ``module.function``.

    Raises:
        ValueError: there is none, or its derivatives are not those of its value.

    Example::

        >>> activation_of("tanh") is tanh
        True
        >>> activation_of("relu")
        Traceback (most recent call last):
            ...
        ValueError: network.activation=relu: allowed are tanh, sin, swish, gelu, or module.function of one's own
    """
    if name in ACTIVATIONS:
        return ACTIVATIONS[name]
    allowed = f"allowed are {', '.join(ACTIVATIONS)}, or module.function of one's own"
    module, _, function = name.rpartition(".")
    try:
        found: Activation = getattr(import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"network.activation={name}: {allowed}") from error
    _check(name, found)
    return found


def _check(name: str, activation: Activation) -> None:
    """Compare the derivatives with automatic ones."""
    z = torch.linspace(-2.9, 3.1, 13, dtype=torch.float64, requires_grad=True)
    try:
        found, right = activation(z, HIGHEST, activation(z, 0)[0]), True
        expected = found[0]
        for one in found:
            right = right and bool(((one - expected).abs() <= 1e-8 * expected.abs().max()).all())
            (expected,) = torch.autograd.grad(expected.sum(), z, create_graph=True)
        right = right and len(found) == HIGHEST + 1
    except Exception as error:  # whatever a function of somebody's own may raise
        text = str(error).strip().split("\n")[0]
        raise ValueError(f"network.activation={name}: it ended in {type(error).__name__}: {text}") from error
    if not right:
        raise ValueError(
            f"network.activation={name}: its derivatives are not those of its value; allowed is a function"
            " of (z, order, value=None) that returns the value and as many derivatives"
        )
