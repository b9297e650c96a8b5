"""What a command line does, from Python: ``pinntk.compose``, ``pinntk.train`` and ``pinntk.sweep``.

The words are those of the command line, and so are the run folders: what one of the two has trained the other finds.
"""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pinntk.common.doing import doing
from pinntk.common.errors import BadInput
from pinntk.common.loading import load
from pinntk.launch import cli
from pinntk.launch.given import Given

if TYPE_CHECKING:
    from pinntk.methods import Method
    from pinntk.pdes import PDE
    from pinntk.runs.trained import Run

    AProblem = str | type[PDE] | PDE
    AMethod = str | type[Method]


class TrainingFailed(RuntimeError):
    """A training has failed, now or before: its loss was not finite, say, or another process is at it."""


class Interrupted(KeyboardInterrupt):
    """A training or sweep was stopped (Ctrl-C, a notebook's stop button) and can go on: by the same call.

    Attributes:
        run: with the network as it was when it was stopped; None before the first iteration, and of a sweep.
    """

    def __init__(self, text: str, run: Run | None = None) -> None:
        super().__init__(text)
        self.run = run


def compose(
    *overrides: str,
    pde: AProblem | None = None,
    method: AMethod | None = None,
    config_dir: str | os.PathLike[str] | None = None,
    **settings: Any,
) -> dict[str, Any]:
    """The configuration that `train` would use, as plain values.

    Args:
        overrides: words of the command line, "pde.nu=0.01".
        pde: the problem: a name, a class, or an object of one with other coefficients than its class's.
        method: a name or a class.
        config_dir: a folder of configuration files of one's own, as ``--config-dir``.
        settings: other keys of the configuration: ``seed=3, width=200, points={"interior": 500}``.

    Raises:
        BadInput: something of it is wrong; a ValueError, with the line that the command line would print.

    Example::

        >>> compose("pde.a=3", pde="wave", method="adam", seed=1)["pde"]
        {'_target_': 'pinntk.pdes.wave.Wave', 'a': 3, 'C': 4.0}
        >>> compose("width=0.5")
        Traceback (most recent call last):
            ...
        pinntk.common.errors.BadInput: width=0.5: must be a whole number, at least 1
    """
    with _given(overrides, config_dir, {"pde": pde, "method": method, **settings}) as (words, folders, _):
        return cli.compose(words, folders)


def train(
    *overrides: str,
    pde: AProblem | None = None,
    method: AMethod | None = None,
    config_dir: str | os.PathLike[str] | None = None,
    **settings: Any,
) -> Run:
    """Train one network, or what is left of it to be trained, in this process; where it has been trained, load it.

    ``train("pde=burgers", "method=gdnd")`` is ``python train.py pde=burgers method=gdnd``, in the same run folder below
    the current one. Random states, threads and default dtype of the process are afterwards what they were.

    A problem or method may be a class of a notebook's cell or a script. Its code, and that of all it uses there, is
    part of the run's identity as a file's is: edited, it is refused without ``overwrite=True`` or
    ``accept_edits=True``. It needs a ``name`` of its own.

    Args:
        overrides, pde, method, config_dir, settings: see `compose`.

    Raises:
        BadInput: something of it is wrong, with the line that the command line would print; nothing has been written.
        TrainingFailed: the training failed, now or before (``retry_failed=True`` trains it again).
        Interrupted: it was stopped after an iteration; the same call goes on. A KeyboardInterrupt.

    Example::

        >>> import contextlib, io, tempfile
        >>> with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        ...     run = train("method.steps=20", pde="poisson1d", method="adam", budget="smoke", width=5, runs_dir=folder)
        >>> run.result["steps"], run.predict([[0.5]]).shape
        (20, (1,))
    """
    given = {"pde": pde, "method": method, **settings}
    with _training(), _given(overrides, config_dir, given) as (words, folders, _):
        config = cli.compose(words, folders, checked=True)
        from pinntk.common.processes import ProcessLost
        from pinntk.runs.folder import FolderInUse, RunFolder
        from pinntk.runs.run import attempt
        from pinntk.runs.settings import RunSettings

        try:
            code = attempt(config)
        except (FolderInUse, ProcessLost) as error:
            raise TrainingFailed(str(error)) from None
        except SystemExit as stopped:  # a signal that came before the first iteration
            code = int(stopped.code or 0)
        folder = RunFolder(RunSettings.read(config, training=False).folder())
    _end_by_signal(code)
    if code == 1:
        result = folder.result() or {}
        raise TrainingFailed(f"{result.get('reason')} (retry_failed=True trains again): {folder.path}")
    run = _trained(folder.path) if code == 0 or folder.checkpoint.is_file() else None
    if code:
        at = "before its first iteration" if run is None else f"at iteration {run.result.get('steps')}"
        without = " without overwrite=True" if config["overwrite"] else ""
        raise Interrupted(f"stopped {at}; the same call{without} goes on: {folder.path}", run) from None
    assert run is not None
    return run


@dataclass(frozen=True, repr=False)
class Sweep:
    """How the jobs of a sweep ended.

    Attributes:
        records: of each job, in their order: ``job`` (its number), ``swept`` (the words in which it differs),
            ``status``, ``l2re``, ``reason`` (of a failure), ``folder``.
    """

    records: Sequence[Mapping[str, Any]]

    @cached_property
    def runs(self) -> list[Run]:
        """The runs that have completed, in the order of their jobs, loaded when they are first asked for."""
        return [_trained(Path(one["folder"])) for one in self.records if one["status"] == "completed"]

    @property
    def results(self) -> Any:
        """The records by column: a pandas DataFrame where pandas is installed, else a dictionary of lists."""
        from pinntk.runs.shown import frame

        return frame({name: [record[name] for record in self.records] for name in COLUMNS})

    def __repr__(self) -> str:
        from pinntk.launch.sweep import table

        return table([dict(record) for record in self.records])

    def _repr_html_(self) -> str:
        from pinntk.launch.sweep import HEAD, ending
        from pinntk.runs.shown import grid

        return grid(HEAD, [ending(dict(record)) for record in self.records])


COLUMNS = ("job", "swept", "status", "l2re", "reason", "folder")


def sweep(
    *overrides: str,
    pde: AProblem | Sequence[AProblem] | None = None,
    method: AMethod | Sequence[AMethod] | None = None,
    config_dir: str | os.PathLike[str] | None = None,
    **settings: Any,
) -> Sweep:
    """Train every combination of the values that are given as lists: ``sweep(pde=["wave", Mine], seed=range(3))``.

    It is ``python train.py -m``: what is finished is not run again, and jobs that fail leave the others alone. Jobs are
    run one after another in this process; with ``"hydra/launcher=local"`` beside each other, each in a process of its
    own. Such a process knows no class of a notebook or script, so for one the launcher is refused: put it into a file
    and import it. (A script that sweeps with ``local`` needs ``if __name__ == "__main__":``, as all that start
    processes do.)

    Args:
        overrides: words of the command line, with its sweeps: "pde=wave,convection", "seed=range(3)".
        pde, method, config_dir, settings: as for `compose`; a list, tuple or range is several values. A list that is
            one value is written as on the command line: "callbacks=[ntk_drift,hessian_norm]".

    Returns:
        `Sweep`: how each job ended, and the runs.

    Raises:
        BadInput: something of it is wrong; nothing has been written.
        Interrupted: it was stopped; the same call goes on with what is not completed. A KeyboardInterrupt.

    Example::

        >>> import contextlib, io, tempfile
        >>> quick = "budget=smoke", "method.steps=5", "width=5"
        >>> with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        ...     found = sweep(*quick, pde="poisson1d", method="adam", seed=range(2), runs_dir=folder)
        ...     runs = found.runs
        >>> [(record["swept"], record["status"]) for record in found.records]
        [('seed=0', 'completed'), ('seed=1', 'completed')]
        >>> [run.method.seed for run in runs]
        [0, 1]
    """
    given = {"pde": pde, "method": method, **settings}
    with _training(), _given(overrides, config_dir, given, sweep=True) as (words, folders, defined):
        if defined and (launcher := _launcher(words)):
            raise BadInput(
                f"{launcher}: other processes do not know {', '.join(defined)} of this one; allowed:"
                " hydra/launcher=basic, or a class in a file"
            )
        here = Path.cwd()
        code, found = cli.sweep(words, folders)
    _end_by_signal(code)
    done = Sweep(tuple({**one, "folder": one["folder"] and str(here / one["folder"])} for one in found))
    if code == 128 + signal.SIGINT:
        raise Interrupted("stopped; the same call goes on with what is not completed")
    return done


@contextmanager
def _given(
    overrides: Sequence[str], config_dir: str | os.PathLike[str] | None, given: Mapping[str, Any], sweep: bool = False
) -> Iterator[tuple[list[str], list[Path], list[str]]]:
    """The words that all of it comes to, the folders of configuration files, and classes of ``__main__``."""
    for word in overrides:
        if not isinstance(word, str) or word.startswith("-"):
            raise BadInput(f"{word!r}: not understood; allowed is text, key=value, and pde=, method= for classes")
    own = [] if config_dir is None else [Path(config_dir).expanduser()]
    with tempfile.TemporaryDirectory(prefix="pinntk-") as made:
        written = Given([cli.configuration_folder(), *own], Path(made), sweep)
        yield [*overrides, *written.words(given)], [*own, Path(made)], written.defined


@contextmanager
def _training() -> Iterator[None]:
    """What a training needs is imported, and leaves the process as it was."""
    with doing("imports torch and Lightning"):
        load("pinntk.runs.run", freeze=False)  # the objects of a notebook come and go
    from pinntk.runs.surroundings import undisturbed

    with undisturbed():
        yield


def _launcher(words: Sequence[str]) -> str | None:
    """The word that names a launcher which starts other processes."""
    named = [word for word in words if word.lstrip("+").partition("=")[0] == "hydra/launcher"]
    return next((word for word in named if word.partition("=")[2] != "basic"), None)


def _end_by_signal(code: int) -> None:
    """SIGTERM ends the process, as it would have without a training in it."""
    if code == 128 + signal.SIGTERM:
        raise SystemExit(code)


def _trained(folder: Path) -> Run:
    from pinntk.runs.trained import load as load_run

    return load_run(folder)
