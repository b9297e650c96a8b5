"""A fingerprint of the code that a problem and a method are made of: an edited problem is another problem.

Of every source file that counts, the syntax tree is hashed: comments, docstrings and layout do not change it.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
import inspect
import re
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FunctionType
from typing import Any

from pinntk.common.cells import MAIN, definition, globals_of

OBJECTIVE = tuple(f"pinntk.residual.{name}" for name in ("objective", "form", "weighting"))
"""What all methods minimise, unless they have something else: counts for all."""
DISCRETE = tuple(f"pinntk.discrete.{name}" for name in ("line", "circle", "square", "nodes", "objective", "direct"))
PARTS = ("pinntk.pdes.", "pinntk.methods.", "pinntk.optim.", *OBJECTIVE, *DISCRETE)
"""Where in pinntk the mathematics of one problem or method stands."""
MACHINERY = {"pinntk.pdes.base", *(f"pinntk.methods.{name}" for name in ("base", "plan", "requirements", "settings"))}
"""Of these parts, what all have in common: it does not count."""
DIGITS = 16


def fingerprint(*classes: Any) -> dict[str, str] | None:
    """Digest by module, of the files in which the classes and their bases, or functions, stand and of what these import
    from the same folder or package; and by file name, of the data that a class says it reads (``data_files()``).

    Modules of installed libraries do not count, unless the class itself stands in one; nor does pinntk's `MACHINERY`.
    Of a notebook or a script (``__main__``) there count the class, and the functions, classes, numbers and arrays of it
    that the class uses, and those that they use.

    Returns:
        None where the source of one of the classes is not known, as of what `exec` has made.
    """
    found: dict[str, str] = {}
    for kind in classes:
        own = _of_class(kind)
        if own is None:
            return None
        found |= own
        for path in getattr(kind, "data_files", tuple)():
            if path.is_file():
                state = path.stat()
                found[path.name] = _content(path, state.st_mtime_ns, state.st_size)
    return dict(sorted(found.items()))


@functools.lru_cache(maxsize=16)
def _content(path: Path, changed: int, size: int) -> str:
    """A file's digest, computed once for each state in which it is seen: every checkpoint asks for it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:DIGITS]


def changes(then: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """The modules and files in which two fingerprints differ, as words for a message."""
    words = []
    for name in sorted({*then, *now}):
        if then.get(name) != now.get(name):
            words.append(f"{name} ({'new' if name not in then else 'gone' if name not in now else 'edited'})")
    return words


def _of_class(kind: Any) -> dict[str, str] | None:
    found: dict[str, str] = {}
    for base in getattr(kind, "__mro__", (kind,)):
        if base.__module__ == MAIN:
            if not _collect_defined(base.__qualname__, base, found):
                return None
            continue
        path = _source(base.__module__)
        top = base.__module__.split(".")[0] == kind.__module__.split(".")[0]
        if path is not None and (top or not _installed(path)):
            _collect(base.__module__, path, found)
    return found if kind.__module__ in (MAIN, *found) else None


def _collect_defined(name: str, kind: Any, found: dict[str, str]) -> bool:
    """Add a class or function of ``__main__``, and what it uses there; False where the source of one is not known."""
    if f"{MAIN}.{name}" in found:
        return True
    if (node := definition(kind)) is None:
        return False
    found[f"{MAIN}.{name}"] = _digest(ast.Module([node], []))
    known = vars(sys.modules[MAIN])
    return all(_collect_used(used, known[used], found) for used in sorted(globals_of(node)) if used in known)


def _collect_used(name: str, value: Any, found: dict[str, str]) -> bool:
    """Add what has a name in ``__main__``: what is defined there, a value, or the module of one's own that it is of."""
    if isinstance(value, functools.partial):
        parts = {"func": value.func, **{str(i): one for i, one in enumerate(value.args)}, **value.keywords}
        return all(_collect_used(f"{name}.{part}", one, found) for part, one in parts.items())
    if callable(value) and not isinstance(value, type):
        value = inspect.unwrap(value)  # what is decorated, if the decorator says so
    if inspect.ismodule(value):
        module = value.__name__
    else:
        defined = isinstance(value, type | FunctionType)
        kind = value if defined else type(value)
        module = kind.__module__
        if not defined and (text := _text(value)) is not None:
            found[f"{MAIN}.{name}"] = hashlib.sha256(text.encode()).hexdigest()[:DIGITS]
        if module == MAIN:
            return _collect_defined(name if defined else kind.__qualname__, kind, found)
    path = _source(module)
    if path is not None and not _installed(path) and module.split(".")[0] != "pinntk":
        _collect(module, path, found)
    return True


def _text(value: Any) -> str | None:
    """A value as text that is the same in another process; None of an object that has none."""
    if hasattr(value, "detach"):  # a tensor
        value = value.detach().cpu().numpy()
    if hasattr(value, "tobytes"):
        return f"{value.dtype} {value.shape} {hashlib.sha256(value.tobytes()).hexdigest()}"
    text = repr(value)
    return None if re.search(r" at 0x[0-9a-fA-F]+", text) else text


def _collect(name: str, path: Path, found: dict[str, str]) -> None:
    """Add a module and what it imports from beside itself."""
    if name == "pinntk.methods.base":  # brings what every method minimises
        for module in OBJECTIVE:
            _collect(module, path.parents[2].joinpath(*module.split(".")).with_suffix(".py"), found)
    if name in found or name in MACHINERY or (name.split(".")[0] == "pinntk" and not name.startswith(PARTS)):
        return
    package = path.name == "__init__.py"
    read = _read(name, path, name if package else name.rpartition(".")[0])
    if read is None:
        return
    found[name], imported = read
    root = path.parents[name.count(".") + package]
    for other in imported:
        if not other or (_installed(path) and other.split(".")[0] != name.split(".")[0]):
            continue
        place = root.joinpath(*other.split("."))
        for file in (place.with_suffix(".py"), place / "__init__.py"):
            if file.is_file():
                _collect(other, file, found)


_Read = tuple[str, tuple[str, ...]] | None
_as_imported: dict[Path, tuple[object, _Read]] = {}
"""What was read of a file, with the import of its module that it belongs to: what is edited later does not run yet."""


def _read(name: str, path: Path, package: str) -> _Read:
    """A file's digest, and the names of what it imports; None where it is no Python. Anew when it is reloaded."""
    spec = getattr(sys.modules.get(name), "__spec__", None)
    if path not in _as_imported or _as_imported[path][0] is not spec:
        try:
            tree = ast.parse(path.read_bytes())
            read: _Read = _digest(tree), tuple(_imported(tree, package))
        except (OSError, SyntaxError, ValueError):
            read = None
        _as_imported[path] = spec, read
    return _as_imported[path][1]


def _imported(tree: ast.Module, package: str) -> Iterator[str]:
    """Names of all modules that a file may import, wherever in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = node.module or ""
            if node.level:
                try:
                    start = importlib.util.resolve_name("." * node.level + start, package)
                except ImportError:
                    continue
            yield from (start, *(f"{start}.{alias.name}" for alias in node.names))


def _source(module: str) -> Path | None:
    file = getattr(sys.modules.get(module), "__file__", None)
    return Path(file) if file is not None and file.endswith(".py") else None


def _installed(path: Path) -> bool:
    """Whether a file belongs to Python or to an installed library."""
    return bool({"site-packages", "dist-packages"} & set(path.parts)) or path.is_relative_to(
        sysconfig.get_path("stdlib")
    )


def _digest(tree: ast.Module) -> str:
    words: list[str] = []
    _write(tree, words)
    return hashlib.sha256("\n".join(words).encode()).hexdigest()[:DIGITS]


def _write(node: Any, words: list[str]) -> None:
    """A syntax tree as words, without texts that stand alone, and without empty fields: each Python has others."""
    if isinstance(node, list):
        words.append("[")
        for one in node:
            if not (isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant)):
                _write(one, words)
        words.append("]")
    elif isinstance(node, ast.AST):
        words.append(type(node).__name__)
        for name in node._fields:
            value = getattr(node, name, None)
            if name != "ctx" and value is not None and value != []:
                words.append(name)
                _write(value, words)
    else:
        words.append(repr(node))
