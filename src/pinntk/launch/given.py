"""A problem or method that is given as a class: the configuration file that it would have, the words that choose it.

So whatever comes after is as on the command line. A class of the package, or of ``config_dir``, is chosen by its file;
of any other a file is written, which begins with that of its nearest base that has one.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from pinntk.common.cells import MAIN
from pinntk.common.errors import BadInput
from pinntk.common.fingerprint import fingerprint
from pinntk.launch.overrides import quote

if TYPE_CHECKING:
    from pinntk.pdes import PDE

BASES = ("pde", "method")
"""Groups of which a class may be given."""


@dataclass
class Given:
    """What is given in Python, as words of a command line and files.

    Attributes:
        known: folders of configuration files that there are.
        written: the folder for more of them.
        sweep: whether a list is several values; else it is one.
        defined: classes of ``__main__`` among what has been given, which no other process knows.
    """

    known: Sequence[Path]
    written: Path
    sweep: bool = False
    defined: list[str] = field(default_factory=list)

    def words(self, given: Mapping[str, Any]) -> list[str]:
        """``key=value`` of each that is not None, in their order.

        Raises:
            BadInput: a value is nothing that can stand there.
        """
        found: list[str] = []
        for key, value in given.items():
            if key in BASES and value is not None:
                found += self._choice(key, value)
            elif self.sweep and isinstance(value, list | tuple | range):
                found.append(f"{key}={','.join(text_of(key, one) for one in value)}")
            elif key not in BASES:
                found.append(f"{key}={text_of(key, value)}")
        return found

    def _choice(self, group: str, value: Any) -> list[str]:
        if not (self.sweep and isinstance(value, list | tuple)):
            choice, words = self._chosen(group, value)
            return [f"{group}={choice}", *words]
        choices = []
        for one in value:
            choice, words = self._chosen(group, one)
            if words:
                raise BadInput(f"{group}={one!r}: stands beside others; allowed there are names and classes")
            choices.append(choice)
        return [f"{group}={','.join(choices)}"]

    def _chosen(self, group: str, value: Any) -> tuple[str, list[str]]:
        """The choice of the group, and words about its values."""
        if isinstance(value, str):
            return value, []
        from pinntk.methods import Method  # with Lightning: only where there is a class
        from pinntk.pdes import PDE

        kind: type[Any] = value if isinstance(value, type) else type(value)
        base: type[Any] = PDE if group == "pde" else Method
        if not issubclass(kind, base) or (value is not kind and group == "method"):
            instance = " or an object of one" if group == "pde" else ""
            named = f"a name, a subclass of {base.__module__}.{base.__name__}"
            raise BadInput(f"{group}: came {value!r}; allowed are {named}{instance}")
        files = self._files(group)
        if (name := files.get(_target(kind))) is not None:
            words = [] if value is kind else [f"++{group}.{k}={text_of(k, v)}" for k, v in _own(value).items()]
            return name, words
        self._check(group, kind, files)
        choice = _target(kind)
        path = self.written / group / f"{choice}.yaml"
        path.parent.mkdir(exist_ok=True)
        nearest = next((one for one in kind.__mro__[1:] if _target(one) in files), None)
        content: dict[str, Any] = {} if nearest is None else {"defaults": [files[_target(nearest)]]}
        if group == "method":
            content |= {"_target_": choice, **_defaults(kind.Settings, getattr(nearest, "Settings", None))}
            path.write_text(yaml.safe_dump(content, sort_keys=False))
        else:
            values = _defaults(kind, nearest) if value is kind else value.model_dump(mode="json")
            content |= {"pde": {"_target_": choice, **values}, **_discretization(kind, nearest)}
            path.write_text(f"# @package _global_\n{yaml.safe_dump(content, sort_keys=False)}")
        return choice, []

    def _check(self, group: str, kind: type[Any], files: Mapping[str, str]) -> None:
        """BadInput where a class cannot be found again by its name, or its code not be known again."""
        word, name = f"{group}={kind.__name__}", getattr(kind, "name", None)
        if kind.__qualname__ != kind.__name__:
            raise BadInput(f"{word}: is {kind.__qualname__}; allowed is a class at the top of a cell, script or module")
        if getattr(sys.modules.get(kind.__module__), kind.__name__, None) is not kind:
            raise BadInput(f"{word}: {_target(kind)} is another class by now; allowed is the present one")
        if name in files.values():
            raise BadInput(f"{word}: its name={name!r} is that of {group}={name}; allowed is a name of its own")
        if fingerprint(kind) is None:
            raise BadInput(
                f"{word}: its source, or that of what it uses, is not known, so that nobody could tell when it has been"
                " edited; allowed is what is defined in a file, a script, or a cell of IPython or Jupyter"
            )
        if kind.__module__ == MAIN:
            self.defined.append(kind.__name__)

    def _files(self, group: str) -> dict[str, str]:
        """Classes that have a file -> the file's choice."""
        found: dict[str, str] = {}
        for path in sorted(file for folder in self.known for file in (folder / group).glob("*.yaml")):
            content = yaml.safe_load(path.read_text())
            content = content.get(group) if isinstance(content, dict) and group == "pde" else content
            target = content.get("_target_") if isinstance(content, dict) else None
            if isinstance(target, str):
                found.setdefault(target, path.stem)
        return found


def text_of(key: str, value: Any) -> str:
    """A value as one types it behind ``key=``; text is taken as it is.

    Raises:
        BadInput: it is no number, text, list or mapping of such.

    Example::

        >>> text_of("seed", 3), text_of("compile", False), text_of("callbacks", ["ntk_drift"]), text_of("width", None)
        ('3', 'false', '[ntk_drift]', 'null')
        >>> text_of("points", {"interior": 500})
        '{interior:500}'
    """
    value = value.item() if hasattr(value, "item") else value  # a number of numpy's
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str | os.PathLike):
        return str(value)
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, Mapping):
        return f"{{{','.join(f'{k}:{_inner(key, v)}' for k, v in value.items())}}}"
    if isinstance(value, Iterable) and not isinstance(value, bytes):
        return f"[{','.join(_inner(key, one) for one in value)}]"
    raise BadInput(f"{key}: came {value!r}; allowed are numbers, text, true or false, null, lists and mappings of them")


def _inner(key: str, value: Any) -> str:
    text = text_of(key, value)
    return quote(text) if isinstance(value, str) and set(text) & set(",:{}[]()= '\"") else text


def _target(kind: type[Any]) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _own(problem: BaseModel) -> dict[str, Any]:
    """The coefficients of a problem that are not its class's."""
    default = _defaults(type(problem), None)
    return {name: v for name, v in problem.model_dump(mode="json").items() if name not in default or default[name] != v}


def _defaults(model: type[BaseModel], base: type[BaseModel] | None) -> dict[str, Any]:
    """Defaults of a model as plain values, without those that are its base's."""
    found = _plain(model)
    before = {} if base is None else _plain(base)
    return {name: value for name, value in found.items() if name not in before or before[name] != value}


def _plain(model: type[BaseModel]) -> dict[str, Any]:
    fields = model.model_fields.items()
    given = {name: one for name, one in fields if not (one.is_required() or one.exclude)}
    return {name: to_jsonable_python(one.get_default(call_default_factory=True)) for name, one in given.items()}


def _discretization(kind: type[PDE], nearest: type[PDE] | None) -> dict[str, Any]:
    """Settings of the discrete form, where it is not that of the base."""
    settings = kind.Discretization
    if settings is (None if nearest is None else nearest.Discretization):
        return {}
    return {"discretization": None if settings is None else _defaults(settings, None)}
