"""Slabs of time: a problem's interval cut into equal parts, which are trained one after the other.

A slab is a problem of its own: the same equation and conditions in a part of the time, begun where the network of the
slab before ends (`pinntk.methods.continued`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self, cast

import numpy as np
import torch
from torch import Tensor, nn

from pinntk.methods.continued import Continuation, continued
from pinntk.network import Inputs, Network, NetworkSettings, Unknown
from pinntk.network.streams import Streams
from pinntk.pdes.base import PDE
from pinntk.residual.exact import left
from pinntk.residual.regions import Region

FINISHED = "slabs.finished"
"""The name in a method's ``state_dict`` under which the parameters of the finished slabs are."""
BEGIN = ("initial", "t = lower")
"""Regions at the initial time."""
END = ("t = upper", "periodic(t)")
"""Regions in which the end of the time is."""


def check(pde: PDE, count: int) -> None:
    """Raise ValueError, in one line, where a problem's time cannot be cut into slabs."""
    where, allowed = f"method.slabs={count}: pde={pde.name}", "allowed is 1"
    if "t" not in pde.coordinates:
        raise ValueError(f"{where} has no time t; {allowed}")
    for term in pde.terms():
        if isinstance(term.region, Region):
            raise ValueError(f"{where} has the term {term.name!r} in {term.where!r}, a region of its own; {allowed}")
        if term.where in END:
            raise ValueError(f"{where} has the term {term.name!r} in {term.where!r}, at the end of the time; {allowed}")
    if not any(term.where in BEGIN for term in pde.terms()):
        raise ValueError(f"{where} has no initial term, with which a slab could begin; {allowed}")
    if unknown := [name for name, value in pde.coefficients().items() if isinstance(value, Unknown)]:
        raise ValueError(f"{where} has an unknown {unknown[0]}, which would be another in every slab; {allowed}")


class Slabs(nn.Module):
    """The slabs of a problem's time: what has been trained of them, and what is to be trained.

    Args:
        pde: the problem.
        settings: of the network.
        count: of slabs.

    Attributes:
        edges: where they begin, and the end.
        finished: the parameters with which slabs have ended, (k, P); None before the first has.
        past: their networks, in double precision.
        problem: the slab that is trained.
    """

    finished: Tensor | None

    def __init__(self, pde: PDE, settings: NetworkSettings, count: int) -> None:
        super().__init__()
        self.pde, self.settings = pde, settings
        self.column = pde.coordinates.index("t")
        self.edges: list[float] = np.linspace(pde.lower[self.column], pde.upper[self.column], count + 1).tolist()
        self.register_buffer("finished", None)
        self._begin()

    def _begin(self) -> None:
        self.past: list[Network] = []
        self.problem = self._slab(None)

    def network(self, *, seed: int, dtype: torch.dtype) -> SlabNetwork:
        """The network of the slab that is trained, with a seed's parameters."""
        found = SlabNetwork.of(self.problem, self.settings, seed=seed, dtype=dtype)
        found.__dict__["slabs"] = self  # the method's, among whose buffers they are saved
        return found

    def finish(self, network: Network) -> None:
        """The slab is trained: ``network`` is from here on that of the next one, with the same parameters."""
        theta = network.vector()[None]
        self.finished = theta if self.finished is None else torch.cat([self.finished, theta])
        self._past(network, theta[0])

    def restore(self, finished: Tensor, network: Network) -> None:
        """Go on where so many slabs were finished, with these parameters, (k, P)."""
        self.finished = finished.clone()
        self._begin()
        for theta in finished:
            self._past(network, theta)

    def trained(self, points: np.ndarray[Any, Any], *, begun: bool) -> np.ndarray[Any, Any]:
        """Which points, (n, d), are in finished slabs or, where it has ``begun``, in the one that is trained: (n,)."""
        known: np.ndarray[Any, Any] = points[:, self.column] <= self.edges[len(self.past) + begun]
        return known

    def _past(self, network: Network, theta: Tensor) -> None:
        before = Network.of(self.problem, self.settings)
        before.assign(theta.to(next(before.parameters())))
        self.past.append(before.requires_grad_(False))
        self.problem = self._slab(before)
        made = Network.of(self.problem, self.settings)  # for its inputs and hard conditions
        network.features, network.ansatz = made.features.to(next(network.parameters())), made.ansatz

    def _slab(self, before: Network | None) -> PDE:
        """The problem of the slab behind those in ``past``, the last of which is ``before``."""
        pde, c, number = self.pde, self.column, len(self.past)
        terms = left(pde, self.settings) if self.settings.hard else pde.terms()
        ansatz = pde.ansatz() if self.settings.hard else None
        if before is not None:
            terms = tuple(continued(term, before) if term.where in BEGIN else term for term in terms)
            ansatz = ansatz and Continuation(pde, before, self.edges[number]).ansatz

        def within(side: tuple[float, ...], end: float) -> tuple[float, ...]:
            return (*side[:c], end, *side[c + 1 :])

        changed = {
            "__module__": type(pde).__module__,
            "lower": within(pde.lower, self.edges[number]),
            "upper": within(pde.upper, self.edges[number + 1]),
            "terms": lambda self: terms,
            "ansatz": lambda self: ansatz,
            "inputs": lambda self: pde.inputs(),  # of the whole problem, whose box they may ask for
        }
        kind = cast(type[PDE], type(type(pde).__name__, (type(pde),), changed))
        return kind.model_construct(**dict(pde))


class Places(Inputs):
    """Points of several slabs, each of which is for its own network: themselves, (1, N, d), and normals, (d, N)."""


class SlabNetwork(Network):
    """u in all slabs: its own layers are those of the slab that is trained, and behind it; before it u is past.

    Points of the slab that is trained are taken as every network takes them.
    """

    @property
    def slabs(self) -> Slabs:
        """Which there are."""
        slabs = self.__dict__["slabs"]
        assert isinstance(slabs, Slabs)
        return slabs

    def without_ansatz(self) -> Self:
        found = super().without_ansatz()
        assert isinstance(found, type(self))
        found.slabs.past = [network.without_ansatz() for network in found.slabs.past]
        return found

    def prepare(self, x: Tensor, streams: Streams, normals: Tensor | None = None) -> Inputs:
        if not bool(self._number(x).lt(len(self.slabs.past)).any()):
            return super().prepare(x, streams, normals)
        return Places(x[None], None if normals is None else normals.T)

    def propagate(self, inputs: Inputs, streams: Streams, record: list[tuple[Tensor, Tensor]] | None = None) -> Tensor:
        if not isinstance(inputs, Places):
            return super().propagate(inputs, streams, record)
        if record is not None:
            raise ValueError("what is in a finished slab is no function of the parameters; allowed are later points")
        x, normals = inputs.features[0], inputs.weights

        def of(network: Network, rows: Tensor) -> Tensor:
            there = None if normals is None else normals[:, rows].T
            at = x[rows] if network is self else x[rows].double()
            return network.propagate(network.prepare(at, streams, there), streams)  # points of one slab alone

        return self._joined(x, of)

    def forward(self, x: Tensor) -> Tensor:
        fields = len(self.fields)

        def of(network: Network, rows: Tensor) -> Tensor:
            values = super(SlabNetwork, self).forward(x[rows]) if network is self else network(x[rows].double())
            return values.view(len(rows), fields).T

        found = self._joined(x, of)
        return found[0] if fields == 1 else found.T

    def _number(self, x: Tensor) -> Tensor:
        """Of each point's slab, those not yet begun counting as the one that is trained, (N,)."""
        slabs = self.slabs
        edges = torch.tensor(slabs.edges[1 : len(slabs.past) + 1], dtype=x.dtype, device=x.device)
        return torch.bucketize(x[:, slabs.column].contiguous(), edges, right=True)

    def _joined(self, x: Tensor, of: Callable[[Network, Tensor], Tensor]) -> Tensor:
        """What the networks give for their points, (S, n) each -> (S, N)."""
        number = self._number(x)
        networks: list[Network] = [*(network.to(x.device) for network in self.slabs.past), self]
        rows = [(number == k).nonzero()[:, 0] for k in range(len(networks))]
        parts = [of(network, own).to(x) for network, own in zip(networks, rows, strict=True) if len(own)]
        order = torch.cat(rows)
        return torch.cat(parts, dim=1)[:, torch.argsort(order)]
