"""Saying what takes long: nothing may be silent for more than two seconds."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tqdm import tqdm

FIRST = 2.0
"""Seconds after which there is a line."""
EVERY = 10.0
"""Seconds between two lines from then on."""
_under_way: list[object] = []
"""What is being done, the innermost last, which alone is told of."""


@contextmanager
def doing(what: str, progress: Callable[[], str] | None = None, *, first: float | None = None) -> Iterator[None]:
    """Say on stderr what is done inside where it takes more than two seconds: then, every ten seconds, and at the end.

    One inside another is the one that is told of.

    Args:
        what: is done, as "draws solution.png".
        progress: how far it has come, as "level 20 of 2001"; called from another thread.
        first: seconds until there is a line, where it is not two.

    Example::

        >>> import io, contextlib
        >>> with contextlib.redirect_stderr(io.StringIO()) as said, doing("adds two numbers"):
        ...     _ = 1 + 1
        >>> said.getvalue()  # it took no time
        ''
    """
    begin, over, told, me = time.monotonic(), threading.Event(), threading.Event(), object()

    def tell() -> None:
        wait = FIRST if first is None else first
        while not over.wait(wait):
            wait = FIRST
            if _under_way[-1] is not me:
                continue
            far = f": {progress()}" if progress is not None else ""
            say(f"{what}{far} ({time.monotonic() - begin:.0f} s so far)")
            told.set()
            wait = EVERY

    teller = threading.Thread(target=tell, name=what, daemon=True)
    _under_way.append(me)
    teller.start()
    ending = "broken off after"
    try:
        yield
        ending = "done,"
    finally:
        over.set()
        teller.join()
        _under_way.remove(me)
        if told.is_set():
            say(f"{what}: {ending} {time.monotonic() - begin:.1f} s")


def say(line: str) -> None:
    """A line on stderr, above a progress bar where there is one."""
    tqdm.write(line, file=sys.stderr)
    sys.stderr.flush()
