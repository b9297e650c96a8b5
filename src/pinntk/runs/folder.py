"""A run's folder: its lock, and which files it has.

A process may be killed at any moment. So a file appears under its name only when it is complete and on the disk, an old
run is put aside by renaming its folder, and a lock is one that the system gives back when its process ends.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from omegaconf import OmegaConf

from pinntk.common.errors import BadInput, no_room, show
from pinntk.common.files import remove_unfinished, write_atomically, write_json

CHECKPOINT = Path("checkpoints", "last.ckpt")
RESULT = "result.json"
CONFIG = "config.yaml"
PROGRESS = "progress.json"
LOCK = ".lock"
SWEEP = "{sweep}"
"""In a logger's specification: the name of the sweep, where the run is a job of one."""
MOVES_OPEN_FILES = os.name != "nt"
"""Windows renames no folder in which a file is open, such as the lock."""


KINDS: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("status", "pde", "method", "budget", "settings_hash"), (str,)),
    **dict.fromkeys(("width", "depth", "seed", "steps", "devices"), (int,)),
    **dict.fromkeys(("l2re", "l2re_at_lowest_loss", "loss", "fresh_loss", "seconds", "wall_seconds"), (int, float)),
    **dict.fromkeys(("pde_parameters", "method_figures", "terms", "l2re_by_field", "estimates"), (dict,)),
    **dict.fromkeys(("alarms", "callbacks", "fingerprint", "versions"), (dict,)),
    "loggers": (list,),
    "reference_known": (bool,),
}
"""What the keys of result.json hold, where they are there and not null."""


def checked_result(content: Any) -> dict[str, Any]:
    """The content of a result.json, which may be anybody's.

    Raises:
        ValueError: it is no mapping with a status, or a key holds something of another kind.
    """
    if not isinstance(content, dict) or content.get("status") is None:
        raise ValueError("no mapping with a status")
    for key, kinds in KINDS.items():
        value = content.get(key)
        if value is not None and (not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds)):
            raise ValueError(f"{key}={show(value)[:80]}")
    return content


class FolderInUse(RuntimeError):
    """Another process works in this folder."""


def write_yaml(path: Path, content: Any) -> None:
    """Write YAML atomically, keys in the order of ``content``."""
    text = OmegaConf.to_yaml(OmegaConf.create(content))
    write_atomically(path, lambda unfinished: unfinished.write_bytes(text.encode()))


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping that a YAML file holds."""
    content = OmegaConf.to_container(OmegaConf.load(path))
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds no mapping")
    return {str(key): value for key, value in content.items()}


def check_writable(runs_dir: Path) -> str | None:
    """What is wrong with a folder for runs, without creating anything; None where it can be used."""
    place, missing = runs_dir.absolute(), []
    while not os.path.exists(place) and place != place.parent:  # a name that is too long is not there, either
        missing.append(place.name)
        place = place.parent
    for name in missing:
        try:
            os.lstat(place / name)
        except OSError as error:
            if text := no_room(error):
                return f"runs_dir={runs_dir}: {text}; allowed: a folder that can be written"
    if not place.is_dir():
        return f"runs_dir={runs_dir}: {place} is not a folder; allowed: a folder that can be written"
    if not os.access(place, os.W_OK | os.X_OK):
        return f"runs_dir={runs_dir}: cannot write in {place}; allowed: a folder that can be written"
    return None


class RunFolder:
    """The folder of one run.

    Args:
        path: ``<runs_dir>/<pde>/<method>/<width>/<budget>/<settings hash>/seed<k>``.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.previous = path.with_name(f"{path.name}.previous")
        self._lock: FileLock | None = None

    @property
    def checkpoint(self) -> Path:
        return self.path / CHECKPOINT

    @contextmanager
    def locked(self, wait: Callable[[str], object] | None = None) -> Iterator[None]:
        """Create the folder and keep other processes out of it; what a killed one has left half written goes.

        Args:
            wait: told, once, that another process has the folder, and that this one waits for it; None: it does not.

        Raises:
            FolderInUse: another process has it. The lock of a process that died is free.
            BadInput: the folder cannot be created.
            OSError: the disk takes no more, or may not be written any more; names the folder.
        """
        try:
            self._acquire()
        except FolderInUse as error:
            if wait is None:
                raise
            wait(f"{error}; waiting for it to end")
            self._acquire(timeout=-1)
        try:
            for place in (self.path, self.checkpoint.parent):
                remove_unfinished(place)
            yield
        except OSError as error:
            named = isinstance(error.filename, str)  # Lightning's errors, for one, do not say of which file they are
            if named and not Path(error.filename).absolute().is_relative_to(self.path.absolute()):
                raise  # a file of the problem's, for one
            if no_room(error):
                raise OSError(error.errno, error.strerror, str(self.path)) from error
            raise
        finally:
            if self._lock is not None:
                self._lock.release()

    def _acquire(self, timeout: float = 0.2) -> None:  # not 0: whoever only looks has the lock for a moment
        try:
            (self.path / CHECKPOINT.parent).mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.path / LOCK)
            lock.acquire(timeout=timeout, poll_interval=min(0.05, abs(timeout)))
        except Timeout:
            raise FolderInUse(f"another process is working in {self.path}") from None
        except OSError as error:
            text = f"runs_dir: cannot write in {self.path}: {error.strerror or error}"
            raise BadInput(f"{text}; allowed: a folder that can be written") from error
        self._lock = lock

    def result(self) -> dict[str, Any] | None:
        """What is in result.json; None where there is none.

        Raises:
            BadInput: it is there and cannot be read.
        """
        path = self.path / RESULT
        if not os.path.exists(path):
            return None
        try:
            return checked_result(json.loads(path.read_text()))
        except (OSError, ValueError, RecursionError) as error:
            raise BadInput(f"{path} cannot be read ({error!r}); overwrite=true puts this run aside") from error

    def set_aside(self) -> None:
        """Empty the folder for a new run. A finished one is kept as ``seed<k>.previous`` until the new one completes.

        Renaming the folder is one step, so a process killed here leaves the old run whole under one of the two names.
        What an overwriting run that did not complete has left is not kept.
        """
        assert self._lock is not None
        entries = [entry for entry in self.path.iterdir() if entry.name != LOCK]
        if not self.checkpoint.exists() and not (self.path / RESULT).exists():
            return
        try:
            completed = (self.result() or {}).get("status") == "completed"
        except BadInput:
            completed = False
        if self.previous.exists() and not completed:
            for entry in entries:
                remove(entry)
            self.checkpoint.parent.mkdir()
            return
        remove(self.previous)
        if MOVES_OPEN_FILES:
            os.rename(self.path, self.previous)
        self._lock.release()  # the old folder's; a process that comes in between starts the new run in our place
        if not MOVES_OPEN_FILES:
            os.rename(self.path, self.previous)
        self._acquire()

    def complete(self, result: dict[str, Any]) -> None:
        """Write result.json; where the run has completed, the one that it replaces is removed."""
        write_json(self.path / RESULT, result)
        if result["status"] == "completed":
            remove(self.previous)


def remove(path: Path) -> None:
    """Remove a file or a folder with all that it holds; nothing happens where it is not there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
