"""Whether what a run is told to do fits into memory; found out before anything is made or written."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import torch

from pinntk.callbacks import Measurement
from pinntk.common.errors import BadInput
from pinntk.common.memory import Need, in_words, largest, machine_memory
from pinntk.network import DTYPES
from pinntk.runs.settings import RunSettings

PROCESS = 500_000_000
"""Bytes of Python, torch and Lightning themselves."""


def check(settings: RunSettings, watching: Mapping[str, Measurement], *, training: bool = True) -> None:
    """Refuse a run of which something takes more memory than there is, each thing on its own.

    What a method needs is held against the memory of the GPU where the run trains on one, what callbacks need against
    the machine's. Other processes are not counted, nor what an allocator keeps of memory that was freed. Nothing of a
    run depends on this but whether it begins.

    Args:
        settings: of the run.
        watching: its measuring callbacks by name.
        training: whether it is trained; else the callbacks alone are looked at.

    Raises:
        BadInput: a line for each thing that does not fit, with the largest number that would.
    """
    lines = []
    machine = machine_memory()
    here, room = "this machine", machine
    if settings.accelerator == "gpu":
        here, room = "this GPU", torch.cuda.get_device_properties(0).total_memory
    for key, need in needs_of(settings).items() if training else ():

        def again(changed: RunSettings, key: str = key) -> Need | None:
            return needs_of(changed).get(key)

        rows = "method.batch" if settings.method_class.discrete else "points.interior"
        lines += _line(need, room, here, _keys(settings, again, rows), f"method.{key}.")
    for name, callback in watching.items():
        watched = callback.need(settings.pde, settings.network, settings.discretization)
        if watched is not None:
            lines += _line(watched, machine, "this machine", _keys_of(settings, name, callback), "")
    if lines:
        raise BadInput(*lines)


def needs_of(settings: RunSettings) -> dict[str, Need]:
    """What of the method needs much memory, by its phases."""
    item = DTYPES[settings.precision].itemsize
    kind, method = settings.method_class, settings.method
    extent = kind.extent(settings.pde, method, settings.network, settings.points, settings.discretization, item)
    return kind.needs(method, extent)


Key = tuple[str, int, Callable[[int], Need | None]]
"""A key, its value, and the need with another value."""


def _keys(settings: RunSettings, again: Callable[[RunSettings], Need | None], rows: str) -> dict[str, Key]:
    group, name = rows.split(".")

    def changed(group: str, **values: int) -> Need | None:
        return again(settings.model_copy(update={group: getattr(settings, group).model_copy(update=values)}))

    return {
        "parameters": ("network.width", settings.network.width, lambda width: changed("network", width=width)),
        "rows": (rows, getattr(getattr(settings, group), name), lambda count: changed(group, **{name: count})),
    }


def _keys_of(settings: RunSettings, name: str, callback: Measurement) -> dict[str, Key]:
    def with_points(interior: int) -> Need | None:
        changed: Any = copy.copy(callback)
        changed.interior = interior
        found: Need | None = changed.need(settings.pde, settings.network, settings.discretization)
        return found

    def with_width(width: int) -> Need | None:
        network = settings.network.model_copy(update={"width": width})
        return callback.need(settings.pde, network, settings.discretization)

    found: dict[str, Key] = {"parameters": ("network.width", settings.network.width, with_width)}
    if (interior := getattr(callback, "interior", None)) is not None:
        found["rows"] = f"callbacks.{name}.interior", interior, with_points
    return found


def _line(need: Need, room: int | None, here: str, keys: Mapping[str, Key], prefix: str) -> list[str]:
    """What to say of a need; nothing where it fits."""

    def fits(need: Need | None) -> bool:
        return need is None or room is None or need.bytes + PROCESS <= room

    if fits(need):
        return []
    assert room is not None
    instead = f"{'' if need.instead.startswith('callbacks.') else prefix}{need.instead}" if need.instead else ""
    if need.by not in keys:
        return [f"{instead}: {need.words}; {here} has {in_words(room)}; allowed is a coarser grid"]
    key, value, again = keys[need.by]
    most = largest(lambda count: fits(again(count)), value)
    allowed = f"{key} of up to {most:,} fits" if most else f"no {key} fits"
    return [f"{key}={value}: {need.words}; {here} has {in_words(room)}; {allowed}{instead and f', or {instead}'}"]
