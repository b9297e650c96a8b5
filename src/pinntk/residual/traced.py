"""A function of a block of points, recorded once and compiled."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from torch import Tensor

from pinntk.common.doing import doing, say
from pinntk.network import Inputs
from pinntk.residual.residuals import Batch

Between = Callable[..., tuple[Tensor, ...]]
"""``function(block, *tensors)``."""


class Traced:
    """``function(block, *tensors)`` for blocks of one size, compiled by torch's Inductor.

    ``torch.compile`` asks at every call whether what it compiled still holds, for every object that the function
    touches: half a millisecond, several times what the residuals take. Here the function is recorded at its first
    call, with the tensors of the block and those that are given as its only inputs: what else it reads must stay.
    A function that cannot be recorded (one that asks for the value of a tensor) runs as it is, and a line says so.

    Args:
        function: of a block and tensors; its results are tensors.
        like: a block of the size.

    Example::

        >>> from pinntk.network import Inputs
        >>> from pinntk.residual.residuals import Batch
        >>> x = torch.tensor([[1.0], [2.0]])
        >>> block = Batch(x, Inputs(x[None]), ((torch.tensor([3.0, 4.0]),),))
        >>> traced = Traced(lambda block, factor: (factor * block.fields[0][0],), block)
        >>> traced(block, torch.tensor(2.0))
        (tensor([6., 8.]),)
    """

    def __init__(self, function: Between, like: Batch) -> None:
        self._function, self._like = function, like
        self._compiled: Callable[..., Any] | None = None
        self.recorded = True
        """Whether it could be."""

    def __call__(self, block: Batch, *tensors: Tensor) -> tuple[Tensor, ...]:
        if not self.recorded:
            return self._function(block, *tensors)
        flat = [*_tensors(block), *tensors]
        if self._compiled is None:
            try:
                self._compiled = self._record(flat)
            except Exception as error:  # whatever a residual of somebody's own does that cannot be recorded
                self.recorded = False
                text = str(error).strip().split("\n")[0]
                say(f"the residuals are not compiled, which is slower: {type(error).__name__}: {text}")
                return self._function(block, *tensors)
        return tuple(self._compiled(*flat))

    def _record(self, flat: list[Tensor]) -> Callable[..., Any]:
        # Here, for they take a second that a run without them need not wait.
        import torch._inductor
        from torch.fx.experimental.proxy_tensor import make_fx

        known = len(_tensors(self._like))

        def whole(*flat: Tensor) -> tuple[Tensor, ...]:
            return self._function(_with(self._like, flat[:known]), *flat[known:])

        with doing("compiles the residuals"):
            graph = make_fx(whole)(*flat)
            graph.graph.eliminate_dead_code()
            graph.recompile()
            compiled: Callable[..., Any] = torch._inductor.compile(graph, [*flat])
        return compiled


def _forget_threads() -> None:
    """In a forked process: let Inductor make new threads.

    Those of the parent, which compile its C++, do not live there, and it would wait for them for ever (torch 2.13
    forgets its processes after a fork, not its threads)."""
    compiling = sys.modules.get("torch._inductor.async_compile")
    if compiling is not None:
        compiling.AsyncCompile.pool.cache_clear()


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(after_in_child=_forget_threads)


def _tensors(block: Batch) -> list[Tensor]:
    """What a residual needs of a block."""
    of_inputs = [part for part in (block.inputs.weights, block.inputs.offset) if part is not None]
    return [*of_inputs, *(field for fields in block.fields for field in fields)]


def _with(block: Batch, tensors: tuple[Tensor, ...]) -> Batch:
    """The block with others in their places."""
    left = iter(tensors)
    weights, offset = (None if part is None else next(left) for part in block.inputs[1:])
    fields = tuple(tuple(next(left) for _ in fields) for fields in block.fields)
    return replace(block, inputs=Inputs(block.inputs.features, weights, offset), fields=fields)
