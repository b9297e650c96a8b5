"""The command line: ``python train.py ...`` or ``pinntk ...``.

Hydra composes the configuration. Around it stand the rewriting of ``width=200``, messages of one line, and exit codes:
0 done, 1 a run failed, 2 bad input, 130 or 143 stopped by a signal. Nothing here imports torch, so that help and most
errors come at once.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from pinntk import __version__
from pinntk.common.doing import doing
from pinntk.common.errors import BadInput, refusing
from pinntk.common.loading import load

if TYPE_CHECKING:
    from omegaconf import DictConfig

_composed: list[dict[str, Any] | BadInput] = []
"""The configuration of a single run on its way out of Hydra: inside, Hydra would print a line of its own per error."""


def configuration_folder() -> Path:
    """The folder of the configuration files: beside the installed package, or in the checkout."""
    spec = importlib.util.find_spec("pinntk.conf")
    places = [Path(place) for place in (spec.submodule_search_locations or [])] if spec else []
    checkout = Path(__file__).resolve().parents[3] / "conf"
    for place in [*places, checkout]:
        if (place / "config.yaml").is_file():
            return place
    raise FileNotFoundError(f"the configuration files are neither in the package nor in {checkout}")


def groups(*folders: Path) -> dict[str, list[str]]:
    """Config groups in the folders and their choices."""
    found: dict[str, list[str]] = {}
    for folder in folders:
        for path in sorted(folder.rglob("*.yaml"), key=_natural):
            # tuned/<method>/<pde>/<budget>.yaml: one group, whose choices have slashes.
            group, *choice = path.relative_to(folder).with_suffix("").parts
            if group == "hydra":  # hydra/launcher/local.yaml
                group, choice = "/".join([group, *choice[:-1]]), choice[-1:]
            if choice:
                found.setdefault(group, []).append("/".join(choice))
    if "hydra/launcher" in found:
        found["hydra/launcher"].insert(0, "basic")  # has no file: the name is Hydra's
    return found


def _natural(path: Path) -> list[str]:
    """Sorts w50 before w100."""
    return [part.zfill(8) if part.isdigit() else part for part in re.split(r"(\d+)", str(path))]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code.

    Args:
        arguments: the words after the program's name; None: those of this process.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if {"-h", "--help"} & set(words):
        print(help_page(configuration_folder()))
        return 0
    if "--version" in words:
        print(f"pinntk {__version__}")
        return 0
    try:
        return refusing(lambda: _run(words))
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def compose(words: Sequence[str], own: Sequence[Path] = (), *, checked: bool = False) -> dict[str, Any]:
    """The configuration that these words of a command line give, as plain values.

    Args:
        words: as of a single run.
        own: folders of configuration files besides the package's, as ``--config-dir`` names one.
        checked: also refuse what a run would refuse.

    Raises:
        BadInput: a word is wrong.
    """
    from pinntk.launch import overrides
    from pinntk.launch.composition import Composer, own_hydra

    folders = (configuration_folder(), *own)
    with own_hydra():
        composer = Composer(folders, groups(*folders))
        config = composer.compose(words)
        if checked:
            changes = overrides.rewrite(words, composer.choices)
            overrides.check_no_launcher(changes)
            _check(config, changes)
    return config


def sweep(words: Sequence[str], own: Sequence[Path] = ()) -> tuple[int, list[dict[str, Any]]]:
    """Do the sweep that these words ask for.

    Args:
        words: as behind ``-m``.
        own: as for `compose`.

    Returns:
        The exit code, and what the jobs have recorded (`pinntk.launch.sweep.records`).

    Raises:
        BadInput: a word is wrong.
    """
    from pinntk.launch import launchers
    from pinntk.launch.composition import own_hydra
    from pinntk.launch.sweep import records

    with own_hydra():
        code = _start(["-m", *words], own)
    return code, [record for folder in launchers.started for record in records(folder)]


def _run(words: list[str]) -> int:
    from pinntk.launch.composition import own_hydra

    with own_hydra():
        code = _start(words)
    if not _composed:  # a sweep, or one of Hydra's ways to look at the configuration
        return code
    config = _composed.pop()
    if isinstance(config, BadInput):
        raise config
    with doing("imports the training"):
        load("pinntk.runs.run")
    from pinntk.runs.run import run

    return run(config)


def _start(words: list[str], own: Sequence[Path] = ()) -> int:
    """Do a sweep, or compose the configuration of a single run into `_composed`. Returns the exit code."""
    import hydra

    from pinntk.launch import overrides
    from pinntk.launch.composition import ERRORS, VERSION_BASE, Composer, own_folders

    _composed.clear()
    conf = configuration_folder()
    words = list(_joined(words))
    # Hydra cannot read overrides on both sides of a flag; each word is one or the other.
    flags = [word for word in words if "=" not in word or word.startswith("-")]
    options = _flags(flags)
    if options.config_dir and not Path(options.config_dir).is_dir():
        raise BadInput(f"--config-dir={options.config_dir}: is not a folder; allowed: one with files as conf/ has them")
    folders = (conf, *own, *([Path(options.config_dir)] if options.config_dir else []))
    choices = groups(*folders)
    changes = overrides.rewrite([*options.overrides, *(w for w in words if w not in flags)], choices)
    flags = [flag for flag in flags if flag not in options.overrides]
    sweep = options.multirun or "hydra.mode=MULTIRUN" in changes
    overrides.check(changes, choices, sweep=sweep)
    composer = Composer(folders, choices)
    if sweep:
        composer.check_sweep(changes)
    elif not options.cfg:
        overrides.check_no_launcher(changes)

    def start() -> None:
        own_folders[:] = folders[1:]
        with _arguments([*changes, *flags]), _raising():
            try:
                hydra.main(version_base=VERSION_BASE, config_path=str(conf), config_name="config")(task)()
            except ERRORS as error:
                raise composer.explain(changes, error) from error

    if sweep:
        return _sweep(start)
    start()
    if _composed and isinstance(config := _composed[0], dict):
        _check(config, changes)
    return 0


def _check(config: dict[str, Any], changes: Sequence[str]) -> None:
    """Refuse what a single run cannot use of its configuration, or what of the words has no effect in it."""
    from pinntk.launch import overrides

    with doing("imports torch"):
        load("pinntk.runs.components")
    from pinntk.runs.components import check_problem

    with doing("checks the problem"):
        check_problem(config)
    with doing("imports Lightning"):  # only now: it takes longer than all the rest
        load("pinntk.runs.settings")
    from pinntk.runs.settings import RunSettings

    with doing("checks the settings"):
        unused = RunSettings.read(config).without_effect()
    if messages := overrides.ineffective(changes, [unused]):
        raise BadInput(*messages)


def _sweep(start: Callable[[], None]) -> int:
    """Start a sweep; however it ends, say how its jobs ended. Returns the exit code."""
    from hydra.core.config_store import ConfigStore

    from pinntk.launch import launchers, sweep

    # Hydra's default is called basic. A file of ours of that name would be checked against Hydra's, with a warning.
    in_turn = {"_target_": "hydra_plugins.pinntk.InTurn"}
    ConfigStore.instance().store("basic", in_turn, group="hydra/launcher", provider="pinntk")
    launchers.started.clear()
    code = None
    try:
        start()
    except KeyboardInterrupt:
        code = 130
    except SystemExit as stopped:
        code = int(stopped.code or 0)
    except Exception as error:  # whatever a cluster may raise: what the jobs have recorded is still told
        if not launchers.started:  # nothing has been done yet
            raise
        print(f"error: the launcher failed: {type(error).__name__}: {error}", file=sys.stderr)
        code = 1
    finally:
        found = [record for folder in launchers.started for record in sweep.records(folder)]
        if found:
            print(f"\n{sweep.table(found)}", flush=True)
    return sweep.exit_code(found) if code is None else code


def task(cfg: DictConfig) -> None:
    """What Hydra runs where there is no sweep: nothing but a hand-over. A sweep's jobs are its launcher's."""
    from pinntk.launch.composition import plain

    try:
        _composed.append(plain(cfg))
    except BadInput as error:
        _composed.append(error)


def _joined(words: Sequence[str]) -> Iterator[str]:
    """The words with ``--config-dir X`` as one: X may look like an override, and begin with a ``~`` to expand."""
    left = iter(words)
    for word in left:
        flag, equals, folder = word.partition("=")
        if flag in ("--config-dir", "-cd") and (equals or (folder := next(left, ""))):
            yield f"--config-dir={os.path.expanduser(folder)}"
        else:
            yield word


def _flags(words: Sequence[str]) -> argparse.Namespace:
    """Hydra's own flags, read by Hydra's own parser, but with our messages."""
    from hydra._internal.utils import get_args_parser

    def refuse(message: str) -> NoReturn:
        raise BadInput(f"{message}; allowed: key=value, -m, --cfg job, --help")

    parser = get_args_parser()
    # The parser is made by Hydra, so there is no class of ours to override it in.
    parser.error = refuse  # type: ignore[method-assign]
    options = parser.parse_intermixed_args(words)
    given = {
        "-m": options.multirun, "--run": options.run, f"--cfg {options.cfg}": options.cfg,
        f"--info {options.info}": options.info, "--shell-completion": options.shell_completion,
    }  # fmt: skip
    if len(commands := [flag for flag, asked in given.items() if asked]) > 1:
        raise BadInput(f"{' '.join(commands)}: are asked together; allowed is one of them")
    return options


@contextmanager
def _arguments(words: Sequence[str]) -> Iterator[None]:
    """Hydra reads the process's arguments, nothing else."""
    saved = sys.argv
    sys.argv = [saved[0], *words]
    try:
        yield
    finally:
        sys.argv = saved


@contextmanager
def _raising() -> Iterator[None]:
    """Make Hydra raise its exceptions instead of printing them and leaving with code 1."""
    saved = os.environ.get("HYDRA_FULL_ERROR")
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        yield
    finally:
        if saved is None:
            del os.environ["HYDRA_FULL_ERROR"]
        else:
            os.environ["HYDRA_FULL_ERROR"] = saved


def help_page(conf: Path) -> str:
    """The text of ``--help``: usage, groups with their choices, top-level keys with their comments in config.yaml."""
    lines = [
        "Train a physics-informed neural network and compare it with a reference solution.",
        "",
        "  python train.py pde=heat2d method=pcpinn",
        "  python train.py -m pde=convection,wave method=adam width=50,200 'seed=range(3)'    (a sweep)",
        "",
        "Groups (group=choice):",
    ]
    for group, choices in groups(conf).items():
        names = [choice for choice in choices if "/" not in choice]
        lines.append(f"  {group:<14} {', '.join(names)}")
    lines += ["  width also takes any whole number.", "", "Keys (key=value; dots for nested keys, as in pde.nu=0.01):"]
    for line in (conf / "config.yaml").read_text().splitlines():
        if match := re.fullmatch(r"(\w+): *(.*?) *# *(.*)", line):
            key, default, comment = match.groups()
            lines.append(f"  {key:<16} {default:<9} {comment}")
    lines += [
        "  network.*, points.*, pde.*, method.*, checkpoint.*, trainer.*: see the configuration of a run.",
        "",
        "  python train.py pde=burgers method=adam --cfg job    shows the configuration of a run and does not start it",
        "  -m, --multirun    a sweep over all lists and ranges on the command line",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
