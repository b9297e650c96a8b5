"""Algorithm 1 of the paper: weights of the terms from the traces of the kernel (Wang, Yu, Perdikaris 2022)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Balance = Literal["blocks", "terms"]


def balanced(traces: Tensor, interior: Tensor, balance: Balance) -> Tensor:
    """Algorithm 1's lambdas of every term, (T,).

    ``blocks``: ``Tr K / Tr K_rr`` for all terms of the equation, ``Tr K / Tr K_uu`` for all conditions (paper);
    ``terms``: ``Tr K / Tr K_kk``, one per term. 1 for a condition that holds by construction, as a periodic
    one does where the inputs are periodic: of its trace rounding is left, beside the largest of the conditions.

    Args:
        traces: of the terms' diagonal blocks of the kernel, (T,).
        interior: which terms belong to the equation, (T,), bool.
        balance: which of the two.

    Example::

        >>> balanced(torch.tensor([6.0, 1.0, 1.0]), torch.tensor([True, False, False]), "blocks").tolist()
        [1.3333333730697632, 4.0, 4.0]
        >>> balanced(torch.tensor([6.0, 1.0, 1.0]), torch.tensor([True, False, False]), "terms").tolist()
        [1.3333333730697632, 8.0, 8.0]
    """
    if balance == "blocks":
        return traces.sum() / torch.where(interior, traces[interior].sum(), traces[~interior].sum())
    rounding = 32 * torch.finfo(traces.dtype).eps * traces.masked_fill(interior, 0.0).max()
    return torch.where(interior | (traces > rounding), traces.sum() / traces, 1.0)


def evened(traces: Tensor) -> Tensor:
    """Factors of the terms, (T,), that make their traces alike, and leave their sum; 1 where a trace is rounding.

    They are those of `balanced` with ``terms``, divided by T.

    Example::

        >>> evened(torch.tensor([6.0, 1.0, 2.0])).tolist()
        [0.5, 3.0, 1.5]
    """
    rounding = torch.finfo(traces.dtype).eps ** 1.5 * traces.max()  # of squares of entries that are rounding: eps^2
    return torch.where(traces > rounding, traces.mean() / traces, 1.0)


@dataclass(frozen=True)
class TraceWeighting:
    """When Algorithm 1 looks at the traces, and what it makes of them.

    Attributes:
        balance: see `balanced`.
        every: iterations between two looks; None: with every draw of points.
    """

    balance: Balance = "blocks"
    every: int | None = None

    def due(self, iteration: int, drawn: bool) -> bool:
        """Whether the traces are looked at before this iteration, the first with other points where ``drawn``."""
        return drawn if self.every is None else iteration % self.every == 0

    def lambdas(self, traces: Tensor, equation: Sequence[bool]) -> Tensor:
        """The terms' factors, (T,), from their traces, (T,), and which of them belong to the equation."""
        return balanced(traces, torch.tensor(equation, device=traces.device), self.balance)
