"""The process that a training is called in may be somebody's: a notebook, a script with random numbers of its own."""

from __future__ import annotations

import logging
import os
import random
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

LOGGERS = ("pytorch_lightning", "lightning.pytorch", "lightning_fabric", "lightning.fabric")


@contextmanager
def undisturbed() -> Iterator[None]:
    """Leave the process as it was: random states, torch's threads and default dtype, warnings, Lightning's loggers, the
    environment (W&B's own variables stay).

    Example::

        >>> torch.manual_seed(3), np.random.seed(3)  # doctest: +ELLIPSIS
        (..., None)
        >>> with undisturbed():
        ...     _ = torch.rand(5), np.random.rand(5), torch.set_default_dtype(torch.float64)
        >>> here = torch.rand(1)
        >>> here.dtype, bool(here == torch.rand(1, generator=torch.Generator().manual_seed(3)))
        (torch.float32, True)
    """
    threads, dtype = torch.get_num_threads(), torch.get_default_dtype()
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    of_gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None
    levels = {name: logging.getLogger(name).level for name in LOGGERS}
    environment = dict(os.environ)
    try:
        with warnings.catch_warnings():
            yield
    finally:
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
        torch.set_default_dtype(dtype)
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        torch.set_rng_state(states[2])
        if of_gpus is not None:
            torch.cuda.set_rng_state_all(of_gpus)
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
        for name in {*environment, *os.environ}:
            if not name.startswith("WANDB_") and os.environ.get(name) != environment.get(name):
                if name in environment:
                    os.environ[name] = environment[name]
                else:
                    del os.environ[name]
