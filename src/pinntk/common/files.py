"""Files that are written whole or not at all, whatever ends the process."""

from __future__ import annotations

import json
import math
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any


def cache_folder() -> Path:
    """Where what is made once on a machine is kept: ``$PINNTK_CACHE``, else ``$XDG_CACHE_HOME/pinntk``, else
    ``~/.cache/pinntk``. It need not exist yet.

    Raises:
        OSError: there is no home folder.
    """
    chosen = os.environ.get("PINNTK_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    try:
        return Path(chosen or f"{base}/pinntk").expanduser()
    except RuntimeError as error:
        raise OSError(str(error)) from error


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file whole or not at all: under another name in the same folder, to the disk, then renamed.

    Several may write one file at a time: each under a name of its own, and the last one's content stays.

    Args:
        path: the file; its folder exists.
        write: writes the content to the path that it is given, which has the same ending.

    Example::

        >>> import tempfile
        >>> from pathlib import Path
        >>> path = Path(tempfile.mkdtemp(), "result.txt")
        >>> write_atomically(path, lambda unfinished: unfinished.write_text("whole"))
        >>> path.read_text(), list(path.parent.iterdir()) == [path]
        ('whole', True)
    """
    unfinished = path.with_name(f".{path.stem}.{secrets.token_hex(6)}.tmp{path.suffix}")
    try:
        write(unfinished)
        with unfinished.open("r+b") as file:  # open for writing, without which Windows flushes nothing
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def write_json(path: Path, content: Any) -> None:
    """Write JSON atomically. NaN and infinity, which JSON does not have, become null."""
    text = json.dumps(_finite(content), indent=2, allow_nan=False) + "\n"
    write_atomically(path, lambda unfinished: unfinished.write_bytes(text.encode()))


def _finite(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def remove_unfinished(folder: Path) -> None:
    """Remove what processes that were killed while they wrote have left; no other may be writing there now."""
    for path in folder.glob(".*.tmp*"):
        path.unlink(missing_ok=True)
