"""The processor's cores."""

from __future__ import annotations

import os


def available_cores() -> int:
    """The cores that this process may use, where the system can tell; else those of the machine."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
