"""When a phase draws its points anew."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StrictInt

from pinntk.common.settings import Settings

Resample = Annotated[StrictInt, Field(ge=1)] | None
"""Iterations between two draws of the points; null: the same points for the whole phase."""


class Draws(Settings):
    """Draws at intervals that may grow: what keeps a memory of the loss needs some time to learn each new one."""

    resample_every: Resample = None
    resample_growth: Annotated[float, Field(ge=1)] = 1.0
    """Factor from one interval to the next."""

    def without_effect(self) -> dict[str, str]:
        unused = ("resample_growth",) if self.resample_every is None else ()
        return {**super().without_effect(), **dict.fromkeys(unused, "counts only with resample_every")}


def draws_by(n: int, every: int, growth: float) -> int:
    """How many draws there have been before iteration n, the intervals between them growing from ``every`` on.

    Example::

        >>> [draws_by(n, 100, 2.0) for n in (99, 100, 299, 300, 700)]  # at 100, 100 + 200, 300 + 400
        [0, 1, 1, 2, 3]
    """
    if growth == 1:
        return n // every
    count, interval, at = 0, float(every), float(every)
    while n >= at:
        interval *= growth
        count, at = count + 1, at + interval
    return count
