"""A callback that records when, and on which device, a training was under way; ``gpu.py`` looks at two at once."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytorch_lightning as pl


class Watch(pl.Callback):
    """Writes ``<folder>/watched<pid>.json``: start and end, seconds since 1970, and CUDA_VISIBLE_DEVICES."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.started = time.time()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        found = {"start": self.started, "end": time.time(), "device": os.environ.get("CUDA_VISIBLE_DEVICES")}
        (self.folder / f"watched{os.getpid()}.json").write_text(json.dumps(found))
