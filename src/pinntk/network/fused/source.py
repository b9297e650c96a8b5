"""The C++ of a fused kernel for given streams: the formulas of `pinntk.network.propagation`, traced and written out."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from importlib.resources import files
from typing import Any

import torch
from torch import fx

from pinntk.network.activations import Activation
from pinntk.network.propagation import activated, cotangents
from pinntk.network.streams import Streams

_NUMBERS = {torch.float32: "float", torch.float64: "double"}
_WORDS: dict[Any, str] = {
    operator.add: "{0} + {1}",
    operator.sub: "{0} - {1}",
    operator.mul: "{0} * {1}",
    operator.truediv: "{0} / {1}",
    operator.neg: "{0}.neg()",
    "neg": "{0}.neg()",
    "square": "{0} * {0}",
    torch.square: "{0} * {0}",
    torch.tanh: "hyperbolic_tangent({0})",
    torch.sin: "{0}.sin()",
    torch.cos: "{0}.cos()",
    torch.exp: "{0}.exp()",
    torch.sigmoid: "Vec(T(1)) / (Vec(T(1)) + {0}.neg().exp())",
    torch.special.ndtr: f"Vec(T(0.5)) * ({{0}} * Vec(T({-math.sqrt(0.5)!r}))).erfc()",
}
"""C++ of what stands in activations and in the formulas of streams, by torch's or Python's function."""


class NotFused(ValueError):
    """Why there is no fused kernel for this."""


def source(streams: Streams, activation: Activation, dtype: torch.dtype) -> str:
    """The whole program.

    Args:
        streams: which are carried.
        activation: which.
        dtype: float32 or float64.

    Raises:
        NotFused: the activation computes with what has no counterpart here, or in another precision.

    Example::

        >>> from pinntk.network.activations import sin
        >>> text = source(Streams(["u_x"], ["x"]), sin, torch.float64)
        >>> [line.strip() for line in text.splitlines() if ".sin()" in line or ".cos()" in line][:2]
        ['auto v0 = z[0].sin();', 'auto v1 = z[0].cos();']
    """
    if dtype not in _NUMBERS:
        raise NotFused(f"{dtype}")
    count = range(len(streams))
    there, _ = _traced(
        [f"z[{s}]" for s in count], lambda z: activated(z, streams, activation), [f"a[{s}]" for s in count]
    )
    names = [*(f"z[{s}]" for s in count), "value", *(f"g[{s}]" for s in count)]

    def back(x: Sequence[Any]) -> Sequence[Any]:
        return cotangents(x[: len(streams)], x[len(streams)], x[len(streams) + 1 :], streams, activation)

    here, used = _traced(names, back, [f"d[{s}]" for s in count])
    lines = [
        f"constexpr int STREAMS = {len(streams)};",
        f"constexpr bool KEEP_Z = {'true' if 'z[0]' in used else 'false'};  // whether cotangents need the value of z",
        "static inline void activate(const Vec* z, Vec* a) {",
        *there,
        "}",
        "static inline void cotangents(const Vec* z, Vec value, const Vec* g, Vec* d) {",
        *here,
        "}",
    ]
    program = (files(__package__) / "kernel.cpp").read_text()
    return program.replace("REAL", _NUMBERS[dtype]).replace("//GENERATED", "\n".join(lines))


def _traced(
    inputs: Sequence[str], function: Callable[[Sequence[Any]], Sequence[Any]], outputs: Sequence[str]
) -> tuple[list[str], set[str]]:
    """Statements that compute the outputs from the inputs, and which of the inputs they use."""
    graph = fx.Graph()
    tracer = fx.proxy.GraphAppendingTracer(graph)
    given = [graph.placeholder(f"x{i}") for i in range(len(inputs))]
    try:
        found = function([fx.Proxy(node, tracer) for node in given])
    except Exception as error:  # whatever an activation of somebody's own does with what is no tensor
        raise NotFused(f"the activation cannot be traced: {error}") from error
    graph.output([one.node for one in found])
    graph.eliminate_dead_code()
    words: dict[fx.Node, str] = dict(zip(given, inputs, strict=True))
    known: dict[str, str] = {}  # an expression that was there before is not computed again
    lines = []
    for node in graph.nodes:
        if node.op in ("placeholder", "output"):
            continue
        if node.target not in _WORDS or node.kwargs:
            raise NotFused(f"the activation uses {node.target}")
        text = _WORDS[node.target].format(*(_word(argument, words) for argument in node.args))
        if text not in known:
            known[text] = f"v{len(known)}"
            lines.append(f"  auto {known[text]} = {text};")
        words[node] = known[text]
    lines += [f"  {name} = {words[one.node]};" for name, one in zip(outputs, found, strict=True)]
    return lines, {name for node, name in zip(given, inputs, strict=True) if node.users}


def _word(argument: object, words: dict[fx.Node, str]) -> str:
    if isinstance(argument, fx.Node):
        return words[argument]
    if isinstance(argument, int | float):
        return f"Vec(T({float(argument)!r}))"
    raise NotFused(f"the activation uses {argument!r}")
