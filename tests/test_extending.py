"""Problems, methods, callbacks and loggers of the users, from outside of the package."""

from __future__ import annotations

import pytest
from conftest import FAST, Cli

import pinntk


def test_callbacks_and_loggers_of_the_users_are_used(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    (cli.folder / "mine.py").write_text(
        "import pathlib\n"
        "import pytorch_lightning as pl\n"
        "class Note(pl.Callback):\n"
        "    def __init__(self, folder, text): self.path, self.text = pathlib.Path(folder), text\n"
        "    def on_train_end(self, trainer, method):\n"
        "        (self.path / 'note.txt').write_text(f'{self.text} {method.iteration}')\n"
    )
    monkeypatch.syspath_prepend(cli.folder)
    words = [*FAST, "logger=none", '+callbacks.note={_target_:mine.Note,folder:"{folder}",text:hello}']
    assert cli(*words).code == 0
    assert (cli.run_folder() / "note.txt").read_text() == "hello 40"
    assert not (cli.run_folder() / "metrics.csv").exists()
    ended = cli(*FAST, "seed=1", "+callbacks.note={_target_:mine.Note,foldr:x}")
    assert ended.code == 2
    assert "callbacks.note: mine.Note cannot be made" in ended.err


def test_a_problem_and_a_method_of_the_users(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Adding a problem or a method is one file and one yaml."""
    (cli.folder / "mine_too.py").write_text(
        "from typing import ClassVar\n"
        "from pinntk.methods.adam import AdamMethod\n"
        "from pinntk.pdes.poisson1d import Poisson1D\n"
        "class Mine(Poisson1D):\n"
        "    name: ClassVar[str] = 'mine'\n"
        "class Half(AdamMethod):\n"
        "    name: ClassVar[str] = 'half'\n"
        "    class Settings(AdamMethod.Settings):\n"
        "        half: float = 0.5\n"
    )
    monkeypatch.syspath_prepend(cli.folder)
    for group, text in {
        "pde": "# @package _global_\npde: {_target_: mine_too.Mine, a: 2}\n",
        "method": "defaults: [adam]\n_target_: mine_too.Half\nhalf: 0.25\n",
    }.items():
        (cli.folder / "conf" / group).mkdir(parents=True)
        (cli.folder / "conf" / group / "mine.yaml").write_text(text)
    ended = cli("--config-dir", "conf", *FAST, "pde=mine", "method=mine")
    assert ended.code == 0, ended.err
    folder = cli.run_folder()
    assert folder.relative_to(cli.folder).parts[1:3] == ("mine", "half")
    assert pinntk.load(folder).pde.parameters() == {"a": 2}
    assert "half=oops" in cli("--config-dir", "conf", *FAST, "method=mine", "method.half=oops").err
