"""How bad input is reported: one line per error, with the key, what came and what is allowed."""

from __future__ import annotations

import argparse
import difflib
import json
import sys
from collections.abc import Callable, Iterable
from typing import Any, NoReturn


class BadInput(Exception):
    """The user's input cannot be used; ends the program with exit code 2 and no stack trace.

    Args:
        messages: one line per error.
    """

    def __init__(self, *messages: str) -> None:
        super().__init__(*messages)
        self.messages = tuple(dict.fromkeys(messages))

    def __str__(self) -> str:
        return "\n".join(self.messages)


def show(value: Any) -> str:
    """A value as one would type it on the command line."""
    return value if isinstance(value, str) else json.dumps(value, default=str)


def allowed(word: str, names: Iterable[str], what: str = "allowed") -> str:
    """``allowed: a, b, c``, with the name that was probably meant in front where one is close."""
    names = sorted(names)
    close = difflib.get_close_matches(word, names, n=1) or [name for name in names if name.startswith(word or "-")]
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}{what}: {', '.join(names) if names else 'none'}"


def refusing(body: Callable[[], int]) -> int:
    """Run a command and return its exit code: 2 after a line per error where the user's input cannot be used."""
    try:
        return body()
    except BadInput as error:
        for message in error.messages:
            print(f"error: {message}", file=sys.stderr)
        return 2


class Arguments(argparse.ArgumentParser):
    """A command line whose errors are one line, which says what is allowed."""

    def __init__(self, program: str, description: str) -> None:
        super().__init__(program, description=description, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        """Refuse the words that came."""
        raise BadInput(f"{message}; allowed: {' '.join(self.format_usage().split()[1:])}")
