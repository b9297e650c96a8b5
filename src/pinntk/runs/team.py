"""The processes that train a run together: the run's own leads, and starts the others (`pinntk.runs.follower`).

Only the leader knows of folders, checkpoints, callbacks, loggers and signals: to the followers the run is its settings,
and orders. They end when it does, however it does, because the pipe with their orders ends; and where one of them ends,
the leader's next word to it, or answer from it, fails.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from pinntk.common.doing import doing
from pinntk.common.errors import BadInput
from pinntk.common.processes import Connected, ProcessLost
from pinntk.methods import Method
from pinntk.residual.form import ResidualForm
from pinntk.residual.shared import SharedForm
from pinntk.runs.settings import RunSettings

PROGRAM = "pinntk.runs.follower"
READY = b"ready\n"
AGAIN = "the same command goes on from its last checkpoint"
PATIENCE = 10.0
"""Seconds that a follower has to end by itself."""


@contextmanager
def shared_out(settings: RunSettings, config: Mapping[str, Any], method: Method) -> Iterator[None]:
    """Have the method's objective computed by as many processes as ``trainer.devices`` says, inside.

    Args:
        settings: of the run.
        config: the same as plain values.
        method: not yet started.

    Raises:
        ProcessLost: one of the others has ended, or does not answer.
    """
    size = settings.trainer.devices
    if size == 1:
        yield
        return
    if dist.is_initialized():
        raise BadInput(f"trainer.devices={size}: this process uses torch.distributed already; allowed is 1")
    whole = method.objective
    assert isinstance(whole, ResidualForm)
    with tempfile.TemporaryDirectory(prefix="pinntk-") as folder:
        with doing("starts the other processes"):
            leader = Leader(settings, config, Path(folder))
        shared = method.objective = SharedForm(whole, leader)
        try:
            yield
        finally:  # also after a loss that was not finite, whose run is still to be described
            shared.dismiss()
            leader.close()


def device_of(settings: RunSettings, rank: int) -> torch.device:
    """On which a process of a run computes."""
    return torch.device("cuda", rank) if settings.accelerator == "gpu" else torch.device("cpu")


class Leader(Connected):
    """The leader of a run's processes, and how it speaks to the others.

    Args:
        settings, config: see `shared_out`.
        folder: an empty one, for where they meet, and what they have to say.
    """

    def __init__(self, settings: RunSettings, config: Mapping[str, Any], folder: Path) -> None:
        size = settings.trainer.devices
        self._connected = False
        self._messages = [folder / f"process{rank}.txt" for rank in range(1, size)]
        self._followers = [_started(path) for path in self._messages]
        try:
            # What watches the training is the leader's affair.
            plain = {**config, "callbacks": {}, "logger": {}, "accept_edits": False, "threads": settings.cores}
            trainer = {**config["trainer"], "accelerator": settings.accelerator}
            for rank, follower in enumerate(self._followers, start=1):
                self._tell(follower, {"config": {**plain, "trainer": trainer}, "rank": rank, "store": folder / "store"})
            for follower in self._followers:
                assert follower.stdout is not None
                if follower.stdout.readline() != READY:
                    raise self._lost()
            with self._watched():
                super().__init__(0, size, folder / "store", device_of(settings, 0))
            self._connected = True
        except BaseException:
            self.close()
            raise

    def order(self, *message: Any) -> None:
        for follower in self._followers:
            self._tell(follower, message)

    def spread(self, x: Tensor) -> Tensor:
        with self._watched():
            return super().spread(x)

    def total(self, x: Tensor) -> Tensor:
        with self._watched():
            return super().total(x)

    def collect(self, x: Tensor, rows: Sequence[int]) -> list[Tensor]:
        with self._watched():
            return super().collect(x, rows)

    def _tell(self, follower: subprocess.Popen[bytes], message: object) -> None:
        assert follower.stdin is not None
        try:
            pickle.dump(message, follower.stdin)
            follower.stdin.flush()
        except OSError as error:
            raise self._lost() from error

    @contextmanager
    def _watched(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:  # what torch.distributed raises has no type of its own
            raise self._lost(str(error).split("\n")[0]) from error

    def _lost(self, text: str = "") -> ProcessLost:
        """Who is gone, and what it said last."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            for rank, follower in enumerate(self._followers, start=1):
                if (code := follower.poll()) is not None:
                    how = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
                    said = self._messages[rank - 1].read_text(errors="replace").strip().splitlines()
                    last = f": {said[-1]}" if said else ""
                    name = f"process {rank + 1} of {len(self._followers) + 1}"
                    return ProcessLost(f"{name} has ended {how}{last}; {AGAIN}")
            time.sleep(0.05)
        return ProcessLost(f"the other processes do not answer ({text}); {AGAIN}")

    def close(self) -> None:
        """Let the others end; what does not is ended."""
        for follower in self._followers:
            with suppress(OSError):  # it has ended, with an order unread
                assert follower.stdin is not None
                follower.stdin.close()
        if self._connected:
            self._connected = False
            super().close()
        for follower in self._followers:
            try:
                follower.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                follower.kill()
                follower.wait()
            assert follower.stdout is not None
            follower.stdout.close()


def _started(messages: Path) -> subprocess.Popen[bytes]:
    """A follower, in which what can be imported here can be imported."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(os.path.abspath(place) for place in sys.path)}
    with messages.open("wb") as file:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", PROGRAM],  # the working folder counts only where it counts here
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=file,
            env=environment,
            start_new_session=True,  # Ctrl-C is for the leader, which goes on to the end of its iteration
        )
