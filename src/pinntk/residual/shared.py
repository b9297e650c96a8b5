"""A loss of residuals whose points are shared out over processes (`pinntk.common.processes`).

All processes have the same points, so that nothing depends on how many there are, and each its own rows of every
region. Of what the leader's optimiser asks each computes its part: losses, gradient and the kernel's traces are sums of
the parts. Of the Jacobian the optimisers need ``|J d + r|`` for any d, by term: each process factors its rows of J and
r, ``(J_p, r_p) = Q_p R_p``, and the leader puts the triangles R_p on top of each other, for no rotation of a term's
rows changes that norm. The parameters come with every order, from the leader: those of all processes are the same, bit
for bit, and no follower decides anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from pinntk.common.processes import Group
from pinntk.residual.collocation import Collocation
from pinntk.residual.factors import ColumnFactors
from pinntk.residual.form import ResidualForm
from pinntk.residual.loss import BlockedLoss, Way
from pinntk.residual.ntk import FactoredJacobian
from pinntk.residual.residuals import Batch, Normalization, Residuals


class Share:
    """What one of several processes computes of a loss.

    Args:
        residuals: the residual function.
        normalization: of the terms' losses.
        rank, size: number of the process, and how many there are.

    Attributes:
        counts: residuals of each term in all processes together.
        rows: by process, rows of each term in `factored`.

    Example::

        >>> from pinntk.network import Network, NetworkSettings
        >>> from pinntk.pdes.poisson1d import Poisson1D
        >>> from pinntk.residual.form import ResidualForm
        >>> from pinntk.residual.residuals import Residuals
        >>> pde, x = Poisson1D(a=1), torch.linspace(0, 1, 9, dtype=torch.float64)[:, None]
        >>> functions = Residuals(pde, Network(NetworkSettings(width=5), pde.coordinates, pde.lower, pde.upper))
        >>> batches = functions.prepare({"interior": x, "boundary": x[[0, -1]]})
        >>> shares = [Share(functions, "sum", rank, 2) for rank in range(2)]
        >>> for share in shares:
        ...     share.take(batches)
        >>> [len(share.batches["interior"].points) for share in shares]
        [5, 4]
        >>> form, weights = ResidualForm(functions, batches, normalization="sum"), torch.ones(2).double()
        >>> torch.allclose(sum(share.squares(weights) for share in shares) / 2, form.losses()[1:])
        True
    """

    def __init__(self, residuals: Residuals, normalization: Normalization, rank: int, size: int) -> None:
        self.residuals, self.normalization, self.rank, self.size = residuals, normalization, rank, size
        self.parameters = list(residuals.network.parameters())
        self.place("plain")

    def place(self, way: Way) -> None:
        """Get ready to compute in this way, or in another where this one cannot be."""
        self.loss = BlockedLoss(self.residuals, self.normalization, way=way)

    def take(self, batches: Mapping[str, Batch]) -> None:
        """Keep this process's rows of these points."""
        regions = self.residuals.region_of
        self.batches = {name: self._own(batch, regions[name].pairs) for name, batch in batches.items()}
        width = sum(p.numel() for p in self.parameters) + 1
        self.counts = [
            len(batches[term.where].points) // (2 if regions[term.where].pairs else 1) for term in self.residuals.terms
        ]
        dealt = [[_rows(count, rank, self.size) for count in self.counts] for rank in range(self.size)]
        self.rows = [[min(count, width) for count in counts] for counts in dealt]
        self._counted = dealt[self.rank]
        mean = self.normalization == "mean"
        parts = [n / count if mean else float(n > 0) for n, count in zip(self._counted, self.counts, strict=True)]
        self._parts = self.parameters[0].new_tensor(parts)

    def _own(self, batch: Batch, pairs: bool) -> Batch:
        """Contiguous rows. Of fewer points than processes the last ones get the first, which counts nothing there."""
        parts = batch.split(self.size, pairs=pairs)
        return parts[self.rank if self.rank < len(parts) else 0]

    def gradient(self, weights: Tensor) -> Tensor:
        """This part of the unweighted losses, and of the gradient of their weighted sum, (T + P,)."""
        self.residuals.network.zero_grad(set_to_none=True)
        losses = self.loss.backward(self.batches, weights * self._parts)
        gradients = [p.grad.flatten() for p in self.parameters if p.grad is not None]
        return torch.cat([losses * self._parts, *gradients])

    def by_term(self, weights: Tensor) -> Tensor:
        """Of losses, the kernel's traces and gradients of the terms, unweighted, (2 + P, T)."""
        losses, traces, gradients = self.loss.by_term(self.batches)
        return torch.cat([losses[None], traces[None], gradients.T]) * self._parts

    def squares(self, weights: Tensor) -> Tensor:
        """Sum of squares of this process's residuals of each term, (T,)."""
        with torch.no_grad():
            found = self.residuals(self.batches)
        counting = self._parts > 0
        return torch.stack([r.square().sum() for r in found.values()]) * counting

    def factored(self, weights: Tensor) -> Tensor:
        """J and r of this process's residuals, unweighted, term below term, up to a rotation: (n, P + 1).

        A term with more rows than columns has come down to a triangle.
        """
        r, jacobian = FactoredJacobian.with_residuals(self.residuals, self.batches)
        both = torch.cat([jacobian.dense(), r[:, None]], dim=1)
        parts = []
        for part, counted in zip(jacobian.slices.values(), self._counted, strict=True):
            block = both[part][:counted]
            parts.append(torch.geqrf(block)[0][: block.shape[1]].triu() if len(block) > block.shape[1] else block)
        return torch.cat(parts)


def _rows(count: int, rank: int, size: int) -> int:
    """How many of so many rows a process has: as `torch.tensor_split` deals them out."""
    return count // size + (rank < count % size)


class SharedForm(ResidualForm):
    """The leader's objective: `ResidualForm`, its parts computed by all processes.

    Everything that an optimiser asks is shared out, the Hessian apart. r and J stand for as many residuals as there
    are, but are known up to a rotation of a term's rows only, and have less of them.

    Args:
        whole: the same, of one process. Weights of points (`Attention`) are not shared out.
        group: of the processes.

    Example, a group of one::

        >>> import tempfile
        >>> from pathlib import Path
        >>> from pinntk.common.processes import Connected
        >>> from pinntk.network import Network, NetworkSettings
        >>> from pinntk.pdes.poisson1d import Poisson1D
        >>> from pinntk.residual.collocation import Collocation
        >>> from pinntk.residual.form import ResidualForm
        >>> from pinntk.residual.points import PointSettings
        >>> from pinntk.residual.residuals import Residuals
        >>> pde = Poisson1D(a=1)
        >>> functions = Residuals(pde, Network(NetworkSettings(width=5), pde.coordinates, pde.lower, pde.upper))
        >>> whole = ResidualForm(functions, points=Collocation(functions, PointSettings(interior=300), seed=0))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     group = Connected(0, 1, Path(folder, "store"), torch.device("cpu"))
        ...     losses, r, J = SharedForm(whole, group).jacobian()
        ...     group.close()
        >>> J.shape[0] < len(whole.residuals()), J.shape[1]  # P + 1 rows for the equation, two for the ends
        (True, 76)
        >>> torch.allclose(J.rmatvec(r), whole.gradient()[1])
        True
    """

    def __init__(self, whole: ResidualForm, group: Group) -> None:
        assert isinstance(whole.points, Collocation)
        assert whole.attention is None
        super().__init__(
            whole.functions,
            points=whole.points,
            weighting=whole.weighting,
            normalization=whole.normalization,
            weights=dict(zip(whole.names, whole._fixed, strict=True)),
        )
        self.group: Group | None = group
        self._collocation = whole.points
        self._share = Share(whole.functions, whole.normalization, group.rank, group.size)
        self._taken: object = None
        self._blocked = _Asked(self)

    def dismiss(self) -> None:
        """From now on nothing is shared out: the other processes are not needed any more."""
        self.group = None
        self._blocked = self._share.loss

    def place(self, way: Way) -> None:
        if self.group is None:
            return super().place(way)
        state = {name: value.cpu() for name, value in self.network.state_dict().items()}
        self.group.order("place", way, state)
        self._share.place(way)
        self.way, self.reason = self._share.loss.way, self._share.loss.reason
        self._batches = None  # those of another device, perhaps

    def ask(self, what: str) -> Tensor:
        """The sum over all processes of this method of `Share`."""
        self._order(what)
        assert self.group is not None
        found: Tensor = getattr(self._share, what)(self.weights)
        return self.group.total(found)

    def _order(self, what: str) -> None:
        """Have the others do this at the parameters and with the weights of this moment."""
        assert self.group is not None
        batches = self.batches
        if batches is not self._taken:
            self.group.order("points", self.draw or 0, self._collocation.state())
            self._share.take(batches)
            self._taken = batches
        self.group.order(what)
        self.group.spread(torch.cat([self.parameters(), self.weights]))

    def losses(self) -> Tensor:
        if self.group is None:
            return super().losses()
        self._weigh()
        squares, mean = self.ask("squares"), self.normalization == "mean"
        return self.total(squares / squares.new_tensor(self._share.counts) if mean else squares / 2)

    def residuals(self) -> Tensor:
        """As many numbers as J has rows, in each term all but the first 0: their squares sum up to r's."""
        if self.group is None:
            return super().residuals()
        self.evaluations += 1
        self._weigh()
        norms = self.ask("squares").sqrt()
        kept = self._kept()
        r = norms.new_zeros(sum(kept))
        starts = [sum(kept[:k]) for k in range(len(kept))]
        r[starts] = norms * self._alike()
        return self._roots(kept) * r

    def linearized(self) -> tuple[Tensor, FactoredJacobian]:
        if self.group is None:
            return super().linearized()
        self._order("factored")
        share = self._share
        found = self.group.collect(share.factored(self.weights), [sum(rows) for rows in share.rows])
        of_processes = [x.split(rows) for x, rows in zip(found, share.rows, strict=True)]
        stacked = [torch.cat(parts) for parts in zip(*of_processes, strict=True)]
        blocks = [factor * block for factor, block in zip(self._alike(), stacked, strict=True)]
        factors = {name: [ColumnFactors(x[:, :-1])] for name, x in zip(self.names, blocks, strict=True)}
        jacobian = FactoredJacobian(blocks[0].shape[1] - 1, factors)
        if self._due:
            self._take(self.traces_of(jacobian))
        return torch.cat([x[:, -1] for x in blocks]), jacobian

    def _kept(self) -> list[int]:
        """Rows of each term that stand for its residuals."""
        return [sum(rows) for rows in zip(*self._share.rows, strict=True)]

    def _alike(self) -> Tensor:
        """Factors, (T,), with which a mean over the rows that are kept is the mean over the residuals."""
        mean = self.normalization == "mean"
        pairs = zip(self._kept(), self._share.counts, strict=True)
        return self._like.new_tensor([kept / count if mean else 1.0 for kept, count in pairs]).sqrt()


class _Asked(BlockedLoss):
    """What `ResidualForm` asks of its points, asked of all processes; it has no points of its own."""

    def __init__(self, form: SharedForm) -> None:
        self._form = form
        self.parameters = list(form.network.parameters())

    def backward(self, batches: Mapping[str, Batch], weights: Tensor) -> Tensor:
        losses, gradient = self._form.ask("gradient").tensor_split([len(self._form.names)])
        self._form._set_gradient(gradient)
        return losses

    def by_term(self, batches: Mapping[str, Batch]) -> tuple[Tensor, Tensor, Tensor]:
        found = self._form.ask("by_term")
        return found[0], found[1], found[2:].T


def follow(share: Share, points: Collocation, group: Group, orders: Iterable[tuple[Any, ...]]) -> None:
    """Do what the leader's `SharedForm` orders, until there are no more orders.

    Args:
        share: of this process.
        points: the run's, of this process.
        group: of the processes.
        orders: as the leader has given them.
    """
    network = share.residuals.network
    for what, *data in orders:
        if what == "place":
            way, state = data
            network.load_state_dict(state)
            share.place(way)
        elif what == "points":
            draw, state = data
            points.load(state)
            share.take(points.batches(draw))
        else:
            parameters = network.vector()
            numbers = group.spread(parameters.new_zeros(len(parameters) + len(share.residuals.names)))
            theta, weights = numbers.tensor_split([len(parameters)])
            network.assign(theta)
            found = getattr(share, what)(weights)
            if what == "factored":
                group.collect(found, ())
            else:
                group.total(found)
