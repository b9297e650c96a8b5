"""A network of space whose parameters are a function of time, known at knots, and what it is between them."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor, nn

from pinntk.network import Inputs, Network, NetworkSettings
from pinntk.network.derivatives import Index, name_of
from pinntk.network.network import Solved, completed
from pinntk.network.streams import Operator, Streams
from pinntk.residual.factors import ColumnFactors, Factors, LayerFactors
from pinntk.residual.ntk import FactoredJacobian
from pinntk.residual.rate import Rate
from pinntk.residual.terms import Problem


def hermite(s: Tensor, h: Tensor, order: int = 0) -> Tensor:
    """What values and derivatives at the ends of an interval count for in the cubic through them.

    Args:
        s: places in the interval, 0 to 1, (N,).
        h: its length, (N,).
        order: of the derivative of the cubic that is wanted.

    Returns:
        (4, N): factors of value and derivative at 0, of value and derivative at h.

    Example::

        >>> h = torch.tensor([2.0])  # of y = x^3 on [0, 2]: y is 0 and 8, y' is 0 and 12 at its ends
        >>> [(hermite(h / 4, h, order).T @ torch.tensor([0.0, 0.0, 8.0, 12.0])).item() for order in range(4)]
        [0.125, 0.75, 3.0, 6.0]
    """
    cubics = [[1.0, 0.0, -3.0, 2.0], [0.0, 1.0, -2.0, 1.0], [0.0, 0.0, 3.0, -2.0], [0.0, 0.0, -1.0, 1.0]]
    for _ in range(order):
        cubics = [[power * c for power, c in enumerate(one)][1:] for one in cubics]
    zero = torch.zeros_like(s)
    found = [sum((c * s**power for power, c in enumerate(one)), zero) for one in cubics]
    return torch.stack([f * (h if k % 2 else 1.0) for k, f in enumerate(found)]) / h**order


class Knots(nn.Module):
    """The times at which parameters and their derivatives are known.

    They are buffers that are absent until there are some, (K,) and (K, P).
    """

    times: Tensor | None
    theta: Tensor | None
    speed: Tensor | None

    def __init__(self) -> None:
        super().__init__()
        for name in ("times", "theta", "speed"):
            self.register_buffer(name, None)

    def reserve(self, count: int, like: Tensor) -> None:
        """Make room for so many, of parameters like these, (P,)."""
        self.times = torch.zeros(count, dtype=torch.float64, device=like.device)
        self.theta, self.speed = (torch.zeros(count, len(like), dtype=like.dtype, device=like.device) for _ in "ab")

    def add(self, time: float, theta: Tensor, speed: Tensor) -> None:
        """One more, later than those before."""
        new = torch.tensor([time], dtype=torch.float64, device=theta.device), theta[None], speed.to(theta)[None]
        before = self.times, self.theta, self.speed
        self.times, self.theta, self.speed = (
            n if b is None else torch.cat([b, n]) for b, n in zip(before, new, strict=True)
        )


class EvolvingNetwork(Network):
    """``u(x, t) = u0(x) + s(x) (N(x; theta(t)) - N(x; theta(0)))``, N a network of space alone.

    The initial values u0 and s, which vanishes where u is prescribed, are those of `Rate.initial`. Between two knots
    in time u is the cubic in t through its values there and its derivatives ``J theta'``; so are its derivatives by
    space. Behind the last knot u stays what it was. Its parameters are those of the moment, at the last knot.

    To problems it is a network of all coordinates. Nothing but its values and derivatives can be had of it there; by
    the parameters it can be differentiated in space alone, by ``linearized``.

    Example::

        >>> from pinntk.pdes.convection import Convection
        >>> network = EvolvingNetwork.of(Convection(), NetworkSettings(width=3, hard=True))
        >>> x = torch.tensor([[0.5, 0.0], [0.5, 1.0]], dtype=torch.float64)
        >>> network(x).detach().sub(math.sin(0.5)).abs().lt(1e-12).tolist()  # nothing has evolved yet
        [True, True]
    """

    evolution: Rate
    full: tuple[str, ...]

    @classmethod
    def of(
        cls, problem: Solved, settings: NetworkSettings, *, seed: int = 0, dtype: torch.dtype = torch.float64
    ) -> Self:
        assert isinstance(problem, Problem)
        rate = Rate(problem)
        found = cls(
            completed(settings, problem),
            rate.coordinates,
            rate.lower,
            rate.upper,
            fields=problem.fields,
            ansatz=rate.initial(),
            seed=seed,
            dtype=dtype,
        )
        found.settings, found.evolution, found.full = settings, rate, tuple(problem.coordinates)
        found.__dict__["knots"] = Knots()  # the method's, among whose buffers they are saved
        return found

    @property
    def knots(self) -> Knots:
        """Where it is known."""
        knots = self.__dict__["knots"]
        assert isinstance(knots, Knots)
        return knots

    # --- in space -----------------------------------------------------------------------------------------------------

    def spatial(self, *wanted: str | Operator) -> Streams:
        """The streams of these names and operators in space."""
        return Streams(wanted, self.coordinates, self.fields, hard=True)

    def origin(self, inputs: Inputs, streams: Streams) -> Tensor:
        """What is subtracted: the streams of ``s N(theta(0))``, (S, N)."""
        start = self.knots.theta
        return self._with(self.vector() if start is None else start[0], inputs._replace(offset=None), streams)

    def _with(self, theta: Tensor, inputs: Inputs, streams: Streams) -> Tensor:
        now = self.vector()
        self.assign(theta)
        found = super().propagate(inputs, streams)
        self.assign(now)
        return found

    def linearized(self, inputs: Inputs, streams: Streams, origin: Tensor) -> tuple[Tensor, FactoredJacobian]:
        """The streams at the current parameters, (S, N), and their Jacobian, stream after stream, (S N, P)."""
        record: list[tuple[Tensor, Tensor]] = []
        values = super().propagate(inputs, streams, record)
        blocks: dict[str, Sequence[Factors]] = {}
        for s, name in enumerate(streams.names):
            cotangents = torch.zeros_like(values)
            cotangents[s] = 1
            layers, columns = self.backpropagate(record, streams, inputs, cotangents)
            found: list[Factors] = [
                LayerFactors(h, d, scale, 1) for (h, _), d, scale in zip(record, layers, self.scales, strict=True)
            ]
            blocks[name] = found if columns is None else [*found, ColumnFactors(columns)]
        return values - origin, FactoredJacobian(len(self.vector()), blocks)

    def inputs_of(self, x: Tensor, streams: Streams) -> Inputs:
        """Points of space, (N, d - 1), as the layers take them."""
        return super().prepare(x, streams)

    def values_at(self, inputs: Inputs, streams: Streams, origin: Tensor) -> Tensor:
        """The streams at the current parameters, (S, N)."""
        return super().propagate(inputs, streams) - origin

    # --- in space and time, as every network is asked -----------------------------------------------------------------

    def wanting(self, *wanted: str | Operator) -> Streams:
        return Streams(wanted, self.full, self.fields)

    def without_ansatz(self) -> Network:
        """A copy of it all: without its initial values it is no function of time."""
        return copy.deepcopy(self)

    def prepare(self, x: Tensor, streams: Streams, normals: Tensor | None = None) -> Inputs:
        if normals is not None:
            raise ValueError("a network that evolves has no normal derivatives")
        return Inputs(x[None])

    def propagate(self, inputs: Inputs, streams: Streams, record: list[tuple[Tensor, Tensor]] | None = None) -> Tensor:
        if record is not None:
            raise ValueError(
                "a network that evolves has no one set of parameters at all times, by which to differentiate"
            )
        place = self.evolution.place
        terms = [
            (number, factor * part.factor, self._spatial_name(index, part.field), index[place])
            for number, output in enumerate(streams.outputs)
            for part in output.parts
            for index, factor in streams.carried[part.stream]
        ]
        inner = self.spatial(*dict.fromkeys(name for _, _, name, _ in terms))
        x = inputs.features[0]
        found = x.new_zeros(len(streams.outputs), len(x))
        with torch.no_grad():
            ends, s, h = self._between(torch.cat([x[:, :place], x[:, place + 1 :]], dim=1), x[:, place], inner)
            for number, factor, name, order in terms:
                found[number] += factor * (hermite(s, h, order).to(x) * ends[:, inner.names.index(name)]).sum(0)
        return found

    def _spatial_name(self, index: Index, field: int) -> str:
        """Of a derivative in space and time, that in space alone."""
        place = self.evolution.place
        return name_of(index[:place] + index[place + 1 :], self.coordinates, self.fields[field])

    def forward(self, x: Tensor) -> Tensor:
        found = self.propagate(self.prepare(x, self.value), self.value)
        return found[0] if len(self.fields) == 1 else found.T

    def _between(self, x: Tensor, t: Tensor, streams: Streams) -> tuple[Tensor, Tensor, Tensor]:
        """Streams and their derivatives in time at both ends of each point's interval, (4, S, N); where it is there,
        from 0 to 1, and how long the interval is, (N,)."""
        times = self.knots.times
        ends = x.new_zeros(4, len(streams.names), len(x))
        inputs = self.inputs_of(x, streams)
        origin = self.origin(inputs, streams)
        if times is None or len(times) == 1:
            ends[0] = ends[2] = self.values_at(inputs, streams, origin)
            return ends, torch.zeros_like(t), torch.ones_like(t)
        assert self.knots.theta is not None
        assert self.knots.speed is not None
        interval = (torch.searchsorted(times, t.double().contiguous(), right=True) - 1).clamp(0, len(times) - 2)
        after = t.double() > times[-1]
        now = self.vector()
        for k in (interval.unique()[:, None] + torch.arange(2, device=x.device)).unique().tolist():
            self.assign(self.knots.theta[k])
            rows = ((interval == k) | (interval == k - 1)).nonzero()[:, 0]
            values, jacobian = self.linearized(inputs.rows(rows), streams, origin[:, rows])
            speeds = jacobian.matvec(self.knots.speed[k]).view_as(values)
            first = interval[rows] == k
            for one, into in ((first, 0), (~first, 2)):
                ends[into, :, rows[one]], ends[into + 1, :, rows[one]] = values[:, one], speeds[:, one]
        self.assign(now)
        h = times[interval + 1] - times[interval]
        s = ((t.double() - times[interval]) / h).clamp(max=1.0)
        ends[0::2, :, after] = ends[2, :, after]
        ends[1::2, :, after] = 0
        return ends, s, h
