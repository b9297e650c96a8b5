"""A function of the points on a GPU, recorded once as a CUDA graph and replayed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from pinntk.common.doing import say
from pinntk.residual.residuals import Batch

Function = Callable[..., tuple[Tensor, ...]]
"""``function(batches, *tensors)``."""


class Replayed:
    """``function(batches, *tensors)`` for batches on a GPU.

    A training step of a network as small as those of PINNs is some hundred launches of kernels that take less time
    than a launch does. Here they are recorded at the first call, and launched together from then on: the same kernels
    on the same numbers. Points of another draw are copied to where those of the first were, where they are as many;
    else the function is recorded again. A function that cannot be recorded (one that asks for the value of a tensor)
    runs as it is, and a line says so. On a processor nothing is recorded.

    Args:
        function: of batches by region, of tensors, and of the parameters where they are; its results are tensors.
        parameters: that the function reads.

    Example::

        >>> from pinntk.network import Inputs
        >>> from pinntk.residual.residuals import Batch
        >>> x = torch.tensor([[1.0], [2.0]])
        >>> batches = {"interior": Batch(x, Inputs(x[None]), ())}
        >>> doubled = Replayed(lambda batches, factor: (factor * batches["interior"].points.sum(),), [])
        >>> doubled(batches, torch.tensor(2.0))
        (tensor(6.),)
    """

    def __init__(self, function: Function, parameters: Sequence[nn.Parameter]) -> None:
        self._function, self._parameters = function, parameters
        self._recordings: dict[tuple[object, ...], _Recording] = {}
        self.recorded = True
        """Whether it could be."""

    def __call__(self, batches: Mapping[str, Batch], *tensors: Tensor) -> tuple[Tensor, ...]:
        """The function's results, which the next call overwrites."""
        if not self.recorded or any(not batch.points.is_cuda for batch in batches.values()):
            return self._function(batches, *tensors)
        flat = [*_tensors(batches), *tensors]
        places = [parameter.data_ptr() for parameter in self._parameters]
        key = (*places, *((tensor.shape, tensor.dtype) for tensor in flat))
        if key not in self._recordings:
            try:
                self._recordings[key] = _Recording(self._function, batches, tensors)
            except Exception as error:  # whatever a residual of somebody's own does that cannot be recorded
                self.recorded = False
                text = str(error).strip().split("\n")[0]
                say(f"the step is not recorded as a CUDA graph, which is slower: {type(error).__name__}: {text}")
                return self._function(batches, *tensors)
        return self._recordings[key](batches, tensors)


class _Recording:
    """A CUDA graph, where its inputs lie, and where its results do."""

    def __init__(self, function: Function, batches: Mapping[str, Batch], tensors: tuple[Tensor, ...]) -> None:
        self._batches = {region: batch.map(Tensor.clone) for region, batch in batches.items()}
        self._tensors = tuple(tensor.clone() for tensor in tensors)
        self._copied: object = batches
        beside = torch.cuda.Stream()
        beside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(beside):  # what is made or compiled at a first call is not to be part of the graph
            for _ in range(2):
                function(self._batches, *self._tensors)
        torch.cuda.current_stream().wait_stream(beside)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph, capture_error_mode="thread_local"):
            self._results = function(self._batches, *self._tensors)

    def __call__(self, batches: Mapping[str, Batch], tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        if batches is not self._copied:
            for to, of in zip(_tensors(self._batches), _tensors(batches), strict=True):
                to.copy_(of)
            self._copied = batches
        for to, of in zip(self._tensors, tensors, strict=True):
            to.copy_(of)
        self._graph.replay()
        return self._results


def _tensors(batches: Mapping[str, Batch]) -> list[Tensor]:
    return [tensor for batch in batches.values() for tensor in batch.tensors()]
