"""Processes that share one training: what they say to each other, all of it here.

One leads. It has the optimiser, the files and the user; the others follow: they wait for an order, compute their part
of it, and add it to the leader's. Orders go through a pipe, whose end tells a follower that its leader is gone; numbers
through torch.distributed, gloo between processors and NCCL between GPUs, in float64 whatever they are computed in.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch import Tensor

SECONDS = 600
"""Until what the others have not answered counts as lost. All compute parts of one size, so that they end together."""


class Group(Protocol):
    """Some processes, numbered from 0, which leads.

    Attributes:
        rank: number of this one.
        size: of the group.
    """

    rank: int
    size: int

    def order(self, *message: Any) -> None:
        """Of the leader: tell the followers what is to be done."""

    def spread(self, x: Tensor) -> Tensor:
        """The leader's x in all processes, bit for bit; of the others x has the shape alone."""

    def total(self, x: Tensor) -> Tensor:
        """The sum of all processes' x, of one shape."""

    def collect(self, x: Tensor, rows: Sequence[int]) -> list[Tensor]:
        """The leader: all processes' x, in their order, (rows of the process, k) each. The others: nothing."""


class ProcessLost(RuntimeError):
    """A process of the training has ended or does not answer; what the leader has saved is whole."""


class Connected:
    """A process of a group that torch.distributed connects.

    Args:
        rank, size: see `Group`.
        store: a file that does not exist yet, in a folder that all processes see: where they find each other.
        device: of the numbers: a GPU of this process's own, or the processor.

    Example::

        >>> import tempfile
        >>> from pathlib import Path
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     alone = Connected(0, 1, Path(folder, "store"), torch.device("cpu"))
        ...     x = alone.total(torch.tensor([1.0, 2.0]))
        ...     alone.close()
        >>> x.tolist()
        [1.0, 2.0]
    """

    def __init__(self, rank: int, size: int, store: Path, device: torch.device) -> None:
        self.rank, self.size, self.device = rank, size, device
        dist.init_process_group(
            "nccl" if device.type == "cuda" else "gloo",
            init_method=store.absolute().as_uri(),
            rank=rank,
            world_size=size,
            timeout=datetime.timedelta(seconds=SECONDS),
            device_id=device if device.type == "cuda" else None,
        )

    def order(self, *message: Any) -> None:
        assert self.size == 1  # a leader with followers is another class, which has a way to them

    def spread(self, x: Tensor) -> Tensor:
        sent = self._sent(x)
        dist.broadcast(sent, 0)
        return sent.to(x)

    def total(self, x: Tensor) -> Tensor:
        sent = self._sent(x)
        dist.all_reduce(sent)
        return sent.to(x)

    def collect(self, x: Tensor, rows: Sequence[int]) -> list[Tensor]:
        if self.rank:
            dist.send(self._sent(x), 0)
            return []
        found = [x]
        for rank in range(1, self.size):
            received = torch.empty(rows[rank], *x.shape[1:], dtype=torch.float64, device=self.device)
            dist.recv(received, rank)
            found.append(received.to(x))
        return found

    def _sent(self, x: Tensor) -> Tensor:
        """A copy: what is reduced is overwritten."""
        return x.detach().to(self.device, torch.float64, copy=True).contiguous()

    def close(self) -> None:
        """Leave the group."""
        dist.destroy_process_group()
