"""Runs of the same settings on machines with other cores or another accelerator, which have folders of their own."""

from __future__ import annotations

from pathlib import Path

from pinntk.runs.folder import CHECKPOINT, CONFIG, read_yaml
from pinntk.runs.settings import RunSettings


def trained_elsewhere(settings: RunSettings) -> str | None:
    """A line on another run of these settings, where one began and only the machine made this one another.

    The number of threads is part of a result, which is promised bit by bit; with ``threads=null`` it is the number of
    the machine's cores. So the same command may begin anew on another machine, and whoever gave it should know.
    """
    own = settings.folder()
    accelerators = ("cpu", "gpu") if settings.trainer.accelerator == "auto" else (settings.accelerator,)
    for folder in sorted(own.parents[1].glob(f"*/{own.name}")):
        if folder == own or not (folder / CHECKPOINT).exists():
            continue
        threads = _threads(folder) if settings.threads is None else settings.cores
        for accelerator in accelerators:
            if threads and settings.settings_hash(threads=threads, accelerator=accelerator) == folder.parent.name:
                here, there = _words(settings.cores, settings.accelerator), _words(threads, accelerator)
                differing = [k for k in range(2) if here[k] != there[k]]
                here, there = ([words[k] for k in differing] for words in (here, there))
                return f"{' '.join(here)} on this machine: another run than {folder}, which {' '.join(there)} takes"
    return None


def _words(threads: int, accelerator: str) -> list[str]:
    return [f"threads={threads}", f"trainer.accelerator={accelerator}"]


def _threads(folder: Path) -> int | None:
    """With how many threads a run began."""
    try:
        threads = read_yaml(folder / CONFIG)["threads"]
    except Exception:  # whatever a file that is not ours may cause
        return None
    return threads if isinstance(threads, int) else None
