"""Parameters and buffers that a method gives itself in ``start``: a checkpoint has them before the method does."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, empty_like, nn

from pinntk.common.errors import BadInput


def absent(module: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What of a saved state the module does not have."""
    own = module.state_dict()
    return {name: value for name, value in state.items() if name not in own}


def take(module: nn.Module, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Take what the module does not have out of a saved state."""
    return {name: state.pop(name) for name in absent(module, state)}


def restore(module: nn.Module, taken: Mapping[str, Tensor]) -> None:
    """Give what was taken to the module, which has it now. In place: optimisers know the parameters.

    Raises:
        BadInput: the module still lacks it, or has it in another shape.
    """
    own = module.state_dict()
    for name, value in taken.items():
        here, there = tuple(own[name].shape) if name in own else "absent", tuple(value.shape)
        if here != there:
            raise BadInput(f"checkpoint: {name}, made when a training starts, is {there} there and {here} here")
    module.load_state_dict(taken, strict=False)


def adopt(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load a saved state into a module that is not started: what it lacks gets a place of its own, as a buffer."""
    for name, value in absent(module, state).items():
        *path, leaf = name.split(".")
        inner = module
        for step in path:
            if not hasattr(inner, step):
                inner.add_module(step, nn.Module())
            inner = getattr(inner, step)
        inner.register_buffer(leaf, empty_like(value))
    module.load_state_dict(state)
