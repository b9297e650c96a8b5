"""The same command on a machine with other cores or another accelerator: another run, and it says so."""

from __future__ import annotations

import os
import shutil

import pytest
from conftest import FAST, Cli

WORDS = [word for word in FAST if not word.startswith("threads")] + ["method.steps=2"]


@pytest.fixture
def cores(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The first entry is how many cores there seem to be."""
    found = [1]
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(found[0])))
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    return found


def test_another_number_of_cores_is_said(cli: Cli, cores: list[int]) -> None:
    first = cli(*WORDS)
    assert "another run" not in first.out
    one = cli.run_folder()
    cores[0] = 2
    second = cli(*WORDS)
    assert second.code == 0
    (line,) = (line for line in second.out.splitlines() if "another run" in line)
    assert line == f"threads=2 on this machine: another run than {one.relative_to(cli.folder)}, which threads=1 takes"
    assert len(cli.run_folders()) == 2
    again = cli(*WORDS, "threads=1")  # as the line says
    assert "finished before" in again.out
    assert str(one.relative_to(cli.folder)) in again.out
    assert "another run" not in cli(*WORDS).out  # it is finished, too


def test_what_the_user_chose_or_what_differs_is_no_news(cli: Cli, cores: list[int]) -> None:
    cli(*WORDS)
    cores[0] = 2
    for words in (["threads=2"], ["method.steps=3"], ["seed=1"]):
        ended = cli(*WORDS, *words)
        assert ended.code == 0
        assert "another run" not in ended.out, words


def test_another_accelerator_is_said(cli: Cli, cores: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    from pinntk.launch.cli import compose
    from pinntk.runs.settings import RunSettings

    cli(*WORDS)
    here = cli.run_folder()
    with monkeypatch.context() as patch:  # where the run would be on a machine with a GPU and four cores
        patch.setattr("torch.cuda.is_available", lambda: True)
        cores[0] = 4
        there = cli.folder / RunSettings.read(compose(WORDS)).folder()
    cores[0] = 1
    shutil.copytree(here, there)
    (there / "config.yaml").write_text((there / "config.yaml").read_text().replace("threads: 1", "threads: 4"))
    shutil.rmtree(here)
    ended = cli(*WORDS)
    text = f"threads=1 trainer.accelerator=cpu on this machine: another run than {there.relative_to(cli.folder)}"
    assert f"{text}, which threads=4 trainer.accelerator=gpu takes" in ended.out


def test_a_neighbour_that_cannot_be_read_is_passed_over(cli: Cli, cores: list[int]) -> None:
    cli(*WORDS)
    (cli.run_folder() / "config.yaml").write_text("a: [")
    cores[0] = 2
    assert cli(*WORDS).code == 0
