"""What of the machine a process may use: its cores, and GPUs lent to one job at a time.

A GPU is lent on the whole machine, by a lock file that is held by the process that uses it.

The system gives a lock back when its process ends, however it ends. So a job that outlives a killed sweep keeps its
device, and one that is killed does not.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

LOCKS = Path("/tmp/pinntk-gpus")
"""Not TMPDIR: two sweeps with different ones would not see each other's locks."""
SECONDS_BETWEEN_LOOKS = 0.5


@dataclass(frozen=True)
class Device:
    """A GPU.

    Attributes:
        name: what to put in CUDA_VISIBLE_DEVICES to see this one alone.
        lock: the lock file of the physical device, whatever a process calls it.
    """

    name: str
    lock: Path


def visible_devices() -> list[Device]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES says."""
    import torch  # here: a job should choose its device before torch looks for one

    count = torch.cuda.device_count()
    named = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    names = named[:count] if named else [str(k) for k in range(count)]
    # 0, GPU-8f... and another process's 1 may be one device, so locks go by its UUID; parts of one have their own.
    marks = [n if n.startswith("MIG-") else str(torch.cuda.get_device_properties(k).uuid) for k, n in enumerate(names)]
    return [Device(name, LOCKS / f"{mark.replace('/', '_')}.lock") for name, mark in zip(names, marks, strict=True)]


@contextmanager
def lease(devices: Sequence[Device], say: Callable[[str], object] = print) -> Iterator[Device]:
    """Have one of the devices for oneself; waits until one is free.

    Args:
        devices: to choose from, at least one.
        say: told, once, that it waits.
    """
    for device in devices:
        device.lock.parent.mkdir(parents=True, exist_ok=True)
        with suppress(PermissionError):  # another user's, who has done it
            device.lock.parent.chmod(0o777)
    told = False
    while True:
        for device in devices:
            lock = FileLock(device.lock, mode=0o666)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                continue
            try:
                yield device
            finally:
                lock.release()
            return
        if not told:
            say("waits for a free GPU")
            told = True
        time.sleep(SECONDS_BETWEEN_LOOKS)
