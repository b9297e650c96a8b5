"""From the carried streams of all fields to what a residual gets by name, and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from pinntk.network.ansatz import Ansatz, derivatives_of, leibniz
from pinntk.network.derivatives import Index

if TYPE_CHECKING:
    from pinntk.network.streams import Streams


class Inputs(NamedTuple):
    """What a network needs of points, apart from its parameters.

    Attributes:
        features: streams of its inputs, (S, N, F).
        weights: of the carried streams in the outputs, (K, N), where they depend on the points; else None.
        offset: what is added to the outputs, (outputs, N), where there are hard conditions; else None.
    """

    features: Tensor
    weights: Tensor | None = None
    offset: Tensor | None = None

    def rows(self, rows: Tensor) -> Inputs:
        """The same of some of the points."""
        weights, offset = (None if part is None else part[:, rows] for part in self[1:])
        return self._replace(features=self.features[:, rows], weights=weights, offset=offset)

    @classmethod
    def joined(cls, parts: Sequence[Inputs]) -> Inputs:
        """Those of several blocks of points in one."""
        weights, offset = (
            None if one[0] is None else torch.cat([part for part in one if part is not None], dim=1)
            for one in ([part.weights for part in parts], [part.offset for part in parts])
        )
        return cls(torch.cat([part.features for part in parts], dim=1), weights, offset)


def _entries(streams: Streams) -> list[tuple[int, int, int]]:
    """Which carried stream of which field enters which output: (output, stream, field), without repetitions."""
    found: dict[tuple[int, int, int], None] = {}
    for o, output in enumerate(streams.outputs):
        for part in output.parts:
            numbers = [part.stream]
            if streams.hard:
                lower = [
                    beta for alpha, _ in streams.carried[part.stream] for rest, beta, _ in leibniz(alpha) if any(rest)
                ]
                numbers += [streams.carried.index(((beta, 1.0),)) for beta in lower]
            found |= dict.fromkeys((o, s, part.field) for s in numbers)
    return list(found)


def prepared(x: Tensor, streams: Streams, ansatz: Ansatz | None, normals: Tensor | None) -> tuple[Tensor | None, ...]:
    """``Inputs.weights`` and ``Inputs.offset`` at points x, (N, d).

    Args:
        x: points.
        streams: which.
        ansatz: of the hard conditions; None without.
        normals: outward unit normals, (N, d), for normal derivatives.

    Raises:
        ValueError: a normal derivative is wanted where there are no normals.
    """
    along = [output.name for output in streams.outputs if output.normal]
    if along and normals is None:
        raise ValueError(f"stream {along[0]!r}: there are no normals in this region; allowed are faces and edges")
    if ansatz is None and not along:
        return None, None
    fields, zero = len(streams.fields), (0,) * x.shape[1]
    indices = {alpha for s in streams.carried for alpha, _ in s}
    taken = {rest for alpha in indices for rest, _, _ in leibniz(alpha)}
    factor: dict[Index, Tensor] = {}
    lift: dict[Index, Tensor] = {}
    if ansatz is not None:
        factor = derivatives_of(ansatz.factor, x, taken, fields)
        lift = ansatz.of_lift(x, indices, fields)
    places = {entry: k for k, entry in enumerate(streams.readout.entries)}
    weights = torch.zeros(len(places), x.shape[0], dtype=torch.float64, device=x.device)
    offset = torch.zeros(len(streams.outputs), x.shape[0], dtype=torch.float64, device=x.device)
    for o, output in enumerate(streams.outputs):
        for c, part in enumerate(output.parts):
            scale = part.factor * (normals[:, c].double() if output.normal and normals is not None else 1.0)
            if ansatz is None:
                weights[places[o, part.stream, part.field]] += scale
                continue
            for alpha, number in streams.carried[part.stream]:
                offset[o] += scale * number * lift[alpha][:, part.field]
                for rest, beta, count in leibniz(alpha):
                    if any(rest):  # the terms without a derivative of the factor are factor times the whole stream
                        place = places[o, streams.carried.index(((beta, 1.0),)), part.field]
                        weights[place] += scale * number * count * factor[rest][:, part.field]
            weights[places[o, part.stream, part.field]] += scale * factor[zero][:, part.field]
    return weights.to(x), None if ansatz is None else offset.to(x)


class Readout:
    """The linear map from carried streams, (S, N, fields), to outputs, (outputs, N), and its transpose.

    Args:
        streams: which; where there are hard conditions or normals the weights come with the points.

    Attributes:
        entries: which carried stream of which field enters which output, (output, stream, field).
    """

    def __init__(self, streams: Streams) -> None:
        self.streams = streams
        self.entries = _entries(streams)
        # Without weights of the points every entry is a part with its factor.
        self.factors = {
            (o, part.stream, part.field): part.factor
            for o, output in enumerate(streams.outputs)
            for part in output.parts
        }

    def outputs(self, h: Tensor, inputs: Inputs, values: Tensor) -> Tensor:
        """What the last layer gives, (S, N, fields), and the values of coefficients, (n,) -> what a residual gets, by
        `Streams.names`, (outputs + n, N)."""
        found = h.squeeze(-1) if self.streams.plain else self(h, inputs)
        return torch.cat([found, values[:, None].expand(-1, found.shape[1])]) if len(values) else found

    def cotangents(self, of: Tensor, inputs: Inputs) -> tuple[Tensor, Tensor]:
        """The way back: those of what the last layer gives, (S, N, fields), and of the coefficients at every point,
        (n, N)."""
        count = len(of) - len(self.streams.coefficients)
        back = of[:count].unsqueeze(-1) if self.streams.plain else self.transposed(of[:count], inputs)
        return back, of[count:]

    def __call__(self, h: Tensor, inputs: Inputs) -> Tensor:
        """(S, N, fields) to (outputs, N)."""
        found: list[Tensor | None] = [None] * len(self.streams.outputs)
        for k, (o, s, f) in enumerate(self.entries):
            summand = self._weighed(h[s, :, f], k, inputs)
            before = found[o]
            found[o] = summand if before is None else before + summand
        stacked = torch.stack([torch.zeros_like(h[0, :, 0]) if one is None else one for one in found])
        return stacked if inputs.offset is None else stacked + inputs.offset

    def transposed(self, g: Tensor, inputs: Inputs) -> Tensor:
        """(outputs, N) to (S, N, fields)."""
        fields, zeros = len(self.streams.fields), torch.zeros_like(g[0])
        found: list[Tensor] = [zeros] * (len(self.streams) * fields)
        for k, (o, s, f) in enumerate(self.entries):
            found[s * fields + f] = found[s * fields + f] + self._weighed(g[o], k, inputs)
        return torch.stack(found).view(len(self.streams), fields, -1).transpose(1, 2)

    def _weighed(self, x: Tensor, k: int, inputs: Inputs) -> Tensor:
        if inputs.weights is not None:
            return x * inputs.weights[k]
        factor = self.factors[self.entries[k]]
        return x if factor == 1.0 else factor * x
