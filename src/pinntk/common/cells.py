"""Source of what is defined in a notebook's cell or in a script: the module ``__main__``, mostly without a file.

`inspect.getsource` finds functions there, and classes only from Python 3.13 on. But a method knows in which cell and
line it stands, and IPython keeps the cells.
"""

from __future__ import annotations

import ast
import functools
import inspect
import linecache
import symtable
import sys
from collections.abc import Iterator
from types import CodeType, FunctionType
from typing import Any

MAIN = "__main__"


def definition(kind: Any) -> ast.stmt | None:
    """The statement that defines a class or function of ``__main__``.

    Args:
        kind: the class or function.

    Returns:
        None where its source is not known, as of what `exec` has made.

    Example::

        >>> definition(type("Made", (), {"__module__": "__main__"})) is None
        True
    """
    code = _code(kind)
    if code is None:
        if not isinstance(kind, type):
            return None
        found = (_last_class(text, kind.__name__) for text in _texts())
        return next((node for node in found if node is not None), None)
    tree = _parsed("".join(linecache.getlines(code.co_filename)))
    spanning = [node for node in ast.walk(tree) if _spans(node, code.co_firstlineno)]
    named = [node for node in spanning if getattr(node, "name", None) == kind.__name__]
    # A lambda has no statement of its own: the one of the cell that it stands in.
    found_at: list[Any] = named or [node for node in tree.body if node in spanning]
    return found_at[-1] if found_at else None


def globals_of(node: ast.stmt) -> set[str]:
    """Names that a definition takes from the module around it, built-in ones included.

    Example::

        >>> import ast
        >>> text = "def f(x, k=K): return [g(z) for z in x + c]"
        >>> sorted(globals_of(ast.parse(text).body[0]))
        ['K', 'c', 'g']
    """
    return set(_referenced(symtable.symtable(ast.unparse(node), "<definition>", "exec")))


def _referenced(table: symtable.SymbolTable) -> Iterator[str]:
    outermost = table.get_type() == "module"
    for symbol in table.get_symbols():
        if symbol.is_referenced() and (outermost or symbol.is_global()):
            yield symbol.get_name()
    for inner in table.get_children():
        yield from _referenced(inner)


def _code(kind: Any) -> CodeType | None:
    """The code of a function, or of one of a class's own methods."""
    if isinstance(kind, FunctionType):
        return kind.__code__
    for member in vars(kind).values():
        for function in (member, *(getattr(member, name, None) for name in ("__func__", "fget", "func"))):
            code = getattr(inspect.unwrap(function) if callable(function) else None, "__code__", None)
            if isinstance(code, CodeType) and code.co_qualname.startswith(f"{kind.__qualname__}."):
                return code
    return None


def _texts() -> Iterator[str]:
    """Texts in which a class without methods may stand: the script, or the cells, the latest first."""
    main = sys.modules[MAIN]
    if file := getattr(main, "__file__", None):
        yield "".join(linecache.getlines(file))
        return
    cells = getattr(main, "In", None)  # IPython's, in the order of their execution
    if isinstance(cells, list):
        yield from (text for text in reversed(cells) if isinstance(text, str))


def _last_class(text: str, name: str) -> ast.stmt | None:
    found = [node for node in ast.walk(_parsed(text)) if isinstance(node, ast.ClassDef) and node.name == name]
    return found[-1] if found else None


@functools.lru_cache(maxsize=256)
def _parsed(text: str) -> ast.Module:
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError):
        return ast.Module([], [])


def _spans(node: ast.AST, line: int) -> bool:
    if not isinstance(node, ast.stmt):
        return False
    decorators: list[ast.expr] = getattr(node, "decorator_list", [])
    first = min([node.lineno, *(one.lineno for one in decorators)])
    return first <= line <= (node.end_lineno or node.lineno)
