"""A disk that takes no more, and names that are too long: a line, and nothing that is there is lost."""

from __future__ import annotations

import errno
import itertools
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import FAST, Cli, result_of, slow_unless

from pinntk.runs.trained import load

SAVING = [*FAST, "checkpoint.every_seconds=1e-9"]
FULL = "No space left on device"


def full_at(name: str, nth: int, patch: pytest.MonkeyPatch, number: int = errno.ENOSPC) -> None:
    """No file of this name gets its place any more from the nth time on."""
    replace, count = os.replace, itertools.count(1)

    def patched(source: Any, target: Any) -> None:
        if Path(target).name == name and next(count) >= nth:
            raise OSError(number, os.strerror(number), str(source))
        replace(source, target)

    patch.setattr(os, "replace", patched)


FILES = [("config.yaml", 1), ("last.ckpt", 1), ("last.ckpt", 3), ("metrics.csv", 3), ("progress.json", 1)]
FILES += [("result.json", 1)]
OFTEN = (("last.ckpt", 3), ("result.json", 1))


@pytest.mark.parametrize(("name", "nth"), [slow_unless(file in OFTEN, *file) for file in FILES])
def test_a_full_disk_is_one_line_and_the_run_goes_on_later(
    name: str, nth: int, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        full_at(name, nth, patch)
        ended = cli(*SAVING)
    assert ended.code == 1
    (line,) = ended.err.splitlines()
    assert line.startswith("error: ")
    assert FULL in line
    assert "seed0: " in line
    assert "Traceback" not in ended.out
    checkpoint = next(cli.folder.glob("runs/**/checkpoints")) / "last.ckpt"
    saved = checkpoint.exists()
    if saved:  # whole
        torch.load(checkpoint, weights_only=True)
    assert saved == (name not in ("config.yaml", "progress.json") and (name, nth) != ("last.ckpt", 1))
    assert os.listdir(checkpoint.parent) == (["last.ckpt"] if saved else [])
    again = cli(*SAVING)
    assert again.code == 0
    assert ("resuming at iteration" in again.out) == saved
    assert result_of(cli.run_folder())["status"] == "completed"


@pytest.mark.parametrize("number", [errno.EPERM, errno.EACCES])
def test_rights_that_are_taken_away_are_one_line(number: int, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        full_at("metrics.csv", 3, patch, number)
        ended = cli(*SAVING)
    assert ended.code == 1
    (line,) = ended.err.splitlines()
    assert re.match(rf"error: .*seed0: {os.strerror(number)}; the files that are there are whole", line)
    assert "Traceback" not in ended.out
    assert cli(*SAVING).code == 0


def test_a_file_of_the_problems_own_is_named(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    from pinntk.methods.adam import AdamMethod

    def denied(self: AdamMethod, end: int) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), "sensors.csv")

    monkeypatch.setattr(AdamMethod, "advance", denied)
    ended = cli(*FAST)
    assert (ended.code, ended.err.count("\n")) == (1, 1)
    assert ended.err.startswith("error: sensors.csv: Permission denied; ")


def test_half_a_checkpoint_does_not_stay(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    import pytorch_lightning as pl

    save = pl.Trainer.save_checkpoint

    def half(self: pl.Trainer, path: Any, *more: Any, **named: Any) -> None:
        save(self, path, *more, **named)
        if self.lightning_module.iteration == 30:
            os.truncate(path, 100)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(pl.Trainer, "save_checkpoint", half)
        assert cli(*SAVING).code == 1
    assert os.listdir(cli.run_folder() / "checkpoints") == ["last.ckpt"]
    assert load(cli.run_folder()).predict([[0.5]]).shape == (1,)
    assert "resuming at iteration 20" in cli(*SAVING).out


def test_a_full_disk_in_a_sweep(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        full_at("last.ckpt", 2, patch)
        ended = cli(*SAVING, "-m", "seed=0")
    assert ended.code == 1
    assert "Traceback" not in ended.err
    assert f"seed0: {FULL}" in ended.out.splitlines()[-3]
    assert cli(*SAVING, "-m", "seed=0").code == 0


def test_other_errors_of_the_system_keep_their_traceback(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    from pinntk.methods.adam import AdamMethod

    def broken(self: AdamMethod, end: int) -> None:
        Path("nowhere").read_text()

    monkeypatch.setattr(AdamMethod, "advance", broken)
    with pytest.raises(FileNotFoundError):
        cli(*FAST)


LONG = "x" * 300


@pytest.mark.parametrize("sweep", [[], ["-m"]])
@pytest.mark.parametrize(
    "word", [f"runs_dir={LONG}", f"runs_dir=new/{LONG}/x", f"init_from={LONG}", f"budget.name={LONG}"]
)
def test_a_name_that_is_too_long_is_one_line_and_nothing_is_made(word: str, sweep: list[str], cli: Cli) -> None:
    ended = cli(*FAST, word, *sweep)
    assert ended.code == 2
    (line,) = ended.err.splitlines()
    assert line.startswith(f"error: {word}: ")
    assert os.listdir(cli.folder) == []


def test_a_path_that_is_too_long_and_a_folder_of_choices(cli: Cli) -> None:
    for words in (["runs_dir=" + "x/" * 2200], ["--config-dir", LONG]):
        ended = cli(*FAST, *words)
        assert ended.code == 2
        assert ended.err.count("\n") == 1
        assert "File name too long" in ended.err


def test_reports_say_it_too(capsys: pytest.CaptureFixture[str]) -> None:
    from pinntk.common.errors import refusing

    def raising(number: int) -> Callable[[], int]:
        def body() -> int:
            raise OSError(number, os.strerror(number), "page.html")

        return body

    assert refusing(raising(errno.ENOSPC)) == 1
    assert capsys.readouterr().err.startswith(f"error: page.html: {FULL}; ")
    with pytest.raises(FileNotFoundError):
        refusing(raising(errno.ENOENT))
