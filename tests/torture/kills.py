"""SIGKILL at random moments, then the same command again."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from conftest import Child, Ended
from harness import Tally, Undisturbed, after, broken_files, differs, place_of, signalled, trials
from started import POISSON, WORDS, command

FUSED = ["method=adam", "budget=smoke", *POISSON, "threads=1", "width=8", "method.steps=120", "method.log_every=20"]
FUSED += ["checkpoint.every_seconds=1e-9"]
"""Long enough for kernels of its own, which are built when it starts."""


def kills(count: int, rng: random.Random, folder: Path) -> Iterator[Tally]:
    """Over all methods in turn; every third run is killed a second time after it has been started again."""
    tally = Tally(
        f"SIGKILL at a random moment, {len(WORDS)} methods in turn",
        "every file whole at once after it; the same command ends bit for bit as the undisturbed run",
    )
    undisturbed = Undisturbed(folder / "undisturbed")
    methods = list(WORDS)
    for k in trials(count):
        method, place = methods[k % len(methods)], folder / f"kill{k}"
        words, whole, seconds = undisturbed(method)
        place.mkdir()
        for _ in range(2 if k % 3 == 2 else 1):
            child = Child(place, words)
            ended = after(child, rng.uniform(0, seconds), signalled(child, signal.SIGKILL))
            _judge_kill(tally, f"{method}, kill {k}", ended, place_of(whole, place))
            tally.lost += broken_files(place)
        _go_on(tally, f"{method}, kill {k}", Child(place, words).wait(), whole, place_of(whole, place))
    yield tally


def _judge_kill(tally: Tally, name: str, ended: Ended, run: Path) -> None:
    if ended.code not in (0, -signal.SIGKILL):
        tally.wrong.append(f"{name}: exit code {ended.code}: {ended.err.strip()[-200:]}")
    if ended.code == 0:
        tally.count("ended before it came")
    elif (run / "result.json").exists():
        tally.count("after the result")
    elif (run / "checkpoints" / "last.ckpt").exists():
        tally.count("after a checkpoint")
    else:
        tally.count("before the first checkpoint")


def _go_on(tally: Tally, name: str, ended: Ended, whole: Path, run: Path) -> None:
    if ended.code:
        tally.lost.append(f"{name}: went on with exit code {ended.code}: {ended.err.strip()[-200:]}")
    elif difference := differs(whole, run):
        tally.wrong.append(f"{name}: {difference}")


def cold_kills(count: int, rng: random.Random, folder: Path) -> Iterator[Tally]:
    """Processes of their own, killed anywhere from the import of Python's first module on, also while a compiler that
    they have started builds their kernels."""
    tally = Tally(
        "SIGKILL at a random moment of `pinntk`'s process, imports and building of C++ kernels among it",
        "as above; what the compiler had begun does no harm",
    )
    for k in trials(count):
        words = FUSED if k % 2 == 0 else command(rng.choice(list(WORDS)))
        whole, seconds = _alone(folder / f"whole{k}", words)
        place = folder / f"cold{k}"
        place.mkdir()
        process = _start(place, words)
        time.sleep(rng.uniform(0, seconds))
        process.kill()
        err = process.communicate()[1]
        run = place_of(whole, place)
        _judge_kill(tally, f"cold kill {k}", Ended(process.returncode, "", err), run)
        tally.lost += broken_files(place)
        again = _start(place, words)
        err = again.communicate()[1]
        _go_on(tally, f"cold kill {k}", Ended(again.returncode, "", err), whole, run)
    yield tally


def _start(place: Path, words: list[str]) -> subprocess.Popen[str]:
    environment = {**os.environ, "PINNTK_CACHE": str(place / "cache")}  # kernels are built anew in each
    return subprocess.Popen(
        [sys.executable, "-m", "pinntk", *words],
        cwd=place,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def _alone(place: Path, words: list[str]) -> tuple[Path, float]:
    place.mkdir()
    started = time.monotonic()
    process = _start(place, words)
    err = process.communicate()[1]
    assert process.returncode == 0, err
    (result,) = place.glob("runs/**/result.json")
    return result.parent, time.monotonic() - started
