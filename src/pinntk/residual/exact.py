"""Which terms a network with hard conditions satisfies exactly, whatever its parameters: they are not trained."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from pinntk.network import Network, NetworkSettings
from pinntk.residual.named import all_placed
from pinntk.residual.points import draw_region
from pinntk.residual.terms import Problem, Term

POINTS = 2048
"""In each region, at which it is found out."""
ROUNDING = 1e-12
"""Residuals that count as none, relative to what stands in the residual and to what it is without hard conditions."""
WIDTH, DEPTH = 16, 2
"""At most, of the networks with which it is found out: what holds for every network does not depend on them."""


def left(pde: Problem, network: Network) -> tuple[Term, ...]:
    """The terms that a network with hard conditions does not satisfy exactly, and so has to be trained for."""
    terms = pde.terms()
    if network.ansatz is None:
        return terms
    exact = _exact(type(pde), repr(pde), network.settings.model_dump_json(), _Held(pde, network.settings))
    return tuple(term for term in terms if term.name not in exact)


class _Held:
    """What the names of a cached result stand for; equal to every other, so that they alone tell results apart."""

    def __init__(self, pde: Problem, settings: NetworkSettings) -> None:
        self.pde, self.settings = pde, settings

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Held)

    def __hash__(self) -> int:
        return 0


@functools.lru_cache(maxsize=64)
def _exact(kind: type, coefficients: str, settings: str, held: _Held) -> frozenset[str]:
    """By evaluation: with two small networks of these inputs and random parameters, in float64."""
    pde = held.pde
    conditions = [term for term in pde.terms() if not term.equation]
    small = {"width": min(held.settings.width, WIDTH), "depth": min(held.settings.depth, DEPTH)}
    found = {term.name for term in conditions}
    for seed in range(2):
        trial = Network.of(pde, held.settings.model_copy(update=small), seed=seed)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in trial.parameters():  # zero biases would make it odd
                parameter.add_(0.5 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype))
        sizes = sizes_of(pde, trial, conditions, seed)
        found &= {name for name, (size, scale) in sizes.items() if size <= ROUNDING * scale}  # nan is none
    return frozenset(found)


def sizes_of(
    pde: Problem, network: Network, terms: Sequence[Term], seed: int, draw: int = 0
) -> Mapping[str, tuple[float, float]]:
    """The largest residual of each term, and the size of what it is made of.

    Args:
        pde: the problem.
        network: with hard conditions.
        terms: of it.
        seed, draw: of the points, `POINTS` in each region.

    Returns:
        by the term's name: ``max |r|``, and the largest of the streams in it, of the residual of the network alone, and
        of the streams of that.
    """
    like = next(network.parameters())
    soft = network.without_ansatz()
    found: dict[str, tuple[float, float]] = {}
    for name, region in all_placed([term.region for term in terms], pde.domain).items():
        x = torch.from_numpy(draw_region(region, POINTS, "uniform", seed=seed, draw=draw)).to(like)
        here = [term for term in terms if term.where == name]
        both = [_sizes(pde, one, here, name, x) for one in (network, soft)]
        for term in here:
            (size, own), (without, others) = (sizes[term.name] for sizes in both)
            found[term.name] = size, max(one for one in (own, without, others) if math.isfinite(one))
    return found


def _sizes(
    pde: Problem, network: Network, terms: Sequence[Term], region: str, x: Tensor
) -> dict[str, tuple[float, float]]:
    """Of each term the largest residual and the largest of its streams."""
    from pinntk.residual.residuals import Residuals  # which asks here what is left

    residuals = Residuals(pde, network, terms)
    batch, streams = residuals.prepare_region(region, x), residuals.streams_of[region]
    with torch.no_grad():
        values = network.propagate(batch.inputs, streams)
        found = residuals.of_streams(region, batch, values)
    named = dict(zip(streams.names, values, strict=True))
    return {
        term.name: (_largest(found[term.name]), max(_largest(named[name]) for name in term.names)) for term in terms
    }


def _largest(values: Tensor) -> float:
    return float(values.abs().max()) if values.numel() else 0.0
