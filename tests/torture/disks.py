"""Disks that take no more: full at a random byte, too small a limit of a file's size, read-only.

The first and the last need root, who may mount file systems of their own; elsewhere they are not tried, and say so.
"""

from __future__ import annotations

import os
import random
import resource
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from conftest import Child
from harness import Tally, Undisturbed, broken_files, differs, one_line, place_of, refused, trials

from pinntk.report.__main__ import main as report
from pinntk.report.status import main as status

METHODS = ("adam", "gdnd", "pcpinn", "ssbroyden")
PAGE = 4096


def may_mount() -> bool:
    """Whether file systems can be mounted here."""
    done = subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False)
    return os.geteuid() == 0 and done.returncode == 0


@contextmanager
def mounted(place: Path, size: int) -> Iterator[Path]:
    """An empty file system in memory, of so many bytes, at a folder."""
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def remount(place: Path, options: str) -> None:
    """Change the size of a file system, or whether it takes writes."""
    subprocess.run(["mount", "-o", f"remount,{options}", place], check=True)


def size_of(folder: Path) -> int:
    """Bytes that a folder takes in such a file system."""
    return sum(PAGE * -(-path.lstat().st_size // PAGE) for path in folder.rglob("*")) + PAGE


def full_disk(count: int, rng: random.Random, folder: Path) -> Iterator[Tally]:
    """A disk that is full after a random number of bytes, then has room again; every fourth is a sweep's."""
    tally = Tally(
        "a disk that is full at a random byte",
        "one line, exit code 1; with room the same command ends bit for bit as the undisturbed run",
    )
    undisturbed = Undisturbed(folder / "undisturbed")
    for k in trials(count if may_mount() else 0):
        name, method = f"full disk {k}", METHODS[k % len(METHODS)]
        words, whole, _ = undisturbed(method)
        words = [*words, "-m", "seed=0"] if k % 4 == 3 else words
        with mounted(folder / f"disk{k}", rng.randrange(1, size_of(whole) // PAGE + 8) * PAGE) as disk:
            child = Child(disk, words, output=folder / f"disk{k}")
            _judge(tally, name, child, sweep="-m" in words)
            tally.lost += broken_files(disk, folder / f"status{k}")
            remount(disk, "size=100m")
            _again(tally, name, Child(disk, words, output=folder / f"again{k}"), whole, place_of(whole, disk))
    yield tally


def short_files(count: int, rng: random.Random, folder: Path) -> Iterator[Tally]:
    """No file may become longer than so many bytes (RLIMIT_FSIZE)."""
    tally = Tally("no file longer than a random number of bytes", "as above, without the limit")
    undisturbed = Undisturbed(folder / "undisturbed")
    for k in trials(count):
        method, place = METHODS[k % len(METHODS)], folder / f"short{k}"
        words, whole, _ = undisturbed(method)
        place.mkdir()
        largest = max(path.stat().st_size for path in whole.rglob("*"))
        limit = rng.randrange(200, largest)

        def limited(limit: int = limit) -> None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

        _judge(tally, f"limit {k}", Child(place, words, limited), sweep=False)
        tally.lost += broken_files(place)
        _again(tally, f"limit {k}", Child(place, words), whole, place_of(whole, place))
    yield tally


def _judge(tally: Tally, name: str, child: Child, *, sweep: bool) -> None:
    ended = child.wait()
    tally.count("completed, there was room" if ended.code == 0 else "ended with a line")
    # A sweep's table says why on the standard output; the failed job has its line among the errors.
    if ended.code and (wrong := one_line(ended)) and not (sweep and "Traceback" not in ended.out + ended.err):
        tally.wrong.append(f"{name}: {wrong}")


def _again(tally: Tally, name: str, child: Child, whole: Path, run: Path) -> None:
    ended = child.wait()
    if ended.code:
        tally.lost.append(f"{name}: went on with exit code {ended.code}: {ended.err.strip()[-200:]}")
    elif difference := differs(whole, run):
        tally.wrong.append(f"{name}: {difference}")


def read_only(count: int, rng: random.Random, folder: Path) -> Iterator[Tally]:
    """A folder that cannot be written: before a run, behind a finished or an interrupted one, and during one."""
    tally = Tally(
        "a read-only disk: before, during and after runs",
        "one line, exit code 2 (during the run 1), nothing changed; what only reads works; afterwards as above",
    )
    undisturbed = Undisturbed(folder / "undisturbed")
    for k in trials(count if may_mount() else 0):
        case = ("empty", "interrupted", "finished", "during")[k % 4]
        words, whole, seconds = undisturbed(rng.choice(METHODS))
        with mounted(folder / f"disk{k}", 10**8) as disk:
            run, output, wrong = place_of(whole, disk), folder / f"disk{k}", None
            if case in ("interrupted", "finished"):
                child = Child(disk, words, output=output)
                if case == "interrupted":
                    time.sleep(rng.uniform(0.3, 0.8) * seconds)
                    os.kill(child.pid, signal.SIGKILL)
                child.wait()
            if case == "during":
                child = Child(disk, words, output=output)
                time.sleep(rng.uniform(0, 0.8) * seconds)
                wrong, stopped = _sealed(disk, child)
                case += ", which it stopped" if stopped else ", which had written all"
            else:
                remount(disk, "ro")
                before = {path: path.stat().st_mtime_ns for path in disk.rglob("*")}
                ended = Child(disk, words, output=output).wait()
                if not (ended.code == 0 and (run / "solution.png").exists()):
                    wrong = refused(ended)
                if {path: path.stat().st_mtime_ns for path in disk.rglob("*")} != before:
                    wrong = "something has changed"
                wrong = wrong or _readers(disk, folder / f"report{k}", bool(before))
                remount(disk, "rw")
            tally.count(case)
            if wrong:
                tally.wrong.append(f"read-only {k}, {case}: {wrong}")
            _again(tally, f"read-only {k}, {case}", Child(disk, words, output=output), whole, run)
    yield tally


def _sealed(disk: Path, child: Child) -> tuple[str | None, bool]:
    """Make each folder and file immutable under a run; what is wrong with how it ends, and whether that stopped it."""
    seal = partial(subprocess.run, check=False, capture_output=True)
    seal(["chattr", "-R", "+i", disk])
    ended = child.wait()
    seal(["chattr", "-R", "-i", disk])
    return (one_line(ended), True) if ended.code else (None, False)


def _readers(disk: Path, out: Path, filled: bool) -> str | None:
    """What is wrong with how status and report look at a read-only folder of runs."""
    if not filled:
        return None
    for body, words in ((status, ["runs"]), (report, ["runs", "--out", str(out)])):
        ended = Child(disk, words, body=body, output=out).wait()
        if ended.code or ended.err:
            return f"{words}: exit code {ended.code}: {ended.err.strip()[-200:]}"
    ended = Child(disk, ["runs"], body=report, output=out).wait()
    return refused(ended)
