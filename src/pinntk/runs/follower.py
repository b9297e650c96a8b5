"""A process that follows the leader of a run (`pinntk.runs.team`): ``python -m pinntk.runs.follower``.

It is told the run's settings and then orders, pickled, on its standard input, and says on its standard output that it
is ready. It writes no files. Whatever others print goes to its standard error.
"""

from __future__ import annotations

import os
import pickle
import sys
import threading
import time
from collections.abc import Iterator
from typing import IO, Any

import torch

from pinntk.common.processes import Connected
from pinntk.residual.shared import Share, follow
from pinntk.runs.settings import RunSettings
from pinntk.runs.team import READY, device_of


def orders(pipe: IO[bytes]) -> Iterator[Any]:
    """What comes through the pipe until it is closed.

    Example::

        >>> import io, pickle
        >>> list(orders(io.BytesIO(pickle.dumps(("gradient",)) + pickle.dumps(("squares",)))))
        [('gradient',), ('squares',)]
    """
    while True:
        try:
            yield pickle.load(pipe)
        except EOFError:
            return


def end_with(leader: int) -> None:
    """End this process when its leader is gone, also where it waits for it somewhere else than at the pipe."""
    while os.getppid() == leader:  # that of an orphan is another
        time.sleep(1)
    os._exit(1)


def main() -> None:
    """Follow the leader until it is gone."""
    threading.Thread(target=end_with, args=[os.getppid()], daemon=True).start()
    pipe, out = os.fdopen(os.dup(0), "rb"), os.dup(1)
    os.dup2(2, 1)
    told = orders(pipe)
    start = next(told)
    rank = start["rank"]
    settings = RunSettings.read(start["config"], training=False)
    torch.set_num_threads(settings.cores)
    device = device_of(settings, rank)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    method = settings.build().to(device)
    share = Share(method.residuals, settings.method.normalization, rank, settings.trainer.devices)
    os.write(out, READY)
    os.close(out)
    group = Connected(rank, settings.trainer.devices, start["store"], device)
    follow(share, method.collocation, group, told)
    group.close()


if __name__ == "__main__":
    main()
    sys.stdout.flush()
