"""The factors of a Jacobian's rows: what of them belongs to one layer, or to the parameters beside the layers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True)
class LayerFactors:
    """One layer's part of the rows of one term."""

    inputs: Tensor
    """h, (S, N, m_in); for residuals of pairs of points the streams of both, (2 S, N, m_in)."""
    cotangents: Tensor
    """d, (S, N, m_out)."""
    scale: float
    """The factor in front of the layer's weights (``Network.scales``)."""
    values: int
    """How many of the first streams are values, which the bias enters: 1, or 2 for pairs."""

    def rows(self, part: slice) -> LayerFactors:
        """The same for some of the rows."""
        return LayerFactors(self.inputs[:, part], self.cotangents[:, part], self.scale, self.values)

    @property
    def size(self) -> int:
        """Number of the layer's parameters, ``m_out (m_in + 1)``: weights row by row, then biases."""
        return self.cotangents.shape[2] * (self.inputs.shape[2] + 1)

    @property
    def extent(self) -> tuple[int, int]:
        """Number of streams and of rows."""
        return self.inputs.shape[0], self.inputs.shape[1]

    def scaled(self, factors: Tensor) -> LayerFactors:
        """The rows times factors, (N,)."""
        return LayerFactors(self.inputs, self.cotangents * factors[:, None], self.scale, self.values)

    @property
    def bias(self) -> Tensor:
        """The rows' entries for the biases, (N, m_out)."""
        return self.cotangents[: self.values].sum(0)

    @cached_property
    def dense(self) -> Tensor:
        """The rows' entries for weights (row-major) and biases, (N, m_out (m_in + 1)); kept once asked for."""
        made = self.inputs.new_empty(self.inputs.shape[1], self.size)
        self.write(made)
        return made

    def write(self, out: Tensor) -> None:
        """Put these entries into a matrix, (N, size)."""
        m_out, m_in = self.cotangents.shape[2], self.inputs.shape[2]
        weights = out[:, : m_out * m_in].unflatten(1, (m_out, m_in))
        scaled = self.cotangents if self.scale == 1 else self.cotangents * self.scale
        torch.mul(scaled[0, :, :, None], self.inputs[0, :, None], out=weights)
        for d, h in zip(scaled[1:], self.inputs[1:], strict=True):
            weights.addcmul_(d[:, :, None], h[:, None])
        out[:, m_out * m_in :] = self.bias

    def times(self, v: Tensor) -> Tensor:
        """The rows times a direction: (size,) to (N,)."""
        m_out, m_in = self.cotangents.shape[2], self.inputs.shape[2]
        weight, bias = v[: m_out * m_in].view(m_out, m_in), v[m_out * m_in :]
        along = (self.cotangents * (self.inputs @ weight.T)).sum(dim=(0, 2))
        return self.scale * along + self.bias @ bias

    def transposed(self, a: Tensor) -> Tensor:
        """The combination of rows with coefficients a: (N,) to (size,)."""
        weighted = self.cotangents * a[:, None]
        weight = weighted.flatten(0, 1).T @ self.inputs.flatten(0, 1)
        return torch.cat([(self.scale * weight).flatten(), weighted[: self.values].sum(dim=(0, 1))])

    def squares(self) -> Tensor:
        """Squared norm of each row, (N,)."""
        squares = self.bias.square().sum(1)
        count = len(self.inputs)
        for s in range(count):
            for t in range(s + 1):
                twice = 1 if s == t else 2
                d = (self.cotangents[s] * self.cotangents[t]).sum(1)
                h = (self.inputs[s] * self.inputs[t]).sum(1)
                squares = squares + twice * self.scale**2 * d * h
        return squares


@dataclass(frozen=True)
class ColumnFactors:
    """The rows' entries for the parameters beside the layers, slopes and unknown coefficients, as they are."""

    dense: Tensor
    """(N, size)."""

    @property
    def size(self) -> int:
        """Number of these parameters."""
        return self.dense.shape[1]

    def write(self, out: Tensor) -> None:
        """Put them into a matrix, (N, size)."""
        out[:] = self.dense

    @property
    def extent(self) -> tuple[int, int]:
        """Number of streams, 1, and of rows."""
        return 1, len(self.dense)

    def rows(self, part: slice) -> ColumnFactors:
        """The same for some of the rows."""
        return ColumnFactors(self.dense[part])

    def scaled(self, factors: Tensor) -> ColumnFactors:
        """The rows times factors, (N,)."""
        return ColumnFactors(self.dense * factors[:, None])

    def times(self, v: Tensor) -> Tensor:
        """The rows times a direction: (size,) to (N,)."""
        return self.dense @ v

    def transposed(self, a: Tensor) -> Tensor:
        """The combination of rows with coefficients a: (N,) to (size,)."""
        return self.dense.T @ a

    def squares(self) -> Tensor:
        """Squared norm of each row, (N,)."""
        return self.dense.square().sum(1)


Factors = LayerFactors | ColumnFactors


def layer_gram(a: LayerFactors, b: LayerFactors) -> Tensor:
    """One layer's part of ``J_a J_b^T``, (N_a, N_b).

    By the sum over pairs of streams, or by the rows themselves where they are short: for m_in inputs and m_out outputs
    that is S_a S_b (m_in + m_out) against (m_in + 1) m_out multiplications per entry.
    """
    (sa, na, m_in), (sb, nb, m_out) = a.inputs.shape, b.cotangents.shape
    if (m_in + 1) * m_out <= sa * sb * (m_in + m_out):
        return a.dense @ b.dense.T
    gram = a.bias @ b.bias.T
    d = a.cotangents.flatten(0, 1) @ b.cotangents.flatten(0, 1).T
    h = a.inputs.flatten(0, 1) @ b.inputs.flatten(0, 1).T
    products = d.mul_(h).view(sa, na, sb, nb).sum(dim=(0, 2))
    return gram.add_(products, alpha=a.scale**2)


def gram_of(a: Factors, b: Factors) -> Tensor:
    """The same of whatever both are of."""
    if isinstance(a, LayerFactors) and isinstance(b, LayerFactors):
        return layer_gram(a, b)
    return a.dense @ b.dense.T
