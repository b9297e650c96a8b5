"""What kind of session the process is: a notebook that shows what is printed, somebody who types."""

from __future__ import annotations

import sys
import warnings
from typing import Any


def in_notebook() -> bool:
    """Whether what is printed here is shown by a notebook (a kernel of Jupyter).

    Example::

        >>> in_notebook()
        False
    """
    ipython = sys.modules.get("IPython")  # where it has not been imported there is no kernel
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and "IPKernelApp" in shell.config


def interactive() -> bool:
    """Whether somebody types here: a notebook, IPython or Python's prompt, whose state no signal should cost.

    Example::

        >>> interactive()
        False
    """
    return hasattr(sys, "ps1")


def progress_bar(**arguments: Any) -> Any:
    """A bar of tqdm on a terminal or in a notebook, where it is a widget if ipywidgets are installed; else None.

    Args:
        arguments: tqdm's.

    Example::

        >>> import contextlib, io
        >>> with contextlib.redirect_stderr(io.StringIO()):
        ...     print(progress_bar(total=10))  # neither
        None
    """
    if in_notebook():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # where there are no ipywidgets the bar is text, which is as good
            from tqdm.auto import tqdm as bar
    elif sys.stderr.isatty():
        from tqdm import tqdm as bar
    else:
        return None
    return bar(**arguments)
