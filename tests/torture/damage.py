"""Files that are damaged: by what, and what the commands that read them make of it."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from conftest import Child, assert_same_network, spoken
from harness import Tally, Undisturbed, differs, place_of, trials
from started import command

import pinntk
from pinntk.report.__main__ import main as report
from pinntk.report.status import main as status

FILES: tuple[str, ...] = ("checkpoints/last.ckpt", "result.json", "config.yaml", "metrics.csv", "progress.json")
FILES += ("solution.npz", "solution.png", "ntk_drift.npz")
METHODS = ("adam", "gdnd")
WATCHED = ["callbacks=ntk_drift"]


def _cut(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.randrange(len(content) or 1)]


def _random(content: bytes, rng: random.Random) -> bytes:
    return rng.randbytes(len(content))


def _zeros_within(content: bytes, rng: random.Random) -> bytes:
    """Sixteen zeros, as a block of a disk that was not written, in small."""
    at = rng.randrange(len(content) or 1)
    return content[:at] + bytes(16) + content[at + 16 :]


def _bit(content: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(content) or 1)
    return content[:at] + bytes([content[at] ^ 1 << rng.randrange(8)]) + content[at + 1 :] if content else b""


def _wrong_type(content: bytes, rng: random.Random) -> bytes:
    """JSON, which YAML is, too: another type of the whole, or of one of its values."""
    other = rng.choice([None, True, 3, "text", [], [1], {}, {"status": "completed"}])
    try:
        found: Any = json.loads(content)
    except ValueError:
        return json.dumps(other).encode()
    if not isinstance(found, dict) or rng.random() < 0.3:
        return json.dumps(other).encode()
    found[rng.choice(list(found))] = other
    return json.dumps(found).encode()


DAMAGES: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "empty": lambda content, rng: b"",
    "cut": _cut,
    "all zeros": lambda content, rng: bytes(len(content)),
    "random bytes": _random,
    "16 zeros within": _zeros_within,
    "a bit turned": _bit,
    "another type of JSON": _wrong_type,
}


def loaded(words: list[str]) -> int:
    """`pinntk.load`, which may refuse with ValueError, and prediction."""
    try:
        run = pinntk.load(words[0])
        run.predict(run.pde.evaluation_points()[:3])
    except (ValueError, FileNotFoundError) as error:
        return 1 if "\n" in str(error) else 2
    return 0


def damaged(count: int, rng: random.Random, folder: Path) -> Iterator[Tally]:
    """One file of a finished, and one of an interrupted run, damaged in every way in turn."""
    tally = Tally(
        f"a damaged file ({', '.join(FILES)}): {', '.join(DAMAGES)}",
        "the same command, load, status and report work or say one line, change nothing that is whole, never use"
        " parameters that are not the saved ones; overwrite=true ends as the undisturbed run",
    )
    undisturbed = Undisturbed(folder / "undisturbed")
    cases = [(finished, name, kind) for finished in (True, False) for kind in DAMAGES for name in FILES]
    rng.shuffle(cases)
    for k in trials(count):
        finished, name, kind = cases[k % len(cases)]
        method = METHODS[k % len(METHODS)]
        words, whole, seconds = undisturbed(method, [*command(method), *WATCHED])
        place = folder / f"damage{k}"
        run = place_of(whole, place)
        if finished:
            shutil.copytree(whole, run)
        elif not _interrupted(place, words, run, rng, seconds):
            continue
        path = run / name
        if not path.is_file():  # not yet
            continue
        path.write_bytes(DAMAGES[kind](path.read_bytes(), rng))
        about = f"damage {k}: {name} of a {'finished' if finished else 'interrupted'} run, {kind}"
        tally.count("looked at")
        tally.wrong += [f"{about}: {line}" for line in _look(place, run, whole, words)]
    yield tally


def _interrupted(place: Path, words: list[str], run: Path, rng: random.Random, seconds: float) -> bool:
    """Make a run that was killed behind its first checkpoint; whether there is one."""
    place.mkdir()
    child = Child(place, words)
    deadline = time.monotonic() + 10 * seconds
    while not (run / "checkpoints" / "last.ckpt").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(rng.uniform(0, 0.1))
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    return (run / "checkpoints" / "last.ckpt").exists() and not (run / "result.json").exists()


def _look(place: Path, run: Path, whole: Path, words: list[str]) -> Iterator[str]:
    """What is wrong with what the commands make of a damaged run."""
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    looks: dict[str, tuple[list[str], Callable[[list[str]], int]]] = {
        "load": ([str(run)], loaded),
        "status": (["runs"], status),
        "report": (["runs", "--out", "report"], report),
    }
    for name, (line, body) in looks.items():
        ended = Child(place, line, body=body, output="look").wait()
        if ended.code not in (0, 2) or (ended.err and ended.err.count("\n") > 1):
            yield f"{name}: exit code {ended.code}: {ended.err.strip().splitlines()[-1][:200]}"
        if (
            name == "load"
            and ended.code == 0
            and (run / "result.json").exists()
            and (end := _other_network(whole, run))
        ):
            yield f"load: {end}"
    if {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} != before:
        yield "looking has changed a file"
    again = Child(place, words).wait()
    lines = spoken(again.err).splitlines()
    if again.code not in (0, 2) or len(lines) > 1 or "Traceback" in again.out:
        yield f"the same command: exit code {again.code}: {' / '.join(lines[-1:])[:200]}"
    elif again.code == 2 and (gone := sorted(_changed(before))):
        yield f"the same command has refused and changed {', '.join(gone)}"
    elif again.code == 0 and (end := _other_network(whole, run)):
        yield f"the same command: {end}"
    anew = Child(place, [*words, "overwrite=true"]).wait()
    if anew.code:
        yield f"overwrite=true: exit code {anew.code}: {anew.err.strip()[-200:]}"
    elif difference := differs(whole, run):
        yield f"overwrite=true: {difference}"


def _changed(before: dict[Path, bytes]) -> Iterator[str]:
    """Files that are gone or others, but those that a killed process had half written, which every run clears away."""
    for path, text in before.items():
        half = path.match(".*.tmp*")
        if not half and (not path.exists() or path.read_bytes() != text):
            yield path.name


def _other_network(whole: Path, run: Path) -> str | None:
    """What is wrong with the parameters of a run that has ended; None: they are those of the undisturbed one, or the
    damaged checkpoint is refused."""
    try:
        found = pinntk.load(run)
    except (ValueError, FileNotFoundError):
        return None
    try:
        assert_same_network(pinntk.load(whole).method, found.method)
    except AssertionError as error:
        return f"other parameters, without a word: {str(error).splitlines()[0]}"
    return None
