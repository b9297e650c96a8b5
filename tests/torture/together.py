"""Several processes at once: on one run folder, and on GPUs, which are names and locks here."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from conftest import FAST, SECONDS, Child, result_of, spoken
from harness import Tally, Undisturbed, broken_files, differs, place_of, trials
from sweeping import WATCHER, noted

from pinntk.launch import devices, launchers
from pinntk.launch.devices import Device

METHODS = ("adam", "gdnd", "pcpinn", "ssbroyden")
IN_USE = "another process is working in"


def one_folder(count: int, rng: random.Random, folder: Path) -> Iterator[Tally]:
    """Two or three processes start the same run at random moments; in every second trial one of them is killed, in
    every third the run has finished before and all want it anew."""
    tally = Tally(
        "two or three processes on one run folder at once, one of them killed at times, overwrite=true at times",
        "one trains, the others say so in a line or find it finished; the end is the undisturbed run's",
    )
    undisturbed = Undisturbed(folder / "undisturbed")
    for k in trials(count):
        method, place = METHODS[k % len(METHODS)], folder / f"together{k}"
        words, whole, seconds = undisturbed(method)
        place.mkdir()
        if k % 3 == 2:
            Child(place, words).wait()
            words = [*words, "overwrite=true"]
        children = []
        for n in range(rng.choice((2, 3))):
            children.append(Child(place, words, output=f"child{n}"))
            time.sleep(rng.choice((0, rng.uniform(0, seconds))))
        killed = rng.choice(children) if k % 2 else None
        if killed is not None:
            os.kill(killed.pid, signal.SIGKILL)  # a child that has ended is not reaped yet: its number is still its own
        trained = 0
        for child in children:
            ended = child.wait()
            lines = spoken(ended.err).splitlines()
            trained += "L2RE" in ended.out and "finished before" not in ended.out
            busy = ended.code == 1 and IN_USE in ended.out
            if ended.code != 0 and not busy and not (child is killed and ended.code == -signal.SIGKILL):
                tally.wrong.append(f"together {k}: exit code {ended.code}: {' / '.join(lines[-1:])[:200]}")
        tally.count(f"with {trained} trained to the end")
        tally.lost += broken_files(place)
        again = Child(place, [word for word in words if word != "overwrite=true"]).wait()
        if again.code:
            tally.lost.append(f"together {k}: went on with exit code {again.code}: {again.err.strip()[-200:]}")
        elif difference := differs(whole, place_of(whole, place)):
            tally.wrong.append(f"together {k}: {difference}")
    yield tally


ALONE = '''

class Alone(Watcher):
    """Notes where two living processes are on one device."""

    def on_train_start(self, trainer, method):
        mark = self.folder / f"{os.environ['CUDA_VISIBLE_DEVICES']}.pid"
        try:
            other = int(mark.read_text())
            os.kill(other, 0)
            self.note("shared", f"{method.seed} {other}")
        except (OSError, ValueError):
            pass
        mark.write_text(str(os.getpid()))
        self.mark = mark
        super().on_train_start(trainer, method)

    def on_train_end(self, trainer, method):
        super().on_train_end(trainer, method)
        self.mark.write_text("")
'''


def fake_gpus(count: int, rng: random.Random, folder: Path) -> Iterator[Tally]:
    """A sweep of so many jobs over three devices; a fifth of the jobs are killed, then the sweep itself, and the same
    command is given until all have completed."""
    tally = Tally(
        "jobs of a sweep on three faked GPUs, a fifth of them killed at random moments, then the sweep itself",
        "never two on one device; those that ended stay as they are; the same command completes all the others",
    )
    (folder / "watcher.py").write_text(WATCHER + ALONE)
    words = [*FAST, "-m", f"seed=range({count})", "hydra/launcher=gpus", "method.log_every=5", "logger=none"]
    words += [f"+callbacks.watcher.{key}={value}" for key, value in watched(folder).items()]
    found = [Device(f"fake{k}", folder / "locks" / f"{k}.lock") for k in range(3)]

    def arrange() -> None:
        patch = pytest.MonkeyPatch()
        patch.setattr(launchers, "visible_devices", lambda: found)
        patch.setattr(devices, "SECONDS_BETWEEN_LOOKS", 0.01)
        patch.setenv("PYTHONPATH", str(folder))
        patch.syspath_prepend(str(folder))
        patch.delitem(sys.modules, "watcher", raising=False)  # another test's of this name

    seconds = SECONDS + 60 * count
    first = Child(folder, words, arrange, output="first", seconds=seconds)
    killed: set[int] = set()
    while len(killed) < max(1, count // 5) and os.waitpid(first.pid, os.WNOHANG) == (0, 0):
        for _, process, _ in noted(folder, "started"):
            if int(process) not in killed and rng.random() < 0.2 and len(killed) < max(1, count // 5):
                with suppress(ProcessLookupError):
                    os.kill(int(process), signal.SIGKILL)
                    killed.add(int(process))
        time.sleep(rng.uniform(0.05, 0.5))
    with suppress(ChildProcessError, ProcessLookupError):
        os.kill(first.pid, signal.SIGKILL)
        os.waitpid(first.pid, 0)
    before = {path: path.read_bytes() for path in folder.glob("runs/**/result.json")}
    again = Child(folder, words, arrange, output="again", seconds=seconds).wait()
    if again.code:
        tally.lost.append(f"the same command: exit code {again.code}: {again.err.strip()[-200:]}")
    if "Traceback" in again.err:
        tally.wrong.append(f"the same command: {again.err.strip()[-200:]}")
    tally.wrong += [f"two on one device: {' '.join(line)}" for line in noted(folder, "shared")]
    tally.lost += [f"{path}: changed" for path, text in before.items() if path.read_bytes() != text]
    results = {path.parent.name: result_of(path.parent) for path in folder.glob("runs/**/result.json")}
    for seed in range(count):
        end = results.get(f"seed{seed}", {}).get("status", "nowhere")
        tally.count("completed" if end == "completed" else f"left {end}")
        if end != "completed":
            tally.lost.append(f"seed {seed}: {end}")
    tally.ended[f"of them killed {len(killed)}"] = 1
    yield tally


def watched(folder: Path) -> dict[str, str]:
    """Of the callback that watches."""
    return {"_target_": "watcher.Alone", "folder": str(folder)}
