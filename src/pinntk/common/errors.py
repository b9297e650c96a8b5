"""How bad input is reported: one line per error, with the key, what came and what is allowed."""

from __future__ import annotations

import argparse
import difflib
import errno
import json
import sys
from collections.abc import Callable, Iterable
from typing import Any, NoReturn


class BadInput(ValueError):
    """The user's input cannot be used; ends the command line with exit code 2 and no stack trace.

    Args:
        messages: one line per error.

    Example::

        >>> raise BadInput("network.depth=0: must be at least 1")
        Traceback (most recent call last):
            ...
        pinntk.common.errors.BadInput: network.depth=0: must be at least 1
    """

    def __init__(self, *messages: str) -> None:
        super().__init__(*messages)
        self.messages = tuple(dict.fromkeys(messages))

    def __str__(self) -> str:
        return "\n".join(self.messages)


def show(value: Any) -> str:
    """A value as one would type it on the command line.

    Example::

        >>> show("adam"), show([1, None, True])
        ('adam', '[1, null, true]')
    """
    return value if isinstance(value, str) else json.dumps(value, default=str)


def allowed(word: str, names: Iterable[str], what: str = "allowed") -> str:
    """``allowed: a, b, c``, with the name that was probably meant in front where one is close.

    Example::

        >>> allowed("wavy", ["burgers", "wave"])
        "did you mean 'wave'? allowed: burgers, wave"
    """
    names = sorted(names)
    close = difflib.get_close_matches(word, names, n=1) or [name for name in names if name.startswith(word or "-")]
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}{what}: {', '.join(names) if names else 'none'}"


NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EPERM, errno.EACCES, errno.ENAMETOOLONG)
"""Where a file cannot be written through no fault of the program: the disk is full or read-only, the rights have been
taken away, or the name is too long."""


def no_room(error: BaseException) -> str | None:
    """The line for a disk that takes no more, and for a file without rights; None for all other errors.

    Example::

        >>> import errno
        >>> no_room(OSError(errno.ENOSPC, "No space left on device", "model.ckpt")).split(";")[0]
        'model.ckpt: No space left on device'
        >>> no_room(FileNotFoundError(errno.ENOENT, "No such file or directory")) is None
        True
    """
    if not isinstance(error, OSError) or error.errno not in NO_ROOM:
        return None
    text = f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror)
    if error.errno == errno.ENAMETOOLONG:
        return text
    return f"{text}; the files that are there are whole, and the same command goes on from them"


def refusing(body: Callable[[], int]) -> int:
    """Run a command and return its exit code.

    It is 2 after a line per error where the user's input cannot be used, 1 after a line where the disk takes no more or
    rights are lacking.

    Example::

        >>> def body():
        ...     raise BadInput("network.depth=0: must be at least 1")
        >>> refusing(body)
        2
    """
    try:
        return body()
    except BadInput as error:
        for message in error.messages:
            print(f"error: {message}", file=sys.stderr)
        return 2
    except OSError as failure:
        if (line := no_room(failure)) is None:
            raise
        print(f"error: {line}", file=sys.stderr)
        return 2 if failure.errno == errno.ENAMETOOLONG else 1


class Arguments(argparse.ArgumentParser):
    """A command line whose errors are one line, which says what is allowed.

    Example::

        >>> Arguments("status", "Lists runs.").parse_args(["runs"])
        Traceback (most recent call last):
            ...
        pinntk.common.errors.BadInput: unrecognized arguments: runs; allowed: status [-h]
    """

    def __init__(self, program: str, description: str) -> None:
        super().__init__(program, description=description, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        """Refuse the words that came."""
        raise BadInput(f"{message}; allowed: {' '.join(self.format_usage().split()[1:])}")
