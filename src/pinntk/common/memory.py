"""How much memory this machine has, and what of a run needs much of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class Need:
    """What something keeps in memory at its peak.

    Example::

        >>> Need("keeps a matrix of 1,000^2 numbers", 8e6).words
        'keeps a matrix of 1,000^2 numbers, 8.0 MB'
    """

    what: str
    """In words: who, and how many numbers."""
    bytes: float
    by: Literal["parameters", "rows", "grid"] = "parameters"
    """What it grows with: the network, the number of residuals, or the discrete form's grid."""
    instead: str = ""
    """A setting that needs less, where there is one."""

    @property
    def words(self) -> str:
        """What, and how much."""
        return f"{self.what}, {in_words(self.bytes)}"


def in_words(count: float) -> str:
    """A number of bytes in the unit that suits it, powers of 1,000.

    Example::

        >>> in_words(2.012e12), in_words(24e9), in_words(700)
        ('2.0 TB', '24 GB', '700 B')
    """
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if count < 1000 or unit == "TB":
            break
        count /= 1000
    return f"{count:.0f} {unit}" if count >= 10 or unit == "B" else f"{count:.1f} {unit}"


def machine_memory(root: Path = Path("/")) -> int | None:
    """Bytes that processes may use here: the machine's, or what a container or a scheduler's job is given of it.

    Args:
        root: of the file system; another one in tests.

    Returns:
        None where the system does not tell: then nothing is refused.

    Example::

        >>> (machine_memory() or 2**40) > 2**20
        True
    """
    try:
        whole = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    except (AttributeError, ValueError, OSError):  # not on Windows
        whole = []
    return min((size for size in [*whole, *_limits(root)] if size > 0), default=None)


def _limits(root: Path) -> Iterator[int]:
    """Of the control groups that this process is in, and of those around them."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        number, controllers, path = line.split(":", 2)
        if number == "0":  # version 2
            mount, name = root / "sys/fs/cgroup", "memory.max"
        elif "memory" in controllers.split(","):
            mount, name = root / "sys/fs/cgroup/memory", "memory.limit_in_bytes"
        else:
            continue
        here = mount / path.strip("/")
        for folder in (here, *here.parents):
            with suppress(OSError, ValueError):  # not there, or "max"
                yield int((folder / name).read_text())
            if folder == mount:
                break


def largest(fits: Callable[[int], bool], below: int) -> int:
    """The largest whole number from 1 to ``below`` - 1 that fits, where smaller ones do as well; 0 where none does.

    Example::

        >>> largest(lambda n: n * n <= 50, 1000)
        7
    """
    low, high = 0, below
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low
