"""W&B in a process of its own: without account and network, with a server that does not answer, and killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import wandb
from conftest import rows_of, spoken
from offline_wandb import WANDB, offline_runs, without_account

TRAIN = Path(__file__).parents[1] / "train.py"


@pytest.fixture(autouse=True)
def no_account(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    without_account(tmp_path_factory.mktemp("home"), monkeypatch)
    yield
    wandb.teardown()  # it reads the environment once


def alone(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, nobody at the keyboard."""
    return subprocess.run(
        [sys.executable, TRAIN, *words],
        cwd=folder,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


@pytest.mark.slow
def test_neither_account_nor_network_is_needed(tmp_path: Path) -> None:
    nowhere = dict.fromkeys(("http_proxy", "https_proxy"), "http://127.0.0.1:9")
    ended = alone(tmp_path, *WANDB, WANDB_BASE_URL="http://127.0.0.1:9", **nowhere)
    assert (ended.returncode, spoken(ended.stderr)) == (0, "")
    assert (
        ended.stdout.splitlines()[-1]
        == f"to upload   wandb sync {next(tmp_path.glob('runs/**/wandb')).relative_to(tmp_path)}"
    )


@pytest.mark.slow
def test_a_server_that_does_not_answer_is_waited_for_once(tmp_path: Path) -> None:
    ended = alone(tmp_path, "-m", *WANDB, "seed=0,1", WANDB_BASE_URL="http://127.0.0.1:9", WANDB_API_KEY="0" * 40)
    assert ended.returncode == 0
    assert spoken(ended.stderr).count("\n") == 1
    assert "recording offline" in ended.stderr
    assert ended.stdout.count("to upload") == 2


@pytest.mark.slow
def test_a_killed_run_loses_nothing(tmp_path: Path) -> None:
    killing = (
        "import os, signal, sys, time\n"
        "from pinntk.launch.cli import main\n"
        "from pinntk.methods import Method\n"
        "record = Method.log_losses\n"
        "def recording(self, *arguments, **more):\n"
        "    record(self, *arguments, **more)\n"
        "    if self.iteration == 30:\n"
        "        time.sleep(4)\n"  # more than SECONDS_TO_LOSE
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "Method.log_losses = recording\n"
        "main(sys.argv[1:])\n"
    )
    words = [*WANDB, "checkpoint.every_seconds=1e-9"]
    killed = subprocess.run([sys.executable, "-c", killing, *words], cwd=tmp_path, capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert alone(tmp_path, *words).returncode == 0
    (folder,) = (path.parent for path in tmp_path.glob("runs/**/result.json"))
    first, second = offline_runs(folder)
    assert first.run.run_id == second.run.run_id
    assert first.exit_code != 0
    losses = [part.column("loss") for part in (first, second)]
    assert list(losses[0] | losses[1]) == [10, 20, 30, 40]
    assert all(losses[0][n] == losses[1][n] for n in set(losses[0]) & set(losses[1]))
    assert json.dumps(losses[0] | losses[1]) == json.dumps(
        {int(r["iteration"]): float(r["loss"]) for r in rows_of(folder)}
    )
