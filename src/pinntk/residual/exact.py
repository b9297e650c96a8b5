"""Which terms a network with hard conditions satisfies exactly, whatever its parameters: they are not trained."""

from __future__ import annotations

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


_known: dict[tuple[type, str, str], frozenset[str]] = {}
"""What has been found out in this process, by problem, its coefficients and the network's settings."""


def left(pde: Problem, settings: NetworkSettings) -> tuple[Term, ...]:
    """The terms that a network with hard conditions does not satisfy exactly, and so has to be trained for."""
    key = type(pde), repr(pde), settings.model_dump_json()
    if key not in _known:
        _known[key] = _exact(pde, settings)
    return tuple(term for term in pde.terms() if term.name not in _known[key])


def _exact(pde: Problem, settings: NetworkSettings) -> frozenset[str]:
    """By evaluation: with two small networks of these inputs and random parameters, in float64."""
    conditions = [term for term in pde.terms() if not term.equation]
    small = {"width": min(settings.width, WIDTH), "depth": min(settings.depth, DEPTH)}
    found = {term.name for term in conditions}
    for seed in range(2):
        trial = Network.of(pde, settings.model_copy(update=small), seed=seed)
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
            # Of a network that has diverged nothing is finite.
            found[term.name] = size, max((x for x in (own, without, others) if math.isfinite(x)), default=math.nan)
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
