"""Weights of the equation's points from their residuals: variational residual-based attention.

Toscano et al. (arXiv 2509.14198, 2025), after Anagnostopoulos et al., "Residual-based attention" (Comput. Methods Appl.
Mech. Engrg. 421, 2024): every point has a factor on its residual, an exponential average of what its residual was
against the others'. Checked against the first one's code
(github.com/jdtoscano94/vRBA_variational_residual_based_attention_PINNs_Operator_learning). What departs from it: the
average is normalised (their ``eta`` is ``1 - gamma``: a common factor), it starts from the residuals of the draw, not
from a constant, and the annealing counts looks at the residuals, not iterations. There the factors also draw the points
under a quasi-Newton method; here `points.by_residual` draws them, by the residuals of the moment.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from pinntk.common.settings import Settings
from pinntk.residual.regions import Region
from pinntk.residual.residuals import Batch
from pinntk.residual.terms import Term


class AttentionSettings(Settings):
    """Settings of weights from the residuals."""

    potential: Literal["exponential", "quadratic"] = "exponential"
    """What a residual counts: ``exp(|r| log(k + 2) / max |r|)`` at look k, from 0; or ``|r|``, residual-based
    attention."""
    memory: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """gamma: the part of a factor that stays at a look."""
    share: Annotated[float, Field(gt=0, le=1)] = 1.0
    """phi: of a factor that follows the residuals; the rest is 1."""


class Attention:
    """``lambda_i <- gamma lambda_i + (1 - gamma) (phi q_i / max q + 1 - phi)`` with ``q_i`` of ``|r_i|``.

    The residual at a point is multiplied with lambda; so its square counts lambda^2 times as much.

    Args:
        settings: see there.
        every: iterations between two looks; None: with every draw of points.

    Example::

        >>> attention = Attention(AttentionSettings(potential="quadratic", memory=0.5), every=10)
        >>> first = attention.first(torch.tensor([1.0, -2.0, 4.0]))
        >>> first.tolist()
        [0.25, 0.5, 1.0]
        >>> attention.next(first, torch.tensor([4.0, 0.0, 1.0]), look=1).tolist()  # the average of that and 1, 0, 1/4
        [0.625, 0.25, 0.625]
    """

    def __init__(self, settings: AttentionSettings, every: int | None = None) -> None:
        self.settings, self.every = settings, every

    def due(self, iteration: int, drawn: bool) -> bool:
        """Whether the residuals are looked at before this iteration, the first with other points where ``drawn``."""
        return drawn or (self.every is not None and iteration % self.every == 0)

    def first(self, r: Tensor) -> Tensor:
        """Factors of the points of a draw, (N,), from their residuals, (N,)."""
        return self._of(r, 0)

    def next(self, before: Tensor, r: Tensor, look: int) -> Tensor:
        """The factors after another look, the ``look``-th after the first of this draw."""
        gamma = self.settings.memory
        return gamma * before + (1 - gamma) * self._of(r, look)

    def _of(self, r: Tensor, look: int) -> Tensor:
        size = r.abs()
        largest = size.max()
        if not largest > 0:
            return torch.ones_like(size)
        relative = size / largest
        if self.settings.potential == "exponential":
            relative = (math.log(look + 2) * (relative - 1)).exp()
        share = self.settings.share
        return share * relative + (1 - share)


def attended(terms: Sequence[Term]) -> tuple[Term, ...]:
    """The same terms, with a factor per point on the residuals of the equation's: their last field, 1 at first.

    Example::

        >>> from pinntk.pdes.poisson1d import Poisson1D
        >>> equation, _ = attended(Poisson1D(a=1).terms())
        >>> f, factor = equation.fields(torch.tensor([[0.5]]))
        >>> factor.tolist(), round(float(equation.residual({"u_xx": f + 3.0}, f, 2 * factor)), 4)
        ([1.0], 6.0)
    """
    return tuple(_attended(term) if has_attention(term) else term for term in terms)


def has_attention(term: Term) -> bool:
    """Whether a term is one of the equation itself: not a condition, nor a derivative of the equation, nor of pairs."""
    pairs = isinstance(term.region, Region) and term.region.pairs
    return term.equation and term.along is None and not pairs


def _attended(term: Term) -> Term:
    residual, fields = term.residual, term.fields

    def multiplied(streams: Mapping[str, Tensor], *data: Tensor) -> Tensor:
        *own, factor = data
        found: Tensor = factor * residual(streams, *own)
        return found

    def with_factor(x: Tensor) -> tuple[Tensor, ...]:
        return (*fields(x), torch.ones_like(x[:, 0]))

    return dataclasses.replace(term, residual=multiplied, fields=with_factor)


def with_factors(
    batches: Mapping[str, Batch],
    terms_of: Mapping[str, Sequence[Term]],
    factor: Callable[[str, Tensor], Tensor],
) -> dict[str, Batch]:
    """The same points with other factors.

    Args:
        batches: points by region, of `attended` terms.
        terms_of: these terms by region.
        factor: name of a term and its factors until now, (N,), to the new ones.
    """
    found = {}
    for region, batch in batches.items():
        fields = tuple(
            (*data[:-1], factor(term.name, data[-1])) if has_attention(term) else data
            for term, data in zip(terms_of[region], batch.fields, strict=True)
        )
        found[region] = dataclasses.replace(batch, fields=fields)
    return found
