"""Fused kernels built by the machine's own C++ compiler, once, and kept in the cache folder."""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

import torch

from pinntk.common.doing import doing
from pinntk.common.files import cache_folder
from pinntk.network.fused.source import NotFused

COMPILERS = ("g++", "c++", "clang++")
SECONDS = 300
"""Longest that a compiler may take."""
_CAPABILITIES = {
    "AVX2": ["-mavx2", "-mfma", "-mf16c"],
    "AVX512": ["-mavx512f", "-mavx512dq", "-mavx512vl", "-mavx512bw", "-mfma", "-mf16c"],
}
"""What torch finds in the processor, by its own names, and how a compiler is told to use it."""


def compiler() -> str | None:
    """The C++ compiler: ``$CXX``, else the first of `COMPILERS` that is there; None where there is none."""
    names = [os.environ["CXX"]] if os.environ.get("CXX") else COMPILERS
    return next((found for name in names if (found := shutil.which(name))), None)


def libraries(programs: Sequence[str]) -> list[ctypes.CDLL]:
    """Build what is not in the cache yet, side by side, and load all.

    A file of the cache is named by what it was made from: the program, the compiler and its flags, torch.

    Raises:
        NotFused: there is no compiler, the processor has no vector instructions that are known here, or it does not
            compile; the reason in one line.
    """
    command = _command()
    names = [
        sha256("\0".join([*command, torch.__version__, program]).encode()).hexdigest()[:32] for program in programs
    ]
    folder = cache_folder() / "kernels"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        files = [folder / f"{name}.so" for name in names]
        missing = {file: text for file, text in zip(files, programs, strict=True) if not file.exists()}
        what = f"builds {len(missing)} kernels for these equations, once"
        with doing(what), ThreadPoolExecutor(max(1, len(missing))) as pool:
            for _ in pool.map(lambda one: _build(command, *one), missing.items()):
                pass
        return [ctypes.CDLL(str(file)) for file in files]
    except OSError as error:
        raise NotFused(f"{folder}: {error}") from error


def _command() -> list[str]:
    capability = torch.backends.cpu.get_cpu_capability()
    if platform.system() != "Linux" or capability not in _CAPABILITIES:
        raise NotFused(f"{platform.system()} on a processor with {capability}; known are AVX2 and AVX512 on Linux")
    found = compiler()
    if found is None:
        raise NotFused(f"no C++ compiler here ({', '.join(COMPILERS)})")
    torch_folder = Path(torch.__file__).parent
    flags = "-shared -fPIC -O3 -std=c++20 -fopenmp -ffp-contract=fast".split()
    defined = [f"-DCPU_CAPABILITY_{capability}", f"-DCPU_CAPABILITY={capability}"]
    include = [f"-I{torch_folder / 'include'}", f"-L{torch_folder / 'lib'}"]
    return [found, *flags, *_CAPABILITIES[capability], *defined, *include]


def _build(command: list[str], file: Path, program: str) -> None:
    with tempfile.TemporaryDirectory(dir=file.parent) as scratch:
        source, made = Path(scratch) / "kernel.cpp", Path(scratch) / "kernel.so"
        source.write_text(program)
        words = [*command, str(source), "-o", str(made), "-ltorch_cpu", "-lc10"]
        try:
            done = subprocess.run(words, capture_output=True, text=True, timeout=SECONDS, check=False)
        except subprocess.TimeoutExpired as error:
            raise NotFused(f"{command[0]} took more than {SECONDS} s") from error
        if done.returncode:
            wrong = next((line for line in done.stderr.splitlines() if "error" in line), done.stderr[-200:].strip())
            raise NotFused(f"{command[0]}: {wrong}")
        os.replace(made, file)  # whole or not at all, whoever else builds the same
