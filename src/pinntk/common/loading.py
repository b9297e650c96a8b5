"""Importing much at once."""

from __future__ import annotations

import gc
import importlib
import sys


def load(name: str, *, freeze: bool = True) -> None:
    """Import a module, and what it imports, without the garbage collector; where that has been done before, nothing.

    torch and Lightning make some 700,000 objects that stay. The collector looks through all that are there again and
    again meanwhile, for a third of the time that importing takes, and finds nothing. What is there afterwards it does
    not look at any more, unless told to, so that the end of the process is short, too.

    Args:
        name: of the module; whoever needs something of it imports that afterwards.
        freeze: do not look any more; for a process that is all ours.

    Example::

        >>> import gc, sys
        >>> load("colorsys")
        >>> "colorsys" in sys.modules, gc.isenabled()
        (True, True)
    """
    if name in sys.modules:
        return
    enabled = gc.isenabled()
    gc.disable()
    try:
        importlib.import_module(name)
        if freeze:
            gc.freeze()
    finally:
        if enabled:
            gc.enable()
