"""Composing configurations from the words of a command line, with messages of one line where they are wrong."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import hydra
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.core.utils import JobRuntime
from hydra.errors import HydraException
from hydra.plugins.search_path_plugin import SearchPathPlugin
from hydra.version import VersionBase
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pinntk.common.errors import BadInput
from pinntk.launch import overrides

VERSION_BASE = "1.3"
HYDRAS_OWN = ("hydra", "_dummy_empty_config_.yaml")
"""What Hydra itself has in the store of configurations."""
ERRORS = (HydraException, OmegaConfBaseException)
own_folders: list[Path] = []
"""Folders of configuration files that come before all others, within `own_hydra`: a user's file that has the name of
one of pinntk's takes its place. ``hydra.searchpath`` and ``--config-dir`` put theirs behind."""


class OwnFirst(SearchPathPlugin):
    """What has Hydra look in `own_folders`, and behind them in a folder without settings for the problems in them."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        for folder in own_folders:
            search_path.prepend("own", f"file://{folder.absolute()}", "main")
        own = [path for folder in own_folders for path in folder.glob("pde/*.yaml")]
        problems = frozenset(path.stem for path in own if _of_a_class(path))
        if problems:
            (conf,) = (path.path.removeprefix("file://") for path in search_path.get_path() if path.provider == "main")
            search_path.prepend("nothing", f"file://{_nothing_for(problems, Path(conf)).name}", "main")


def _of_a_class(path: Path) -> bool:
    """Whether it is the file of a class that is not pinntk's."""
    found = re.search(r"\b_target_:\s*['\"]?([\w.]+)", path.read_text(encoding="utf-8"))
    return found is not None and not found[1].startswith("pinntk.")


@cache
def _nothing_for(problems: frozenset[str], conf: Path) -> TemporaryDirectory[str]:
    """A folder with a file that sets nothing for each of pinntk's ``tuned/<method>/<problem>/<budget>.yaml``.

    A class of the user's that bears the name of one of pinntk's would else get the settings found for pinntk's.
    """
    folder = TemporaryDirectory(prefix="pinntk-")
    for path in conf.glob("tuned/*/*/*.yaml"):
        if path.parent.name in problems:
            empty = Path(folder.name, path.relative_to(conf))
            empty.parent.mkdir(parents=True, exist_ok=True)
            empty.write_text("# @package _global_\n")
    return folder


@contextmanager
def own_hydra() -> Iterator[None]:
    """Hydra as if no other program of this process had set it up; what one has is put back afterwards.

    pinntk may be called from a function under ``@hydra.main`` or after ``hydra.initialize``. Some of Hydra's ways to
    look at a configuration (``--info``) have the root logger tell everything, on a stream of the moment.
    """
    store, logger = ConfigStore.instance(), logging.getLogger()
    saved = dict(Singleton._instances), store.repo
    handlers, level = [*logger.handlers], logger.level
    for kind in (GlobalHydra, HydraConfig, JobRuntime, VersionBase):  # not the registries: they are filled on import
        Singleton._instances.pop(kind, None)
    # Another program's "config" would be taken for the schema of ours.
    store.repo = deepcopy({name: node for name, node in store.repo.items() if name in HYDRAS_OWN})
    try:
        yield
    finally:
        own_folders.clear()
        Singleton._instances, store.repo = saved
        logger.handlers[:] = handlers
        logger.setLevel(level)


@dataclass(frozen=True)
class Composer:
    """Composes configurations.

    Attributes:
        folders: where the configuration files are; the first is the package's own.
        choices: the choices of each group in them.
    """

    folders: tuple[Path, ...]
    choices: overrides.Choices

    def compose(self, words: Sequence[str]) -> dict[str, Any]:
        """The configuration that these words give, as plain values.

        Raises:
            BadInput: a word is wrong.
        """
        words = overrides.rewrite(words, self.choices)
        overrides.check(words, self.choices, sweep=False)
        try:
            return plain(self._compose(words))
        except ERRORS as error:
            raise self.explain(words, error) from error

    def explain(self, words: Sequence[str], error: Exception) -> BadInput:
        """What was wrong with words that Hydra could not compose."""
        of_groups = [
            str(override.input_line)
            for override in overrides.parse(words)
            if override.key_or_group in self.choices and not override.is_sweep_override()
        ]
        try:
            base = self._compose(of_groups)
        except ERRORS:
            base = None
        return overrides.explain(words, error, base, self.choices)

    def check_sweep(self, words: Sequence[str]) -> None:
        """Compose and validate a sweep's jobs before the first one starts and before anything is written.

        Raises:
            BadInput: all errors of the jobs looked at, each once.
        """
        jobs = self._sample_jobs(words)
        messages: list[str] = []
        unused: list[dict[str, str]] = []
        for job in jobs:
            try:
                config = self.compose(job)
                from pinntk.runs.components import check_problem  # imports torch: not before a configuration composes

                check_problem(config)
                from pinntk.runs.settings import RunSettings  # only now: it imports Lightning

                unused.append(RunSettings.read(config).without_effect())
            except BadInput as error:
                messages += error.messages
        if not messages:
            messages = overrides.ineffective(words, unused)
        if messages:
            raise BadInput(*messages)

    def _sample_jobs(self, words: Sequence[str]) -> list[list[str]]:
        """Jobs that show whether all is good: of these words, and of what an experiment's file sweeps besides."""
        words, fixed = overrides.rewrite(words, self.choices), list[str]()
        try:
            with self._initialized():
                fixed = [str(word.input_line) for word in overrides.parse(words) if not word.is_sweep_override()]
                config = hydra.compose("config", overrides=fixed, return_hydra_config=True)
                params = config.hydra.sweeper.get("params") or {}
                swept = [f"{key}={value}" for key, value in params.items()]
                return list(overrides.sample_jobs([*swept, *words], self.choices))  # the last of a key counts
        except ERRORS as error:
            raise self.explain(fixed, error) from error

    def _initialized(self) -> hydra.initialize_config_dir:
        own_folders[:] = self.folders[1:]
        return hydra.initialize_config_dir(str(self.folders[0]), version_base=VERSION_BASE)

    def _compose(self, words: Sequence[str]) -> DictConfig:
        with self._initialized():
            return hydra.compose("config", overrides=list(words))


def plain(cfg: DictConfig) -> dict[str, Any]:
    """A composed configuration as plain values, interpolations resolved.

    Raises:
        BadInput: a value cannot be resolved or is missing.
    """
    try:
        config = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise BadInput(f"{error.full_key}: {str(error).splitlines()[0]}") from error
    assert isinstance(config, dict)
    return {str(key): value for key, value in config.items()}
