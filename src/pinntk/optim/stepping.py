"""What the optimisers that try steps have in common: trials, their gain ratio, and what a resumed run needs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Self

from torch import Tensor

from pinntk.optim.objective import Objective


class Trials:
    """Trial steps from theta, of which at most one is kept.

    Behind the block theta is where the step that was kept has led, or, without one, what it was, bit for bit: an
    exception in the middle of a trial must not lose the iterate either.

    Args:
        objective: which is given the parameters of every trial.

    Example::

        >>> import torch
        >>> class Line:
        ...     def __init__(self): self.x = torch.zeros(1)
        ...     def parameters(self): return self.x
        ...     def assign(self, theta): self.x = theta
        >>> line = Line()
        >>> with Trials(line) as trials:
        ...     for length in (4.0, 2.0):
        ...         trials.go(torch.tensor([length]))
        >>> line.x.tolist()
        [0.0]
        >>> with Trials(line) as trials:
        ...     for length in (4.0, 2.0):
        ...         trials.go(torch.tensor([length]))
        ...     trials.keep()
        >>> line.x.tolist()
        [2.0]
    """

    def __init__(self, objective: Objective) -> None:
        self._objective = objective
        self._theta = objective.parameters().detach().clone()
        self._kept = False

    def go(self, d: Tensor) -> None:
        """Move to theta + d, d (P,)."""
        self._objective.assign(self._theta + d)

    def keep(self) -> None:
        """The last step shall stay."""
        self._kept = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if not self._kept:
            self._objective.assign(self._theta)


def gain_ratio(gained: float, predicted: float) -> float:
    """``gained / predicted``, by how much a loss fell and was to fall; minus infinity where either is of no use.

    Example::

        >>> gain_ratio(0.5, 2.0), gain_ratio(math.nan, 2.0), gain_ratio(0.5, 0.0)
        (0.25, -inf, -inf)
    """
    return gained / predicted if math.isfinite(gained) and predicted > 0 else -math.inf


class Resumable:
    """An optimiser whose state is some of its attributes, and what it adds to them.

    Example::

        >>> class Counter(Resumable):
        ...     _SAVED = ("count",)
        ...     count = 0
        >>> one, other = Counter(), Counter()
        >>> one.count = 3
        >>> other.load_state_dict(one.state_dict())
        >>> other.count
        3
    """

    _SAVED: ClassVar[tuple[str, ...]]

    def state_dict(self) -> dict[str, Any]:
        """All that a resumed run needs besides the parameters."""
        return {name: getattr(self, name) for name in self._SAVED}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where ``state_dict`` was taken; the parameters are the objective's affair."""
        for name in self._SAVED:
            setattr(self, name, state[name])
